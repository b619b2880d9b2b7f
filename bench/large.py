"""The whole loop of a large cloud, from its rows to its switches: 198 real bridges of one ovs-vswitchd; 3,000 simulated ones.

`python -m bench.large`, as root; `python -m bench.large HOSTS NETWORKS PORTS` has so many hosts, simulated (bench/switches.py).
The rows are those of bench/scale.py, in an SQLite; loop, pushers and connections are the controller's own, in this process,
with agents that never speak. Ports are rows and flows: nobody is plugged. What one more port takes: bench/growth.py.
"""

import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Columns

from bench.flows import _end, _run
from bench.scale import resident, world
from controller.bootstrap import load_features
from controller.derive import catalogue
from controller.loop import Loop
from controller.openflow.app import Switches
from controller.overview import switches as overview
from controller.pipeline import BRIDGES
from unryu import journal
from unryu.db import Database, upgrade
from unryu.resource import UNSET, nouns

REAL = 66, 250, 5_000  # hosts, networks, ports
SIMULATED = 1_000, 10_000, 50_000
IDLE = 5.0
Values = dict[str, Any]


def rows(database: Database, world: Iterable[tuple[str, Values]]) -> None:
    """All at once, past the journal: as it was when the controller came."""
    kinds: dict[str, list[Values]] = {}
    for kind, values in world:
        kinds.setdefault(kind, []).append(row(kind, values))
    with database.transaction() as tx:
        for kind in sorted(kinds, key=[table.name for table in nouns["port"].table.metadata.sorted_tables].index):
            tx.connection.execute(nouns[kind].table.insert(), kinds[kind])
        tx.connection.execute(journal.counter.update().values(number=1))


def row(kind: str, values: Values) -> Values:
    return {name: None if value is UNSET else value for name, value in nouns[kind](**values).row().items()}


class Controller:
    """As bootstrap wires it, but for TLS: one vswitchd has one certificate, and here stands for many hosts."""

    def __init__(self, database: Database, listen: tuple[str, int]) -> None:
        logging.disable(logging.ERROR)  # of switches that come and go by the thousand
        self.began = time.monotonic()
        self.loop = Loop(database, catalogue.values())
        # One process that is a thousand hosts' is as slow to show a sign of life as all of them together.
        self.switches = Switches([listen], self.loop.known, self.loop.up, self.loop.down, dead_after=60.0)
        self.switches.start()
        self.loop.load()
        self.switches.ask_again()
        self.thread = threading.Thread(target=self.loop.run, name="loop")
        self.thread.start()

    def settled(self) -> float:
        """Seconds since it began, when every switch has confirmed."""
        while not all(one["connected"] and one["realised"] == one["wanted"] for one in overview(self.loop)):
            time.sleep(0.05)
        return time.monotonic() - self.began

    def close(self) -> None:
        self.loop.stop()
        self.thread.join()
        self.switches.stop()


def measure(size: tuple[int, int, int], listen: tuple[str, int], come: Callable[[int], Any], lasting: bool) -> Values:
    """`lasting`: the switches keep their flows, and come again by themselves."""
    load_features()
    hosts, networks, ports = size
    with tempfile.TemporaryDirectory(prefix="unryu-bench-") as folder:
        url = f"sqlite:///{folder}/unryu.db"
        upgrade(url)
        database = Database(url)
        rows(database, world(hosts, networks, ports))
        before, threads = resident(), threading.active_count()
        first = Controller(database, listen)
        address, number = first.switches.addresses[0]
        come(number)
        filled = first.settled()
        while first.loop.statuses._latest:  # written behind: 500 in a commit
            time.sleep(0.1)
        flows = sum(len(held) for bridges in first.loop.engine.wanted.values() for held in bridges.values())
        held, count = resident() - before, threading.active_count() - threads
        spent, began = time.process_time(), time.monotonic()
        time.sleep(IDLE)
        idle = (time.process_time() - spent) / (time.monotonic() - began)
        took = first.loop.took
        first.close()
        synced = 0.0
        if lasting:
            again = Controller(database, (address, number))
            synced = again.settled()
            again.close()
        database.close()
    return {"hosts": hosts, "switches": 3 * hosts, "networks": networks, "ports": ports, "flows": flows,
            "rows_s": took["rows_s"], "derive_s": took["derive_s"], "filled_s": round(filled, 1), "again_s": round(synced, 1),
            "mb": round(held), "threads": count, "idle_cpu_percent": round(100 * idle, 1)}


@contextmanager
def vswitchd(hosts: int) -> Iterator[tuple[Callable[[int], None], str]]:
    """One ovs-vswitchd in a namespace of its own with the three bridges of every host, and the address that they reach us at."""
    space, ours, theirs = "unryu-large", "198.19.255.249", "198.19.255.250"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unryu-bench-")))
        database, env = f"unix:{folder}/db.sock", {"OVS_RUNDIR": str(folder), "OVS_DBDIR": str(folder)}
        inside = ("ip", "netns", "exec", space)
        _run("ip", "netns", "add", space)
        stack.callback(_run, "ip", "netns", "del", space)
        for words in (f"ip link add {space} type veth peer name eth0 netns {space}", f"ip addr add {ours}/30 dev {space}",
                      f"ip link set {space} up", f"ip -n {space} addr add {theirs}/30 dev eth0",
                      f"ip -n {space} link set eth0 up"):
            _run(*words.split())
        stack.callback(_end, folder)
        daemon = ("--detach", "--no-chdir", "--log-file=/dev/null")
        _run("ovsdb-tool", "create", f"{folder}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
        _run("ovsdb-server", f"{folder}/conf.db", f"--remote=punix:{folder}/db.sock", f"--unixctl={folder}/ovsdb.ctl",
             f"--pidfile={folder}/ovsdb.pid", *daemon, env=env)
        _run("ovs-vsctl", f"--db={database}", "--no-wait", "init")
        _run(*inside, "ovs-vswitchd", database, f"--unixctl={folder}/vswitchd.ctl", f"--pidfile={folder}/vswitchd.pid",
             *daemon, env=env)
        names = [(f"s{n}x{k}", f"{n:014x}{k:02x}") for n in range(1, hosts + 1) for k in range(1, len(BRIDGES) + 1)]
        made = [word for name, dpid in names for word in (
            "--", "add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", "protocols=OpenFlow13", "fail_mode=secure",
            f"other_config:datapath-id={dpid}", "other_config:disable-in-band=true")]
        _run("ovs-vsctl", f"--db={database}", "--timeout=300", *made[1:])

        def come(number: int) -> None:
            target = [word for name, _ in names for word in ("--", "set-controller", name, f"tcp:{ours}:{number}")]
            _run("ovs-vsctl", f"--db={database}", "--timeout=300", *target[1:])

        yield come, ours


def real(size: tuple[int, int, int] = REAL) -> Values:
    with vswitchd(size[0]) as (come, address):
        return measure(size, (address, 0), come, lasting=True)


def simulated(size: tuple[int, int, int] = SIMULATED) -> Values:
    children = []

    def come(number: int) -> None:
        children.append(subprocess.Popen([sys.executable, "-m", "bench.switches", "127.0.0.1", str(number), str(3 * size[0])]))

    try:
        return measure(size, ("127.0.0.1", 0), come, lasting=False)
    finally:
        for child in children:
            child.terminate()
            child.wait()


def run(*size: int) -> Values:
    if size:
        hosts, networks, ports = size
        return {"simulated": simulated((hosts, networks, ports))}
    return {"real": real(), "simulated": simulated()}


def show(figures: Values) -> None:
    columns = Columns(title="The whole loop, one controller, 2 noisy cores for it and for the switches")
    columns.add_column("")
    for name in figures:
        columns.add_column(name, justify="right")
    for figure in next(iter(figures.values())):
        columns.add_row(figure.replace("_", " "), *(f"{each[figure]:,}" for each in figures.values()))
    Console().print(columns)


if __name__ == "__main__":
    show(run(*map(int, sys.argv[1:])))
