"""Floating IPs and port forwardings in-process: who gets which address, by which router, and what Neutron refuses."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.controller.test_routers import inside, join, outside, put, subnet
from tests.inprocess import ADMIN, ALT, DEMO, Api, Json


@dataclass
class World:
    """An external network, a router that leads there, and a guest behind it."""

    api: Api
    internet: str
    router: str
    subnet: str
    network: str
    guest: str
    address: str

    def floating(self, token: str = DEMO, **values: Any) -> Json:
        return self.api.make("floatingip", token, **{"floating_network_id": self.internet, **values})

    def put(self, floating: Json | str, **values: Any) -> Json:
        id = floating if isinstance(floating, str) else floating["id"]
        answer = self.api("PUT", f"/floatingips/{id}", {"floatingip": values})
        assert answer.status_code == 200, answer.get_data(as_text=True)
        said: Json = answer.json["floatingip"]
        return said

    def show(self, floating: Json) -> Json:
        said: Json = self.api("GET", f"/floatingips/{floating['id']}").json["floatingip"]
        return said

    def refused(self, status: int, code: str, words: str, token: str = DEMO, **values: Any) -> None:
        body = {"floatingip": {"floating_network_id": self.internet, **values}}
        assert self.api.refused(status, words, "POST", "/floatingips", body, token)["type"] == code

    def port(self, **values: Any) -> Json:
        return self.api.make("port", **{"network_id": self.network, **values})


@pytest.fixture
def world(api: Api) -> World:
    internet = outside(api)["id"]
    router = api.make("router", external_gateway_info={"network_id": internet})["id"]
    blue = inside(api, "10.0.0.0/24")
    network = join(api, router, subnet_id=blue)["network_id"]
    guest = api.make("port", network_id=network, fixed_ips=[{"ip_address": "10.0.0.10"}])
    return World(api, internet, router, blue, network, guest["id"], guest["fixed_ips"][0]["ip_address"])


def test_one_is_had_associated_moved_and_given_back(world: World) -> None:
    floating = world.floating(description="web")
    assert floating["port_id"] is floating["fixed_ip_address"] is floating["router_id"] is floating["port_details"] is None
    assert floating["floating_ip_address"].startswith("203.0.113.") and floating["status"] == "DOWN"
    assert floating["port_forwardings"] == [] and "floating_port_id" not in floating
    [port] = world.api("GET", "/ports?device_owner=network:floatingip", token=ADMIN).json["ports"]
    assert port["device_id"] == floating["id"]
    assert [f["ip_address"] for f in port["fixed_ips"]] == [floating["floating_ip_address"]]
    assert not world.api("GET", "/ports?device_owner=network:floatingip").json["ports"], "no tenant's"

    had = world.put(floating, port_id=world.guest)
    assert (had["port_id"], had["fixed_ip_address"], had["router_id"]) == (world.guest, world.address, world.router)
    assert had["port_details"]["network_id"] == world.network and had["port_details"]["admin_state_up"] is True
    assert had["revision_number"] == 1
    assert world.put(floating, description="still")["port_id"] == world.guest
    assert world.put(floating, port_id=world.guest)["revision_number"] == 2, "nothing changed"

    other = world.port()
    moved = world.put(floating, port_id=other["id"])
    assert (moved["port_id"], moved["fixed_ip_address"]) == (other["id"], other["fixed_ips"][0]["ip_address"])
    free = world.put(floating, port_id=None)
    assert free["port_id"] is free["fixed_ip_address"] is free["router_id"] is None
    assert world.api("DELETE", f"/floatingips/{floating['id']}").status_code == 204
    assert not world.api("GET", "/ports?device_owner=network:floatingip", token=ADMIN).json["ports"]


def test_each_move_is_told_from_the_one_before(world: World) -> None:
    """From port to port, to nobody, and from host to host of one port; nothing else counts as a move."""
    floating, other = world.floating(port_id=world.guest), world.port()["id"]
    seen = []

    def moves(of: str = "", **values: Any) -> None:
        path = f"/ports/{of}" if of else f"/floatingips/{floating['id']}"
        answer = world.api("PUT", path, {"port" if of else "floatingip": values}, ADMIN)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        with world.api.database.reading() as tx:
            seen.append(tx.get("floatingip", floating["id"]).generation)

    moves(description="web"), moves(of=world.guest, name="web"), moves(of=other, **{"binding:host_id": "h1"})
    assert len(set(seen)) == 1
    moves(port_id=other), moves(of=other, **{"binding:host_id": "h2"}), moves(port_id=None), moves(port_id=world.guest)
    assert len(set(seen)) == 5 and seen == sorted(seen)


def test_filters_that_clients_use(world: World) -> None:
    one, other = world.floating(port_id=world.guest), world.floating()
    for query, wanted in (
        (f"port_id={world.guest}", one), (f"fixed_ip_address={world.address}", one), (f"router_id={world.router}", one),
        (f"floating_ip_address={other['floating_ip_address']}", other), ("port_id=", other),
    ):
        found = world.api("GET", f"/floatingips?{query}").json["floatingips"]
        assert [f["id"] for f in found] == [wanted["id"]], query
    assert world.api("GET", f"/floatingips/{one['id']}", token=ALT).status_code == 404
    assert world.api("PUT", f"/floatingips/{one['id']}/tags", {"tags": ["x"]}).json == {"tags": ["x"]}
    assert len(world.api("GET", f"/floatingips?floating_network_id={world.internet}&tags=x").json["floatingips"]) == 1


def test_one_of_several_addresses(world: World) -> None:
    several = world.port(fixed_ips=[{"ip_address": "10.0.0.50"}, {"ip_address": "10.0.0.51"}])["id"]
    world.refused(400, "BadRequest", "multiple fixed IPv4 addresses", port_id=several)
    world.refused(400, "BadRequest", "does not have fixed ip", port_id=several, fixed_ip_address="10.0.0.52")
    one = world.floating(port_id=several, fixed_ip_address="10.0.0.51")
    assert one["fixed_ip_address"] == "10.0.0.51"
    assert world.put(one, fixed_ip_address="10.0.0.50")["fixed_ip_address"] == "10.0.0.50"
    assert world.floating(port_id=several, fixed_ip_address="10.0.0.51")["port_id"] == several
    code = "FloatingIPPortAlreadyAssociated"
    world.refused(409, code, "already has a floating IP", port_id=several, fixed_ip_address="10.0.0.51")
    free = world.floating()
    body = {"floatingip": {"port_id": several, "fixed_ip_address": "10.0.0.50"}}
    assert world.api.refused(409, "already has a floating IP", "PUT", f"/floatingips/{free['id']}", body)["type"] == code


def test_what_cannot_have_one(world: World) -> None:
    api = world.api
    lonely = api.make("port", network_id=api("GET", f"/subnets/{inside(api, '10.7.0.0/24')}").json["subnet"]["network_id"])["id"]
    six = api.make("network")["id"]
    subnet(api, six, "fd00::/64")
    foreign = api.make("port", ALT, network_id=api.make("network", ALT)["id"])["id"]
    [inner] = api("GET", f"/ports?device_id={world.router}").json["ports"]
    private, dry = api.make("network")["id"], api.make("network", ADMIN, **{"router:external": True})["id"]
    for status, code, words, values in (
        (404, "ExternalGatewayForFloatingIPNotFound", "is not reachable from subnet", {"port_id": lonely}),
        (400, "BadRequest", "no fixed IPv4", {"port_id": api.make("port", network_id=six)["id"]}),
        (400, "BadRequest", "no fixed IPv4", {"port_id": world.port(fixed_ips=[])["id"]}),
        (400, "BadRequest", "unable to be assigned", {"port_id": inner["id"]}),
        (404, "PortNotFound", "could not be found", {"port_id": foreign}),
        (400, "BadRequest", "without a port_id", {"fixed_ip_address": "10.0.0.9"}),
        (400, "BadRequest", "not an IPv4", {"fixed_ip_address": "fd00::1"}),
        (400, "BadRequest", "not a valid external network", {"floating_network_id": private}),
        (400, "BadRequest", "does not contain any IPv4 subnet", {"floating_network_id": dry}),
        (400, "BadRequest", "is no IPv4 subnet of network", {"subnet_id": world.subnet}),
        (403, "Forbidden", "Only an administrator", {"floating_ip_address": "203.0.113.9"}),
    ):
        world.refused(status, code, words, **values)
    for code, words, chosen in (
        ("InvalidIpForNetwork", "not a valid IP for any", "10.0.0.9"), ("BadRequest", "is the gateway", "203.0.113.1"),
        ("InvalidIpForSubnet", "broadcast", "203.0.113.255"),
    ):
        world.refused(400, code, words, ADMIN, floating_ip_address=chosen)
    foreign_to_it = api.make("floatingip", ADMIN, floating_network_id=world.internet, project_id="alt")["id"]
    api.refused(404, "could not be found", "PUT", f"/floatingips/{foreign_to_it}", {"floatingip": {"port_id": world.guest}}, ALT)


def test_addresses_chosen_and_exhausted(world: World) -> None:
    small = world.api.make("network", ADMIN, **{"router:external": True})["id"]
    for cidr in ("192.0.2.0/30", "192.0.2.8/30"):
        subnet(world.api, small, cidr, ADMIN)
    subnet(world.api, small, "fd00::/64", ADMIN)
    former = world.floating(ADMIN)  # nobody's, whichever the router was given
    assert world.api("DELETE", f"/floatingips/{former['id']}", token=ADMIN).status_code == 204
    chosen = former["floating_ip_address"]
    assert world.floating(ADMIN, floating_ip_address=chosen, project_id="demo")["floating_ip_address"] == chosen
    world.refused(409, "IpAddressAlreadyAllocated", chosen, ADMIN, floating_ip_address=chosen)
    second = world.api("GET", "/subnets?cidr=192.0.2.8/30", token=ADMIN).json["subnets"][0]["id"]
    assert world.floating(floating_network_id=small, subnet_id=second)["floating_ip_address"] == "192.0.2.10"
    assert world.floating(floating_network_id=small)["floating_ip_address"] == "192.0.2.2"
    world.refused(409, "IpAddressGenerationFailure", "No more IP addresses", floating_network_id=small)


def test_subnets_kept_for_floating_ips_or_gateways(world: World) -> None:
    api, network = world.api, world.api.make("network", ADMIN, **{"router:external": True})["id"]
    subnet(api, network, "192.0.2.0/26", ADMIN, service_types=["network:router_gateway"])
    subnet(api, network, "192.0.2.64/26", ADMIN)
    subnet(api, network, "192.0.2.128/26", ADMIN, service_types=["network:floatingip"])
    last = int(api.make("floatingip", floating_network_id=network)["floating_ip_address"].rpartition(".")[2])
    info = api.make("router", external_gateway_info={"network_id": network})["external_gateway_info"]
    out = int(info["external_fixed_ips"][0]["ip_address"].rpartition(".")[2])
    assert 128 < last < 192 and out < 64


def test_the_router_of_the_subnets_gateway_before_others(world: World) -> None:
    for _ in range(2):
        other = world.api.make("router", external_gateway_info={"network_id": world.internet})["id"]
        join(world.api, other, port_id=world.port()["id"])
    assert world.floating(port_id=world.guest)["router_id"] == world.router


def test_what_goes_with_a_port_and_what_stays_for_it(world: World) -> None:
    floating = world.floating(port_id=world.guest)
    remove = f"/routers/{world.router}/remove_router_interface"
    fault = world.api.refused(409, "required by one or more floating IPs", "PUT", remove, {"subnet_id": world.subnet})
    assert fault["type"] == "RouterInterfaceInUseByFloatingIP"
    for change in (None, {"network_id": outside(world.api, "198.51.100.0/24")["id"]}):
        body = {"router": {"external_gateway_info": change}}
        fault = world.api.refused(409, "required by one or more floating IPs", "PUT", f"/routers/{world.router}", body)
        assert fault["type"] == "RouterExternalGatewayInUseByFloatingIp"
    world.api.refused(400, "is associated with the floating IP", "PUT", f"/ports/{world.guest}",
                      {"port": {"fixed_ips": [{"ip_address": "10.0.0.99"}]}})
    more = {"port": {"fixed_ips": [{"ip_address": world.address}, {"ip_address": "10.0.0.99"}]}}
    assert world.api("PUT", f"/ports/{world.guest}", more).status_code == 200
    fault = world.api.refused(409, "", "PUT", f"/networks/{world.internet}", {"network": {"router:external": False}}, ADMIN)
    assert fault["type"] == "ExternalNetworkInUse"
    assert world.api("DELETE", f"/ports/{world.guest}").status_code == 204
    free = world.show(floating)
    assert free["port_id"] is free["fixed_ip_address"] is free["router_id"] is None and free["revision_number"] == 1
    put(world.api, world.router, "remove_router_interface", {"subnet_id": world.subnet})


def test_quota_and_addresses_in_use(world: World) -> None:
    body = {"quota": {"floatingip": 2}}
    assert world.api("PUT", "/quotas/demo", body, ADMIN).status_code == 200
    world.floating(), world.floating()
    world.refused(409, "OverQuota", "Quota exceeded")
    seen = world.api("GET", f"/network-ip-availabilities/{world.internet}", token=ADMIN).json["network_ip_availability"]
    assert seen["used_ips"] == 3, "two, and the router's"


# port forwardings


def forward(world: World, floating: Json, **values: Any) -> Any:
    body = {"protocol": "tcp", "internal_port_id": world.guest, "internal_ip_address": world.address, **values}
    return world.api("POST", f"/floatingips/{floating['id']}/port_forwardings", {"port_forwarding": body})


def test_a_port_forwarding(world: World) -> None:
    floating = world.floating()
    path = f"/floatingips/{floating['id']}/port_forwardings"
    answer = forward(world, floating, internal_port=22, external_port=2222, protocol="TCP", description="ssh")
    assert answer.status_code == 201, answer.text
    made = answer.json["port_forwarding"]
    assert made["protocol"] == "tcp" and made["internal_port_range"] == "22:22" and made["external_port_range"] == "2222:2222"
    assert made["description"] == "ssh" and made["internal_port"] == 22
    shown = world.show(floating)
    assert shown["router_id"] == world.router and shown["port_id"] is None
    assert [f["external_port"] for f in shown["port_forwardings"]] == [2222]
    assert world.api("GET", f"{path}?external_port=2222&protocol=tcp").json["port_forwardings"] == [made]
    one = f"{path}/{made['id']}"
    assert world.api("GET", one).json["port_forwarding"] == made
    changed = world.api("PUT", one, {"port_forwarding": {"external_port": 2200, "protocol": "udp"}}).json["port_forwarding"]
    assert (changed["external_port"], changed["external_port_range"], changed["internal_port"]) == (2200, "2200:2200", 22)
    assert world.api("GET", one, token=ALT).status_code == world.api("GET", path, token=ALT).status_code == 404
    assert world.api("GET", f"/floatingips/{world.floating()['id']}/port_forwardings/{made['id']}").status_code == 404
    assert world.api("DELETE", one).status_code == 204
    assert world.show(floating)["router_id"] is None


def test_ranges(world: World) -> None:
    floating = world.floating()

    def made(**values: Any) -> Json:
        answer = forward(world, floating, **values)
        assert answer.status_code == 201, answer.text
        said: Json = answer.json["port_forwarding"]
        return said

    many = made(internal_port_range="8080:8089", external_port_range="80:89")
    assert many["internal_port"] is many["external_port"] is None and many["internal_port_range"] == "8080:8089"
    assert made(internal_port=53, external_port_range="5000:5010", protocol="udp")["internal_port_range"] == "53:53"
    one = f"/floatingips/{floating['id']}/port_forwardings/{many['id']}"
    narrow = {"internal_port": 8080, "external_port": 80}
    changed = world.api("PUT", one, {"port_forwarding": narrow}).json["port_forwarding"]
    assert (changed["internal_port_range"], changed["external_port_range"]) == ("8080:8080", "80:80")
    for words, values in (
        ("N-N or 1-N", {"internal_port_range": "1000:1005", "external_port_range": "1000:1003"}),
        ("N-N or 1-N", {"internal_port_range": "1000:1005", "external_port": 1000}),
        ("collision with the external_port_range", {"internal_port": 1, "external_port_range": "70:80"}),
        ("collision with the internal_port_range", {"internal_port_range": "8075:8085", "external_port_range": "65:75"}),
        ("no range of ports", {"internal_port": 1, "external_port_range": "9:3"}),
        ("no range of ports", {"internal_port": 1, "external_port_range": "0:3"}),
        ("no range of ports", {"internal_port": 1, "external_port_range": "1:70000"}),
        ("needs an internal_port", {"external_port": 1}), ("needs an external_port", {"internal_port": 1}),
        ("not the same", {"internal_port": 1, "external_port": 9, "external_port_range": "10:10"}),
        ("between 1 and 65535", {"internal_port": 0, "external_port": 1}),
        ("none of tcp, udp", {"internal_port": 1, "external_port": 1, "protocol": "icmp"}),
        ("does not correspond to an address", {"internal_port": 1, "external_port": 1, "internal_ip_address": "10.0.0.250"}),
    ):
        answer = forward(world, floating, **values)
        assert answer.status_code == 400 and words in answer.json["NeutronError"]["message"], answer.text
    assert made(internal_port=8080, external_port=80, protocol="udp")["protocol"] == "udp"


def test_forwardings_and_associations_keep_out_of_each_others_way(world: World) -> None:
    taken, free = world.floating(port_id=world.guest), world.floating()
    answer = forward(world, free, internal_port=22, external_port=22)
    assert (answer.status_code, answer.json["NeutronError"]["type"]) == (409, "PortHasBindingFloatingIP")
    world.put(taken, port_id=None)
    assert forward(world, free, internal_port=22, external_port=22).status_code == 201
    other = world.port()["id"]
    fault = world.api.refused(409, "Port Forwarding", "PUT", f"/floatingips/{free['id']}", {"floatingip": {"port_id": other}})
    assert fault["type"] == "FipInUseByPortForwarding"
    world.refused(400, "PortHasPortForwarding", "already has a Port Forwarding", port_id=world.guest)
    assert world.api.refused(409, "", "DELETE", f"/floatingips/{free['id']}")["type"] == "FipInUseByPortForwarding"
    fault = world.api.refused(409, "", "PUT", f"/routers/{world.router}/remove_router_interface", {"subnet_id": world.subnet})
    assert fault["type"] == "RouterInterfaceInUseByFloatingIP"
    world.put(taken, port_id=other)
    answer = world.api("POST", f"/floatingips/{taken['id']}/port_forwardings", {"port_forwarding": {
        "protocol": "tcp", "internal_port_id": world.guest, "internal_ip_address": world.address, "internal_port": 1,
        "external_port": 1}})
    assert (answer.status_code, answer.json["NeutronError"]["type"]) == (409, "FloatingIPPortAlreadyAssociated")


def test_forwardings_go_with_their_port_or_its_address(world: World) -> None:
    floating = world.floating()
    other = world.port(fixed_ips=[{"ip_address": "10.0.0.60"}])["id"]
    assert forward(world, floating, internal_port=22, external_port=22).status_code == 201
    assert forward(world, floating, internal_port=22, external_port=23, internal_port_id=other,
                   internal_ip_address="10.0.0.60").status_code == 201
    assert world.api("PUT", f"/ports/{other}", {"port": {"fixed_ips": [{"ip_address": "10.0.0.61"}]}}).status_code == 200
    assert [f["external_port"] for f in world.show(floating)["port_forwardings"]] == [22]
    assert world.api("DELETE", f"/ports/{world.guest}").status_code == 204
    shown = world.show(floating)
    assert shown["port_forwardings"] == [] and shown["router_id"] is None
