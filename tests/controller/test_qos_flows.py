"""What policies give: meters and flows as text, and what a change of them moves."""

import re
from typing import Any

import pytest

from controller.bootstrap import load_features
from controller.derive import Changes, Engine, catalogue
from controller.explain.describe import sample
from controller.flow import Meter, text
from controller.pipeline import TABLES
from tests.controller.limited import BITS_IN, FORWARDED, FULL, OUTSIDE, OWN
from tests.controller.test_features import PORT1, Walker
from unryu.resource import nouns

load_features()

NUMBER = (1 << 24) + 100 * 256


@pytest.fixture
def walker() -> Walker:
    walker = Walker()
    walker.go(FULL)
    return walker


def said(walker: Walker) -> set[str]:
    """What the features give beside what they give without a policy."""
    usual = {entry[1] for entry in Engine(sample(), catalogue.values()).wanted["h1"]["br-int"].values()}
    return {text(entry[1], TABLES) for entry in walker.engine.wanted["h1"]["br-int"].values() if entry[1] not in usual}


def put(walker: Walker, kind: str, **values: Any) -> Changes:
    return walker.engine.update(walker.picture.put(kind, values["id"], nouns[kind](**values)))


def test_all_that_a_policy_does_as_text(walker: Walker) -> None:
    known = "load:0x7->NXM_NX_REG0[0..14],load:0x64->NXM_NX_REG6[16..31],load:0xfe98b07b1ba6b3a2->OXM_OF_PKT_REG1[]"
    assert said(walker) == {
        f"meter={NUMBER} kbps burst bands=type=drop rate=5000 burst_size=4000",
        f"meter={NUMBER + 1} pktps burst bands=type=drop rate=2000 burst_size=1000",
        f"meter={NUMBER + 2} kbps burst bands=type=drop rate=5000 burst_size=4000",
        f"meter={NUMBER + 3} pktps burst bands=type=drop rate=2000 burst_size=1000",
        f"table=classify, priority=100,in_port=100,vlan_tci=0x0000/0x1fff,dl_src=fa:16:3e:00:00:01"
        f" actions=meter:{NUMBER},load:{NUMBER + 1:#x}->OXM_OF_METADATA[],resubmit(,limit),{known},goto_table:marks",
        f"table=limit, priority=100,metadata={NUMBER + 1:#x} actions=meter:{NUMBER + 1}",
        "table=marks, priority=100,ip,in_port=100 actions=set_field:46->ip_dscp,goto_table:spoof",
        "table=marks, priority=100,ipv6,in_port=100 actions=set_field:46->ip_dscp,goto_table:spoof",
        "table=marks, priority=10,in_port=100 actions=goto_table:spoof",
        "table=output, priority=200,reg1=0x64/0xffff,dl_dst=fa:16:3e:00:00:01 actions=goto_table:paced",
        "table=output, priority=150,ip,reg1=0x64/0xffff actions=ct(table=paced,zone=1)",
        "table=output, priority=150,ipv6,reg1=0x64/0xffff actions=ct(table=paced,zone=1)",
        f"table=paced, priority=100,reg1=0x64/0xffff actions=meter:{NUMBER + 2},load:{NUMBER + 3:#x}->OXM_OF_METADATA[]"
        ",resubmit(,limit),output:NXM_NX_REG1[0..15]",
        f"table=limit, priority=100,metadata={NUMBER + 3:#x} actions=meter:{NUMBER + 3}",
    }


def test_another_rate_is_another_meter_and_no_flow(walker: Walker) -> None:
    changes = put(walker, "qos_bandwidth_limit_rule", **{**BITS_IN, "max_kbps": 9000})
    [(host, bridges)] = changes.items()
    assert host == "h1" and not bridges["br-int"].delete
    assert [text(entry[1]) for entry in bridges["br-int"].add] == [
        f"meter={NUMBER + 2} kbps burst bands=type=drop rate=9000 burst_size=7200"]


def test_one_meter_and_no_mark_stand_in_the_tables_that_are_there(walker: Walker) -> None:
    """Who has no policy pays for none, and who has one limit for no table."""
    walker.go("as it is")
    assert said(walker) == set()
    changes = put(walker, "qos_policy", id="gold")
    changes |= put(walker, "qos_bandwidth_limit_rule", id="out", qos_policy_id="gold", max_kbps=1000)
    assert not changes
    put(walker, "port", **{**PORT1, "qos_policy_id": "gold"})
    assert {line.partition(",")[0] for line in said(walker)} == {
        f"meter={NUMBER} kbps burst bands=type=drop rate=1000 burst_size=800", "table=classify"}


def test_a_network_s_policy_is_for_ports_without_their_own(walker: Walker) -> None:
    walker.go(OWN)
    meters = {line for line in said(walker) if line.startswith("meter=")}
    assert meters == {f"meter={NUMBER} kbps burst bands=type=drop rate=1 burst_size=1"}
    elsewhere = [text(entry[1]) for entry in walker.engine.wanted["h2"]["br-int"].values()]
    assert sum(line.startswith("meter=") for line in elsewhere) == 4


def led(walker: Walker) -> dict[tuple[str, ...], set[int]]:
    """The meters that flows of a table lead through, those in one flow together."""
    found: dict[tuple[str, ...], set[int]] = {}
    for line in said(walker):
        numbers = [int(n, 0) for n in re.findall(r"meter:(\d+)|load:(0x\w+)->OXM_OF_METADATA", line) for n in n if n]
        if numbers and "table=limit" not in line:
            found.setdefault((line.partition(",")[0], *(["marked"] if "46->ip_dscp" in line else [])), set()).update(numbers)
    return found


def test_floating_ips_and_gateways_have_meters_of_their_own(walker: Walker) -> None:
    """Of bits and of packets, as ports have; and what they send is marked."""
    walker.go(OUTSIDE)
    floating, gateway = NUMBER + 4, (2 << 24) + 3 * 256
    assert {line for line in said(walker) if line.startswith("meter=")} == {
        f"meter={first + n} {'pktps' if n % 2 else 'kbps'} burst bands=type=drop " + (
            "rate=2000 burst_size=1000" if n % 2 else "rate=5000 burst_size=4000")
        for first in (floating, gateway) for n in range(4)}
    assert led(walker) == {
        ("table=entry",): {floating + 2, floating + 3, gateway + 2, gateway + 3},
        ("table=exit", "marked"): {floating, floating + 1}, ("table=snat", "marked"): {gateway, gateway + 1}}


def test_a_floating_ip_with_forwardings_has_them_on_its_gateway(walker: Walker) -> None:
    walker.go(FORWARDED)
    shared = (2 << 24) + 3 * 256 + 4
    assert led(walker) == {("table=entry",): {shared + 2, shared + 3}, ("table=snat", "marked"): {shared, shared + 1}}
    assert not any("meter" in text(entry[1]) for entry in walker.engine.wanted["h2"]["br-int"].values())


def test_a_meter_is_its_ports(walker: Walker) -> None:
    """Whom to blame when a switch does not take it."""
    wanted = [entry[1] for entry in walker.engine.wanted["h1"]["br-int"].values() if isinstance(entry[1], Meter)]
    assert len(wanted) == 4
    assert {(unit.feature, unit.id) for each in wanted for unit in walker.engine.owners("h1", "br-int", each)} == {
        ("qos_flows.limits", "port1")}
