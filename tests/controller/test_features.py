"""Features: golden flows of a small network, and named states walked in every order."""

import functools
from typing import Any

import pytest

from controller.bootstrap import load_features
from controller.derive import Engine, Here, Net, catalogue, derives, itself, recompute
from controller.explain.describe import PAGE, page, sample
from controller.flow import flow, match, output
from controller.picture import Picture
from controller.pipeline import L2, OUTPUT, OVERLAY, TABLES, TRACK, WHOSE
from controller.policy import behind, members
from tests.controller import limited, routed, scoped, wired
from unryu.resource import nouns

load_features()


def test_the_pipelines_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "run: python -m controller.explain.describe"


ASKED_AGAIN = (TRACK, WHOSE, L2, OVERLAY)
"""By resubmit: once for each port that it is for; as a subroutine; on the network that a router puts it on; to its gateway."""


def test_every_edge_leads_forward_to_a_table() -> None:
    for table in TABLES:
        names = {t.name: t for t in TABLES if t.bridge == table.bridge}
        for name in (*table.next, *(() if table.miss == "drop" else (table.miss,))):
            assert names[name].number > table.number or name == table.name or names[name] in ASKED_AGAIN


# Changes to the sample: each is a function of the picture, and each can be undone.
BLUE = {"id": "blue", "project_id": "demo", "mtu": 1450, "segmentation_id": 5001, "number": 7}
BLUE4 = {"id": "blue4", "network_id": "blue", "ip_version": 4, "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1"}
BLUE6 = {"id": "blue6", "network_id": "blue", "ip_version": 6, "cidr": "fd00::/64"}
PORT1 = {"id": "port1", "network_id": "blue", "mac_address": "fa:16:3e:00:00:01", "binding_host_id": "h1",
         "security_groups": ["default"], "port_security_enabled": True,
         "fixed_ips": [{"subnet_id": "blue4", "ip_address": "10.0.0.11"}, {"subnet_id": "blue6", "ip_address": "fd00::11"}]}
PORT3 = {"id": "port3", "network_id": "blue", "mac_address": "fa:16:3e:00:00:03", "binding_host_id": "h1",
         "security_groups": [], "port_security_enabled": True,
         "fixed_ips": [{"subnet_id": "blue4", "ip_address": "10.0.0.13"}]}
WEB = {"id": "web", "project_id": "demo"}
RULE = {"id": "rule", "security_group_id": "web", "direction": "ingress", "protocol": "tcp", "port_range_min": 80,
        "port_range_max": 90}
VIF3 = {"id": "vif3", "agent_id": "agent-h1", "port_id": "port3", "ofport": 101, "link": "up"}
AGENT2 = {"id": "agent-h2", "host": "h2", "datapaths": {}, "ofports": {"br-int": {"patch-tun": 1},
          "br-tun": {"patch-int": 1, "vxlan": 2}}}
KINDS = ("agent", "network", "subnet", "security_group", "security_group_rule", "address_group", "port", "vif",
         *limited.KINDS, *routed.KINDS)
STATES: dict[str, tuple[tuple[str, str, dict[str, Any] | None], ...]] = {
    "as it is": (),
    "port1 unplugged": (("vif", "vif1", None),),
    "port1 elsewhere": (("port", "port1", {**PORT1, "binding_host_id": "h2"}),),
    "port1 on a host we do not know": (("port", "port1", {**PORT1, "binding_host_id": "h9"}),),
    "port1 with another address": (
        ("port", "port1", {**PORT1, "fixed_ips": [{"subnet_id": "blue4", "ip_address": "10.0.0.99"}]}),),
    "port1 without port security": (("port", "port1", {**PORT1, "port_security_enabled": False}),),
    "port1 with pairs": (("port", "port1", {**PORT1, "allowed_address_pairs": [
        {"ip_address": "10.0.0.100", "mac_address": "fa:16:3e:00:00:01"},
        {"ip_address": "fd00:1::/64", "mac_address": "00:00:5e:00:02:01"},
        {"ip_address": "10.0.0.0/25", "mac_address": "00:00:5e:00:01:01"}]}),),
    "two ports with pairs, one of them port1's own address": (
        ("security_group", "web", WEB), ("vif", "vif3", VIF3), ("port", "port3", {
            **PORT3, "security_groups": ["web"], "allowed_address_pairs": [
                {"ip_address": "10.0.0.11", "mac_address": PORT3["mac_address"]},
                {"ip_address": "10.0.0.1", "mac_address": PORT3["mac_address"]},
                {"ip_address": "::/0", "mac_address": PORT3["mac_address"]}]}),
        ("port", "port1", {**PORT1, "allowed_address_pairs": [
            {"ip_address": "0.0.0.0/0", "mac_address": PORT1["mac_address"]}]}),
        ("security_group_rule", "rule", {**RULE, "security_group_id": "default", "remote_group_id": "web"})),
    "a trusted port beside port1": (("port", "port3", {**PORT3, "port_security_enabled": False}), ("vif", "vif3", VIF3)),
    "a MAC that moves between two hosts": tuple(("port", id, {
        **PORT1, "id": id, "mac_address": f"fa:16:3e:00:00:0{n}", "binding_host_id": f"h{n}", "allowed_address_pairs": [
            {"ip_address": "10.0.0.100", "mac_address": "00:00:5e:00:01:01"},
            {"ip_address": "fd00::/64", "mac_address": "00:00:5e:00:01:01"}],
        "fixed_ips": [{"subnet_id": "blue4", "ip_address": f"10.0.0.1{n}"}]}) for n, id in ((1, "port1"), (2, "port2"))),
    "a pair with the MAC of another port": (("port", "port1", {**PORT1, "allowed_address_pairs": [
        {"ip_address": "10.0.0.100", "mac_address": "fa:16:3e:00:00:02"}]}),),
    "port1 admin down": (("port", "port1", {**PORT1, "admin_state_up": False}),),
    "port1 gone": (("vif", "vif1", None), ("port", "port1", None)),
    "network admin down": (("network", "blue", {**BLUE, "admin_state_up": False}),),
    "a third port, unplugged": (("port", "port3", PORT3),),
    "a third port": (("port", "port3", PORT3), ("vif", "vif3", VIF3)),
    "port1 without groups": (("port", "port1", {**PORT1, "security_groups": []}),),
    "port1 in another group": (("security_group", "web", WEB), ("port", "port1", {**PORT1, "security_groups": ["web"]})),
    "port1 in two groups, whose rules say the same in part": (
        ("security_group", "web", WEB), ("security_group_rule", "rule", RULE),
        ("security_group_rule", "rule2", {**RULE, "id": "rule2", "port_range_min": 88}),
        ("security_group_rule", "rule3", {**RULE, "id": "rule3", "security_group_id": "default"}),
        ("port", "port1", {**PORT1, "security_groups": ["default", "web"]})),
    "a third port in a group that the default group lets in": (
        ("security_group", "web", WEB), ("port", "port3", {**PORT3, "security_groups": ["web"]}), ("vif", "vif3", VIF3),
        ("security_group_rule", "rule", {**RULE, "security_group_id": "default", "remote_group_id": "web"})),
    "a group without conntrack": (
        ("security_group", "default", {"id": "default", "project_id": "demo", "stateful": False}),
        ("security_group_rule", "rule", {**RULE, "security_group_id": "default", "normalized_cidr": "10.0.0.0/24"})),
    "an address group": (
        ("address_group", "office", {"id": "office", "addresses": ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"]}),
        ("security_group_rule", "rule", {**RULE, "security_group_id": "default", "remote_address_group_id": "office"})),
    "an address group with one address less": (
        ("address_group", "office", {"id": "office", "addresses": ["198.51.100.7/32"]}),
        ("security_group_rule", "rule", {**RULE, "security_group_id": "default", "remote_address_group_id": "office"})),
    "the default group without rules": tuple(
        ("security_group_rule", f"{direction}{version}", None) for direction in ("egress", "ingress") for version in (4, 6)),
    "vif1 at another ofport": (("vif", "vif1", {
        "id": "vif1", "agent_id": "agent-h1", "port_id": "port1", "ofport": 200, "link": "up"}),),
    "vif1 without link": (("vif", "vif1", {
        "id": "vif1", "agent_id": "agent-h1", "port_id": "port1", "ofport": 100, "link": "down"}),),
    "h2 with another VTEP": (("agent", "agent-h2", {**AGENT2, "tunnel_ip": "198.18.0.99"}),),
    "h2 without tunnel": (("agent", "agent-h2", {**AGENT2, "tunnel_ip": "", "ofports": {}}),),
    "a subnet without DHCP": (("subnet", "blue4", {**BLUE4, "enable_dhcp": False}),
                              ("subnet", "blue6", {**BLUE6, "ipv6_ra_mode": None, "ipv6_address_mode": None})),
    "other words for guests": (("subnet", "blue4", {
        **BLUE4, "gateway_ip": None, "dns_nameservers": ["8.8.8.8"],
        "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]}),
        ("subnet", "blue6", {**BLUE6, "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac", "gateway_ip": "fd00::12"})),
    "h1 without a door": (("agent", "agent-h1", {"id": "agent-h1", "host": "h1", "tunnel_ip": "198.18.0.1", "datapaths": {},
                           "ofports": {"br-int": {"patch-tun": 1}, "br-tun": {"patch-int": 1, "vxlan": 2}}}),),
    "everything gone": tuple((kind, id, None) for kind, id in (
        ("vif", "vif1"), ("vif", "vif2"), ("port", "port1"), ("port", "port2"), ("subnet", "blue4"), ("subnet", "blue6"),
        ("security_group", "default"), ("network", "blue"), ("agent", "agent-h1"), ("agent", "agent-h2"))),
    **routed.STATES,
    **limited.states(PORT1, BLUE),
    **wired.STATES,
    **scoped.STATES,
}


def conflicts(engine: Engine) -> list[Any]:
    """Places that several claim with different contents; where they want the same, they share it."""
    return [place for place, claims in engine.contested.items() if len(set(claims.values())) > 1]


def plain(wanted: Any) -> dict[tuple[str, str], Any]:
    return {(host, bridge): flows for host, bridges in wanted.items() for bridge, flows in bridges.items() if flows}


BASE = {(kind, record.id): record for kind in KINDS for record in sample().all(kind)}


@functools.cache
def changed(state: str) -> dict[tuple[str, str], Any]:
    return {(kind, id): nouns[kind](**values) if values else None for kind, id, values in STATES[state]}


def led(picture: Picture, before: str, after: str) -> dict[Any, Any]:
    """From state to state; what that touches."""
    touched: dict[Any, Any] = {}
    for key, record in ({key: BASE.get(key) for key in changed(before)} | changed(after)).items():
        touched |= picture.put(*key, record)
    return touched


@functools.cache
def fresh(state: str) -> dict[tuple[str, str], Any]:
    """What a picture that never showed anything else wants."""
    picture = sample()
    led(picture, "as it is", state)
    return plain(recompute(picture, catalogue.values()))


class Walker:
    """An engine led from state to state, a switch kept by what it says should change."""

    def __init__(self) -> None:
        self.picture = sample()
        self.state = "as it is"
        self.engine = Engine(self.picture, catalogue.values())
        self.installed = {place: dict(flows) for place, flows in plain(self.engine.wanted).items()}

    def go(self, state: str) -> None:
        touched = led(self.picture, self.state, state)
        self.state = state
        for host, bridges in self.engine.update(touched).items():
            for bridge, change in bridges.items():
                table = self.installed.setdefault((host, bridge), {})
                for cookie, f in change.delete:
                    assert table.pop(f.key)[0] == cookie
                table |= {f.key: (cookie, f) for cookie, f in change.add}
        assert not self.engine.failed and not conflicts(self.engine)
        assert {place: flows for place, flows in self.installed.items() if flows} == fresh(state) == plain(self.engine.wanted)


@pytest.mark.parametrize("first", STATES)
def test_it_is_valid_to_go_from_any_state_to_any_other(first: str) -> None:
    """Each way once: there and back to all that stand behind it in the list."""
    walker = Walker()
    walker.go(first)
    for second in list(STATES)[list(STATES).index(first) + 1:]:
        walker.go(second), walker.go(first)
    walker.go("as it is")
    # What the engine remembers at the end depends on the end only.
    held = Engine(sample(), catalogue.values()).memory()
    for name, value in walker.engine.memory().items():
        assert value == held[name], name


def test_a_change_runs_only_what_read_it() -> None:
    """One more port on a network of 300: the units that run do not grow with the network."""
    def cost(size: int) -> dict[str, int]:
        picture = sample()
        for n in range(size):
            picture.put("port", f"p{n}", nouns["port"](
                id=f"p{n}", network_id="blue", mac_address=f"fa:16:3e:01:{n >> 8:02x}:{n & 255:02x}",
                binding_host_id=f"h{1 + n % 2}", fixed_ips=[], security_groups=["default"]))
        engine = Engine(picture, catalogue.values())
        engine.work.clear()
        engine.update(picture.put("port", "new", nouns["port"](
            id="new", network_id="blue", mac_address="fa:16:3e:02:00:00", binding_host_id="h1", fixed_ips=[],
            security_groups=["default"])))
        return dict(engine.work)

    assert cost(300) == cost(10)
    assert cost(10)["shapes"] <= 12


def test_what_a_port_costs() -> None:
    """Flows on br-int for one port more of the default group with both IP versions, here and elsewhere."""
    for host, most in (("h1", 8), ("h2", 2)):
        picture = sample()
        engine = Engine(picture, catalogue.values())
        four, six = ({"subnet_id": subnet, "ip_address": ip} for subnet, ip in (("blue4", "10.0.0.9"), ("blue6", "fd00::9")))
        changes = engine.update({
            **picture.put("port", "port9", nouns["port"](**{**PORT1, "id": "port9", "mac_address": "fa:16:3e:00:00:09",
                                                           "fixed_ips": [four, six]})),
            **picture.put("vif", "vif9", nouns["vif"](**{**VIF3, "id": "vif9", "port_id": "port9"}))})
        made = {entry[1].key for entry in changes[host]["br-int"].add} - {
            f.key for _, f in Engine(sample(), catalogue.values()).wanted[host]["br-int"].values()}
        assert len(made) <= most, host


def test_who_may_hold_an_address_is_behind_it() -> None:
    """Of a fixed address too, where it is another port's pair; IPv4 addresses are not within an IPv6 prefix."""
    walker = Walker()
    walker.go("two ports with pairs, one of them port1's own address")
    net = Net(walker.picture)
    assert behind(net, "blue", "10.0.0.11") == {"web", "default"} and behind(net, "blue", "10.0.0.12") == {"default"}
    assert behind(net, "blue", "fd00::11") == {"web"} and behind(net, "blue", "0.0.0.0/0") == {"default"}
    assert members(net, "web") == (frozenset({"default", "web"}), frozenset({"web"}))


def test_two_claims_of_one_place_and_the_smaller_name_stands() -> None:
    picture = sample()
    features = {}

    def claim(name: str, port: int) -> None:
        def derive(agent: Any, net: Net, here: Here) -> Any:
            if net.get("port", f"port{port}") is not None:
                yield flow(L2, 7, match(), output(port))

        derive.__name__, derive.__module__ = name, "tests.claims"
        derives("agent", at=itself)(derive)
        features[name] = catalogue.pop(f"claims.{name}")

    claim("alpha", 1), claim("beta", 2)
    for order in ((features["alpha"], features["beta"]), (features["beta"], features["alpha"])):
        engine = Engine(picture, order)
        [(_, standing)] = engine.wanted["h1"]["br-int"].values()
        assert standing == flow(L2, 7, match(), output(1)) and len(engine.contested) == 2
    one = picture.get("port", "port1")
    engine.update(picture.put("port", "port1", None))
    [(_, standing)] = engine.wanted["h1"]["br-int"].values()
    assert standing == flow(L2, 7, match(), output(2)) and not engine.contested
    engine.update(picture.put("port", "port1", one))
    [(_, standing)] = engine.wanted["h1"]["br-int"].values()
    assert standing == flow(L2, 7, match(), output(1)) and len(engine.contested) == 2


def test_a_feature_that_fails_hurts_only_its_own_resource() -> None:
    def broken(port: Any, net: Net, here: Here) -> Any:
        if port.network_id == "blue":
            yield flow(OUTPUT, 1, match(), output(int(port.id.removeprefix("port")) // (port.id != "port1")))

    broken.__module__ = "tests.claims"
    from controller.derive import own_host

    derives("port", at=own_host)(broken)
    feature = catalogue.pop("claims.broken")
    engine = Engine(sample(), [feature])
    assert [(u.id, type(e)) for u, e in engine.failed.items()] == [("port1", ZeroDivisionError)]
    assert list(engine.wanted["h2"]["br-int"].values()) and not engine.wanted["h1"]["br-int"]


def test_a_record_in_the_picture_is_blank_where_no_flow_may_look() -> None:
    picture = Picture()
    picture.put("port", "p", nouns["port"](id="p", name="secret", status="ACTIVE", binding_host_id="h1"))
    assert picture.get("port", "p").name == "" and picture.get("port", "p").binding_host_id == "h1"
    assert not picture.put("port", "p", nouns["port"](id="p", name="other", status="DOWN", binding_host_id="h1"))
