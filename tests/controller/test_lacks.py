"""Wires that hosts lack: who is DOWN for it, and what is said, once."""

import pytest

from controller.lacks import Lack, Lacks
from tests.controller import routed, wired
from tests.controller.test_routing import showing
from tests.inprocess import said

FORWARDING = (*routed.floating(None, ""), *routed.forwarding("w", "8080:8080", "80:80"))
NOWHERE = (routed.put("router_gateway", "g-r", router_id="r", port_id="r-outside", network_id="outside"),)
OUTSIDE = (routed.put("network", "outside", project_id="admin", mtu=1500, network_type="flat", physical_network="physical9",
                      number=8),)


@pytest.mark.parametrize(("states", "kind", "lack"), [
    ((wired.VLAN,), "port", None),
    ((wired.VLAN, *wired.OFF_THE_WIRE), "port", Lack("h2", "physical1")),
    ((*routed.floating("port2", "10.0.0.12"), *wired.OFF_THE_WIRE), "floatingip", Lack("h2", "physical1")),
    ((*routed.floating("port1", "10.0.0.11"), *wired.OFF_THE_WIRE), "floatingip", None),
    ((*FORWARDING, *wired.OFF_THE_WIRE), "floatingip", None),
    ((*FORWARDING, *OUTSIDE), "floatingip", Lack("h1", "physical9")),
    ((*FORWARDING, *OUTSIDE, *NOWHERE), "floatingip", Lack("", "physical9")),
    ((*FORWARDING, *NOWHERE), "floatingip", None),
    ((routed.put("floatingip", "f", floating_network_id="outside", floating_ip_address="203.0.113.7"), *OUTSIDE), "floatingip",
     None)])
def test_what_is_down_for_lack_of_a_wire(states: routed.State, kind: str, lack: Lack | None) -> None:
    picture = showing(routed.JOINED, routed.LEADING_OUT, states)
    [record] = [picture.get("port", "port2")] if kind == "port" else picture.all("floatingip")
    assert Lacks(lambda: picture).of(record) == lack


def test_it_is_said_once_for_each_host_and_wire(caplog: pytest.LogCaptureFixture) -> None:
    picture = showing((wired.VLAN, *wired.OFF_THE_WIRE))
    caplog.set_level("INFO")
    lacks, port = Lacks(lambda: picture), picture.get("port", "port2")
    assert lacks.note(("port", "a"), port) and lacks.note(("port", "b"), port) and lacks.note(("port", "a"), port)
    [line] = said(caplog)
    assert (line["host"], line["physical_network"], line["needed_by"]) == ("h2", "physical1", "port a")
    caplog.clear()
    lacks.note(("port", "a"), None)
    assert not said(caplog)
    lacks.note(("port", "b"), None)
    assert len(said(caplog)) == 1
