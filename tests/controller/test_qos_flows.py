"""What policies give: meters and flows as text, and what a change of them moves."""

from typing import Any

import pytest

from controller.bootstrap import load_features
from controller.derive import Changes, Engine, catalogue
from controller.explain.describe import sample
from controller.flow import Meter, text
from controller.pipeline import TABLES
from tests.controller.limited import BITS_IN, FULL, OUTSIDE, OWN
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
        f" actions=meter:{NUMBER},{known},goto_table:pace",
        f"table=pace, priority=100,ip,in_port=100 actions=meter:{NUMBER + 1},set_field:46->ip_dscp,goto_table:spoof",
        f"table=pace, priority=100,ipv6,in_port=100 actions=meter:{NUMBER + 1},set_field:46->ip_dscp,goto_table:spoof",
        f"table=pace, priority=10,in_port=100 actions=meter:{NUMBER + 1},goto_table:spoof",
        "table=output, priority=200,reg1=0x64/0xffff,dl_dst=fa:16:3e:00:00:01 actions=goto_table:paced",
        "table=output, priority=150,ip,reg1=0x64/0xffff actions=ct(table=paced,zone=1)",
        "table=output, priority=150,ipv6,reg1=0x64/0xffff actions=ct(table=paced,zone=1)",
        f"table=paced, priority=100,reg1=0x64/0xffff actions=meter:{NUMBER + 2},goto_table:counted",
        f"table=counted, priority=100,reg1=0x64/0xffff actions=meter:{NUMBER + 3},output:NXM_NX_REG1[0..15]",
    }


def test_another_rate_is_another_meter_and_no_flow(walker: Walker) -> None:
    changes = put(walker, "qos_bandwidth_limit_rule", **{**BITS_IN, "max_kbps": 9000})
    [(host, bridges)] = changes.items()
    assert host == "h1" and not bridges["br-int"].delete
    assert [text(entry[1]) for entry in bridges["br-int"].add] == [
        f"meter={NUMBER + 2} kbps burst bands=type=drop rate=9000 burst_size=7200"]


def test_one_meter_and_no_mark_stand_in_the_tables_that_are_there(walker: Walker) -> None:
    """Who has no policy pays for none, and who has one limit for one table at most."""
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


def test_floating_ips_and_gateways_have_meters_of_their_own(walker: Walker) -> None:
    """Of bits only: in the flows that translate there is room for one."""
    walker.go(OUTSIDE)
    floating, gateway = NUMBER + 4, (2 << 24) + 3 * 256
    metered = {line for line in said(walker) if "meter" in line}
    assert {line for line in metered if line.startswith("meter=")} == {
        f"meter={number} kbps burst bands=type=drop rate=5000 burst_size=4000"
        for number in (floating, floating + 2, gateway, gateway + 2)}
    begins = {(line.partition(" actions=")[0].partition(", ")[0], line.partition("actions=meter:")[2].partition(",")[0])
              for line in metered if not line.startswith("meter=")}
    assert begins == {("table=entry", str(floating + 2)), ("table=exit", str(floating)), ("table=entry", str(gateway + 2)),
                      ("table=snat", str(gateway))}


def test_a_meter_is_its_ports(walker: Walker) -> None:
    """Whom to blame when a switch does not take it."""
    wanted = [entry[1] for entry in walker.engine.wanted["h1"]["br-int"].values() if isinstance(entry[1], Meter)]
    assert len(wanted) == 4
    assert {(unit.feature, unit.id) for each in wanted for unit in walker.engine.owners("h1", "br-int", each)} == {
        ("qos_flows.limits", "port1")}
