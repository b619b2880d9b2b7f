"""Controller, API and agents restarted in any order: no packet feels it, and no right flow is written again.

UNRYU_ORDERS: `all`, or how many of the orders (`make test`: one).
"""

import itertools
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clouds import BIN, PATIENCE, RunningCloud, eventually
from tests.drill import health
from tests.drill.drill import plugged
from tests.drill.pings import Pinging
from tests.drill.verdict import LEARNED
from tests.test_river import BRIDGES
from topology import lab, processes
from topology.cloud import Cloud

pytestmark = pytest.mark.system
PARTS = ("controller", "api", "agent")
ORDERS: list[tuple[str, ...]] = list(itertools.permutations(PARTS))
if (count := os.environ.get("UNRYU_ORDERS", "1")) != "all":
    ORDERS = [()] * int(count)  # drawn when they run: the processes that share the tests must all find the same ones


@contextmanager
def guests(running: RunningCloud) -> Iterator[list[lab.Guest]]:
    """One on each host, in a network of their own."""
    sdk, cloud = running.connect(), Cloud(running.state)
    network = sdk.network.create_network(name="hitless")
    sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.5.0.0/24")
    ports = [sdk.network.create_port(network_id=network.id).id for _ in ("h1", "h2")]
    made = [plugged(cloud, port, f"h{number}", f"hitless{number}") for number, port in enumerate(ports, 1)]
    yield made
    for guest in made:
        lab.unplug(cloud, guest)
        sdk.network.delete_port(guest.port_id)
    sdk.network.delete_network(network.id)


@contextmanager
def unfelt(one: lab.Guest, other: lab.Guest, folder: Path) -> Iterator[None]:
    """A ping every 10 ms, a stream and new connections go on through the block, and none of them feels it."""
    address = other.addresses[0].partition("/")[0]

    def program(guest: lab.Guest, *words: str) -> subprocess.Popen[str]:
        command = ["ip", "netns", "exec", guest.namespace, str(BIN / "python"), "-m", "tests.drill.sessions", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])

    def begun(program: subprocess.Popen[str]) -> bool:
        return program.stdout is not None and program.stdout.readline() == "begun\n"

    server = program(other, "serve", "0.0.0.0")
    assert begun(server)
    ping, user = Pinging(one, other, address, folder / "pings"), program(one, "use", address)
    assert begun(user)
    time.sleep(0.5)
    try:
        yield
        time.sleep(0.5)
    finally:
        ping.stop()
        user.terminate()
        told = user.communicate(timeout=60)[0]
        server.kill()
        server.communicate()
    said: dict[str, Any] = json.loads(told)
    print(said)
    assert [silence for silence in ping.silences() if silence.lost] == []
    assert said["lost"] == 0 and said["pieces"] > 20 and said["opened"] > 20, said
    assert said["knocked again"] == 0, f"the first packet of a connection is sent again after a second: {said}"


def restart(cloud: Cloud, part: str, how: signal.Signals) -> None:
    old = [one.pid for one in processes.find(cloud) if one.name == part and one.leader]
    for pid in old:
        os.kill(pid, how)
    assert eventually(lambda: len(living := {one.pid for one in processes.find(cloud) if one.name == part and one.leader})
                      == len(old) and not living & set(old))


def durations(cloud: RunningCloud) -> dict[tuple[str, str, str], float]:
    """(host, bridge, cookie and match) → seconds since the flow was written."""
    found = {}
    for host in ("h1", "h2"):
        for bridge in BRIDGES:
            for line in cloud.ofctl(host, "dump-flows", bridge).splitlines():
                table = re.search(r"table=(\d+)", line)
                if table and (bridge, int(table[1])) not in LEARNED:
                    age = float(re.findall(r"duration=([\d.]+)s", line)[0])
                    found[host, bridge, re.sub(r"(duration|n_packets|n_bytes|idle_age|hard_age)=[^ ,]+,? ?", "", line)] = age
    return found


@pytest.fixture(scope="module")
def pair(cloud: RunningCloud) -> Iterator[list[lab.Guest]]:
    with guests(cloud) as made:
        yield made


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL] if len(ORDERS) > 1 else [signal.SIGKILL])
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "-".join(order) or "any")
def test_restarts_in_any_order_are_not_felt(
        order: tuple[str, ...], how: signal.Signals, pair: list[lab.Guest], cloud: RunningCloud, tmp_path: Path) -> None:
    order = order or tuple(random.sample(PARTS, len(PARTS)))
    print(order)
    assert cloud.settled()
    asked = health.probes(Cloud(cloud.state))
    for probe in asked:
        probe.start()
    before, began = durations(cloud), time.monotonic()
    try:
        with unfelt(*pair, tmp_path):
            for part in order:
                restart(Cloud(cloud.state), part, how)
                time.sleep(random.uniform(0, 1))  # the next one goes wherever this one is in its recovery
            health.well(asked, time.time(), PATIENCE)
    finally:
        for probe in asked:
            probe.ended.set()
    passed, after = time.monotonic() - began, durations(cloud)
    assert set(after) == set(before)
    younger = [key for key in after if after[key] < before[key] + passed - 0.5]
    assert not younger, "rewritten though right"
