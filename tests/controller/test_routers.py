"""Routers in-process: interfaces, the way out, routes; and each rule that Neutron has, with its status and its type."""

from typing import Any

import pytest

from controller.picture import Picture
from tests.inprocess import ADMIN, ALT, DEMO, Api, Json


def outside(api: Api, cidr: str = "203.0.113.0/24", **values: Any) -> Json:
    """An external network with a subnet."""
    network = api.make("network", ADMIN, **{"router:external": True}, **values)
    subnet(api, network["id"], cidr, ADMIN)
    return network


def subnet(api: Api, network_id: str, cidr: str, token: str = DEMO, **values: Any) -> str:
    version = 6 if ":" in cidr else 4
    id: str = api.make("subnet", token, network_id=network_id, ip_version=version, cidr=cidr, **values)["id"]
    return id


def inside(api: Api, cidr: str, **values: Any) -> str:
    """A subnet on a network of its own."""
    return subnet(api, api.make("network")["id"], cidr, **values)


def put(api: Api, router: str, what: str = "", body: Json | None = None, **more: Any) -> Any:
    answer = api("PUT", f"/routers/{router}{what and '/' + what}", body if what else {"router": body}, **more)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.json if what else answer.json["router"]


def join(api: Api, router: str, **by: str) -> Json:
    answer: Json = put(api, router, "add_router_interface", by)
    return answer


@pytest.fixture
def router(api: Api) -> str:
    return str(api.make("router", name="r")["id"])


@pytest.fixture
def internet(api: Api) -> str:
    return str(outside(api)["id"])


def test_a_router_as_its_owner_and_as_an_administrator_sees_it(api: Api, router: str) -> None:
    own = api("GET", f"/routers/{router}").json["router"]
    assert own["external_gateway_info"] is None and own["routes"] == [] and own["status"] == "ACTIVE"
    assert own["admin_state_up"] is True and own["availability_zones"] == ["default"]
    assert not {"number", "enable_snat", "distributed", "ha"} & set(own)
    full = api("GET", f"/routers/{router}", token=ADMIN).json["router"]
    assert full["distributed"] is True and full["ha"] is True
    assert api("GET", f"/routers/{router}", token=ALT).status_code == 404
    put(api, router, body={"name": "other", "admin_state_up": False})
    assert [r["id"] for r in api("GET", "/routers?name=other&admin_state_up=false").json["routers"]] == [router]
    api.refused(400, "every router of this cloud is distributed", "PUT", f"/routers/{router}", {"router": {"ha": False}}, ADMIN)
    api.refused(403, "Only an administrator", "PUT", f"/routers/{router}", {"router": {"distributed": True}})


def test_a_subnet_is_joined_by_its_gateways_address(api: Api, router: str) -> None:
    blue = inside(api, "10.0.0.0/24")
    joined = join(api, router, subnet_id=blue)
    assert joined["id"] == router and joined["subnet_id"] == blue and joined["subnet_ids"] == [blue]
    port = api("GET", f"/ports/{joined['port_id']}").json["port"]
    assert (port["device_owner"], port["device_id"], port["project_id"]) == ("network:router_interface", router, "demo")
    assert port["fixed_ips"] == [{"subnet_id": blue, "ip_address": "10.0.0.1"}] and port["network_id"] == joined["network_id"]
    assert port["security_groups"] == [] and port["port_security_enabled"] is False
    assert api("GET", f"/routers/{router}").json["router"]["revision_number"] == 1
    left = put(api, router, "remove_router_interface", {"subnet_id": blue})
    assert left == joined and api("GET", f"/ports/{port['id']}").status_code == 404
    assert join(api, router, subnet_id=blue)["port_id"] != port["id"]


def test_a_subnet_is_joined_by_a_port(api: Api, router: str) -> None:
    blue = inside(api, "10.0.0.0/24")
    network = api("GET", f"/subnets/{blue}").json["subnet"]["network_id"]
    port = api.make("port", network_id=network, fixed_ips=[{"ip_address": "10.0.0.77"}])
    assert port["security_groups"]
    joined = join(api, router, port_id=port["id"])
    assert joined["port_id"] == port["id"] and joined["subnet_ids"] == [blue]
    now = api("GET", f"/ports/{port['id']}").json["port"]
    assert now["security_groups"] == [] and now["device_id"] == router and now["fixed_ips"] == port["fixed_ips"]
    put(api, router, "remove_router_interface", {"port_id": port["id"], "subnet_id": blue})
    assert api("GET", f"/ports/{port['id']}").status_code == 404


def test_subnets_of_ipv6_on_one_network_share_a_port(api: Api, router: str) -> None:
    network = api.make("network")["id"]
    slaac = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
    one, other = subnet(api, network, "fd00:1::/64", **slaac), subnet(api, network, "fd00:2::/64")
    first, second = join(api, router, subnet_id=one), join(api, router, subnet_id=other)
    assert first["port_id"] == second["port_id"] and second["subnet_ids"] == [other]
    addresses = {f["ip_address"] for f in api("GET", f"/ports/{first['port_id']}").json["port"]["fixed_ips"]}
    assert addresses == {"fd00:1::1", "fd00:2::1"}
    four = subnet(api, network, "10.0.0.0/24")
    assert join(api, router, subnet_id=four)["port_id"] != first["port_id"]
    put(api, router, "remove_router_interface", {"subnet_id": one})
    [left] = api("GET", f"/ports/{first['port_id']}").json["port"]["fixed_ips"]
    assert left["ip_address"] == "fd00:2::1"
    third = api.make("port", network_id=network, fixed_ips=[{"subnet_id": one}])
    add = f"/routers/{router}/add_router_interface"
    api.refused(400, "Router already contains IPv6 port", "PUT", add, {"port_id": third["id"]})
    put(api, router, "remove_router_interface", {"subnet_id": other})
    assert api("GET", f"/ports/{first['port_id']}").status_code == 404


def test_a_way_out(api: Api, router: str, internet: str) -> None:
    info = put(api, router, body={"external_gateway_info": {"network_id": internet}})["external_gateway_info"]
    assert info["network_id"] == internet and info["enable_snat"] is True
    [fixed] = info["external_fixed_ips"]
    assert api("GET", f"/ports?device_id={router}").json["ports"] == [], "the gateway's port is nobody's"
    [port] = api("GET", f"/ports?device_id={router}", token=ADMIN).json["ports"]
    assert port["device_owner"] == "network:router_gateway" and port["fixed_ips"] == [fixed] and not port["project_id"]

    def change(value: Any) -> Any:
        return put(api, router, body={"external_gateway_info": value}, token=ADMIN)["external_gateway_info"]

    said = {"network_id": internet, "enable_snat": True, "external_fixed_ips": info["external_fixed_ips"]}
    assert put(api, router, body={"external_gateway_info": said})["external_gateway_info"] == info, "repeated as it is"
    assert change({"network_id": internet, "enable_snat": False}) == {**info, "enable_snat": False}, "the address stays"
    other = outside(api, "198.51.100.0/24")["id"]
    elsewhere = {"router": {"external_gateway_info": {"network_id": other, "enable_snat": False}}}
    api.refused(403, "enable_snat", "PUT", f"/routers/{router}", elsewhere)
    moved = change({"network_id": internet, "external_fixed_ips": [{"ip_address": "203.0.113.9"}]})
    assert [f["ip_address"] for f in moved["external_fixed_ips"]] == ["203.0.113.9"] and moved["enable_snat"] is True
    before = api("GET", f"/routers/{router}").json["router"]["revision_number"]
    other = outside(api, "198.51.100.0/24")["id"]
    assert change({"network_id": other})["network_id"] == other
    assert api("GET", f"/routers/{router}").json["router"]["revision_number"] == before + 1
    assert put(api, router, body={"name": "x"})["external_gateway_info"]["network_id"] == other, "who does not say leaves it"
    for nothing in (None, {}):
        assert change(nothing) is None
        assert api("GET", f"/ports?device_id={router}", token=ADMIN).json["ports"] == []
        change({"network_id": other})
    made = api.make("router", external_gateway_info={"network_id": internet})
    assert made["external_gateway_info"]["network_id"] == internet
    assert api("DELETE", f"/routers/{made['id']}").status_code == 204
    with api.database.reading() as tx:
        assert [g.network_id for g in tx.where("router_gateway")] == [other]


def test_what_a_way_out_cannot_be(api: Api, router: str, internet: str) -> None:
    path, private = f"/routers/{router}", api.make("network")["id"]

    def refused(status: int, words: str, info: Any, token: str = ADMIN) -> None:
        api.refused(status, words, "PUT", path, {"router": {"external_gateway_info": info}}, token)
        api.refused(status, words, "POST", "/routers", {"router": {"external_gateway_info": info, "project_id": "demo"}}, ADMIN
                    ) if token == ADMIN else None

    refused(400, "is not an external network", {"network_id": private})
    refused(404, "could not be found", {"network_id": "no-such"})
    refused(400, "needs a network_id", {"enable_snat": False})
    refused(400, "same as the gateway IP", {"network_id": internet, "external_fixed_ips": [{"ip_address": "203.0.113.1"}]})
    refused(400, "not a valid IP for any", {"network_id": internet, "external_fixed_ips": [{"ip_address": "10.0.0.9"}]})
    refused(400, "colour", {"network_id": internet, "colour": "blue"})
    for token in (ADMIN, DEMO):
        refused(400, "each needs a subnet_id or an ip_address", {"network_id": internet, "external_fixed_ips": [{}]}, token)
    refused(403, "enable_snat", {"network_id": internet, "enable_snat": False}, DEMO)
    refused(403, "external_fixed_ips", {"network_id": internet, "external_fixed_ips": [{"ip_address": "203.0.113.9"}]}, DEMO)
    join(api, router, subnet_id=inside(api, "203.0.113.128/25"))
    refused_overlap = {"router": {"external_gateway_info": {"network_id": internet}}}
    api.refused(400, "overlaps with cidr", "PUT", path, refused_overlap)


def test_routes(api: Api, router: str, internet: str) -> None:
    join(api, router, subnet_id=inside(api, "10.0.0.0/24"))

    def route(destination: str, nexthop: str) -> Json:
        return {"destination": destination, "nexthop": nexthop}

    one, other = route("10.9.0.0/16", "10.0.0.9"), route("10.9.1.0/24", "10.0.0.8")
    assert put(api, router, body={"routes": [one]})["routes"] == [one]
    assert put(api, router, "add_extraroutes", {"router": {"routes": [one, other]}})["router"]["routes"] == [one, other]
    less = {"router": {"routes": [one, route("10.7.0.0/16", "10.0.0.7")]}}
    assert put(api, router, "remove_extraroutes", less)["router"]["routes"] == [other]
    for routes, words in (
        ([route("10.9.0.0/16", "10.1.0.9")], "not connected"), ([route("10.9.0.0/16", "10.0.0.1")], "used by router"),
        ([route("10.9.0.0/16", "fd00::1")], "another IP version"), ([one, one], "there twice"),
        ([route("10/40", "10.0.0.9")], "CIDR"), ([{"destination": "10.9.0.0/16"}], "nexthop"),
    ):
        api.refused(400, words, "PUT", f"/routers/{router}", {"router": {"routes": routes}})
        if words != "there twice":
            api.refused(400, words, "PUT", f"/routers/{router}/add_extraroutes", {"router": {"routes": routes}})
    api.refused(400, "cannot be given in create", "POST", "/routers", {"router": {"routes": []}})
    put(api, router, body={"external_gateway_info": {"network_id": internet}})
    put(api, router, body={"routes": [other, route("10.8.0.0/16", "203.0.113.77")]})
    fault = api.refused(400, "not connected", "PUT", f"/routers/{router}", {"router": {"external_gateway_info": None}})
    assert fault["type"] == "InvalidRoutes"
    subnet_id = api("GET", "/subnets?cidr=10.0.0.0/24").json["subnets"][0]["id"]
    remove = f"/routers/{router}/remove_router_interface"
    fault = api.refused(409, "by one or more routes", "PUT", remove, {"subnet_id": subnet_id})
    assert fault["type"] == "RouterInterfaceInUseByRoute"


def test_what_cannot_be_joined(api: Api, router: str) -> None:
    blue = inside(api, "10.0.0.0/24")
    network = api("GET", f"/subnets/{blue}").json["subnet"]["network_id"]
    add = f"/routers/{router}/add_router_interface"
    join(api, router, subnet_id=blue)
    [port] = api("GET", f"/ports?device_id={router}").json["ports"]
    guest = api.make("port", network_id=network, device_id="guest")
    bare = api.make("port", network_id=network, fixed_ips=[])
    foreign = api.make("port", ALT, network_id=api.make("network", ALT)["id"])
    external = inside(api, "fd00:8::/64", ipv6_address_mode="slaac")
    for status, code, words, body in (
        (400, "BadRequest", "already has a port on subnet", {"subnet_id": blue}),
        (400, "BadRequest", "overlaps with cidr 10.0.0.0/24", {"subnet_id": inside(api, "10.0.0.0/16")}),
        (400, "BadRequest", "must have a gateway IP", {"subnet_id": inside(api, "10.3.0.0/24", gateway_ip=None)}),
        (400, "BadRequest", "external router", {"subnet_id": external}),
        (400, "BadRequest", "both", {"subnet_id": blue, "port_id": guest["id"]}),
        (400, "BadRequest", "must be specified", {}),
        (400, "BadRequest", "colour", {"colour": "blue"}),
        (409, "PortInUse", "attached device guest", {"port_id": guest["id"]}),
        (409, "PortInUse", f"attached device {router}", {"port_id": port["id"]}),
        (400, "BadRequest", "at least one fixed IP", {"port_id": bare["id"]}),
        (404, "PortNotFound", "could not be found", {"port_id": foreign["id"]}),
        (404, "SubnetNotFound", "could not be found", {"subnet_id": "no-such"}),
    ):
        assert api.refused(status, words, "PUT", add, body)["type"] == code
    taken = inside(api, "10.4.0.0/24")
    of = api("GET", f"/subnets/{taken}").json["subnet"]["network_id"]
    api.make("port", network_id=of, fixed_ips=[{"ip_address": "10.4.0.1"}])
    fault = api.refused(409, "10.4.0.1 is already allocated", "PUT", add, {"subnet_id": taken})
    assert fault["type"] == "IpAddressAlreadyAllocated"
    remove = f"/routers/{router}/remove_router_interface"
    for status, code, body in (
        (404, "RouterInterfaceNotFoundForSubnet", {"subnet_id": taken}),
        (404, "RouterInterfaceNotFound", {"port_id": guest["id"]}),
        (400, "SubnetMismatchForPort", {"port_id": port["id"], "subnet_id": taken}), (400, "BadRequest", {}),
    ):
        assert api.refused(status, "", "PUT", remove, body)["type"] == code


def test_what_others_share(api: Api) -> None:
    """A subnet shared with everybody is not for everybody's routers; one granted to the project is."""
    network = api.make("network", ADMIN, shared=True)["id"]
    shared = subnet(api, network, "10.5.0.0/24", ADMIN)
    router = api.make("router")["id"]
    api.refused(400, "not owned by project", "PUT", f"/routers/{router}/add_router_interface", {"subnet_id": shared})
    grant: Json = {"object_type": "network", "object_id": network, "target_tenant": "demo"}
    api.make("rbac_policy", ADMIN, **grant, action="access_as_external")  # by which it leads out, and is not its gateway
    api.refused(400, "not owned by project", "PUT", f"/routers/{router}/add_router_interface", {"subnet_id": shared})
    api.make("rbac_policy", ADMIN, **grant, action="access_as_shared")
    assert join(api, router, subnet_id=shared)["network_id"] == network


def test_what_holds_what(api: Api, router: str, internet: str) -> None:
    blue = inside(api, "10.0.0.0/24")
    network = api("GET", f"/subnets/{blue}").json["subnet"]["network_id"]
    port = join(api, router, subnet_id=blue)["port_id"]
    put(api, router, body={"external_gateway_info": {"network_id": internet}})
    [gateway] = api("GET", "/ports?device_owner=network:router_gateway", token=ADMIN).json["ports"]
    assert api.refused(409, port, "DELETE", f"/routers/{router}")["type"] == "RouterInUse"
    for id, path in ((port, "/ports/"), (gateway["id"], "/ports/")):
        assert api.refused(409, "directly via the port API", "DELETE", path + id, token=ADMIN)["type"] == "ServicePortInUse"
        for change in ({"device_owner": ""}, {"device_id": ""}, {"fixed_ips": []}, {"mac_address": "fa:16:3e:00:00:01"}):
            fault = api.refused(409, "directly via the port API", "PUT", path + id, {"port": change}, token=ADMIN)
            assert fault["type"] == "ServicePortInUse"
    assert api("PUT", f"/ports/{port}", {"port": {"name": "r-blue"}}).json["port"]["name"] == "r-blue"
    api.refused(409, "10.0.0.1", "DELETE", f"/subnets/{blue}")
    api.refused(409, port, "DELETE", f"/networks/{network}")
    api.refused(409, gateway["id"], "DELETE", f"/networks/{internet}", token=ADMIN)
    fault = api.refused(409, port, "PUT", f"/subnets/{blue}", {"subnet": {"gateway_ip": "10.0.0.254"}})
    assert fault["type"] == "GatewayIpInUse"
    fault = api.refused(409, "", "PUT", f"/networks/{internet}", {"network": {"router:external": False}}, ADMIN)
    assert fault["type"] == "ExternalNetworkInUse"
    put(api, router, "remove_router_interface", {"subnet_id": blue})
    assert api("DELETE", f"/routers/{router}").status_code == 204
    for id in (network, internet):
        assert api("DELETE", f"/networks/{id}", token=ADMIN).status_code == 204
    with api.database.reading() as tx:
        assert not tx.where("port") and not tx.where("router_interface") and not tx.where("router_gateway")


def test_who_only_says_that_a_port_is_a_routers(api: Api) -> None:
    """It holds nothing, and nothing holds it."""
    blue = inside(api, "10.0.0.0/24")
    network = api("GET", f"/subnets/{blue}").json["subnet"]["network_id"]
    port = api.make("port", network_id=network, device_owner="network:router_interface", device_id="anything")["id"]
    assert api("PUT", f"/ports/{port}", {"port": {"fixed_ips": []}}).status_code == 200
    assert api("DELETE", f"/ports/{port}").status_code == 204
    with api.database.reading() as tx:
        assert not tx.where("router_interface")


def test_quota(api: Api) -> None:
    for _ in range(10):
        api.make("router")
    assert api.refused(409, "Quota exceeded", "POST", "/routers", {"router": {}})["type"] == "OverQuota"
    assert api("GET", "/quotas/demo/details.json").json["quota"]["router"] == {"limit": 10, "used": 10, "reserved": 0}


def test_the_picture_has_it_all(api: Api, router: str, internet: str) -> None:
    joined = join(api, router, subnet_id=inside(api, "10.0.0.0/24"))
    put(api, router, body={"external_gateway_info": {"network_id": internet}})
    with api.database.reading() as tx:
        picture = Picture.of(tx)
    [gateway] = picture.where("router_gateway", router_id=router)
    assert (gateway.network_id, gateway.host, gateway.generation) == (internet, "", 0)
    [interface] = picture.where("router_interface", network_id=joined["network_id"])
    assert interface.port_id == joined["port_id"] and 0 < picture.get("router", router).number < 0x8000


def test_an_external_network_is_for_routers_not_for_guests(api: Api, internet: str) -> None:
    body = {"port": {"network_id": internet}}
    assert api.refused(403, "not allowed to create port", "POST", "/ports", body)["type"] == "PolicyNotAuthorized"
    api.make("port", ADMIN, network_id=internet)
    grant: Json = {"object_type": "network", "object_id": internet, "action": "access_as_shared", "target_tenant": "demo"}
    api.make("rbac_policy", ADMIN, **grant)
    api.make("port", network_id=internet)
