"""A cloud on PostgreSQL, the same code by one setting; and several controllers there: one killed, one frozen, the database
frozen. No packet is lost, no right flow rewritten, and who slept writes nothing."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.clouds import BIN, RunningCloud, eventually
from tests.drill.test_hitless import durations, unfelt
from tests.postgres import Postgres
from topology import api
from topology.cloud import Cloud
from topology.lab import guest

pytestmark = pytest.mark.system
CONTROLLERS = int(os.environ.get("UNRYU_CONTROLLERS", "2"))  # of two, each has one of the hosts


@dataclass
class Lab:
    cloud: RunningCloud
    postgres: Postgres
    url: str
    network: Any
    """Of the SDK."""
    blue: str
    address: str
    """Of the guest on h2."""

    def owner(self, host: str, without: str = "") -> str:
        """The controller that says that the host is its own; `without` is not asked."""
        for one in Cloud(self.cloud.state).controllers():
            if one.name == without:
                continue
            with contextlib.suppress(api.Refused):
                if any(switch["mine"] and switch["host"] == host for switch in api.controller(one, "/switches")):
                    return one.name
        return ""

    def figures(self, name: str) -> dict[str, float]:
        [one] = [one for one in Cloud(self.cloud.state).controllers() if one.name == name]
        lines = [line.rpartition(" ") for line in str(api.controller(one, "/metrics")).splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def pushed(self, name: str) -> float:
        return sum(value for figure, value in self.figures(name).items() if figure.startswith("unryu_flows_pushed_total"))

    def settled(self) -> bool:
        """Each host somebody's, all of it in, and every controller sharing."""
        try:
            figures = [self.figures(one.name) for one in Cloud(self.cloud.state).controllers()]
        except api.Refused:
            return False
        return self.cloud.in_sync() and len({one["unryu_lease_generation"] for one in figures}) == CONTROLLERS

    def log(self, name: str, since: float) -> list[dict[str, Any]]:
        lines = (self.cloud.state / "log" / f"{name}.log").read_text().splitlines()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
        return [said for line in lines if line.startswith("{") and (said := json.loads(line))["at"] >= stamp]

    def plug(self, name: str, host: str) -> str:
        """A new port, ACTIVE when it is given back; its address."""
        port = self.network.create_port(network_id=self.blue, name=name)
        self.cloud.plug(port.id, host, name)
        return str(port.fixed_ips[0]["ip_address"])

    def unplug(self, name: str) -> None:
        self.cloud.unplug(name)
        self.network.delete_port(self.network.find_port(name))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Postgres() as server, server.database() as url, \
            RunningCloud(hosts=2, database=url, controllers=CONTROLLERS) as cloud:
        network = cloud.connect().network
        blue = network.create_network(name="blue").id
        network.create_subnet(network_id=blue, ip_version=4, cidr="10.0.0.0/24")
        made = Lab(cloud, server, url, network, blue, "")
        made.plug("vm1", "h1")
        made.address = made.plug("vm2", "h2")
        assert eventually(made.settled)
        yield made


@pytest.fixture
def unsupervised(lab: Lab) -> Iterator[None]:
    """Nobody starts again what is killed, until the end."""
    pids = [one["pid"] for one in lab.cloud.status()["processes"] if one["name"].startswith(("supervisor", "successor"))]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    assert eventually(lab.settled), lab.cloud.status()["switches"]


class Leases(threading.Thread):
    """A guest that asks for its lease again and again, no faster than the meter of its door allows."""

    def __init__(self, cloud: RunningCloud, guest: str) -> None:
        super().__init__()
        self.cloud, self.guest = cloud, guest
        self.stopping = threading.Event()
        self.answered = self.unanswered = 0

    def run(self) -> None:
        while not self.stopping.wait(0.3):
            done = self.cloud.run("ip", "netns", "exec", f"{Cloud(self.cloud.state).name}-{self.guest}",
                                  "udhcpc", "-i", "eth0", "-fqn", "-t2", "-T5", "-s", "/bin/true", check=False)
            self.answered += done.returncode == 0
            self.unanswered += done.returncode != 0

    def __enter__(self) -> "Leases":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.join()


@contextlib.contextmanager
def undisturbed(lab: Lab, folder: Path) -> Iterator[None]:
    """Whatever happens meanwhile: pings, a TCP connection, new ones and DHCP go on, and no flow is younger at the end than it
    should be."""
    one, other = (guest(Cloud(lab.cloud.state), name) for name in ("vm1", "vm2"))
    before, began = durations(lab.cloud), time.monotonic()
    with unfelt(one, other, folder), Leases(lab.cloud, "vm1") as leases:
        yield
    after, passed = durations(lab.cloud), time.monotonic() - began
    assert leases.answered and not leases.unanswered
    younger = [key for key in before if after.get(key, 0.0) < before[key] + passed - 1.5]
    assert not younger, "rewritten, or gone, though right"


def test_the_main_job_on_postgresql(lab: Lab) -> None:
    assert lab.cloud.pings("vm1", lab.address)
    assert not (lab.cloud.state / "unryu.db").exists()
    for words, said in ((("--database", lab.url), "has its database already"), (("--controllers", "5"), "was made with")):
        again = lab.cloud.run(str(BIN / "unryu"), "--state", str(lab.cloud.state), "up", *words, check=False)
        assert again.returncode == 1 and said in again.stderr


def test_several_controllers_need_a_database_that_they_can_share(tmp_path: Path) -> None:
    done = subprocess.run([str(BIN / "unryu"), "--state", str(tmp_path / "c"), "up", "--controllers", "2"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "name an empty one with --database" in done.stderr
    assert not (tmp_path / "c").exists()


def test_each_host_has_one_controller_and_status_asks_it(lab: Lab) -> None:
    said = lab.cloud.status()["switches"]
    assert {(s["host"], s["controller"]) for s in said} == {(host, lab.owner(host)) for host in ("h1", "h2")}
    for host in ("h1", "h2"):
        targets = re.findall(r"ssl:([\d.]+):", lab.cloud.vsctl(host, "get-controller", "br-int"))
        assert len(set(targets)) == CONTROLLERS
        roles = re.findall(r"^role\s+: (\w+)", lab.cloud.vsctl(host, "list", "controller"), re.MULTILINE)
        assert sorted(roles) == ["master"] * 3 + ["slave"] * 3 * (CONTROLLERS - 1)


def test_the_owner_is_killed(lab: Lab, unsupervised: None, tmp_path: Path) -> None:
    owner = lab.owner("h1")
    with undisturbed(lab, tmp_path):
        began = time.time()
        os.kill(lab.cloud.pid(owner) or 0, signal.SIGKILL)
        assert eventually(lambda: lab.owner("h1") not in ("", owner) and lab.cloud.in_sync()), lab.cloud.status()["switches"]
        heir = lab.owner("h1")
        reached = [said for said in lab.log(heir, began) if said["event"] == "read back" and said["host"] == "h1"]
        assert {said["bridge"] for said in reached[-3:]} == {"br-ex", "br-tun", "br-int"}
        assert not any(said["differ"] for said in reached)
        print(f"moved after {_at(reached[-1]) - began:.2f} s")
    assert lab.cloud.pings("vm1", lab.plug("new", "h1"))
    lab.unplug("new")


def _at(said: dict[str, Any]) -> float:
    return datetime.fromisoformat(said["at"]).timestamp()


def test_a_sleeper_that_wakes_writes_nothing(lab: Lab, tmp_path: Path) -> None:
    """Its hosts are another's; and what has changed since, it reads and keeps to itself."""
    owner = lab.owner("h1")
    pid = lab.cloud.pid(owner) or 0
    pushed = lab.pushed(owner)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert eventually(lambda: lab.owner("h1", without=owner) and lab.cloud.in_sync())
        address = lab.plug("late", "h1")
        assert lab.cloud.pings("vm1", address)
        with undisturbed(lab, tmp_path):
            os.kill(pid, signal.SIGCONT)
            assert eventually(lab.settled), lab.cloud.status()["switches"]
            assert eventually(lambda: lab.owner("h1") == owner), "it has its share again"
            time.sleep(0.5)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert lab.pushed(owner) == pushed
    lab.unplug("late")
    assert lab.cloud.settled() and lab.pushed(owner) > pushed, "and goes on as before"


def test_the_database_stands_still(lab: Lab, tmp_path: Path) -> None:
    """All leases end; nobody writes, and what is there stays. When it goes on, so does everybody, where he was."""
    names = [one.name for one in Cloud(lab.cloud.state).controllers()]
    owners = {host: lab.owner(host) for host in ("h1", "h2")}
    with undisturbed(lab, tmp_path):
        with lab.postgres.frozen():
            assert eventually(lambda: not any(lab.figures(name)["unryu_lease_good"] for name in names))
            time.sleep(float(os.environ.get("UNRYU_OUTAGE", "1.5")))
        assert eventually(lambda: all(lab.figures(name)["unryu_lease_good"] for name in names))
        assert eventually(lambda: {host: lab.owner(host) for host in owners} == owners and lab.cloud.in_sync())
    assert lab.cloud.pings("vm1", lab.plug("after", "h1"))
    lab.unplug("after")
