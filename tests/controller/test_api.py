"""Networking API v2.0 in-process: what a tenant gets, and what bad input gets; refused input changes nothing."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.inprocess import ADMIN, ALT, DEMO, READER, Api, Json
from unryu import journal


@pytest.fixture
def subnet(api: Api, network: str) -> str:
    return api.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/29")["id"]


def test_a_network_as_its_owner_and_as_an_administrator_sees_it(api: Api, network: str) -> None:
    own = api("GET", f"/networks/{network}").json["network"]
    assert own["project_id"] == own["tenant_id"] == "demo" and own["subnets"] == [] and own["mtu"] == 1450
    assert not any(key.startswith("provider:") for key in own) and "number" not in own
    full = api("GET", f"/networks/{network}", token=ADMIN).json["network"]
    assert full["provider:network_type"] == "vxlan" and 0 < full["provider:segmentation_id"] < 1 << 24


def test_a_port_gets_a_mac_and_one_address_of_each_version(api: Api, network: str, subnet: str) -> None:
    six = api.make("subnet", network_id=network, ip_version=6, cidr="fd00::/64")
    port = api.make("port", network_id=network)
    assert port["mac_address"].startswith("fa:16:3e:") and port["status"] == "DOWN"
    assert [f["subnet_id"] for f in port["fixed_ips"]] == [subnet, six["id"]]
    four, other = (ip_address(f["ip_address"]) for f in port["fixed_ips"])
    assert four in {ip_address(f"10.0.0.{n}") for n in range(2, 7)} and other in ip_network("fd00::/64")
    assert api.make("port", network_id=network, fixed_ips=[])["fixed_ips"] == []


def test_addresses_asked_for_exhausted_and_given_back(api: Api, network: str, subnet: str) -> None:
    wanted = api.make("port", network_id=network, fixed_ips=[{"ip_address": "10.0.0.4"}])
    ports = [api.make("port", network_id=network) for _ in range(4)]
    assert {p["fixed_ips"][0]["ip_address"] for p in ports} == {"10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"}
    fault = api.refused(409, "No more IP addresses", "POST", "/ports", {"port": {"network_id": network}})
    assert fault["type"] == "IpAddressGenerationFailure"
    assert api("DELETE", f"/ports/{wanted['id']}").status_code == 204
    assert api.make("port", network_id=network)["fixed_ips"][0]["ip_address"] == "10.0.0.4"


def test_a_ports_addresses_change_and_free_the_old(api: Api, network: str, subnet: str) -> None:
    port = api.make("port", network_id=network, fixed_ips=[{"ip_address": "10.0.0.2"}])
    changed = api("PUT", f"/ports/{port['id']}", {"port": {"fixed_ips": [{"ip_address": "10.0.0.6"}]}}).json["port"]
    assert changed["fixed_ips"] == [{"subnet_id": subnet, "ip_address": "10.0.0.6"}] and changed["revision_number"] == 1
    api.make("port", network_id=network, fixed_ips=[{"ip_address": "10.0.0.2"}])
    api.refused(409, "10.0.0.2 is already allocated", "PUT", f"/ports/{port['id']}",
                {"port": {"fixed_ips": [{"ip_address": "10.0.0.2"}]}})
    assert api("GET", f"/ports/{port['id']}").json["port"] == changed


@pytest.mark.parametrize(("cidr", "version", "gateway", "first", "last"), [
    ("10.0.0.0/24", 4, "10.0.0.1", "10.0.0.2", "10.0.0.254"),
    ("10.0.0.7/24", 4, "10.0.0.1", "10.0.0.2", "10.0.0.254"),
    ("10.0.0.0/31", 4, "10.0.0.0", "10.0.0.1", "10.0.0.1"),
    ("fd00::/64", 6, "fd00::1", "fd00::2", "fd00::ffff:ffff:ffff:ffff"),
])
def test_a_subnets_gateway_and_pool(api: Api, network: str, cidr: str, version: int, gateway: str, first: str, last: str) -> None:
    subnet = api.make("subnet", network_id=network, ip_version=version, cidr=cidr)
    assert (subnet["gateway_ip"], subnet["allocation_pools"]) == (gateway, [{"start": first, "end": last}])


def test_a_subnet_without_gateway_uses_its_address(api: Api, network: str) -> None:
    subnet = api.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/24", gateway_ip=None)
    assert subnet["gateway_ip"] is None and subnet["allocation_pools"] == [{"start": "10.0.0.1", "end": "10.0.0.254"}]


SUBNET = {"ip_version": 4, "cidr": "10.0.0.0/24"}


@pytest.mark.parametrize(("status", "words", "values"), [
    (400, "network_id", {}),
    (400, "is not a CIDR", {"network_id": "NET", **SUBNET, "cidr": "10.0.0.0/33"}),
    (400, "not of ip_version 6", {"network_id": "NET", **SUBNET, "ip_version": 6}),
    (400, "neither 4 nor 6", {"network_id": "NET", **SUBNET, "ip_version": 5}),
    (400, "not in the cidr", {"network_id": "NET", **SUBNET, "gateway_ip": "10.1.0.1"}),
    (400, "not an IP address", {"network_id": "NET", **SUBNET, "dns_nameservers": ["nowhere"]}),
    (400, "spans beyond", {"network_id": "NET", **SUBNET, "allocation_pools": [{"start": "10.0.0.9", "end": "10.0.1.9"}]}),
    (400, "not a range", {"network_id": "NET", **SUBNET, "allocation_pools": [{"start": "10.0.0.9", "end": "10.0.0.2"}]}),
    (400, "allocation_pools", {"network_id": "NET", **SUBNET, "allocation_pools": [{"start": "10.0.0.9"}]}),
    (409, "lies in an allocation pool", {"network_id": "NET", **SUBNET,
                                         "allocation_pools": [{"start": "10.0.0.1", "end": "10.0.0.9"}]}),
    (409, "overlap", {"network_id": "NET", **SUBNET, "allocation_pools": [
        {"start": "10.0.0.2", "end": "10.0.0.9"}, {"start": "10.0.0.9", "end": "10.0.0.20"}]}),
    (400, "'colour'", {"network_id": "NET", **SUBNET, "colour": "blue"}),
    (404, "could not be found", {"network_id": "no-such", **SUBNET}),
    (400, "cannot be given", {"network_id": "NET", **SUBNET, "revision_number": 7}),
])
def test_a_bad_subnet(api: Api, network: str, status: int, words: str, values: Json) -> None:
    values = {k: network if v == "NET" else v for k, v in values.items()}
    api.refused(status, words, "POST", "/subnets", {"subnet": values})


def test_overlapping_subnets_of_one_network(api: Api, network: str) -> None:
    api.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/24")
    api.refused(400, "10.0.0.0/16 overlaps 10.0.0.0/24", "POST", "/subnets", {"subnet": {
        "network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"}})
    other = api.make("network")["id"]
    api.make("subnet", network_id=other, ip_version=4, cidr="10.0.0.0/16")


@pytest.mark.parametrize(("status", "words", "values"), [
    (400, "required", {}),
    (404, "could not be found", {"network_id": "no-such"}),
    (400, "not a MAC address", {"network_id": "NET", "mac_address": "fa:16"}),
    (400, "single interface", {"network_id": "NET", "mac_address": "ff:ff:ff:ff:ff:ff"}),
    (400, "valid string", {"network_id": "NET", "name": 7}),
    (400, "longer than 255", {"network_id": "NET", "name": "x" * 256}),
    (400, "NUL", {"network_id": "NET", "name": "a\0b"}),
    (400, "surrogate", {"network_id": "NET", "name": "\ud800"}),
    (400, "fixed_ips", {"network_id": "NET", "fixed_ips": "10.0.0.4"}),
    (400, "not an IP address", {"network_id": "NET", "fixed_ips": [{"ip_address": "10.0.0"}]}),
    (400, "not a valid IP for any", {"network_id": "NET", "fixed_ips": [{"ip_address": "10.9.0.1"}]}),
    (400, "network or broadcast", {"network_id": "NET", "fixed_ips": [{"ip_address": "10.0.0.7"}]}),
    (400, "is not on network", {"network_id": "NET", "fixed_ips": [{"subnet_id": "no-such"}]}),
    (400, "more than 64", {"network_id": "NET", "fixed_ips": [{"ip_address": "10.0.0.4"}] * 65}),
    (403, "administrator", {"network_id": "NET", "binding:host_id": "h1"}),
    (403, "administrator", {"network_id": "NET", "project_id": "alt"}),
    (400, "cannot be given", {"network_id": "NET", "status": "ACTIVE"}),
])
def test_a_bad_port(api: Api, network: str, subnet: str, status: int, words: str, values: Json) -> None:
    values = {k: network if v == "NET" else v for k, v in values.items()}
    api.refused(status, words, "POST", "/ports", {"port": values})


def test_dhcp_options_of_a_port(api: Api, network: str) -> None:
    port = api.make("port", network_id=network, extra_dhcp_opts=[
        {"opt_name": "mtu", "opt_value": "1400"}, {"opt_name": "mtu", "opt_value": "1300"},
        {"opt_name": "bootfile-url", "opt_value": "tftp://[fd00::1]/x", "ip_version": "6"}])
    names = {(o["ip_version"], o["opt_name"]): o["opt_value"] for o in port["extra_dhcp_opts"]}
    assert names == {(4, "mtu"): "1300", (6, "bootfile-url"): "tftp://[fd00::1]/x"}

    def put(*options: Json) -> list[str]:
        answer = api("PUT", f"/ports/{port['id']}", {"port": {"extra_dhcp_opts": list(options)}})
        assert answer.status_code == 200
        return [o["opt_name"] for o in answer.json["port"]["extra_dhcp_opts"]]

    assert put({"opt_name": "66", "opt_value": "host"}) == ["mtu", "bootfile-url", "66"], "the others stay"
    assert put({"opt_name": "mtu", "opt_value": None}) == ["bootfile-url", "66"], "null takes one back"
    for option, words in (
        ({"opt_name": "mtu", "opt_value": "big"}, "the DHCPv4 option mtu cannot be 'big'"),
        ({"opt_name": "nonsense", "opt_value": "x"}, "there is no DHCPv4 option 'nonsense'"),
        ({"opt_name": "mtu", "opt_value": "1400", "ip_version": 6}, "there is no DHCPv6 option 'mtu'"),
        ({"opt_name": "mtu", "opt_value": "1400", "ip_version": 5}, "an ip_version is 4 or 6"),
        ({"opt_name": "0", "opt_value": "x"}, "there is no DHCPv4 option '0'"),
        ({"opt_name": "67", "opt_value": "x" * 2000}, "1024 are the most"),
    ):
        api.refused(400, words, "PUT", f"/ports/{port['id']}", {"port": {"extra_dhcp_opts": [option]}})


def test_one_mac_per_network(api: Api, network: str) -> None:
    api.make("port", network_id=network, mac_address="FA-16-3E-00-00-01")
    api.refused(409, "is in use", "POST", "/ports", {"port": {"network_id": network, "mac_address": "fa:16:3e:00:00:01"}})
    api.make("port", network_id=api.make("network")["id"], mac_address="fa:16:3e:00:00:01")


def test_bodies_that_are_none(api: Api) -> None:
    for body, status, words in (
        (b"{", 400, "not JSON"), (b"[]", 400, "not a JSON object"), (b'{"net": {}}', 400, "one key 'network'"),
        (b'{"network": []}', 400, "must be an object"), (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"network": {"name": "' + b"x" * (4 << 20) + b'"}}', 413, "larger than"), (b"\xff\xfe", 400, "not JSON"),
    ):
        before = api.revision()
        answer = api("POST", "/networks", data=body)
        assert answer.status_code == status and words in answer.json["NeutronError"]["message"], answer.get_data(as_text=True)
        assert api.revision() == before


def test_who_may(api: Api, network: str, subnet: str) -> None:
    api.refused(401, "needs a token", "GET", "/networks", token=None)
    api.refused(401, "unknown, revoked or expired", "GET", "/networks", token="nonsense")
    for method, path, body in (("GET", "/networks/{}", None), ("PUT", "/networks/{}", {"network": {"name": "mine"}}),
                               ("DELETE", "/networks/{}", None)):
        api.refused(404, "could not be found", method, path.format(network), body, token=ALT)
    api.refused(404, "could not be found", "POST", "/ports", {"port": {"network_id": network}}, token=ALT)
    api.refused(403, "do not allow create_network", "POST", "/networks", {"network": {}}, token=READER)
    api.refused(403, "do not allow list_agent", "GET", "/agents")
    assert api("GET", "/networks", token=ALT).json == {"networks": []}
    assert [n["id"] for n in api("GET", "/networks", token=READER).json["networks"]] == [network]


def test_a_shared_network_is_used_but_not_changed_by_others(api: Api) -> None:
    shared = api.make("network", ADMIN, shared=True)["id"]
    api.make("subnet", ADMIN, network_id=shared, ip_version=4, cidr="10.0.0.0/24")
    port = api.make("port", network_id=shared)
    assert port["project_id"] == "demo" and port["fixed_ips"][0]["ip_address"].startswith("10.0.0.")
    assert len(api("GET", "/subnets").json["subnets"]) == 1
    api.refused(403, "belongs to another project", "PUT", f"/networks/{shared}", {"network": {"name": "mine"}})
    api.refused(403, "belongs to another project", "POST", "/subnets", {"subnet": {
        "network_id": shared, "ip_version": 4, "cidr": "10.1.0.0/24"}})
    api.refused(403, "Only an administrator may set shared", "POST", "/networks", {"network": {"shared": True}})
    api.refused(409, "cannot stop being shared", "PUT", f"/networks/{shared}", {"network": {"shared": False}}, token=ADMIN)


def test_what_holds_what(api: Api, network: str, subnet: str) -> None:
    port = api.make("port", network_id=network, fixed_ips=[{"ip_address": "10.0.0.2"}])
    api.refused(409, port["id"], "DELETE", f"/networks/{network}")
    api.refused(409, "10.0.0.2", "DELETE", f"/subnets/{subnet}")
    assert api("DELETE", f"/ports/{port['id']}").status_code == 204
    assert api("DELETE", f"/networks/{network}").status_code == 204
    api.refused(404, "could not be found", "GET", f"/subnets/{subnet}")
    api.refused(404, "could not be found", "DELETE", f"/networks/{network}")


def test_many_in_one_call_or_none(api: Api, network: str, subnet: str) -> None:
    made = api("POST", "/ports", {"ports": [{"network_id": network, "name": n} for n in "abc"]})
    assert made.status_code == 201 and [p["name"] for p in made.json["ports"]] == ["a", "b", "c"]
    api.refused(409, "No more IP addresses", "POST", "/ports", {"ports": [{"network_id": network}] * 3})
    assert len(api("GET", "/ports").json["ports"]) == 3


def test_filters_fields_order_and_pages(api: Api, network: str) -> None:
    for name in "cab":
        api.make("port", network_id=network, name=name)
    names = lambda query: [p.get("name") for p in api("GET", f"/ports?{query}").json["ports"]]  # noqa: E731
    assert names("sort_key=name") == ["a", "b", "c"] and names("sort_key=name&sort_dir=desc") == ["c", "b", "a"]
    assert names("name=a&name=c&sort_key=name") == ["a", "c"] and names("admin_state_up=False") == []
    assert api("GET", "/ports?fields=name&name=a").json == {"ports": [{"name": "a"}]}
    seen, path = [], "/ports?limit=2&sort_key=name"
    while path:
        page = api("GET", path).json
        seen.append([p["name"] for p in page["ports"]])
        path = next((link["href"].partition("/v2.0")[2] for link in page.get("ports_links", [])), "")
    assert seen == [["a", "b"], ["c"]]
    assert names("limit=2&sort_key=name&page_reverse=true") == ["b", "c"]
    for query, words in (("colour=blue", "cannot be filtered"), ("limit=-1", "limit is a number"), ("marker=no-such", "marker"),
                         ("sort_key=fixed_ips", "cannot be"), ("sort_key=name&sort_dir=up", "asc or desc"),
                         ("admin_state_up=perhaps", "true or false"), ("name=%00", "NUL")):
        api.refused(400, words, "GET", f"/ports?{query}")


def test_changes_bump_the_revision_and_if_match_guards_them(api: Api, network: str) -> None:
    same = api("PUT", f"/networks/{network}", {"network": {"name": "blue"}}).json["network"]
    assert same["revision_number"] == 0, "nothing changed"
    changed = api("PUT", f"/networks/{network}", {"network": {"name": "red"}}, headers={"If-Match": "revision_number=0"})
    assert changed.json["network"]["revision_number"] == 1
    late = api("DELETE", f"/networks/{network}", headers={"If-Match": "revision_number=0"})
    assert late.status_code == 412 and "revision_number=1" in late.json["NeutronError"]["message"]


def test_versions_and_extensions(api: Api) -> None:
    versions = api.client.get("/").json["versions"]
    assert [(v["id"], v["status"]) for v in versions] == [("v2.0", "CURRENT")]
    assert "networks" in {r["collection"] for r in api("GET", "").json["resources"]}
    aliases = {e["alias"] for e in api("GET", "/extensions").json["extensions"]}
    assert {"agent", "provider", "net-mtu", "router"} <= aliases and "l3-flavors" not in aliases
    assert api("GET", "/extensions/agent").json["extension"]["alias"] == "agent"
    api.refused(404, "no extension", "GET", "/extensions/l3-flavors")


def test_every_answer_carries_its_request_id_and_the_journal_keeps_it(api: Api) -> None:
    given = "req-01234567-89ab-cdef-0123-456789abcdef"
    answer = api("POST", "/networks", {"network": {}}, headers={"X-Openstack-Request-Id": given})
    assert answer.headers["X-Openstack-Request-Id"] == given
    with api.database.reading() as tx:
        row = tx.connection.execute(journal.table.select().order_by(journal.table.c.revision.desc())).first()
    assert (row.request_id, row.user_id, row.project_id) == (given, "demo", "demo")
    for path in ("/networks", "/no-such-place"):
        assert api("GET", path, headers={"X-Openstack-Request-Id": "'; --"}).headers["X-Openstack-Request-Id"].startswith("req-")


def test_a_transaction_of_several_nouns(api: Api) -> None:
    def run(*operations: Json, token: str = DEMO) -> Any:
        return api("POST", "/transactions", {"transaction": {"operations": list(operations)}}, token)

    before = api.revision()
    network = {"op": "create", "kind": "network", "as": "blue", "body": {"name": "$$blue"}}
    subnet = {"op": "create", "kind": "subnet", "body": {"network_id": "$blue", "ip_version": 4, "cidr": "10.0.0.0/29"}}
    port = {"op": "create", "kind": "port", "as": "web", "body": {"network_id": "$blue"}}
    made = run(network, subnet, port, {"op": "update", "kind": "port", "id": "$web", "body": {"name": "web"}}).json["transaction"]
    assert made["revision"] == before + 1 == api.revision()
    assert [o["kind"] for o in made["operations"]] == ["network", "subnet", "port", "port"]
    assert made["operations"][0]["network"]["name"] == "$blue" and made["operations"][3]["port"]["name"] == "web"
    web = made["operations"][2]["id"]
    for words, status, operations in (
        ("Operation 2: nothing before it was created as 'red'", 400, [network, {**port, "body": {"network_id": "$red"}}]),
        ("Operation 2: Port no-such could not be found", 404, [network, {"op": "delete", "kind": "port", "id": "no-such"}]),
        ("Operation 1: create is nothing", 400, [{"op": "create", "kind": "agent", "body": {}}]),
        ("Operation 2: the name blue is there already", 400, [network, network]),
        ("1 to 1000 operations", 400, []), ("one of create", 400, ["nonsense"]), ("no 'colour'", 400, [{**network, "colour": 1}]),
    ):
        api.refused(status, words, "POST", "/transactions", {"transaction": {"operations": operations}})
    api.refused(404, "could not be found", "POST", "/transactions", {"transaction": {"operations": [
        {"op": "delete", "kind": "port", "id": web}]}}, token=ALT)
    assert run({"op": "delete", "kind": "port", "id": web}).status_code == 200


def test_tags_and_filters_by_them(api: Api) -> None:
    red, blue, none = (api.make("network", name=name)["id"] for name in ("red", "blue", "none"))
    assert api("PUT", f"/networks/{red}/tags", {"tags": ["warm", "colour", "warm"]}).json == {"tags": ["colour", "warm"]}
    assert api("PUT", f"/networks/{blue}/tags/colour").status_code == 201
    names = lambda query: {n["name"] for n in api("GET", f"/networks?{query}").json["networks"]}  # noqa: E731
    assert names("tags=colour") == {"red", "blue"} and names("tags=colour,warm") == {"red"}
    assert names("tags-any=warm,cold") == {"red"} and names("not-tags=colour,warm") == {"blue", "none"}
    assert names("not-tags-any=colour") == {"none"}
    assert api("GET", f"/networks/{red}/tags/warm").status_code == 204
    assert api("DELETE", f"/networks/{red}/tags/warm").status_code == 204
    api.refused(404, "has no tag warm", "DELETE", f"/networks/{red}/tags/warm")
    assert api("DELETE", f"/networks/{red}/tags").status_code == 204
    assert api("GET", f"/networks/{red}").json["network"]["tags"] == []
    for body in ({"tags": "x"}, {"tags": [1]}, {"tags": ["a,b"]}, {"tags": [""]}, {"tags": [str(n) for n in range(51)]}, {}):
        assert api("PUT", f"/networks/{none}/tags", body).status_code == 400
    api.refused(404, "could not be found", "PUT", f"/networks/{none}/tags/mine", token=ALT)


def test_ports_by_their_addresses(api: Api, network: str, subnet: str) -> None:
    port = api.make("port", network_id=network, fixed_ips=[{"ip_address": "10.0.0.4"}])
    api.make("port", network_id=network)
    ids = lambda query: [p["id"] for p in api("GET", f"/ports?{query}").json["ports"]]  # noqa: E731
    assert ids("fixed_ips=ip_address=10.0.0.4") == [port["id"]] and len(ids(f"fixed_ips=subnet_id={subnet}")) == 2
    assert ids(f"fixed_ips=ip_address=10.0.0.4&fixed_ips=subnet_id={subnet}") == [port["id"]]
    api.refused(400, "fixed_ips=subnet_id=…", "GET", "/ports?fixed_ips=colour=blue")


def test_an_empty_id_is_nobodys(api: Api, network: str) -> None:
    for method, path, body in (
        ("POST", "/ports", {"port": {"network_id": ""}}), ("PUT", f"/networks/{network}", {"network": {"qos_policy_id": ""}}),
        ("POST", "/floatingips", {"floatingip": {"floating_network_id": ""}}),
        ("POST", "/ports", {"port": {"network_id": network, "security_groups": [""]}}),
    ):
        api.refused(404, "could not be found", method, path, body)
