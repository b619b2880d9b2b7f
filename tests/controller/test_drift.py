"""Drift on real switches: what somebody else changed is put right, counted and said; what is in flight is not taken for it."""

import itertools
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

import controller.pusher
from controller.derive import Feature, catalogue, derives, itself
from controller.drift import Cookies, difference, following, kept_cookies
from controller.flow import Flow, cookie
from controller.hosts import Report, VifReport, take_report
from controller.loop import Loop
from tests.clouds import eventually
from tests.controller.switched import DPIDS, HOSTS, Cloud
from tests.inprocess import fresh_database, said
from tests.ovs import OvsHost

BRIDGE = "h1-br-int"


def entry(priority: int, actions: bytes, feature: str = "a") -> tuple[int, Flow]:
    flow = Flow("br-int", 60, priority, b"", actions)
    return cookie(feature, flow), flow


def test_a_place_differs_once() -> None:
    right, other, gone, strange = entry(1, b"right"), entry(2, b"other"), entry(3, b"gone"), entry(4, b"strange")
    turned = (right[0], right[1]._replace(instructions=b"wrong"))  # under the cookie of what it was
    found = list(difference([turned, other, strange], [right, other, gone]))
    assert found == [("changed", right, turned[1]), ("missing", gone, None), ("stranger", strange, None)]


def test_nobody_is_left_out_when_others_come_and_go() -> None:
    assert following([], 7) is None
    assert [following([1, 5, 9], last) for last in (0, 1, 4, 5, 9)] == [1, 5, 5, 9, 1]


def test_kept_cookies_are_no_features() -> None:
    [kept] = kept_cookies(["0xad00000000000000/0xff00000000000000"], ["ports.delivery"])
    assert kept == Cookies(0xAD << 56, 0xFF << 56) and 0xAD00000000000001 in kept and 0xAE00000000000001 not in kept
    with pytest.raises(ValueError, match="is no range of cookies"):
        kept_cookies(["0xad"], [])
    for words in ("0x6443000000000000/0xffff000000000000", "0x6000000000000000/0xf000000000000000", "0x0/0x0", "0x1/0x1"):
        with pytest.raises(ValueError, match=r"holds cookies of the feature ports.delivery \(0x6443…\)"):
            kept_cookies([words], ["ports.delivery"])


def test_nobody_has_the_number_of_what_switches_learn() -> None:
    def clash53354(record: Any, net: Any, here: Any) -> list[Flow]:  # a name of that number
        return []

    clash53354.__module__ = "test_drift"
    with pytest.raises(ValueError, match="features learned and test_drift.clash53354 have one number"):
        derives("port", at=lambda port, net: [])(clash53354)
    with pytest.raises(ValueError, match=r"holds cookies of the feature learned \(0x83e6…\)"):
        kept_cookies(["0x83e6000000000000/0xffff000000000000"], [])


class Watched(Cloud):
    """A cloud of one network with a port on each host, whose switches are looked at for ever."""

    def __init__(self, folder: Path, ovs: tuple[OvsHost, str], **settings: Any) -> None:
        self.ovs = ovs[0]
        super().__init__(folder, *ovs, **settings)
        self.network = self.call("POST", "/networks", {"network": {}})["network"]["id"]
        self.call("POST", "/subnets", {"subnet": {"network_id": self.network, "ip_version": 4, "cidr": "10.0.0.0/24"}})
        for host in HOSTS:
            self.port(host, 100)
        self.settle()

    def port(self, host: str, ofport: int) -> str:
        made = self.call("POST", "/ports", {"port": {"network_id": self.network, "binding:host_id": host}})["port"]["id"]
        self.plug(host, made, VifReport(ofport=ofport, link="up"))
        return str(made)

    def flows(self, *words: str) -> list[str]:
        return [line for line in self.ovs.ofctl("dump-flows", BRIDGE).splitlines() if all(w in line for w in words)]


def mended(kind: str) -> float:
    return sum(REGISTRY.get_sample_value("unryu_flows_mended_total", {"host": h, "bridge": b, "kind": kind}) or 0
               for h, b in DPIDS)


@pytest.mark.system
def test_what_somebody_did_is_undone_and_said(ovs: tuple[OvsHost, str], tmp_path: Path,
                                              caplog: pytest.LogCaptureFixture) -> None:
    keep = kept_cookies(["0xad00000000000000/0xff00000000000000"], catalogue)
    cloud = Watched(tmp_path / "c", ovs, look_again=1.0, keep=keep)
    try:
        before = {kind: mended(kind) for kind in ("missing", "changed", "stranger")}
        host, number = cloud.ovs, len(cloud.flows("table=0,"))
        # Three kinds of hand: one that deletes, one that changes under our own cookie, one that adds.
        host.ofctl("del-flows", BRIDGE, "--strict", "table=0,priority=0")
        host.ofctl("mod-flows", BRIDGE, "--strict", "table=0,priority=10,vlan_tci=0x0000/0x1fff,actions=NORMAL")
        host.ofctl("add-flow", BRIDGE, "cookie=0x1234,table=0,priority=7,arp,actions=NORMAL")
        host.ofctl("add-flow", BRIDGE, "cookie=0xad00000000000001,table=0,priority=8,arp,actions=NORMAL")
        assert eventually(lambda: {kind: mended(kind) - before[kind] for kind in before} == {
            "missing": 1, "changed": 1, "stranger": 1}), [mended(kind) for kind in before]
        assert eventually(lambda: len(cloud.flows("table=0,")) == number + 1)
        assert ["cookie=0xad00000000000001" in line for line in cloud.flows("NORMAL")] == [True]
        cloud.settle()
        lines = {line["event"].partition(":")[0]: line for line in said(caplog) if "owners" in line}
        lacks, changed, strange = (lines[f"a switch {what}"] for what in (
            "lacks a flow", "holds a flow that somebody changed", "holds a flow that nobody wants"))
        assert lacks["flow"] == "table=classify, priority=0 actions=drop" and lacks["bridge"] == "br-int"
        assert lacks["owners"][0].startswith("tunnels.misses of ")
        assert changed["held"].endswith("actions=NORMAL") and changed["flow"].endswith("actions=drop")
        assert strange["flow"] == "table=classify, priority=7,arp actions=NORMAL" and strange["owners"] == []
        assert int(strange["cookie"], 16) == 0x1234
    finally:
        cloud.close()
        ovs[0].ofctl("del-flows", BRIDGE)


@pytest.mark.system
def test_no_flow_in_flight_is_taken_for_drift(ovs: tuple[OvsHost, str], tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bridge is read again as often as it can be, while ports come and go."""
    readings = []
    monkeypatch.setattr(controller.pusher, "read", lambda *asked, read=controller.pusher.read: (
        readings.append(asked[1]), read(*asked))[1])
    cloud = Watched(tmp_path / "c", ovs, look_again=0.01)
    try:
        cloud.check()
        before, began = [mended(kind) for kind in ("missing", "changed", "stranger")], len(readings)
        chance = random.Random(5)
        stop = threading.Event()

        def change(host: str) -> None:
            ports: list[str] = []
            numbers = itertools.count(101)
            while not stop.is_set():
                if ports and chance.random() < 0.45:
                    cloud.plug(host, port := ports.pop(0), None)
                    cloud.call("DELETE", f"/ports/{port}")
                else:
                    ports.append(cloud.port(host, next(numbers)))

        changing = [threading.Thread(target=change, args=(host,)) for host in HOSTS]
        for thread in changing:
            thread.start()
        eventually(lambda: len(readings) > began + 60)
        stop.set()
        for thread in changing:
            thread.join()
        assert len(readings) > began + 60
        assert [mended(kind) for kind in ("missing", "changed", "stranger")] == before
        cloud.check()
    finally:
        cloud.close()


def test_a_fault_of_a_feature_is_said_once_until_it_is_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = fresh_database(tmp_path)

    def fail(agent: Any, net: Any, here: Any) -> Iterator[Any]:
        raise RuntimeError(agent.tunnel_ip)
        yield

    def report(host: str, tunnel_ip: str) -> None:
        take_report(database, host, Report(host=host, tunnel_ip=tunnel_ip, vifs={}, datapaths={}, ofports={}))

    report("h1", "198.18.0.1")
    loop = Loop(database, [Feature("bad.one", "agent", itself, fail)])
    loop.load()
    for host, tunnel_ip in (("h2", "198.18.0.2"), ("h1", "198.18.0.9"), ("h1", "198.18.0.9")):
        report(host, tunnel_ip)
        loop.look()
    loop.feed.close()
    assert [line["error"] for line in said(caplog) if "a feature failed" in line["event"]] == [
        f"RuntimeError('198.18.0.{last}')" for last in (1, 2, 9)]
