"""Hosts, processes, features and somebody's hand: each fault on a cloud that mends itself."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import threading
import time
from typing import Any

import pytest

from ovsagent.answers.book import Book
from ovsagent.bridges import plain
from tests.clouds import RunningCloud, eventually
from tests.faults.hands import connected, frozen, metrics, new_port, pulsed, tagged, waits
from tests.faults.page import drill, lengths, log_of, said

pytestmark = pytest.mark.system


# Hosts.


@drill
def test_a_hung_switch(cloud: RunningCloud) -> None:
    with frozen(cloud, "ovs-vswitchd", "h2"):
        assert eventually(lambda: not connected(cloud, "h2"))
        new_port(cloud, "h1", "both")
        assert waits(cloud, "h2") == ["to connect"] * 3 and not any(waits(cloud, "h1"))
        said(cloud, "test_a_hung_switch")


@drill
def test_a_slow_switch(cloud: RunningCloud) -> None:
    quick = new_port(cloud, "h1")
    pid = cloud.pid("ovs-vswitchd", "h2")
    assert pid
    with pulsed(pid, on=0.02, off=0.3):
        sdk = cloud.connect("admin")
        for number in range(20):
            sdk.network.create_port(name=f"slow{number}", network_id=sdk.network.find_network("both").id, binding_host_id="h2")
        assert new_port(cloud, "h1") < quick + 3, "nobody waits for h2 who has no port there"
        for number in range(20):
            sdk.network.delete_port(sdk.network.find_port(f"slow{number}").id)
    said(cloud, "test_a_slow_switch")


@drill
def test_a_host_that_nobody_reaches(cloud: RunningCloud) -> None:
    """Its management link drops everything silently, both ways: nobody says goodbye."""
    since = lengths(cloud)
    link = cloud.namespace("h2")
    cloud.run("ip", "link", "set", link, "down")
    try:
        assert eventually(lambda: not connected(cloud, "h2"))
        new_port(cloud, "h1", "both")
        assert cloud.pings("vm1", "10.0.0.12"), "forwarding needs nobody"
        assert eventually(lambda: "takes no report" in log_of(cloud, "h2/agent")[since["h2/agent"]:])
    finally:
        cloud.run("ip", "link", "set", link, "up")
    said(cloud, "test_a_host_that_nobody_reaches", since)


@drill
def test_a_hung_agent(cloud: RunningCloud) -> None:
    since = lengths(cloud)
    with frozen(cloud, "agent", "h2"):
        assert cloud.pings("vm1", "10.0.0.12")
        new_port(cloud, "h1", "both")
        assert eventually(lambda: "takes no answers" in log_of(cloud, "controller")[since["controller"]:])
        sdk = cloud.connect()
        sdk.network.update_subnet(next(sdk.network.subnets(cidr="10.0.0.0/24")), dns_nameservers=["192.0.2.53"])
        assert eventually(lambda: any("its agent to take answers of revision" in words for words in waits(cloud, "h2")))
        admin = cloud.connect("admin")
        assert eventually(lambda: not next(a for a in admin.network.agents() if a.host == "h2").is_alive)
    said(cloud, "test_a_hung_agent", since)


@drill
def test_a_killed_process(cloud: RunningCloud) -> None:
    since = lengths(cloud)
    before = {name: cloud.pid(name, host) for name, host in (("controller", None), ("agent", "h1"))}
    for pid in before.values():
        assert pid
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: cloud.pid("controller") not in (None, before["controller"])
                      and cloud.pid("agent", "h1") not in (None, before["agent"]))
    said(cloud, "test_a_killed_process", since)
    told = (cloud.state / "run" / "supervisor.prom").read_text()
    assert re.search(r'^unryu_process_starts_total\{process="controller"\} [2-9]$', told, flags=re.MULTILINE), told
    assert told.count("unryu_process_up") >= 8 and not re.findall(r"unryu_process_up.* 0", told)


@drill
def test_a_hung_controller(cloud: RunningCloud) -> None:
    since = lengths(cloud)
    with frozen(cloud, "controller"):
        assert cloud.pings("vm1", "10.0.0.12", count=20)
        assert eventually(lambda: "takes no report" in log_of(cloud, "h1/agent")[since["h1/agent"]:])
        # What is written waits; what is asked of rows is answered.
        sdk = cloud.connect()
        port = sdk.network.create_port(network_id=sdk.network.find_network("alone").id)
        assert sdk.network.get_port(port.id).status == "DOWN"
        sdk.network.delete_port(port.id)
    said(cloud, "test_a_hung_controller", since)


# A feature's fault.


@drill
def test_a_flow_that_no_switch_takes(cloud: RunningCloud) -> None:
    since = lengths(cloud)
    with tagged(cloud, "impossible"):
        assert cloud.pings("vm1", "10.0.0.12"), "all else of the change went in"
        assert any("1 flows are refused" in words for words in waits(cloud, "h1"))
        said(cloud, "test_a_flow_that_no_switch_takes", since)
        length = len(log_of(cloud, "controller"))
        time.sleep(5)
        assert "refused a flow" not in log_of(cloud, "controller")[length:], "said once, though every switch is read again"


@drill
def test_a_feature_that_fails(cloud: RunningCloud) -> None:
    since = lengths(cloud)
    with tagged(cloud, "failing"):
        assert cloud.pings("vm1", "10.0.0.12"), "what other features want of it is there"
        new_port(cloud, "h1", "both")
        said(cloud, "test_a_feature_that_fails", since)


# Somebody's hand.


def test_somebody_at_the_flows(cloud: RunningCloud) -> None:
    since = lengths(cloud)
    cloud.ofctl("h1", "del-flows", "br-int", "--strict", "table=0,priority=0")
    cloud.ofctl("h1", "mod-flows", "br-int", "--strict", "table=0,priority=10,vlan_tci=0x0000/0x1fff,actions=NORMAL")
    cloud.ofctl("h1", "add-flow", "br-int", "cookie=0x1234,table=60,priority=7,arp,actions=NORMAL")
    said(cloud, "test_somebody_at_the_flows", since)
    assert eventually(lambda: "NORMAL" not in cloud.ofctl("h1", "dump-flows", "br-int"))
    counted = dict(re.findall(r'unryu_flows_mended_total\{bridge="br-int",host="h1",kind="(\w+)"\} (\S+)',
                              metrics(cloud, "controller")))
    assert all(float(counted[kind]) >= 1 for kind in ("missing", "changed", "stranger")), counted


def test_somebody_at_the_bridges(cloud: RunningCloud) -> None:
    since = lengths(cloud)

    def held() -> str:
        bridges = cloud.vsctl("h1", "--columns=name,fail_mode,other_config,protocols", "--format=csv", "list", "bridge")
        # (A controller that was started anew has had itself dialled by its target's other spelling.)
        controller = plain(cloud.vsctl("h1", "get-controller", "br-int"))
        return bridges + controller + cloud.vsctl("h1", "list-ports", "br-int") + cloud.vsctl(
            "h1", "--columns=inactivity_probe,max_backoff", "--format=csv", "list", "controller")

    before = sorted(held().splitlines())
    for words in (("set-fail-mode", "br-int", "standalone"), ("del-port", "br-int", "patch-tun"), ("del-controller", "br-int"),
                  ("set", "bridge", "br-tun", "other_config:disable-in-band=false", "protocols=OpenFlow10"),
                  ("set", "controller", "br-tun", "max_backoff=8000"), ("del-br", "br-ex")):
        cloud.vsctl("h1", *words)
    assert eventually(lambda: sorted(held().splitlines()) == before), held()
    cloud.vsctl("h1", "add-port", "br-ex", "eth1", "--", "set", "interface", "eth1", "ofport_request=100")
    said(cloud, "test_somebody_at_the_bridges", since)


@drill
def test_somebody_at_the_book(cloud: RunningCloud) -> None:
    """The file that an agent begins with: it is changed while the agent is away for a moment."""
    since = lengths(cloud)
    path = cloud.state / "hosts" / "h2" / "unryu-book.json"
    book = Book(path)
    before = cloud.pid("agent", "h2")
    assert before and book.answers
    path.write_text(json.dumps({"generation": book.generation, "revision": book.revision, "answers": []}))
    book.news.unlink(missing_ok=True)
    os.kill(before, signal.SIGKILL)
    said(cloud, "test_somebody_at_the_book", since)
    assert eventually(lambda: Book(path).answers == book.answers)


@drill
def test_somebody_holds_the_database(cloud: RunningCloud) -> None:
    """SQLite has one writer: who holds it delays the others, and what they wrote is there when it goes."""
    sdk, since = cloud.connect(), lengths(cloud)
    with contextlib.closing(sqlite3.connect(cloud.state / "unryu.db", isolation_level=None)) as hog:
        hog.execute("BEGIN IMMEDIATE")
        made: list[Any] = []
        writer = threading.Thread(target=lambda: made.append(sdk.network.create_network(name="patient")))
        writer.start()
        time.sleep(1.5)
        assert not made and cloud.pings("vm1", "10.0.0.12")
        assert [n.name for n in sdk.network.networks(name="both")] == ["both"], "who reads waits for nobody"
        hog.execute("ROLLBACK")
        writer.join(10)
        assert made and sdk.network.get_network(made[0].id)
        hog.execute("BEGIN IMMEDIATE")
        with pytest.raises(Exception, match="503.*The database does not answer: database is locked"):
            sdk.network.delete_network(made[0].id)
        assert [n.name for n in sdk.network.networks(name="both")] == ["both"]
        hog.execute("ROLLBACK")
    assert eventually(lambda: sdk.network.delete_network(made[0].id) is None)
    said(cloud, "test_somebody_holds_the_database", since)
