"""One more port as the cloud grows: from its commit until both hosts of its network have confirmed it.

`python -m bench growth`, as root. As in bench/large.py loop, pushers and connections are the controller's own, in this process;
the bridges are real ones of one ovs-vswitchd and, for the largest clouds, simulated. The network has as many ports as there
are, at most 2,000, on two hosts; all others are elsewhere.

What a switch takes is not ours: right after each port the same bundles are sent once more, as bytes made beforehand, with nothing
of ours around, and that time is taken off. Our CPU, of all threads, is another yardstick, which a busy machine moves less.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table as Columns

from bench.large import Controller, row, rows, vswitchd
from bench.scale import GOAL, another, grown
from controller.bootstrap import load_features
from controller.derive import Change, Changes
from controller.openflow import wire
from controller.openflow.connection import Connection
from controller.pipeline import BRIDGES
from unryu.db import Database, upgrade
from unryu.resource import nouns

REAL = 66, (0, 500, 2_000, 5_000)  # hosts, ports
SIMULATED = 1_000, (0, 500, 2_000, 50_000)
ROUNDS, WARM = 40, 5
Values = dict[str, Any]
Come = Callable[[int], None]


def one_more(controller: Controller, database: Database, ports: int, number: int) -> dict[str, float]:
    """Milliseconds of all, of the switches alone, and of our CPU."""
    loop, both = controller.loop, [controller.loop.pushers[host] for host in ("host1", "host2")]
    pushed: list[tuple[Connection, Change]] = []
    dispatch = loop._dispatch

    def noted(changes: Changes) -> None:
        pushed.extend((switch.connection, change) for host, bridges in changes.items() for bridge, change in bridges.items()
                      if bridge in BRIDGES and (switch := loop.pushers[host].switches[bridge]).connection)
        dispatch(changes)

    loop._dispatch = noted  # type: ignore[method-assign]
    cpu, began = time.process_time(), time.perf_counter()
    with database.transaction() as tx:
        for kind, values in another(ports, number):
            tx.insert(nouns[kind](**row(kind, values)))
    while loop.told < tx.revision or any(one.realised < one.sent for one in both):
        time.sleep(0.0002)
    whole, spent = time.perf_counter() - began, time.process_time() - cpu
    loop._dispatch = dispatch  # type: ignore[method-assign]
    alone = again(pushed)
    while loop.statuses._latest:  # written behind: not into the next round
        time.sleep(0.001)
    return {"whole": whole * 1000, "switches": alone * 1000, "CPU": spent * 1000}


def again(pushed: list[tuple[Connection, Change]]) -> float:
    """Seconds of the same bundles once more, each host's one after the other, as a pusher does it."""
    hosts: dict[int, list[tuple[Connection, Change]]] = {}
    for connection, change in pushed:
        hosts.setdefault(connection.dpid >> 8, []).append((connection, change))
    return max(sum(_bundle(*one) for one in each) for each in hosts.values())


def _bundle(connection: Connection, change: Change) -> float:
    count = len(change.add)
    with connection.watch(count + 3) as replies:
        bundle, barrier, commit = replies.xids[count:]
        added = wire.bundle_control(bundle, bundle, wire.OPEN) + wire.bundled(
            replies.xids.start, bundle, wire.ADD, change.add) + wire.barrier(barrier)
        began = time.perf_counter()
        for message, answer in ((added, barrier), (wire.bundle_control(commit, bundle, wire.COMMIT), commit)):
            connection.send(message)
            while replies.next(10).xid != answer:
                pass
        return time.perf_counter() - began


def measure(size: tuple[int, tuple[int, ...]], address: str, come: Come) -> Values:
    """At every number of ports, of so many more."""
    load_features()
    hosts, sizes = size
    listen, figures = (address, 0), {}
    for ports in sizes:
        with tempfile.TemporaryDirectory(prefix="unryu-bench-") as folder:
            upgrade(url := f"sqlite:///{folder}/unryu.db")
            database = Database(url)
            rows(database, grown(ports, hosts))
            controller = Controller(database, listen)
            listen = controller.switches.addresses[0]
            come(listen[1])
            controller.settled()
            more = [one_more(controller, database, ports, number) for number in range(WARM + ROUNDS)][WARM:]
            controller.close()
            database.close()
        found = {which: {name: of(one[name] for one in more) for name in more[0]}
                 for which, of in (("least", min), ("median", statistics.median))}
        figures[str(ports)] = {name: {which: round(each["whole"] - each["switches"] if name == "ours" else each[name], 2)
                                      for which, each in found.items()} for name in ("ours", "CPU", "switches")}
    return {"hosts": hosts, "ms": figures, "ratio": {
        f"{name}, {which}": round(max(each[name][which] for each in figures.values())
                                  / min(each[name][which] for each in figures.values()), 2)
        for name in ("ours", "CPU") for which in ("least", "median")}}


@contextmanager
def _simulated(hosts: int) -> Iterator[Come]:
    """They end with the controller that they are connected to, so each has its own."""
    children: list[subprocess.Popen[bytes]] = []

    def come(number: int) -> None:
        children.append(subprocess.Popen([sys.executable, "-m", "bench.switches", "127.0.0.1", str(number), str(3 * hosts)]))

    try:
        yield come
    finally:
        for child in children:
            child.terminate()
            child.wait()


def run() -> Values:
    with vswitchd(REAL[0]) as (come, address):
        real = measure(REAL, address, come)
    with _simulated(SIMULATED[0]) as come:
        return {"real": real, "simulated": measure(SIMULATED, "127.0.0.1", come)}


def show(figures: Values) -> None:
    for bridges, each in figures.items():
        columns = Columns(title=f"One more port, ms, {each['hosts']:,} hosts, {bridges} bridges")
        for heading in ("ports there", "ours, least", "median", "CPU, least", "median", "the switches alone, least", "median"):
            columns.add_column(heading, justify="right")
        for size, found in each["ms"].items():
            columns.add_row(f"{int(size):,}", *(
                f"{found[name][which]:.2f}" for name in ("ours", "CPU", "switches") for which in ("least", "median")))
        columns.add_row(f"most to least (goal {GOAL})", *(f"{ratio:.2f}" for ratio in each["ratio"].values()))
        Console().print(columns)


if __name__ == "__main__":
    show(run())
