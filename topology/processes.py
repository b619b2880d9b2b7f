"""The processes of a cloud: which it should run, and which of them do.

A process is recognised by its environment, which survives its parents and every file that somebody may lose:
UNRYU_CLOUD and UNRYU_PROCESS, as the kernel shows them in /proc.
"""

import json
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from topology import internet
from topology.cloud import Cloud, Host, python

SUPERVISOR = "supervisor"
# Who is the supervisor next, and who if that one is killed before it has started others. It keeps them alive as it does all.
SUCCESSORS = ("successor-1", "successor-2")


@dataclass(frozen=True)
class Process:
    """One that the supervisor keeps alive."""

    name: str  # "api", "h1/ovs-vswitchd"
    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)
    needs: Path  # what must exist before it can start
    monitored: bool = False  # its first process only watches the second, which goes on working alone


@dataclass(frozen=True)
class Found:
    """One that lives."""

    pid: int
    process: str
    leader: bool  # began its session: the one that was started, not its child

    @property
    def name(self) -> str:
        return self.process.rpartition("/")[2]

    @property
    def host(self) -> str | None:
        return self.process.rpartition("/")[0] or None


def wanted(cloud: Cloud) -> list[Process]:
    ready = cloud.state / "run" / "prepared"
    services = [Process("api", python("serve", "api"), cloud.environment("api"), ready)]
    services += [Process(one.name, python("serve", "controller"), {
        **cloud.environment(one.name), "UNRYU_CONTROLLER_NAME": one.name, "UNRYU_CONTROLLER_OPENFLOW": one.openflow,
        "UNRYU_CONTROLLER_LISTEN": one.listen}, ready) for one in cloud.controllers()]
    line = [Process(name, succession(cloud), cloud.environment(name), cloud.state / "run") for name in SUCCESSORS]
    outside = Process(f"{internet.NAME}/website", internet.website(cloud), cloud.environment(f"{internet.NAME}/website"),
                      Path("/run/netns", internet.namespace(cloud)))
    return [*services, *line, outside, *(process for host in cloud.hosts() for process in _of_host(host))]


def succession(cloud: Cloud) -> tuple[str, ...]:
    """Waits in line for the supervisor's lock, which the kernel gives up with whoever holds it, and becomes the supervisor.
    (A SIGHUP that says "look again" must not end it while its Python starts: it will look at everything then.)"""
    return ("flock", "--no-fork", str(cloud.state / "run" / "supervisor.lock"), "env", "--ignore-signal=HUP",
            f"UNRYU_PROCESS={SUPERVISOR}", *python("serve", SUPERVISOR))


def _of_host(host: Host) -> list[Process]:
    cloud, folder = host.cloud, host.dir

    def process(name: str, needs: Path, *command: str, monitored: bool = False, **settings: str) -> Process:
        label = f"{host.name}/{name}"
        environment = {
            **cloud.environment(label), **settings,
            "OVS_RUNDIR": str(folder), "OVS_DBDIR": str(folder), "OVS_LOGDIR": str(cloud.state / "log"),
        }
        inside = ("ip", "netns", "exec", host.namespace, *command)
        return Process(label, inside, environment, needs, monitored)

    return [
        process(
            "ovsdb-server", folder / "conf.db", "ovsdb-server", str(folder / "conf.db"), f"--remote=punix:{host.ovsdb}",
            f"--unixctl={folder}/ovsdb.ctl", f"--pidfile={folder}/ovsdb.pid", "--no-chdir",
        ),
        # `--monitor` answers a crash within its own second, supervisor or not; a kill -9 is the supervisor's.
        process(
            "ovs-vswitchd", host.ovsdb, "ovs-vswitchd", f"unix:{host.ovsdb}", f"--unixctl={folder}/vswitchd.ctl",
            f"--pidfile={folder}/vswitchd.pid", "--no-chdir", "--monitor", monitored=True,
        ),
        process(
            "agent", host.ovsdb, *python("serve", "agent"),
            UNRYU_AGENT_CLOUD=cloud.name,
            UNRYU_AGENT_HOST=host.name,
            UNRYU_AGENT_CONTROLLER_URL=" ".join(one.url for one in cloud.controllers()),
            UNRYU_AGENT_TLS=str(host.tls),
            UNRYU_AGENT_OPENFLOW=json.dumps([f"ssl:{one.openflow}" for one in cloud.controllers()]),
            UNRYU_AGENT_TUNNEL_IP=host.tunnel_ip,
            UNRYU_AGENT_OVSDB=str(host.ovsdb),
            UNRYU_AGENT_LISTEN=host.door,
            UNRYU_AGENT_BRIDGE_MAPPINGS=json.dumps(cloud.mappings),
        ),
    ]


def find(cloud: Cloud, process: str | None = None) -> list[Found]:
    """The living processes of this cloud, in the order in which they started to be."""
    mark = b"UNRYU_CLOUD=%s" % cloud.name.encode()
    found = []
    for pid in _pids():
        try:
            environment = _environment(pid).split(b"\0")
            if mark not in environment:
                continue
            label = next(word[14:].decode() for word in environment if word.startswith(b"UNRYU_PROCESS="))
            found.append(Found(pid, label, leader=os.getsid(pid) == pid))
        except (OSError, StopIteration):
            continue  # ended while we looked, or a zombie: those have no environment
    return [one for one in found if process in (None, one.process)]


def _environment(pid: int) -> bytes:
    """As it was started. Where the kernel just lays out a new program it shows none, for a moment: then once more."""
    for _ in range(5):
        if shown := Path(f"/proc/{pid}/environ").read_bytes():
            return shown
        Path(f"/proc/{pid}/exe").readlink()  # the kernel's own and zombies have no program: that ends the question
        time.sleep(0.001)
    return b""


def inside(namespaces: Iterable[str]) -> list[int]:
    """Who lives in these network namespaces, ours by name or not: a guest's shell, say."""
    inodes = set()
    for name in namespaces:
        with suppress(OSError):
            inodes.add(Path(f"/run/netns/{name}").stat().st_ino)
    living = []
    for pid in _pids():
        with suppress(OSError):
            if Path(f"/proc/{pid}/ns/net").stat().st_ino in inodes:
                living.append(pid)
    return living


def end(pids: Iterable[int], patience: float = 1.0) -> None:
    """Ask, wait, then insist."""
    left = set(pids) - {os.getpid()}
    for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 2.0)):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + wait
        while (left := {pid for pid in left if _lives(pid)}) and time.monotonic() < deadline:
            time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def _pids() -> list[int]:
    return sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def title(found: Found) -> str:
    """What to call it in a list: a master and a monitor have the name of what they look after."""
    if found.name == "ovs-vswitchd":
        return "ovs-vswitchd-monitor" if found.leader else found.name
    return found.name if found.leader else f"{found.name}-worker"
