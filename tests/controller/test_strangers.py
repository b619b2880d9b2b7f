"""What one tenant may try with what is another's, of which he knows the ids: nothing is changed, and mostly nothing is there."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.controller.test_floating_ips import World
from tests.controller.test_floating_ips import world as world
from tests.controller.test_routers import outside, put, subnet
from tests.inprocess import ADMIN, ALT, DEMO, Json

Try = tuple[int, str, str, Any]


class Theirs:
    """Of demo, all there is; of alt, as much as it takes to point at it."""

    def __init__(self, world: World) -> None:
        api = self.api = world.api
        self.world = world
        self.floating = world.floating(port_id=world.guest)
        self.forwarded = world.floating()["id"]
        path = f"/floatingips/{self.forwarded}/port_forwardings"
        port = world.port()
        made = api("POST", path, {"port_forwarding": {
            "internal_port_id": port["id"], "internal_ip_address": port["fixed_ips"][0]["ip_address"], "protocol": "tcp",
            "internal_port": 80, "external_port": 8080}})
        self.forwarding = f"{path}/{made.json['port_forwarding']['id']}"
        self.group = api.make("security_group", name="theirs")["id"]
        self.policy = api("POST", "/qos/policies", {"policy": {"name": "gold", "project_id": "demo"}}, ADMIN).json["policy"]["id"]
        ports = api("GET", "/ports", token=ADMIN).json["ports"]
        self.ports = {p["device_owner"]: p["id"] for p in ports if p["device_owner"].startswith("network:")}
        self.shared = outside(api, "198.51.100.0/24", shared=True)["id"]

        self.network = api.make("network", ALT)["id"]
        self.mine = subnet(api, self.network, "10.0.0.0/24", ALT)
        self.port = api.make("port", ALT, network_id=self.network)
        self.router = api.make("router", ALT, external_gateway_info={"network_id": world.internet})["id"]
        put(api, self.router, "add_router_interface", {"subnet_id": self.mine}, token=ALT)
        self.own = api.make("floatingip", ALT, floating_network_id=world.internet, port_id=self.port["id"])["id"]


def by_id(it: Theirs) -> Iterator[Try]:
    """To read, change, delete and tag it."""
    things = {
        "routers": it.world.router, "floatingips": it.floating["id"], "networks": it.world.network, "subnets": it.world.subnet,
        "security-groups": it.group, "qos/policies": it.policy}
    paths = [f"/{collection}/{id}" for collection, id in things.items()] + [it.forwarding]
    paths += [f"/ports/{id}" for id in (it.world.guest, *it.ports.values())]
    for path in paths:
        noun = {"qos": "policy", "security-groups": "security_group"}.get(path.split("/")[1], path.split("/")[1][:-1])
        noun = "port_forwarding" if "port_forwardings" in path else noun
        yield 404, "GET", path, None
        writing = 403 if noun == "policy" else 404  # no tenant may, whosever it is
        yield writing, "PUT", path, {noun: {"description": "mine"}}
        yield writing, "DELETE", path, None
        if "port_forwardings" not in path:
            yield 404, "PUT", f"{path}/tags/mine", None
    yield 404, "PUT", f"/routers/{it.world.router}/add_router_interface", {"subnet_id": it.mine}
    yield 404, "PUT", f"/routers/{it.world.router}/remove_router_interface", {"subnet_id": it.world.subnet}
    yield 404, "PUT", f"/routers/{it.world.router}/add_extraroutes", {"router": {"routes": [
        {"destination": "0.0.0.0/1", "nexthop": "10.0.0.66"}]}}


def pointing(it: Theirs) -> Iterator[Try]:
    """From something of his own at something of theirs."""
    w = it.world
    owned = ("network:router_gateway", "network:router_interface", "network:floatingip")
    for what in ({"subnet_id": w.subnet}, {"port_id": w.guest}, *({"port_id": it.ports[owner]} for owner in owned)):
        yield 404, "PUT", f"/routers/{it.router}/add_router_interface", what
    yield 404, "POST", "/routers", {"router": {"external_gateway_info": {"network_id": w.network}}}
    forwarded = {"internal_ip_address": w.address, "protocol": "tcp", "internal_port": 1, "external_port": 1}
    for port in (w.guest, *it.ports.values()):
        yield 404, "PUT", f"/floatingips/{it.own}", {"floatingip": {"port_id": port}}
        yield 404, "POST", "/floatingips", {"floatingip": {"floating_network_id": w.internet, "port_id": port}}
        yield 404, "POST", f"/floatingips/{it.own}/port_forwardings", {"port_forwarding": {"internal_port_id": port, **forwarded}}
    yield 404, "POST", "/floatingips", {"floatingip": {"floating_network_id": w.network}}
    yield 403, "POST", "/floatingips", {"floatingip": {
        "floating_network_id": w.internet, "floating_ip_address": it.floating["floating_ip_address"]}}
    for kind, path, body in (
            ("port", f"/ports/{it.port['id']}", {"qos_policy_id": it.policy}),
            ("network", f"/networks/{it.network}", {"qos_policy_id": it.policy}),
            ("floatingip", f"/floatingips/{it.own}", {"qos_policy_id": it.policy}),
            ("port", f"/ports/{it.port['id']}", {"security_groups": [it.group]})):
        yield 404, "PUT", path, {kind: body}
    yield 404, "PUT", f"/routers/{it.router}", {"router": {"external_gateway_info": {
        "network_id": w.internet, "qos_policy_id": it.policy}}}
    yield 404, "POST", "/rbac-policies", {"rbac_policy": {
        "object_type": "network", "object_id": w.network, "action": "access_as_shared", "target_tenant": "alt"}}
    yield 404, "POST", "/rbac-policies", {"rbac_policy": {
        "object_type": "qos_policy", "object_id": it.policy, "action": "access_as_shared", "target_tenant": "alt"}}
    yield 404, "POST", "/subnets", {"subnet": {"network_id": w.network, "ip_version": 4, "cidr": "10.9.0.0/24"}}
    yield 404, "POST", "/ports", {"port": {"network_id": w.network}}


def lying(it: Theirs) -> Iterator[Try]:
    """About who he is, and what is not a tenant's to say."""
    for project in ({"project_id": "demo"}, {"tenant_id": "demo"}):
        yield 403, "POST", "/routers", {"router": project}
        yield 403, "POST", "/networks", {"network": project}
        yield 403, "POST", "/floatingips", {"floatingip": {"floating_network_id": it.world.internet, **project}}
        yield 403, "POST", "/ports", {"port": {"network_id": it.network, **project}}
    for attribute in ({"router:external": True}, {"shared": True}, {"provider:network_type": "vlan"},
                      {"provider:physical_network": "physical1"}, {"provider:segmentation_id": 7}):
        yield 403, "POST", "/networks", {"network": attribute}
        yield 403, "PUT", f"/networks/{it.network}", {"network": attribute}
    yield 403, "PUT", f"/ports/{it.port['id']}", {"port": {"binding:host_id": "h1"}}
    yield 403, "POST", "/rbac-policies", {"rbac_policy": {
        "object_type": "network", "object_id": it.network, "action": "access_as_external", "target_tenant": "*"}}
    here = {"network_id": it.shared}
    for said in ({"mac_address": "fa:16:3e:00:00:01"}, {"fixed_ips": [{"ip_address": "198.51.100.1"}]},
                 {"device_owner": "network:router_gateway"}, {"device_owner": "network:floatingip"},
                 {"device_owner": "network:dhcp"}, {"port_security_enabled": False},
                 {"allowed_address_pairs": [{"ip_address": "198.51.100.1"}]}):
        yield 403, "POST", "/ports", {"port": {**here, **said}}
        if "fixed_ips" not in said:
            yield 403, "POST", "/ports", {"ports": [here, {**here, **said}]}


@pytest.fixture
def theirs(world: World) -> Theirs:
    return Theirs(world)


@pytest.mark.parametrize("tries", [by_id, pointing, lying])
def test_a_stranger_changes_nothing(theirs: Theirs, tries: Any) -> None:
    wrong = []
    for status, method, path, body in tries(theirs):
        before = theirs.api.revision()
        answer = theirs.api(method, path, body, ALT)
        if (answer.status_code, theirs.api.revision()) != (status, before):
            wrong.append((method, path, body, answer.status_code, answer.get_data(as_text=True)[:200]))
    assert not wrong, "\n".join(map(str, wrong))


def test_what_a_stranger_says_of_his_own_port_holds_nothing_of_anothers(theirs: Theirs) -> None:
    """That it is a router's, or a floating IP's: the router is his who made it, its ports are those that it made, and it goes."""
    api, router = theirs.api, theirs.world.router
    for owner in ("network:router_interface", "network:router_gateway", "network:floatingip"):
        api.make("port", ALT, network_id=theirs.network, device_owner=owner, device_id=router)
    shown = api("GET", f"/routers/{router}", token=ADMIN).json["router"]
    assert shown["external_gateway_info"]["network_id"] == theirs.world.internet
    seen = api("GET", f"/ports?device_id={router}", token=DEMO).json["ports"]
    assert {port["project_id"] for port in seen} == {"demo"}
    for listed in ("routers", "floatingips", "ports", "networks", "subnets", "security-groups", "qos/policies"):
        got: Json = api("GET", f"/{listed}?project_id=demo", token=ALT).json
        assert not next(iter(got.values())), listed
