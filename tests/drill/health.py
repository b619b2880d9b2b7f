"""What is felt from outside while processes die: API, switches, agents, and vswitchd's rounds, asked all the time."""

import threading
import time
from collections.abc import Callable
from typing import Any

import click

from tests.drill.verdict import serves
from topology import api
from topology.cloud import Cloud

EVERY = 0.03
PATIENCE = 1.0  # seconds; who takes longer does not answer


class Probe(threading.Thread):
    """One question, asked over and over."""

    def __init__(self, name: str, ask: Callable[[], Any]) -> None:
        super().__init__(name=f"probe {name}", daemon=True)
        self.asked, self.ask = name, ask
        self.said: list[tuple[float, bool]] = []
        """When each answer came, and whether it was a good one."""
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(EVERY):
            try:
                good = bool(self.ask())
            except click.ClickException:
                good = False
            self.said.append((time.time(), good))

    def felt(self, begin: float, end: float) -> float:
        """Seconds from `begin` until the last bad answer before `end`; 0 when there was none."""
        return max((at - begin for at, good in self.said if begin <= at <= end and not good), default=0.0)


def probes(cloud: Cloud) -> list[Probe]:
    hosts = cloud.hosts()

    def connected() -> bool:
        switches = api.switches(cloud)
        return len(switches) == 3 * len(hosts) and all(one["connected"] and one["realised"] for one in switches)

    return [
        Probe("API", lambda: api.call("GET", f"{cloud.url}/readyz", timeout=PATIENCE)),
        Probe("switches", connected),
        Probe("rounds", lambda: all(serves(host.dir / "br-int.mgmt") for host in hosts)),
        Probe("agents", lambda: all(api.agent(host, "GET", "/health")["ready"] for host in hosts)),
    ]


def well(asked: list[Probe], since: float, patience: float) -> float:
    """Wait until each has heard three good answers in a row to questions put after `since`; gives when that was."""
    deadline = time.time() + patience
    while time.time() < deadline:
        if all(len(last := probe.said[-3:]) == 3 and last[0][0] > since + PATIENCE / 10 and all(good for _, good in last)
               for probe in asked):
            return time.time()
        time.sleep(EVERY)
    bad = [probe.asked for probe in asked if not probe.said[-1][1]]
    raise AssertionError(f"{' and '.join(bad) or 'somebody'} still not well after {patience:g} s: a human is needed")
