"""Networks of every type: what may be said of them, and who sees the way out."""

import json
from typing import Any

import pytest

from controller.derive import catalogue, recompute
from controller.explain.describe import sample
from controller.hosts import Report, take_report
from controller.segments import segments
from tests.controller import routed, wired
from tests.controller.test_features import plain
from tests.inprocess import ADMIN, ALT, Api
from unryu.resource import nouns


@pytest.fixture
def api(api: Api) -> Api:
    """With a host that has two physical networks."""
    take_report(api.database, "h1", Report(host="h1", tunnel_ip="198.18.0.1", datapaths={}, ofports={}, vifs={},
                                           mappings={"physical1": "br-ex", "physical2": "br-b"}))
    return api


def provider(network_type: str, physical: str | None = None, number: int | None = None) -> dict[str, Any]:
    said = {"network_type": network_type, "physical_network": physical, "segmentation_id": number}
    return {f"provider:{name}": value for name, value in said.items() if value is not None}


@pytest.mark.parametrize(("network_type", "mtu"), [
    ("vxlan", 1450), ("geneve", 1442), ("gre", 1458), ("vlan", 1500), ("flat", 1500), ("local", 1500)])
def test_each_type_has_its_numbers_and_its_mtu(api: Api, network_type: str, mtu: int) -> None:
    physical = "physical2" if network_type in ("vlan", "flat") else None
    made = api.make("network", ADMIN, **provider(network_type, physical))
    assert made["mtu"] == mtu and made["provider:physical_network"] == physical
    assert (made["provider:segmentation_id"] is None) == (network_type in ("flat", "local"))
    assert api("PUT", f"/networks/{made['id']}", {"network": {"mtu": 1300}}, ADMIN).json["network"]["mtu"] == 1300
    assert api("PUT", f"/networks/{made['id']}", {"network": {"mtu": 0}}, ADMIN).json["network"]["mtu"] == mtu, "as usual"


@pytest.mark.parametrize(("status", "words", "values"), [
    (400, "is none of", provider("token-ring")),
    (400, "physical_network required for flat provider network", provider("flat")),
    (400, "physical_network required for vlan provider network", provider("vlan", number=7)),
    (400, "physical_network 'nowhere' unknown for flat", provider("flat", "nowhere")),
    (400, "the hosts have physical1, physical2", provider("vlan", "nowhere", 7)),
    (400, "segmentation_id prohibited for flat", provider("flat", "physical1", 7)),
    (400, "segmentation_id prohibited for local", provider("local", number=7)),
    (400, "physical_network specified for vxlan", provider("vxlan", "physical1")),
    (400, "physical_network specified for local", provider("local", "physical1")),
    (400, "out of range (1 through 4094)", provider("vlan", "physical1", 4095)),
    (400, "out of range (1 through 16777215)", provider("geneve", number=1 << 24)),
    (400, "between 68 and 65535", {"mtu": 67}),
])
def test_what_a_network_cannot_be(api: Api, status: int, words: str, values: dict[str, Any]) -> None:
    api.refused(status, words, "POST", "/networks", {"network": values}, ADMIN)


def test_a_tunnel_carries_no_more_than_every_underlay(api: Api) -> None:
    def report(host: str, mtu: int) -> None:
        take_report(api.database, host, Report(host=host, tunnel_ip="198.18.0.1", mtu=mtu, datapaths={}, ofports={}, vifs={},
                                               mappings={"physical1": "br-ex"}))

    jumbo = api.make("network", ADMIN, mtu=65535)
    report("h1", 9000)
    report("h2", 1600)
    refused = {"network": {"mtu": 1551}}
    assert api.refused(400, "maximum is 1550", "POST", "/networks", refused)["type"] == "InvalidInput"
    made = api.make("network", mtu=1550)
    assert api.make("network")["mtu"] == 1450, "as usual"
    api.refused(400, "maximum is 1550", "PUT", f"/networks/{made['id']}", refused)
    assert api("PUT", f"/networks/{jumbo['id']}", {"network": {"name": "jumbo"}}, ADMIN).status_code == 200, "it stays as it was"
    assert api.make("network", ADMIN, mtu=9000, **provider("flat", "physical1"))["mtu"] == 9000, "a wire is the provider's"
    report("h2", 1400)
    assert api.make("network")["mtu"] == 1350 and api.make("network", ADMIN, **provider("gre"))["mtu"] == 1358


def test_a_segment_is_one_networks_own(api: Api) -> None:
    def refused(words: str, **values: Any) -> str:
        return str(api.refused(409, words, "POST", "/networks", {"network": values}, ADMIN)["type"])

    flat = api.make("network", ADMIN, **provider("flat", "physical1"))["id"]
    assert refused("Physical network physical1 is in use", **provider("flat", "physical1")) == "FlatNetworkInUse"
    api.make("network", ADMIN, **provider("flat", "physical2"))
    assert api("DELETE", f"/networks/{flat}", token=ADMIN).status_code == 204
    api.make("network", ADMIN, **provider("flat", "physical1"))

    api.make("network", ADMIN, **provider("vlan", "physical1", 100))
    assert refused("VLAN 100 on physical network physical1", **provider("vlan", "physical1", 100)) == "VlanIdInUse"
    api.make("network", ADMIN, **provider("vlan", "physical2", 100))

    api.make("network", ADMIN, **provider("vxlan", number=100))
    assert refused("tunnel ID 100 is in use", **provider("vxlan", number=100)) == "TunnelIdInUse"
    api.make("network", ADMIN, **provider("gre", number=100))


def test_a_vlan_is_chosen_where_one_is_free(api: Api) -> None:
    with api.database.transaction() as tx:
        for number in range(1, 4095):
            tx.allocate("vlan physical1", "somebody", lambda taken, number=number: str(number))  # type: ignore[misc]
    assert api.make("network", ADMIN, **provider("vlan"))["provider:physical_network"] == "physical2"
    api.refused(409, "No VLAN is left", "POST", "/networks", {"network": provider("vlan", "physical1")}, ADMIN)


def test_tenants_networks_lie_where_the_operator_lets_them(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRYU_NETWORK_TENANT_TYPES", json.dumps(["vlan:physical2:100:101", "geneve:7:7", "local"]))
    mtus = [api.make("network")["mtu"] for _ in range(4)]
    assert mtus == [1500, 1500, 1442, 1500]
    shown = api("GET", "/networks", token=ADMIN).json["networks"]
    assert sorted((n["provider:network_type"], n["provider:physical_network"], n["provider:segmentation_id"]) for n in shown) == [
        ("geneve", None, 7), ("local", None, None), ("vlan", "physical2", 100), ("vlan", "physical2", 101)]
    assert api.make("network", ADMIN, **provider("vxlan"))["provider:network_type"] == "vxlan", "said is said"
    api.refused(400, "network_type required", "POST", "/networks", {"network": {"provider:segmentation_id": 9}}, ADMIN)


def test_where_tenants_have_no_room_left(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRYU_NETWORK_TENANT_TYPES", '["vlan:physical1:100:100"]')
    only = api.make("network")["id"]
    refused = 503, "No tenant network is available for allocation", "POST", "/networks", {"network": {}}
    assert api.refused(*refused)["type"] == "NoNetworkAvailable"
    assert api("DELETE", f"/networks/{only}").status_code == 204
    api.make("network")
    assert api.make("network", ADMIN, **provider("vlan", "physical1")), "an administrator goes beyond"


@pytest.mark.parametrize(("text", "words"), [
    ("flat", "no type of tenants' networks"), ("token-ring:1:2", "no type of tenants' networks"), ("", "no type"),
    ("vlan", "names no physical network"), ("vlan::1:2", "names no physical network"),
    ("vxlan:7", "two numbers of segments"), ("vxlan:9:8", "the lower first, from 1 to 16777215"),
    ("vlan:physical1:1:4095", "from 1 to 4094"), ("gre:1:2:3", "two numbers"), ("local:1:2", "local has none"),
])
def test_what_no_operator_can_say_of_them(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        segments(text)


def test_without_hosts_there_is_no_wire(database: Any) -> None:
    api = Api(database)
    api.refused(400, "the hosts have none", "POST", "/networks", {"network": provider("vlan")}, ADMIN)


def test_only_an_administrator_says_where_a_network_lies_and_opens_a_way_out(api: Api) -> None:
    for values in (provider("vlan", "physical1", 7), {"router:external": True}):
        api.refused(403, "Only an administrator", "POST", "/networks", {"network": values})
    own = api.make("network")["id"]
    api.refused(403, "Only an administrator", "PUT", f"/networks/{own}", {"network": {"router:external": True}})
    shown = api("GET", f"/networks/{own}").json["network"]
    assert shown["router:external"] is False and not any(key.startswith("provider:") for key in shown)


def test_a_way_out_is_seen_by_everybody(api: Api) -> None:
    out = api.make("network", ADMIN, **{"router:external": True, **provider("flat", "physical1")})["id"]
    subnet = api.make("subnet", ADMIN, network_id=out, ip_version=4, cidr="203.0.113.0/24")["id"]
    inside = api.make("network")["id"]
    for query, found in (("?router:external=true", [out]), ("?router:external=false", [inside])):
        assert [n["id"] for n in api("GET", f"/networks{query}").json["networks"]] == found
    shown = api("GET", f"/networks/{out}").json["network"]
    assert shown["router:external"] is True and shown["shared"] is False and shown["subnets"] == [subnet]
    assert api("GET", f"/subnets/{subnet}").json["subnet"]["gateway_ip"] == "203.0.113.1"
    api.refused(403, "another project", "PUT", f"/networks/{out}", {"network": {"name": "mine"}})

    api.refused(403, "", "POST", "/ports", {"port": {"network_id": out}}, ALT)
    floating = api.make("floatingip", ALT, floating_network_id=out)["id"]
    closed = "PUT", f"/networks/{out}", {"network": {"router:external": False}}, ADMIN
    assert api.refused(409, "existing gateway ports", *closed)["type"] == "ExternalNetworkInUse"
    assert api("DELETE", f"/floatingips/{floating}", token=ALT).status_code == 204
    assert api(*closed).json["network"]["router:external"] is False
    assert api("GET", f"/networks/{out}").status_code == 404


def test_a_way_out_for_one_project(api: Api) -> None:
    out = api.make("network", ADMIN)["id"]
    grant = {"object_type": "network", "object_id": out, "action": "access_as_external"}
    policy = api.make("rbac_policy", ADMIN, **grant, target_tenant="alt")["id"]
    theirs = api("GET", f"/networks/{out}", token=ALT).json["network"]
    assert theirs["router:external"] is True and theirs["shared"] is False
    assert api("GET", f"/networks/{out}").status_code == 404
    assert [n["id"] for n in api("GET", "/networks?router:external=true", token=ALT).json["networks"]] == [out]
    everybody = api.make("rbac_policy", ADMIN, **grant, target_tenant="*")["id"]
    assert api("GET", f"/networks/{out}").json["network"]["router:external"] is True
    for each in (everybody, policy):
        assert api("DELETE", f"/rbac-policies/{each}", token=ADMIN).status_code == 204
    assert api("GET", f"/networks/{out}", token=ALT).status_code == 404
    assert api("GET", f"/networks/{out}", token=ADMIN).json["network"]["router:external"] is False

    own = api.make("network")["id"]
    api.refused(403, "Only an administrator", "POST", "/rbac-policies",
                {"rbac_policy": {**grant, "object_id": own, "target_tenant": "alt"}})
    group = api.make("security_group", name="web")["id"]
    api.refused(400, "Invalid action", "POST", "/rbac-policies",
                {"rbac_policy": {**grant, "object_type": "security_group", "object_id": group, "target_tenant": "alt"}})


def test_a_port_where_its_wire_is_not(api: Api) -> None:
    take_report(api.database, "h2", Report(host="h2", tunnel_ip="198.18.0.2", datapaths={}, ofports={}, vifs={}))
    networks = [api.make("network", ADMIN, **provider("vlan", "physical1"))["id"], api.make("network", ADMIN)["id"]]
    said = [api.make("port", ADMIN, network_id=network, **{"binding:host_id": host})["binding:vif_type"]
            for network in networks for host in ("h1", "h2", "")]
    assert said == ["ovs", "binding_failed", "unbound", "ovs", "ovs", "unbound"]


def test_where_a_way_out_is_one_for_a_single_project_flows_do_not_ask() -> None:
    """What `external` says on the record is for everybody; routers that lead out by it have the same flows without."""
    def flows(state: routed.State) -> dict[str, Any]:
        picture = sample()
        for kind, id, values in state:
            picture.put(kind, id, nouns[kind](**values) if values else None)
        return plain(recompute(picture, catalogue.values()))

    assert flows(wired.STATES["a way out for one project"]) == flows(routed.STATES["a router that leads out"])
