"""docs/operate.md, tried: each section names the test here that does what it tells of, and what the logs must say then.

The whole page takes minutes (`UNRYU_FAULTS=1`, as `make drill` has it); without, the quick half of it.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from tests.clouds import RunningCloud, eventually
from tests.postgres import Postgres
from topology import api
from topology.cloud import Cloud

PAGE = Path(__file__).parents[1] / "docs" / "operate.md"
OUTAGE = float(os.environ.get("UNRYU_OUTAGE", "60"))
SILENCES = re.compile(r'unryu_database_silences_total\{what="written"\} [1-9]')
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"

system = pytest.mark.system
drill = pytest.mark.skipif("UNRYU_FAULTS" not in os.environ, reason="UNRYU_FAULTS=1 runs it")


# The page.


def sections() -> dict[str, list[tuple[str, str]]]:
    """By the test that tries it: which process says what."""
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        for name in re.findall(r"^\*Tried by\* `(\w+)`", section, flags=re.MULTILINE):
            assert name not in found, f"{name} tries two sections"
            found[name] = re.findall(r"^\| (\S+) \| `([^`]+)` \|", section, flags=re.MULTILINE)
    return found


def spoken(sentence: str) -> re.Pattern[str]:
    return re.compile(".*?".join(map(re.escape, sentence.split("…"))))


def said(cloud: RunningCloud, test: str, since: dict[str, int] | None = None) -> None:
    """Every sentence of the section, in the log of who says it (and after where the log was)."""
    rows = sections()[test]
    assert rows, f"the section of {test} says nothing of logs"

    def missing() -> list[tuple[str, str]]:
        return [(who, words) for who, words in rows
                if not spoken(words).search(log_of(cloud, who)[(since or {}).get(who, 0):])]

    assert not eventually(lambda: not missing(), 8) or not missing(), missing()
    assert not missing(), missing()


def log_of(cloud: RunningCloud, process: str) -> str:
    return (cloud.state / "log" / f"{process.replace('/', '-')}.log").read_text()


def lengths(cloud: RunningCloud) -> dict[str, int]:
    names = {who for rows in sections().values() for who, _ in rows}
    return {who: len(log_of(cloud, who)) for who in names if (cloud.state / "log" / f"{who.replace('/', '-')}.log").exists()}


def test_every_section_is_tried_and_every_fault_is_told() -> None:
    here = {name for name in globals() if name.startswith("test_")} - {"test_every_section_is_tried_and_every_fault_is_told"}
    titles = re.findall(r"^## .*", PAGE.read_text(), flags=re.MULTILINE)
    assert set(sections()) == here
    assert len(titles) - len(here) == 1, "one section tells how to look; the others what happens"


# The cloud.


ROGUE = '''
"""A feature of somebody's own that does what a port's tags say."""
from controller.derive import derives, own_host
from controller.flow import IN_PORT, flow, match, output
from controller.pipeline import OUTPUT


@derives("port", at=own_host)
def flaw(port, net, here):
    """Asks for what no switch takes, or fails."""
    if "impossible" in port.tags:
        yield flow(OUTPUT, 7, match(IN_PORT == here.vif(port.id)), output(0x10000))
    if "failing" in port.tags:
        raise RuntimeError("planted")
'''


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCloud]:
    """Two hosts with a guest on each; `alone` is a network that only h1 has ports of."""
    site = tmp_path_factory.mktemp("site")
    (site / "rogue.py").write_text(ROGUE)
    (site / "rogue-1.dist-info").mkdir()
    (site / "rogue-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: rogue\nVersion: 1\n")
    (site / "rogue-1.dist-info" / "entry_points.txt").write_text("[unryu.features]\nrogue = rogue\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{site}:{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("UNRYU_CONTROLLER_LOOK_AGAIN", "2")
        with RunningCloud(hosts=2) as cloud:
            sdk = cloud.connect()
            for name, cidr in (("both", "10.0.0.0/24"), ("alone", "10.1.0.0/24")):
                network = sdk.network.create_network(name=name)
                sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr=cidr)
            for number in (1, 2):
                port = sdk.network.create_port(network_id=sdk.network.find_network("both").id,
                                               fixed_ips=[{"ip_address": f"10.0.0.1{number}"}])
                cloud.plug(port.id, f"h{number}", f"vm{number}")
            yield cloud


@pytest.fixture
def cloud(broken: RunningCloud) -> Iterator[RunningCloud]:
    """As it should be before, and again afterwards, by itself."""
    assert eventually(lambda: whole(broken), 20), broken.status()["switches"]
    yield broken
    assert eventually(lambda: whole(broken), 20), broken.status()["switches"]
    assert eventually(lambda: broken.pings("vm1", "10.0.0.12"))


def whole(cloud: RunningCloud) -> bool:
    switches = cloud.status()["switches"]
    return bool(switches) and all(s["connected"] and s["realised"] == s["wanted"] for s in switches)


def connected(cloud: RunningCloud, host: str) -> bool:
    return all(s["connected"] for s in cloud.status()["switches"] if s["host"] == host)


def waits(cloud: RunningCloud, host: str) -> list[str]:
    return [s["waits"] for s in cloud.status()["switches"] if s["host"] == host]


def metrics(cloud: RunningCloud, process: str) -> str:
    if process == "controller":
        return str(api.controller(Cloud(cloud.state).controllers()[0], "/metrics"))
    with urllib.request.urlopen(f"{Cloud(cloud.state).url}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def new_port(cloud: RunningCloud, host: str, network: str = "alone") -> float:
    """Seconds from the plug of a new port until it is ACTIVE (and it is gone again)."""
    sdk = cloud.connect()
    port = sdk.network.create_port(network_id=sdk.network.find_network(network).id)
    began = time.monotonic()
    cloud.plug(port.id, host, "brief")
    took = time.monotonic() - began
    assert sdk.network.get_port(port.id).status == "ACTIVE"
    cloud.unplug("brief")
    sdk.network.delete_port(port.id)
    return took


@contextlib.contextmanager
def frozen(cloud: RunningCloud, name: str, host: str | None = None) -> Iterator[int]:
    pid = cloud.pid(name, host)
    assert pid, name
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def pulsed(pid: int, on: float, off: float) -> Iterator[None]:
    """A process that runs for a moment, then for a moment does not, and so on: a slow one."""
    stop = threading.Event()

    def pulse() -> None:
        while not stop.is_set():
            os.kill(pid, signal.SIGSTOP)
            stop.wait(off)
            os.kill(pid, signal.SIGCONT)
            stop.wait(on)

    thread = threading.Thread(target=pulse)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


# Hosts.


@drill
@system
def test_a_hung_switch(cloud: RunningCloud) -> None:
    with frozen(cloud, "ovs-vswitchd", "h2"):
        assert eventually(lambda: not connected(cloud, "h2"))
        new_port(cloud, "h1", "both")
        assert waits(cloud, "h2") == ["to connect"] * 3 and not any(waits(cloud, "h1"))
        said(cloud, "test_a_hung_switch")


@drill
@system
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
@system
def test_a_host_that_nobody_reaches(cloud: RunningCloud) -> None:
    """Its management link drops everything silently, both ways: nobody says goodbye."""
    since = lengths(cloud)
    link = cloud.namespace("h2")
    cloud.run("ip", "link", "set", link, "down")
    try:
        assert eventually(lambda: not connected(cloud, "h2"))
        new_port(cloud, "h1", "both")
        assert cloud.pings("vm1", "10.0.0.12"), "forwarding needs nobody"
        assert eventually(lambda: "takes no report" in log_of(cloud, "h2/agent")[since["h2/agent"]:], 15)
    finally:
        cloud.run("ip", "link", "set", link, "up")
    said(cloud, "test_a_host_that_nobody_reaches", since)


@drill
@system
def test_a_hung_agent(cloud: RunningCloud) -> None:
    since = lengths(cloud)
    with frozen(cloud, "agent", "h2"):
        assert cloud.pings("vm1", "10.0.0.12")
        new_port(cloud, "h1", "both")
        assert eventually(lambda: "takes no answers" in log_of(cloud, "controller")[since["controller"]:], 15)
        sdk = cloud.connect()
        sdk.network.update_subnet(next(sdk.network.subnets(cidr="10.0.0.0/24")), dns_nameservers=["192.0.2.53"])
        assert eventually(lambda: any("its agent to take answers of revision" in words for words in waits(cloud, "h2")))
        admin = cloud.connect("admin")
        assert eventually(lambda: not next(a for a in admin.network.agents() if a.host == "h2").is_alive, 25)
    said(cloud, "test_a_hung_agent", since)


@drill
@system
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
@system
def test_a_hung_controller(cloud: RunningCloud) -> None:
    since = lengths(cloud)
    with frozen(cloud, "controller"):
        assert cloud.pings("vm1", "10.0.0.12", count=20)
        assert eventually(lambda: "takes no report" in log_of(cloud, "h1/agent")[since["h1/agent"]:], 15)
        # What is written waits; what is asked of rows is answered.
        sdk = cloud.connect()
        port = sdk.network.create_port(network_id=sdk.network.find_network("alone").id)
        assert sdk.network.get_port(port.id).status == "DOWN"
        sdk.network.delete_port(port.id)
    said(cloud, "test_a_hung_controller", since)


# A feature's fault.


@drill
@system
def test_a_flow_that_no_switch_takes(cloud: RunningCloud) -> None:
    since = lengths(cloud)
    sdk, port = tagged(cloud, "impossible")
    assert eventually(lambda: sdk.network.get_port(port.id).status == "ERROR")
    assert cloud.pings("vm1", "10.0.0.12"), "all else of the change went in"
    assert any("1 flows are refused" in words for words in waits(cloud, "h1"))
    said(cloud, "test_a_flow_that_no_switch_takes", since)
    length = len(log_of(cloud, "controller"))
    time.sleep(5)
    assert "refused a flow" not in log_of(cloud, "controller")[length:], "said once, though every switch is read again"
    sdk.network.set_tags(port, [])
    assert eventually(lambda: sdk.network.get_port(port.id).status == "ACTIVE")


@drill
@system
def test_a_feature_that_fails(cloud: RunningCloud) -> None:
    since = lengths(cloud)
    sdk, port = tagged(cloud, "failing")
    assert eventually(lambda: sdk.network.get_port(port.id).status == "ERROR")
    assert cloud.pings("vm1", "10.0.0.12"), "what other features want of it is there"
    new_port(cloud, "h1", "both")
    said(cloud, "test_a_feature_that_fails", since)
    sdk.network.set_tags(port, [])
    assert eventually(lambda: sdk.network.get_port(port.id).status == "ACTIVE")


def tagged(cloud: RunningCloud, tag: str) -> tuple[Any, Any]:
    """The port of vm1, with a tag that the rogue feature hears."""
    sdk = cloud.connect()
    port = next(p for p in sdk.network.ports() if p.fixed_ips[0]["ip_address"] == "10.0.0.11")
    sdk.network.set_tags(port, [tag])
    return sdk, port


# Somebody's hand.


@system
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


@system
def test_somebody_at_the_bridges(cloud: RunningCloud) -> None:
    since = lengths(cloud)

    def held() -> str:
        bridges = cloud.vsctl("h1", "--columns=name,fail_mode,other_config,protocols", "--format=csv", "list", "bridge")
        return bridges + cloud.vsctl("h1", "get-controller", "br-int") + cloud.vsctl("h1", "list-ports", "br-int") + cloud.vsctl(
            "h1", "--columns=inactivity_probe,max_backoff", "--format=csv", "list", "controller")

    before = sorted(held().splitlines())
    for words in (("set-fail-mode", "br-int", "standalone"), ("del-port", "br-int", "patch-tun"), ("del-controller", "br-int"),
                  ("set", "bridge", "br-tun", "other_config:disable-in-band=false", "protocols=OpenFlow10"),
                  ("set", "controller", "br-tun", "max_backoff=8000"), ("del-br", "br-ex")):
        cloud.vsctl("h1", *words)
    assert eventually(lambda: sorted(held().splitlines()) == before), held()
    said(cloud, "test_somebody_at_the_bridges", since)


@drill
@system
def test_somebody_at_the_book(cloud: RunningCloud) -> None:
    """The file that an agent begins with: it is changed while the agent is away for a moment."""
    since = lengths(cloud)
    path = cloud.state / "hosts" / "h2" / "unryu-book.json"
    book = json.loads(path.read_text())
    before = cloud.pid("agent", "h2")
    assert before and book["answers"]
    path.write_text(json.dumps({**book, "answers": []}))
    os.kill(before, signal.SIGKILL)
    said(cloud, "test_somebody_at_the_book", since)
    assert eventually(lambda: json.loads(path.read_text())["answers"] == book["answers"])


# What everything stands on.


@drill
@system
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


def in_own_mounts(test: Callable[[], None]) -> Callable[[], None]:
    """Run it once more in a process with a mount namespace of its own: what it mounts goes with it, come what may."""

    @wraps(test)
    def run() -> None:
        if "UNRYU_OWN_MOUNTS" in os.environ:
            test()
            return
        again = ["unshare", "--mount", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                 f"{__file__}::{test.__name__}"]
        done = subprocess.run(again, env={**os.environ, "UNRYU_OWN_MOUNTS": "1"}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-6000:]

    return run


@drill
@system
@in_own_mounts
def test_a_full_disk() -> None:
    disk = Path(tempfile.mkdtemp(prefix="unryu-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=True)
    try:
        with RunningCloud(hosts=1, state=disk / "c") as cloud:
            sdk = cloud.connect()
            network = sdk.network.create_network(name="blue")
            sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.0.0.0/24")
            ports = [sdk.network.create_port(network_id=network.id) for _ in range(2)]
            cloud.plug(ports[0].id, "h1", "vm1")
            before = {(one["name"], one["host"], one["pid"]) for one in cloud.status()["processes"]}
            acknowledged, refused, full = set(), [], threading.Event()

            def write() -> None:
                number = 0
                while not done.is_set():
                    number += 1
                    try:
                        acknowledged.add(sdk.network.create_network(name=f"n{number}").id)
                    except Exception as error:  # noqa: BLE001 - whatever the SDK makes of a refusal
                        refused.append(str(error))
                        full.set()
                        time.sleep(0.05)

            done = threading.Event()
            writer = threading.Thread(target=write)
            writer.start()
            ballast = disk / "ballast"
            with ballast.open("wb", 0) as out, contextlib.suppress(OSError):
                while True:
                    out.write(bytes(4096))
            assert full.wait(10)
            for process in ("api", "controller"):
                assert eventually(lambda who=process: SILENCES.search(metrics(cloud, who)), 15), process
            assert cloud.pings("vm1", str(ports[0].fixed_ips[0]["ip_address"])), "forwarding needs no disk"
            assert all("503" in words and "The database does not answer" in words for words in refused), set(refused)
            ballast.unlink()
            number = len(acknowledged)
            assert eventually(lambda: len(acknowledged) > number), "it goes on by itself"
            done.set()
            writer.join(10)
            assert acknowledged <= {n.id for n in sdk.network.networks()}, "what was acknowledged is there"
            cloud.plug(ports[1].id, "h1", "vm2")
            assert cloud.pings("vm1", ports[1].fixed_ips[0]["ip_address"])
            assert {(one["name"], one["host"], one["pid"]) for one in cloud.status()["processes"]} == before, "nobody died of it"
            said(cloud, "test_a_full_disk")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
        disk.rmdir()


@drill
@system
def test_a_database_that_goes_away() -> None:
    with Postgres() as server, server.database() as url, RunningCloud(hosts=2, database=url) as cloud:
        sdk = cloud.connect()
        network = sdk.network.create_network(name="blue")
        sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.0.0.0/24")
        ports = [sdk.network.create_port(network_id=network.id, fixed_ips=[{"ip_address": f"10.0.0.1{n}"}]) for n in (1, 2)]
        for number, port in enumerate(ports, 1):
            cloud.plug(port.id, f"h{number}", f"vm{number}")
        since, processes = lengths(cloud), cloud.status()["processes"]
        server.stop()
        try:
            with pytest.raises(Exception, match="503.*The database does not answer"):
                sdk.network.create_network(name="refused")
            began = time.monotonic()
            cpu = {one["pid"]: ticks(one["pid"]) for one in processes}
            while time.monotonic() < began + OUTAGE:
                assert cloud.pings("vm1", "10.0.0.12", count=10)
            spent = {one["name"]: (ticks(one["pid"]) - cpu[one["pid"]]) / 100 / OUTAGE for one in processes}
            assert max(spent.values()) < 0.5, f"nobody spins: {spent}"
            assert len(log_of(cloud, "controller")) - since["controller"] < 100 * OUTAGE + 4000, "nobody says it for ever"
        finally:
            server.start()
        assert eventually(lambda: sdk.network.create_network(name="again"), 10)
        assert eventually(lambda: whole(cloud), 20)
        assert cloud.status()["processes"] == processes, "nobody died of it"
        third = sdk.network.create_port(network_id=network.id)
        cloud.plug(third.id, "h1", "vm3")
        assert cloud.pings("vm2", third.fixed_ips[0]["ip_address"])
        said(cloud, "test_a_database_that_goes_away", since)


@drill
@system
def test_a_database_that_vanishes() -> None:
    """Its machine's cable is drawn: nothing says goodbye."""
    name, number = f"upg{os.getpid()}", os.getpid() % 16000 * 4
    ours, theirs = (f"198.19.{number // 256}.{number % 256 + end}" for end in (1, 2))
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in (f"link add {name} type veth peer name db netns {name}", f"addr add {ours}/30 dev {name}",
                      f"link set {name} up", f"-n {name} addr add {theirs}/30 dev db", f"-n {name} link set db up"):
            subprocess.run(["ip", *words.split()], check=True)
        with Postgres(name, theirs) as server, server.database() as url, RunningCloud(hosts=1, database=url) as cloud:
            sdk, since = cloud.connect(), lengths(cloud)
            network = sdk.network.create_network(name="blue")
            assert eventually(lambda: whole(cloud))
            subprocess.run(["ip", "link", "set", name, "down"], check=True)
            began = time.monotonic()
            with pytest.raises(Exception, match="The database does not answer"):
                sdk.network.get_network(network.id)
            assert time.monotonic() - began < 60, "TCP alone would wait for a quarter of an hour"
            assert eventually(lambda: "cannot be" in log_of(cloud, "controller"), 30)
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
            assert eventually(lambda: port_at_once(sdk, network.id), 30)
            assert eventually(lambda: whole(cloud), 30)
            said(cloud, "test_a_database_that_vanishes", since)
    finally:
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False)


def port_at_once(sdk: Any, network_id: str) -> bool:
    try:
        return bool(sdk.network.create_port(network_id=network_id))
    except Exception as error:  # noqa: BLE001 - whatever the SDK makes of a refusal
        assert "503" in str(error)
        return False


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@drill
@system
def test_a_clock_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour forward and two back, for every process of a cloud at once. (Durations go by a clock that no hand moves.)"""
    if not Path(FAKETIME).exists():
        pytest.fail("Debian's package libfaketime is not installed")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    # It takes the end of a sleep, which Python tells by the other clock, for a time of day.
    (tmp_path / "sitecustomize.py").write_text(
        "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], max(0, seconds)) and None\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    for name, value in (("LD_PRELOAD", FAKETIME), ("FAKETIME_TIMESTAMP_FILE", str(clock)), ("FAKETIME_CACHE_DURATION", "1"),
                        ("FAKETIME_DONT_FAKE_MONOTONIC", "1")):
        monkeypatch.setenv(name, value)
    cloud = RunningCloud(hosts=1)
    with cloud:
        monkeypatch.undo()
        sdk, admin = cloud.connect(), cloud.connect("admin")
        network = sdk.network.create_network(name="blue")
        sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.0.0.0/24")
        ports = [sdk.network.create_port(network_id=network.id) for _ in range(4)]
        cloud.plug(ports[0].id, "h1", "vm0")
        processes = cloud.status()["processes"]

        def alive() -> bool:
            return next(iter(admin.network.agents())).is_alive

        for number, offset in enumerate(("+3600", "-3600", "+0"), 1):
            clock.write_text(offset)
            time.sleep(2)
            hour = next(iter(admin.network.agents())).last_heartbeat_at  # a token from before is still good
            assert hour
            assert eventually(alive, 15), offset
            cloud.plug(ports[number].id, "h1", f"vm{number}")  # by DHCP
            assert cloud.pings("vm0", ports[number].fixed_ips[0]["ip_address"])
            assert cloud.openstack("token", "issue"), "and new ones are given"
            agent = cloud.pid("agent", "h1")
            assert agent
            os.kill(agent, signal.SIGSTOP)
            assert eventually(lambda: not alive(), 25), f"a dead host is not alive for an hour more ({offset})"
            os.kill(agent, signal.SIGCONT)
            assert eventually(alive, 15)
        assert cloud.status()["processes"] == processes, "nobody died of it"
        assert whole(cloud)
    shutil.rmtree(tmp_path, ignore_errors=True)
