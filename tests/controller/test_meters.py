"""Meters on a real ovs-vswitchd: set before the flows that name them, changed in place, gone after them, read back."""

from collections.abc import Iterator
from time import sleep
from typing import Any

import pytest
from os_ken.ofproto import ofproto_v1_3_parser as os_ken

from controller.flow import BITS, ETH_DST, PACKETS, Flow, Meter, Table, flow, match, meter, output, text, through
from controller.openflow import wire
from controller.openflow.connection import Connection
from controller.openflow.push import push
from controller.openflow.readback import read
from tests.controller.test_push import Door, entries
from tests.controller.test_wire import SWITCH
from tests.ovs import OvsHost

L2 = Table("br-int", 60, "l2", "Which port is it for?")
SLOW = meter("br-int", 801, BITS, 1000, 800)


@pytest.fixture(scope="module")
def host() -> Iterator[OvsHost]:
    with OvsHost("meters") as host:
        host.add_bridge("br-int")
        yield host


@pytest.fixture(scope="module")
def switch(host: OvsHost) -> Iterator[Connection]:
    door = Door(host.management())
    door.let_in(host)
    yield door.came.get(timeout=60)
    door.switches.stop()


def limits(*meters: Meter) -> list[tuple[int, Any]]:
    return [(0, each) for each in meters]


def limited(number: int, by: Meter) -> Flow:
    return flow(L2, 100, match(number == ETH_DST), through(by.number), output(1))


def held(switch: Connection) -> set[Any]:
    return {installed.flow for installed in read(switch, "br-int")}


def test_osken_writes_the_same() -> None:
    for command, bands in ((wire.ADD_METER, [os_ken.OFPMeterBandDrop(1000, 800)]), (wire.DELETE_METER, [])):
        other = os_ken.OFPMeterMod(SWITCH, command, BITS | 4, SLOW.number, bands)
        other.set_xid(5)
        other.serialize()
        assert wire.meter_mod(5, command, SLOW) == other.buf


def test_as_text() -> None:
    assert text(SLOW) == "meter=801 kbps burst bands=type=drop rate=1000 burst_size=800"
    assert text(SLOW._replace(config=b"ab")) == "meter=801 config(6162)"


@pytest.mark.system
def test_in_with_its_flows_and_out_after_them(host: OvsHost, switch: Connection) -> None:
    many = [meter("br-int", 801 + n, (BITS, PACKETS)[n % 2], 1000 + n, 1 + n) for n in range(600)]
    flows = [limited(n, each) for n, each in enumerate(many)]
    assert push(switch, [*entries(*flows), *limits(*many)], []) == []
    assert held(switch) == {*flows, *many}
    shown = host.ofctl("dump-meters", "br-int").replace("bands=\n", "bands=")
    assert all(f"{text(each)}\n" in shown for each in many)
    assert push(switch, [], [*limits(*many), *entries(*flows)]) == []
    assert held(switch) == set()


@pytest.mark.system
def test_changed_in_place_no_flow_begins_anew(host: OvsHost, switch: Connection) -> None:
    flows = [limited(n, SLOW) for n in range(3)]
    push(switch, [*limits(SLOW), *entries(*flows)], [])
    sleep(1.1)
    faster = meter("br-int", SLOW.number, BITS, 9000, 100)
    assert push(switch, limits(faster), []) == []
    assert held(switch) == {faster, *flows}
    dump = host.ofctl("dump-flows", "br-int", "--no-stats")
    assert all(text(each).partition(", ")[2] in dump for each in flows)
    assert all(each.duration > 1 for each in read(switch, "br-int") if isinstance(each.flow, Flow))
    push(switch, [], [*limits(faster), *entries(*flows)])


@pytest.mark.system
def test_a_refused_meter_is_named_with_its_flow_and_the_rest_goes_in(switch: Connection) -> None:
    beyond = meter("br-int", 0xFFFF0001, BITS, 1, 1)
    good, bad = limited(1, SLOW), limited(2, beyond)
    refused = push(switch, [*limits(beyond, SLOW), *entries(good, bad)], [])
    assert [(each.flow, each.error) for each in refused] == [
        (beyond, "meter mod failed: invalid meter"), (bad, "meter mod failed: invalid meter")]
    assert held(switch) == {SLOW, good}
    push(switch, [], [*limits(SLOW), *entries(good)])
