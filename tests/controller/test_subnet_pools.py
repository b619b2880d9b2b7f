"""Subnet pools, address scopes, and what subnets say of addresses: SLAAC, service types, gateways, availability."""

from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from typing import Any

import pytest

from controller.ipam import eui64, free_prefix, without
from tests.inprocess import ADMIN, ALT, Api, Json
from unryu.db import Database, now
from unryu.resource import nouns


def cut(api: Api, pool: str, network: str | None = None, **values: Any) -> Json:
    return api.make("subnet", network_id=network or api.make("network")["id"], subnetpool_id=pool, ip_version=4, **values)


# prefixes, as pure choice


@pytest.mark.parametrize(("prefixes", "gone", "left"), [
    (["10.0.0.0/24"], [], ["10.0.0.0/24"]),
    (["10.0.0.0/24"], ["10.0.0.0/25"], ["10.0.0.128/25"]),
    (["10.0.0.0/24"], ["10.0.0.64/26", "10.0.0.0/27"], ["10.0.0.32/27", "10.0.0.128/25"]),
    (["10.0.0.0/24", "10.2.0.0/24"], ["10.0.0.0/16"], ["10.2.0.0/24"]),
    (["10.0.0.0/24"], ["fd00::/8", "11.0.0.0/8"], ["10.0.0.0/24"]),
    (["fd00::/64"], ["fd00::/66", "fd00:0:0:0:4000::/66"], ["fd00::8000:0:0:0/65"]),
    (["255.255.255.0/24"], ["255.255.255.128/25"], ["255.255.255.0/25"]),
    ([], ["10.0.0.0/8"], []),
])
def test_what_is_left_of_prefixes(prefixes: list[str], gone: list[str], left: list[str]) -> None:
    assert without(prefixes, gone) == left


def test_a_free_prefix_is_the_lowest_that_fits() -> None:
    assert free_prefix(["10.0.0.0/16"], ["10.0.0.0/24", "10.0.2.0/24"], 24) == "10.0.1.0/24"
    assert free_prefix(["10.0.0.0/16"], ["10.0.0.0/24"], 23) == "10.0.2.0/23"
    assert free_prefix(["10.0.0.0/24"], ["10.0.0.0/25"], 24) is None


# pools


def test_a_pool_has_the_references_defaults(api: Api) -> None:
    pool = api.make("subnetpool", name="p", prefixes=["10.0.1.0/24", "10.0.0.0/24", "10.0.0.7/24"])
    assert pool["prefixes"] == ["10.0.0.0/23"] and pool["ip_version"] == 4
    assert (pool["min_prefixlen"], pool["default_prefixlen"], pool["max_prefixlen"]) == (8, 8, 32)
    assert (pool["default_quota"], pool["is_default"], pool["shared"], pool["address_scope_id"]) == (None, False, False, None)
    six = api.make("subnetpool", prefixes=["fd00::/48"])
    assert (six["min_prefixlen"], six["default_prefixlen"], six["max_prefixlen"]) == (64, 64, 128)


@pytest.mark.parametrize(("status", "words", "values"), [
    (400, "required", {}),
    (400, "at least one prefix", {"prefixes": []}),
    (400, "Cannot mix", {"prefixes": ["10.0.0.0/8", "fd00::/48"]}),
    (400, "is not a CIDR", {"prefixes": ["10.0.0.0/33"]}),
    (400, "prefixes", {"prefixes": "10.0.0.0/8"}),
    (400, "more than 1000", {"prefixes": [f"10.{n // 256}.{n % 256}.0/24" for n in range(1001)]}),
    (400, "max_prefixlen=33", {"prefixes": ["10.0.0.0/8"], "max_prefixlen": 33}),
    (400, "min_prefixlen=28 is more than", {"prefixes": ["10.0.0.0/8"], "min_prefixlen": 28, "default_prefixlen": 24}),
    (400, "default_prefixlen=30 is more", {"prefixes": ["10.0.0.0/8"], "default_prefixlen": 30, "max_prefixlen": 28}),
    (400, "between 0", {"prefixes": ["10.0.0.0/8"], "min_prefixlen": -1}),
    (400, "between 0", {"prefixes": ["10.0.0.0/8"], "default_quota": -1}),
    (403, "administrator", {"prefixes": ["10.0.0.0/8"], "shared": True}),
    (403, "administrator", {"prefixes": ["10.0.0.0/8"], "is_default": True}),
    (404, "could not be found", {"prefixes": ["10.0.0.0/8"], "address_scope_id": "no-such"}),
    (400, "cannot be given", {"prefixes": ["10.0.0.0/8"], "ip_version": 4}),
])
def test_a_bad_pool(api: Api, status: int, words: str, values: Json) -> None:
    api.refused(status, words, "POST", "/subnetpools", {"subnetpool": values})


def test_subnets_come_out_of_a_pool(api: Api) -> None:
    pool = api.make("subnetpool", prefixes=["10.0.0.0/22"], default_prefixlen=24, min_prefixlen=23, max_prefixlen=28)["id"]
    first = cut(api, pool)
    assert (first["cidr"], first["gateway_ip"], first["subnetpool_id"]) == ("10.0.0.0/24", "10.0.0.1", pool)
    assert "prefixlen" not in first and "use_default_subnetpool" not in first
    assert cut(api, pool, prefixlen=28)["cidr"] == "10.0.1.0/28" and cut(api, pool)["cidr"] == "10.0.2.0/24"
    assert cut(api, pool, cidr="10.0.3.16/28")["cidr"] == "10.0.3.16/28"
    other = api.make("network")["id"]

    def refused(status: int, words: str, **values: Any) -> None:
        api.refused(status, words, "POST", "/subnets", {"subnet": {
            "network_id": other, "subnetpool_id": pool, "ip_version": 4, **values}})

    refused(409, "no room for a /24")
    refused(409, "no room for 10.0.0.128/25", cidr="10.0.0.128/25")
    refused(409, "no room for 11.0.0.0/24", cidr="11.0.0.0/24")
    refused(400, "allows 23 to 28", prefixlen=29)
    refused(400, "allows 23 to 28", prefixlen=22)
    refused(400, "between", prefixlen=129)
    refused(400, "cannot both be given", prefixlen=28, cidr="10.0.3.0/28")
    refused(400, "with a cidr only", gateway_ip="10.0.1.1")
    refused(400, "with a cidr only", allocation_pools=[{"start": "10.0.1.2", "end": "10.0.1.3"}])
    refused(400, "IPv6 subnet from the IPv4", ip_version=6)
    refused(400, "cannot both be given", use_default_subnetpool=True)
    refused(404, "could not be found", subnetpool_id="no-such")
    assert api("DELETE", f"/subnets/{first['id']}").status_code == 204
    assert cut(api, pool, gateway_ip=None)["gateway_ip"] is None, "given back, and given out again"
    assert api.refused(409, "in use", "DELETE", f"/subnetpools/{pool}")["type"] == "SubnetPoolInUse"


def test_a_subnet_of_nothing(api: Api, network: str) -> None:
    body = {"network_id": network, "ip_version": 4}
    api.refused(400, "a cidr, or a subnet pool", "POST", "/subnets", {"subnet": body})
    api.refused(400, "no default subnet pool for IPv4", "POST", "/subnets", {"subnet": {**body, "use_default_subnetpool": True}})
    api.refused(400, "cannot be given in update", "PUT", f"/subnets/{api.make('subnet', **body, cidr='10.0.0.0/24')['id']}",
                {"subnet": {"prefixlen": 24}})


def test_a_pools_quota_counts_addresses_per_project(api: Api) -> None:
    pool = api.make("subnetpool", ADMIN, prefixes=["10.0.0.0/16"], default_prefixlen=26, default_quota=128, shared=True)["id"]
    cut(api, pool), cut(api, pool)
    assert api.refused(409, "128 of 128", "POST", "/subnets", {"subnet": {
        "network_id": api.make("network")["id"], "subnetpool_id": pool, "ip_version": 4}})["type"] == "SubnetPoolQuotaExceeded"
    foreign = api.make("network", ALT)["id"]
    assert api.make("subnet", ALT, network_id=foreign, subnetpool_id=pool, ip_version=4)["cidr"] == "10.0.0.128/26"


def test_the_default_pool(api: Api, network: str) -> None:
    private = api.make("subnetpool", ADMIN, prefixes=["10.0.0.0/16"], default_prefixlen=24, is_default=True)["id"]
    body = {"network_id": network, "ip_version": 4, "use_default_subnetpool": True}
    api.refused(404, private, "POST", "/subnets", {"subnet": body})  # nobody shared it
    api.make("rbac_policy", ADMIN, object_type="subnetpool", object_id=private, action="access_as_shared", target_tenant="demo")
    assert api.make("subnet", **body)["subnetpool_id"] == private
    api.refused(400, "default for IPv4 already", "POST", "/subnetpools", {"subnetpool": {
        "prefixes": ["11.0.0.0/8"], "is_default": True}}, token=ADMIN)
    api.make("subnetpool", ADMIN, prefixes=["fd00::/48"], is_default=True)
    assert api("PUT", f"/subnetpools/{private}", {"subnetpool": {"is_default": False}}, ADMIN).status_code == 200


def test_prefixes_only_grow_but_for_free_ones_taken_out(api: Api) -> None:
    pool = api.make("subnetpool", prefixes=["10.0.0.0/24"], default_prefixlen=25)["id"]
    cut(api, pool)
    fault = api.refused(400, "hold all of the old", "PUT", f"/subnetpools/{pool}", {"subnetpool": {"prefixes": ["10.0.0.0/25"]}})
    assert fault["type"] == "IllegalSubnetPoolPrefixUpdate"
    grown = api("PUT", f"/subnetpools/{pool}", {"subnetpool": {"prefixes": ["10.0.0.0/23"]}}).json["subnetpool"]
    assert grown["prefixes"] == ["10.0.0.0/23"]
    added = api("PUT", f"/subnetpools/{pool}/add_prefixes", {"prefixes": ["10.0.2.0/24", "10.9.0.0/24"]})
    assert added.status_code == 200 and added.json == {"prefixes": ["10.0.0.0/23", "10.0.2.0/24", "10.9.0.0/24"]}
    gone = api("PUT", f"/subnetpools/{pool}/remove_prefixes", {"prefixes": ["10.0.0.128/25", "10.9.0.0/16", "fd00::/8"]})
    assert gone.json == {"prefixes": ["10.0.0.0/25", "10.0.1.0/24", "10.0.2.0/24"]}
    for status, words, action, body in (
        (400, "has 10.0.0.0/25 of them", "remove", {"prefixes": ["10.0.0.64/26"]}),
        (400, "not a CIDR", "add", {"prefixes": ["nowhere"]}), (400, "prefixes", "add", {}),
        (400, "prefixes", "add", {"prefixes": 1}),
        (400, "Cannot mix", "add", {"prefixes": ["fd00::/48"]}), (400, "colour", "add", {"prefixes": [], "colour": 1}),
    ):
        api.refused(status, words, "PUT", f"/subnetpools/{pool}/{action}_prefixes", body)
    api.refused(404, "could not be found", "PUT", f"/subnetpools/{pool}/add_prefixes", {"prefixes": []}, token=ALT)


def test_subnets_of_a_network_share_a_pool_or_a_scope(api: Api, network: str) -> None:
    scope = api.make("address_scope", ip_version=4)["id"]
    a, b = (api.make("subnetpool", prefixes=[f"10.{n}.0.0/16"], default_prefixlen=24, address_scope_id=scope)["id"]
            for n in (0, 1))
    alone = api.make("subnetpool", prefixes=["10.0.0.0/16"], default_prefixlen=24)["id"]
    cut(api, a, network), cut(api, b, network)
    body = {"network_id": network, "ip_version": 4}
    for values in ({"subnetpool_id": alone, "cidr": "10.0.9.0/24"}, {"cidr": "11.0.0.0/24"}):
        fault = api.refused(400, "one subnet pool", "POST", "/subnets", {"subnet": {**body, **values}})
        assert fault["type"] == "NetworkSubnetPoolAffinityError"
    shown = api("GET", f"/networks/{network}").json["network"]
    assert (shown["ipv4_address_scope"], shown["ipv6_address_scope"]) == (scope, None)
    fault = api.refused(400, "stay in one address scope", "PUT", f"/subnetpools/{a}", {"subnetpool": {"address_scope_id": None}})
    assert fault["type"] == "NetworkAddressScopeAffinityError"


def test_scopes_hold_no_prefix_twice(api: Api) -> None:
    scope = api.make("address_scope", ip_version=4, name="s")
    assert (scope["shared"], scope["ip_version"], scope["project_id"]) == (False, 4, "demo")
    api.make("subnetpool", prefixes=["10.0.0.0/16"], address_scope_id=scope["id"])
    pool = {"prefixes": ["10.0.128.0/24"], "address_scope_id": scope["id"]}
    assert api.refused(409, "same prefixes", "POST", "/subnetpools", {"subnetpool": pool})["type"] == "AddressScopePrefixConflict"
    api.refused(400, "is of IPv4", "POST", "/subnetpools", {"subnetpool": {**pool, "prefixes": ["fd00::/48"]}})
    other = api.make("subnetpool", prefixes=["10.1.0.0/16"], address_scope_id=scope["id"])["id"]
    api.refused(409, "same prefixes", "PUT", f"/subnetpools/{other}/add_prefixes", {"prefixes": ["10.0.0.0/24"]})
    assert api.refused(409, "in use", "DELETE", f"/address-scopes/{scope['id']}")["type"] == "AddressScopeInUse"
    for words, values in (("neither 4 nor 6", {"ip_version": 5}), ("required", {})):
        api.refused(400, words, "POST", "/address-scopes", {"address_scope": values})
    api.refused(403, "administrator", "POST", "/address-scopes", {"address_scope": {"ip_version": 4, "shared": True}})


def test_a_pool_in_anothers_scope_is_not_changed(api: Api) -> None:
    scope = api.make("address_scope", ADMIN, ip_version=4, shared=True)["id"]
    pool = api.make("subnetpool", prefixes=["10.0.0.0/16"], address_scope_id=scope)["id"]
    api.refused(400, "of another project", "PUT", f"/subnetpools/{pool}", {"subnetpool": {"name": "mine"}})
    api.refused(409, "in use by another project, demo", "PUT", f"/address-scopes/{scope}",
                {"address_scope": {"shared": False}}, token=ADMIN)


def test_no_two_writers_cut_the_same(database: Database) -> None:
    """48 subnets by 8 writers out of room for 40: 40 are made, none overlaps, and the others are told that it is full."""
    api = Api(database)
    pool = api.make("subnetpool", prefixes=["10.0.0.0/27", "10.1.0.0/25"], default_prefixlen=30, default_quota=200)["id"]
    networks = [api.make("network")["id"] for _ in range(48)]

    def one(network: str) -> Any:
        return api("POST", "/subnets", {"subnet": {"network_id": network, "subnetpool_id": pool, "ip_version": 4}})

    with ThreadPoolExecutor(8) as writers:
        answers = list(writers.map(one, networks))
    assert sorted(a.status_code for a in answers) == [201] * 40 + [409] * 8
    made = [ip_network(s["cidr"]) for s in api("GET", "/subnets").json["subnets"]]
    assert len(made) == 40 and not any(a.overlaps(b) for a in made for b in made if a is not b)


# what subnets say of addresses


@pytest.mark.parametrize(("status", "words", "values"), [
    (400, "ip_version is 4", {"ip_version": 4, "cidr": "10.0.0.0/24", "ipv6_ra_mode": "slaac"}),
    (400, "must be the same", {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful"}),
    (400, "need enable_dhcp", {"ipv6_ra_mode": "slaac", "enable_dhcp": False}),
    (400, "64 bits", {"ipv6_address_mode": "slaac", "cidr": "fd00::/60"}),
    (400, "is none of", {"ipv6_ra_mode": "manual"}),
    (400, "no device_owner", {"service_types": ["web"]}),
    (400, "service_types", {"service_types": "compute:"}),
    (400, "not of ip_version 6", {"dns_nameservers": ["10.0.0.1"]}),
    (400, "not of ip_version 6", {"host_routes": [{"destination": "10.0.0.0/8", "nexthop": "fd00::1"}]}),
    (400, "multicast", {"cidr": "ff02::/64"}),
])
def test_a_bad_mode(api: Api, network: str, status: int, words: str, values: Json) -> None:
    body = {"network_id": network, "ip_version": 6, "cidr": "fd00::/64", **values}
    api.refused(status, words, "POST", "/subnets", {"subnet": body})


def test_guests_make_their_addresses(api: Api, network: str) -> None:
    before = api.make("port", network_id=network)
    router = api.make("port", network_id=network, device_owner="network:router_interface")
    six = {"network_id": network, "ip_version": 6, "ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}
    slaac = api.make("subnet", **six, cidr="fd00::/64")["id"]
    four = api.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/24")["id"]

    def addresses(port: Json) -> list[str]:
        held = api("GET", f"/ports/{port['id']}").json["port"]["fixed_ips"]
        return sorted(f["ip_address"] for f in held if f["subnet_id"] == slaac)

    made = lambda port: [eui64("fd00::/64", port["mac_address"])]  # noqa: E731
    assert addresses(before) == made(before), "it was there before the subnet"
    assert addresses(router) == []
    after = api.make("port", network_id=network, mac_address="fa:16:3e:00:00:01")
    assert addresses(after) == made(after) == ["fd00::f816:3eff:fe00:1"] and len(after["fixed_ips"]) == 2
    asked = api.make("port", network_id=network, fixed_ips=[{"subnet_id": slaac}, {"subnet_id": four}])
    assert addresses(asked) == made(asked) and len(asked["fixed_ips"]) == 2
    api.refused(400, "made of MAC addresses", "POST", "/ports", {"port": {
        "network_id": network, "fixed_ips": [{"ip_address": "fd00::5"}]}})
    # What is made stays, whatever is asked for beside it, and follows the MAC.
    changed = api("PUT", f"/ports/{after['id']}", {"port": {"fixed_ips": [{"subnet_id": four, "ip_address": "10.0.0.9"}]}})
    assert changed.status_code == 200 and addresses(after) == ["fd00::f816:3eff:fe00:1"]
    changed = api("PUT", f"/ports/{after['id']}", {"port": {
        "mac_address": "fa:16:3e:00:00:02", "fixed_ips": changed.json["port"]["fixed_ips"]}}).json["port"]
    assert addresses(after) == ["fd00::f816:3eff:fe00:2"]
    assert {"subnet_id": four, "ip_address": "10.0.0.9"} in changed["fixed_ips"]
    api.make("port", network_id=network, mac_address="fa:16:3e:00:00:01")  # whose address was freed
    assert api("DELETE", f"/subnets/{slaac}").status_code == 204
    assert addresses(after) == addresses(before) == []
    again = api.make("subnet", **six, cidr="fd00::/64")["id"]
    held = api.make("port", network_id=network, device_owner="network:router_interface", fixed_ips=[{"subnet_id": again}])
    api.refused(409, held["fixed_ips"][0]["ip_address"], "DELETE", f"/subnets/{again}")


def test_subnets_for_some_ports_only(api: Api, network: str) -> None:
    body = {"network_id": network, "ip_version": 4}
    plain = api.make("subnet", **body, cidr="10.0.0.0/24")["id"]
    of_nova = api.make("subnet", **body, cidr="10.1.0.0/30", service_types=["compute:nova", "compute:nova"])
    assert of_nova["service_types"] == ["compute:nova"]

    def subnet_of(owner: str) -> str:
        [address] = api.make("port", network_id=network, device_owner=owner)["fixed_ips"]
        return str(address["subnet_id"])

    assert subnet_of("") == subnet_of("compute:ironic") == plain
    assert subnet_of("compute:nova") == of_nova["id"]
    assert subnet_of("compute:nova") == plain, "its own is full"
    api.refused(400, "not for ports of device_owner", "POST", "/ports", {"port": {
        "network_id": network, "fixed_ips": [{"subnet_id": of_nova["id"]}]}})
    api.refused(400, "not a valid IP for any", "POST", "/ports", {"port": {
        "network_id": network, "fixed_ips": [{"ip_address": "10.1.0.2"}]}})


def test_a_full_subnet_is_no_reason_while_another_has_room(api: Api, network: str) -> None:
    for number in (0, 1):
        api.make("subnet", network_id=network, ip_version=4, cidr=f"10.{number}.0.0/30")
    assert {api.make("port", network_id=network)["fixed_ips"][0]["ip_address"] for _ in "ab"} == {"10.0.0.2", "10.1.0.2"}
    api.refused(409, "No more IP addresses", "POST", "/ports", {"port": {"network_id": network}})


def test_a_gateway_that_a_router_holds_stays(api: Api, network: str) -> None:
    subnet = api.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/24")["id"]
    port = api.make("port", network_id=network, device_owner="network:router_interface", fixed_ips=[{"ip_address": "10.0.0.1"}])
    for gateway in (None, "10.0.0.254"):
        values = {"gateway_ip": gateway, "allocation_pools": [{"start": "10.0.0.2", "end": "10.0.0.9"}]}
        assert api.refused(409, port["id"], "PUT", f"/subnets/{subnet}", {"subnet": values})["type"] == "GatewayIpInUse"
    api.refused(409, "lies in an allocation pool", "PUT", f"/subnets/{subnet}", {"subnet": {
        "allocation_pools": [{"start": "10.0.0.1", "end": "10.0.0.9"}]}})
    assert api("DELETE", f"/ports/{port['id']}").status_code == 204
    assert api("PUT", f"/subnets/{subnet}", {"subnet": values}).json["subnet"]["gateway_ip"] == "10.0.0.254"


def test_ipv6_needs_its_mtu(api: Api, network: str) -> None:
    small = api.make("network", mtu=1200)["id"]
    six = {"ip_version": 6, "cidr": "fd00::/64"}
    fault = api.refused(409, "IPv6 needs 1280", "POST", "/subnets", {"subnet": {"network_id": small, **six}})
    assert fault["type"] == "NetworkMTUSubnetConflict"
    api.make("subnet", network_id=network, **six)
    api.refused(409, "MTU of 1280", "PUT", f"/networks/{network}", {"network": {"mtu": 1200}})


# what there is to be had


def test_zones(api: Api) -> None:
    zones = lambda query="": api("GET", f"/availability_zones{query}").json["availability_zones"]  # noqa: E731
    assert zones() == [{"name": "default", "resource": "network", "state": "unavailable"}]
    with api.database.transaction() as tx:
        tx.insert(nouns["agent"](host="h1", heartbeat_timestamp=now().rstrip("Z")))
    assert zones("?state=available&fields=name") == [{"name": "default"}] and zones("?name=nova") == []
    made = api.make("network", availability_zone_hints=["default"])
    assert made["availability_zone_hints"] == made["availability_zones"] == ["default"]
    api.refused(400, "no availability zone 'nova'", "POST", "/networks", {"network": {"availability_zone_hints": ["nova"]}})
    api.refused(400, "filtered by 'colour'", "GET", "/availability_zones?colour=blue")
    api.refused(401, "needs a token", "GET", "/availability_zones", token=None)


def test_addresses_to_be_had(api: Api, network: str) -> None:
    four = api.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/29", name="four")["id"]
    api.make("subnet", network_id=network, ip_version=6, cidr="fd00::/64")
    empty = api.make("network", ALT, name="empty")["id"]
    for _ in "ab":
        api.make("port", network_id=network)
    ask = lambda query="": api("GET", f"/network-ip-availabilities{query}", token=ADMIN).json  # noqa: E731
    shown = ask(f"/{network}")["network_ip_availability"]
    assert (shown["network_id"], shown["project_id"], shown["used_ips"]) == (network, "demo", 4)
    assert shown["total_ips"] == 5 + 2**64 - 2
    [of_four] = [s for s in shown["subnet_ip_availability"] if s["subnet_id"] == four]
    assert of_four == {"subnet_id": four, "subnet_name": "four", "ip_version": 4, "cidr": "10.0.0.0/29", "used_ips": 2,
                       "total_ips": 5}
    listed = lambda query="": [n["network_id"] for n in ask(query)["network_ip_availabilities"]]  # noqa: E731
    assert set(listed()) == {network, empty} and listed("?network_name=empty") == listed("?tenant_id=alt") == [empty]
    assert listed(f"?ip_version=4&network_id={network}&network_id={empty}") == [network]
    assert ask("?ip_version=4")["network_ip_availabilities"][0]["total_ips"] == 5
    api.refused(403, "administrator", "GET", "/network-ip-availabilities")
    api.refused(404, "could not be found", "GET", "/network-ip-availabilities/no-such", token=ADMIN)
    api.refused(400, "4 or 6", "GET", "/network-ip-availabilities?ip_version=5", token=ADMIN)
    api.refused(400, "filtered by", "GET", "/network-ip-availabilities?colour=blue", token=ADMIN)
