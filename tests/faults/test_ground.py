"""What everything stands on: the disk, the database, the clock."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from tests.clouds import RunningCloud, eventually
from tests.faults.hands import metrics
from tests.faults.page import drill, lengths, log_of, said
from tests.postgres import Postgres
from topology.cloud import Cloud

OUTAGE = float(os.environ.get("UNRYU_OUTAGE", "60"))
SILENCES = re.compile(r'unryu_database_silences_total\{what="written"\} [1-9]')
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"

pytestmark = pytest.mark.system


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
                assert eventually(lambda who=process: SILENCES.search(metrics(cloud, who))), process
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
        assert eventually(lambda: sdk.network.create_network(name="again"))
        assert cloud.settled()
        assert cloud.status()["processes"] == processes, "nobody died of it"
        third = sdk.network.create_port(network_id=network.id)
        cloud.plug(third.id, "h1", "vm3")
        assert cloud.pings("vm2", third.fixed_ips[0]["ip_address"])
        said(cloud, "test_a_database_that_goes_away", since)


@drill
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
            assert cloud.settled()
            subprocess.run(["ip", "link", "set", name, "down"], check=True)
            began = time.monotonic()
            with pytest.raises(Exception, match="The database does not answer"):
                sdk.network.get_network(network.id)
            assert time.monotonic() - began < 60, "TCP alone would wait for a quarter of an hour"
            assert eventually(lambda: "cannot be" in log_of(cloud, "controller"))
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
            assert eventually(lambda: port_at_once(sdk, network.id))
            assert cloud.settled()
            said(cloud, "test_a_database_that_vanishes", since)
    finally:
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False)


@drill
def test_a_database_that_hangs() -> None:
    """TCP still answers for it, so that nobody but us can notice."""
    with Postgres() as server, server.database() as url, RunningCloud(hosts=1, database=url) as cloud:
        sdk, since = cloud.connect(), lengths(cloud)
        network = sdk.network.create_network(name="blue")
        assert cloud.settled()
        with server.frozen():
            began = time.monotonic()
            with pytest.raises(Exception, match="The database does not answer"):
                sdk.network.get_network(network.id)
            assert time.monotonic() - began < 60
            assert eventually(lambda: "cannot be" in log_of(cloud, "controller"))
        assert eventually(lambda: port_at_once(sdk, network.id))
        assert cloud.settled()
        words = log_of(cloud, "controller")[since["controller"]:]
        assert max(words.count(f"cannot be {what}") for what in ("read", "written")) == 1, "said once"
        said(cloud, "test_a_database_that_hangs", since)


@drill
def test_a_controller_of_several() -> None:
    """One whom a host's switches do not reach any more; then one that is killed."""
    with Postgres() as server, server.database() as url, RunningCloud(hosts=2, database=url, controllers=2) as cloud:
        sdk, since = cloud.connect(), lengths(cloud)
        network = sdk.network.create_network(name="blue")
        assert cloud.settled()

        def owner() -> str:
            return str(next(s["controller"] for s in cloud.status()["switches"] if s["host"] == "h1"))

        first = owner()
        [address] = [one.openflow.rpartition(":")[0] for one in Cloud(cloud.state).controllers() if one.name == first]
        cut = cloud.namespace("h1"), "route", "add", "blackhole", f"{address}/32"
        subprocess.run(["ip", "-n", *cut], check=True)
        assert eventually(lambda: owner() != first and cloud.in_sync()), cloud.status()["switches"]
        assert eventually(lambda: port_at_once(sdk, network.id))
        subprocess.run(["ip", "-n", cut[0], "route", "del", *cut[3:]], check=True)
        assert eventually(lambda: owner() == first and cloud.in_sync()), "it has it back"
        os.kill(cloud.pid(first) or 0, signal.SIGKILL)
        assert cloud.settled()
        said(cloud, "test_a_controller_of_several", since)


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
            assert eventually(alive), offset
            cloud.plug(ports[number].id, "h1", f"vm{number}")  # by DHCP
            assert cloud.pings("vm0", ports[number].fixed_ips[0]["ip_address"])
            assert cloud.openstack("token", "issue"), "and new ones are given"
            agent = cloud.pid("agent", "h1")
            assert agent
            os.kill(agent, signal.SIGSTOP)
            assert eventually(lambda: not alive()), f"a dead host is not alive for an hour more ({offset})"
            os.kill(agent, signal.SIGCONT)
            assert eventually(alive)
        assert cloud.status()["processes"] == processes, "nobody died of it"
        assert cloud.in_sync()
    shutil.rmtree(tmp_path, ignore_errors=True)
