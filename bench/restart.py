"""A cloud of two hosts under a heavy hand: its controller killed, fifty guests plugged at once, the API while flows are pushed.

`python -m bench.restart`, as root. In sync: when all bridges have been read back and compared, by the log of the controller,
from the birth of its process; the supervisor's own time to notice is not in it. The flows are those of ports that are bound to
the hosts and of the rules of their groups.
"""

import http.client
import json
import os
import select
import signal
import socket
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table as Columns

from bench.cloud import ECHO, Lab, command, guest, lab, row
from controller.pipeline import BRIDGES
from ovsagent.links import inside
from ovsagent.ovsdb import Client
from topology import api
from topology.cloud import Cloud

FLOWS, PUSHED, GUESTS = 26_000, 50_000, 50
ROUNDS = 3
PORTS, RULES, AT_ONCE = 200, 1_250, 250
LOOK = 0.1  # seconds from one look at the controller to the next
GOALS = {"in sync": 1.0, "all answer": 200, "p99": 20}  # s, ms, ms
TICK = os.sysconf("SC_CLK_TCK")
Values = dict[str, Any]


class LargeCloud:
    """Ports bound to both hosts, and groups whose rules are flows on a host as soon as one of its ports is in them."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.cloud = lab, Cloud(Path(lab.state))
        self.api = api.Network(self.cloud)
        self.line = http.client.HTTPConnection(urlsplit(self.cloud.url).netloc)
        network = self.ask("POST", "networks", {"network": {"name": "large"}})["network"]
        self.network = network["id"]
        self.ask("PUT", f"quotas/{network['project_id']}", {
            "quota": dict.fromkeys(("port", "security_group_rule", "security_group"), -1)})
        self.ask("POST", "subnets", {"subnet": {"network_id": self.network, "ip_version": 4, "cidr": "10.0.0.0/16",
                                                "gateway_ip": None}})
        self.group = self._group(RULES)
        self.marks = [self._group(0) for _ in range(-(-PUSHED // RULES // 2))]
        self.ports = self.plenty([{} for _ in range(PORTS)])

    def _group(self, rules: int) -> str:
        id: str = self.ask("POST", "security-groups", {"security_group": {"name": "many"}})["security_group"]["id"]
        for first in range(0, rules, AT_ONCE):
            self.ask("POST", "security-group-rules", {"security_group_rules": [
                {"security_group_id": id, "direction": "ingress", "protocol": "tcp", "port_range_min": n, "port_range_max": n}
                for n in range(2 * first + 1, 2 * min(first + AT_ONCE, rules) + 1, 2)]})  # two that touch would be one
        return id

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        self.line.request(method, f"/network/v2.0/{path}", json.dumps(body) if body is not None else None,
                          {"X-Auth-Token": self.api.token, "Content-Type": "application/json"})
        answer = self.line.getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {said[:500]!r}")
        return json.loads(said) if said else None

    def plenty(self, each: list[Values]) -> list[Values]:
        """Ports, every other on each host."""
        bodies = [{"network_id": self.network, "binding:host_id": f"h{1 + n % 2}", **one} for n, one in enumerate(each)]
        return [port for at in range(0, len(bodies), 100)
                for port in self.ask("POST", "ports", {"ports": bodies[at:at + 100]})["ports"]]

    def groups(self, sets: list[list[str]]) -> None:
        """For each set of groups there are a port of each host in it, and no others."""
        for number, groups in enumerate(sets):
            for port in self.ports[2 * number:2 * number + 2]:
                self.ask("PUT", f"ports/{port['id']}", {"port": {"security_groups": groups}})

    def settled(self) -> bool:
        try:
            switches = api.controller(self.cloud.controllers()[0], "/switches")
        except api.Refused:
            return False
        return len(switches) == 6 and all(s["connected"] and s["wanted"] == s["realised"] for s in switches)

    def settle(self) -> None:
        """Twice the same after a while: what was just written the controller may not have read yet."""
        before = -1.0
        while not (self.settled() and self.metrics()["unryu_revision_wanted"] == before):
            time.sleep(0.3)
            before = self.metrics()["unryu_revision_wanted"] if self.settled() else -1.0

    def metrics(self) -> dict[str, float]:
        text = api.controller(self.cloud.controllers()[0], "/metrics")
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines()
                                                           if line.startswith("unryu_"))}

    def pushed(self) -> float:
        """Flows, since the controller came."""
        return sum(value for name, value in self.metrics().items() if name.startswith("unryu_flows_pushed_total"))

    def flows(self) -> int:
        return sum(int(command("ovs-ofctl", "-O", "OpenFlow13", "dump-aggregate", f"unix:{host.dir}/{bridge}.mgmt")
                       .rpartition("flow_count=")[2]) for host in self.cloud.hosts() for bridge in BRIDGES)


# The controller killed.


def restart(large: LargeCloud) -> Values:
    """Seconds of a new controller, from the birth of its process."""
    log = Path(large.lab.state, "log", f"{large.cloud.controllers()[0].name}.log")
    seen = log.stat().st_size
    old = _controller(large)
    os.kill(old, signal.SIGKILL)
    while not ((pid := _controller(large)) and pid != old and large.settled()):
        time.sleep(0.2)
    born = _born(pid)
    with log.open() as lines:
        lines.seek(seen)
        said = [json.loads(line) for line in lines if line.startswith("{")]
    ready = next(line for line in said if line["event"] == "controller ready")
    back = [line for line in said if line["event"] == "read back"]
    return {
        "start": _at(ready) - born - ready["rows_s"] - ready["derive_s"], "rows": ready["rows_s"], "derive": ready["derive_s"],
        "switches come": min(_at(line) - line["read_s"] - line["compare_s"] for line in back) - _at(ready),
        "read": max(line["read_s"] for line in back), "compare": sum(line["compare_s"] for line in back),
        "flows": sum(line["held"] for line in back), "differ": sum(line["differ"] for line in back),
        "in sync": max(map(_at, back)) - born}


def _controller(large: LargeCloud) -> int:
    name = large.cloud.controllers()[0].name
    return next((int(one["pid"]) for one in large.lab.status()["processes"] if one["name"] == name), 0)


def _born(pid: int) -> float:
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / TICK


def _at(line: Values) -> float:
    return datetime.fromisoformat(line["at"]).timestamp()


# Fifty plugged at once.


class Crowd:
    """Guests on both hosts, ready but for their rows; and one on the first host that all of them ask."""

    def __init__(self, large: LargeCloud) -> None:
        peer, = large.plenty([{"name": "peer"}])
        self.peer, self.mac = peer["fixed_ips"][0]["ip_address"], peer["mac_address"]
        large.lab.unryu("lab", "plug", peer["id"], "--host", "h1", "--as", "peer")
        self.large, self.hosts = large, large.cloud.hosts()
        self.lines = [Client(host.dir / "db.sock", {"Interface": ("name",)}, lambda: None) for host in self.hosts]
        for line in self.lines:
            line.start()
        self.rounds = count()
        self.once()  # warm

    def once(self) -> float:
        """Milliseconds until all answer."""
        number = next(self.rounds)
        ports = self.large.plenty([{} for _ in range(GUESTS)])
        names = [f"g{number}x{n}" for n in range(GUESTS)]
        sockets: dict[int, socket.socket] = {}
        spaces = []
        for n, (name, port) in enumerate(zip(names, ports, strict=True)):
            spaces.append(guest(self.hosts[n % 2].namespace, name, port["mac_address"],
                                f"{port['fixed_ips'][0]['ip_address']}/16", (self.peer, self.mac)))
            with inside(spaces[-1]):
                opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            opened.setblocking(False)
            sockets[opened.fileno()] = opened
        self.large.settle()
        rows = [[operation for n in range(side, GUESTS, 2)
                 for operation in row(names[n], "br-int", {"iface-id": ports[n]["id"], "attached-mac": ports[n]["mac_address"]})]
                for side in (0, 1)]
        began = time.perf_counter()
        for line, operations in zip(self.lines, rows, strict=True):
            line.transact(*operations)
        _all_answer(dict(sockets), self.peer)
        took = (time.perf_counter() - began) * 1000
        for n, name in enumerate(names):
            command("ovs-vsctl", f"--db=unix:{self.hosts[n % 2].dir}/db.sock", "--no-wait", "del-port", "br-int", f"t-{name}")
            self.large.ask("DELETE", f"ports/{ports[n]['id']}")
        for opened in sockets.values():
            opened.close()
        for space in spaces:
            command("ip", "netns", "del", space)
        self.large.settle()
        # An address may come again in a later round, with another MAC: what the one asked remembers is not what is measured.
        self.large.lab.unryu("lab", "exec", "peer", "--", "ip", "neigh", "flush", "dev", "eth0")
        return took

    def close(self) -> None:
        for line in self.lines:
            line.stop()
        for host in self.hosts:
            for path in Path("/run/netns").glob(f"{host.namespace}-g*"):
                command("ip", "netns", "del", path.name)


def _all_answer(waiting: dict[int, socket.socket], peer: str) -> None:
    """One ping each 5 ms for everybody who has not been answered: in one thread, since fifty would be what is measured."""
    deadline, asked = time.perf_counter() + 20, 0.0
    while waiting:
        now = time.perf_counter()
        if now > deadline:
            raise RuntimeError(f"{len(waiting)} guests have no answer from {peer} after 20 s")
        if now - asked > 0.005:
            asked = now
            for opened in waiting.values():
                opened.sendto(ECHO, (peer, 0))
        for number in select.select(list(waiting), [], [], 0.001)[0]:
            if waiting[number].recv(100)[20] == 0:  # echo reply, behind the IP header
                del waiting[number]


# The API while flows are pushed.


def calls(large: LargeCloud, enough: Callable[[], bool]) -> dict[str, list[float]]:
    """Milliseconds of GET and POST of a port, one after the other, until it is enough."""
    took: dict[str, list[float]] = {"GET": [], "POST": []}
    made: list[str] = []
    asked = time.perf_counter()
    while time.perf_counter() - asked < LOOK or not enough():
        if time.perf_counter() - asked >= LOOK:
            asked = time.perf_counter()
        for verb, path, body in (("GET", f"ports/{large.ports[0]['id']}", None),
                                 ("POST", "ports", {"port": {"network_id": large.network}})):
            began = time.perf_counter()
            said = large.ask(verb, path, body)
            took[verb].append((time.perf_counter() - began) * 1000)
            made += [said["port"]["id"]] if body else []
    for id in made:
        large.ask("DELETE", f"ports/{id}")
    return took


def while_pushing(large: LargeCloud) -> tuple[dict[str, list[float]], float, float]:
    """The calls while so many flows go to the switches, how many those were, and in how many seconds."""
    before, began = large.pushed(), time.perf_counter()
    large.groups([[large.group, mark] for mark in large.marks])
    at = [before]

    def still() -> bool:
        at.append(large.pushed())
        return len(at) > 10 and at[-1] == at[-6]

    took = calls(large, still)
    seconds, number = time.perf_counter() - began, large.pushed() - before
    large.groups([[large.group]] * len(large.marks))
    large.settle()
    return took, number, seconds


def _p99(values: list[float]) -> float:
    return sorted(values)[-1 - len(values) // 100]


def run(rounds: int = ROUNDS) -> Values:
    with lab() as (cloud, _):
        large = LargeCloud(cloud)
        crowd = Crowd(large)
        try:
            plugged = [crowd.once() for _ in range(rounds)]
        finally:
            crowd.close()
        large.groups([[large.group, mark] for mark in large.marks[:FLOWS // RULES // 2]])
        large.settle()
        flows = large.flows()
        restarts = [restart(large) for _ in range(rounds)]
        large.groups([[large.group]] * len(large.marks))
        large.settle()
        began = time.perf_counter()
        quiet = calls(large, lambda: time.perf_counter() - began > 3)
        busy: dict[str, list[float]] = {"GET": [], "POST": []}
        pushed, seconds = [], []
        for _ in range(rounds):
            took, number, whole = while_pushing(large)
            pushed.append(number)
            seconds.append(whole)
            for verb, values in took.items():
                busy[verb] += values
    return {
        "flows": flows, "restart, s": {name: round(statistics.median(one[name] for one in restarts), 3) for name in restarts[0]},
        "guests": GUESTS, "plugged, ms": {"median": round(statistics.median(plugged)), "worst": round(max(plugged))},
        "pushed": round(statistics.median(pushed)), "pushed in, s": round(statistics.median(seconds), 1),
        "rest, ms": {which: {f"{verb} {name}": round(shape(values), 1) for verb, values in calls.items()
                             for name, shape in (("median", statistics.median), ("p99", _p99), ("calls", len))}
                     for which, calls in (("quiet", quiet), ("while flows are pushed", busy))}}


def show(result: Values) -> None:
    restart = result["restart, s"]
    print(f"A controller killed, {restart['flows']:,.0f} flows on the switches, median of {ROUNDS}: in sync "
          f"{restart['in sync']:.2f} s after its birth (goal {GOALS['in sync']}), {restart['differ']:.0f} flows differed; start "
          f"{restart['start']:.2f}, rows {restart['rows']:.2f}, derive {restart['derive']:.2f}, switches come "
          f"{restart['switches come']:.2f}, read {restart['read']:.2f}, compare {restart['compare']:.3f}")
    plugged = result["plugged, ms"]
    print(f"{result['guests']} guests plugged at once on two hosts: all have an answer after {plugged['median']} ms, "
          f"at worst {plugged['worst']} (goal {GOALS['all answer']})")
    table = Columns(title=f"A call of the API, ms; {result['pushed']:,} flows pushed in {result['pushed in, s']} s "
                          f"(goal: p99 {GOALS['p99']})")
    figures = result["rest, ms"]["quiet"]
    for column in ("", *figures):
        table.add_column(column, justify="right")
    for which, each in result["rest, ms"].items():
        table.add_row(which, *(f"{value:.1f}" for value in each.values()))
    Console().print(table)


if __name__ == "__main__":
    show(run())
