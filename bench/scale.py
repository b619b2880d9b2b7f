"""A large cloud in one process: what it costs to know it, what one more costs in it, what its switches cost when idle.

`python -m bench.scale [HOSTS NETWORKS PORTS]`; by default a tenth of what is designed for, in half a minute. The clock is
that of CPU, so that a busy machine changes little. The picture and the engine are the real ones, on records that are no
rows; the switches are sockets of another process (bench/switches.py). Without vswitchd there is nothing to take off.
"""

import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Columns

from controller.bootstrap import load_features
from controller.derive import Engine, catalogue
from controller.openflow.app import Switches
from controller.openflow.connection import Connection
from controller.picture import Picture
from controller.pipeline import BRIDGES
from unryu.resource import nouns

HOSTS, NETWORKS, PORTS = 100, 1_000, 5_000
SIZES = 0, 500, 2_000
LARGEST = 2_000  # ports of one network; more of them are of other networks, on other hosts
ROUNDS = 60
GOAL = 1.3  # one more in the largest, in times of one more in the smallest
Values = dict[str, Any]


def uuid(kind: int, number: int) -> str:
    return f"{kind:04x}{number:04x}-0000-4000-8000-{number:012x}"


def agents(hosts: int) -> Iterator[tuple[str, Values]]:
    for n in range(1, hosts + 1):
        yield "agent", {
            "id": uuid(1, n), "host": f"host{n}", "tunnel_ip": f"198.18.{n >> 8}.{n & 255}",
            "datapaths": {bridge: f"{n:014x}{k:02x}" for k, bridge in enumerate(BRIDGES, 1)},
            "ofports": {"br-int": {"patch-tun": 1, "patch-ex": 2, "door": 3, "routers": 4, "metadata": 5},
                        "br-tun": {"patch-int": 1, "vxlan": 2}, "br-ex": {"patch-int": 1}}}


def network(number: int) -> Iterator[tuple[str, Values]]:
    """Ten networks a tenant, who has one group: the default one."""
    tenant = number // 10
    if number % 10 == 0:
        yield "security_group", {"id": uuid(2, tenant), "project_id": f"tenant{tenant}"}
        for k, (direction, version) in enumerate((d, v) for d in ("egress", "ingress") for v in (4, 6)):
            yield "security_group_rule", {
                "id": uuid(3, 4 * tenant + k), "security_group_id": uuid(2, tenant), "key": f"{direction}{version}",
                "direction": direction, "ethertype": f"IPv{version}",
                "remote_group_id": uuid(2, tenant) if direction == "ingress" else None}
    yield "network", {"id": uuid(4, number), "project_id": f"tenant{tenant}", "number": number + 1,
                      "segmentation_id": 5000 + number}
    yield "subnet", {"id": uuid(5, number), "network_id": uuid(4, number), "ip_version": 4, "cidr": "10.0.0.0/12",
                     "gateway_ip": "10.0.0.1"}


def port(number: int, of: int, host: int, ofport: int = 0) -> Iterator[tuple[str, Values]]:
    yield "port", {
        "id": uuid(6, number), "network_id": uuid(4, of), "project_id": f"tenant{of // 10}", "port_security_enabled": True,
        "mac_address": f"fa:16:3e:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
        "binding_host_id": f"host{host}", "security_groups": [uuid(2, of // 10)],
        "fixed_ips": [{"subnet_id": uuid(5, of), "ip_address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}]}
    yield "vif", {"id": uuid(7, number), "agent_id": uuid(1, host), "port_id": uuid(6, number), "link": "up",
                  "ofport": ofport or 100 + number % 30_000}


def world(hosts: int, networks: int, ports: int) -> Iterator[tuple[str, Values]]:
    choice = random.Random(1)
    yield from agents(hosts)
    for number in range(networks):
        yield from network(number)
    for number in range(ports):
        yield from port(number, number % networks, choice.randint(1, hosts))


def put(picture: Picture, kind: str, values: Values) -> dict[Any, None]:
    """As from a row: no two records share a string."""
    return picture.put(kind, values["id"], nouns[kind](**json.loads(json.dumps(values))))


def resident() -> float:
    """MB that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def known(hosts: int, networks: int, ports: int) -> Values:
    """Time and memory to know it all."""
    before = resident()
    picture = Picture()
    for kind, values in world(hosts, networks, ports):
        put(picture, kind, values)
    drawn = resident()
    gc.disable()  # as the controller does while it loads
    began = time.process_time()
    engine = Engine(picture, catalogue.values())
    seconds = time.process_time() - began
    gc.enable()
    derived = resident()
    flows = sum(len(table) for bridges in engine.wanted.values() for table in bridges.values())
    return {"hosts": hosts, "networks": networks, "ports": ports, "flows": flows, "derive_cpu_s": seconds,
            "picture_mb_per_1000_ports": (drawn - before) / ports * 1000,
            "engine_mb_per_1000_ports": (derived - drawn) / ports * 1000,
            "engine_bytes_per_flow": (derived - drawn) * 1e6 / flows}


def grown(ports: int, hosts: int) -> Iterator[tuple[str, Values]]:
    """A network that has so many ports on two hosts, and two more, so that both hosts know it and its group from the start;
    beyond its most the ports are of other networks, on all hosts."""
    in_it = min(ports, LARGEST) + 2
    yield from agents(hosts)
    yield from network(0)
    for number in range(in_it):
        yield from port(number, 0, 1 + number % 2, 100 + number // 2)  # one after another on each host
    for number in range(in_it, ports):
        of = 1000 + (number - in_it) // 5
        if (number - in_it) % 5 == 0:
            yield from network(of)
        yield from port(number, of, 1 + number % hosts)


def another(ports: int, number: int) -> Iterator[tuple[str, Values]]:
    """One more port in that network."""
    in_it = min(ports, LARGEST) + 2
    return port(max(ports, in_it) + number, 0, 1 + number % 2, 100 + (in_it + number) // 2)


def one_more(ports: int, hosts: int) -> Values:
    """CPU of one more port, rule and network, from journal entry to change."""
    picture = Picture()
    for kind, values in grown(ports, hosts):
        put(picture, kind, values)
    engine = Engine(picture, catalogue.values())
    gc.collect()
    gc.freeze()

    def cost(records: list[tuple[str, Values]]) -> float:
        made = [(kind, nouns[kind](**values)) for kind, values in records]
        began = time.process_time()
        for kind, record in made:
            engine.update(picture.put(kind, record.id, record))
        spent = time.process_time() - began
        for kind, record in reversed(made):
            engine.update(picture.put(kind, record.id, None))
        return spent * 1e6

    def least(records: Callable[[int], list[tuple[str, Values]]]) -> float:
        return min(cost(records(n)) for n in range(ROUNDS))  # others on the machine can only add to it

    rule = {"security_group_id": uuid(2, 0), "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
    figures = {
        "port_us": least(lambda n: list(another(ports, n))),
        "rule_us": least(lambda n: [("security_group_rule", {
            **rule, "id": f"rule{n}", "port_range_min": 1000 + n, "port_range_max": 1000 + n})]),
        "network_us": least(lambda n: [*network(10 + 10 * n), *port(ports + 2 + n, 10 + 10 * n, 1)]),
    }
    gc.unfreeze()
    return figures


def idle(count: int, seconds: float = 5.0) -> Values:
    """What so many switches cost that only show that they live."""
    came = threading.Semaphore(0)

    def up(connection: Connection) -> None:
        came.release()

    before, threads = resident(), threading.active_count()
    switches = Switches([("127.0.0.1", 0)], lambda dpid, peer: "", up, lambda connection: None)
    switches.start()
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "bench.switches", "127.0.0.1", str(switches.addresses[0][1]), str(count)])
    try:
        for _ in range(count):
            if not came.acquire(timeout=60):
                raise RuntimeError("the switches do not come")
        arrived = time.monotonic() - began
        cpu, began = time.process_time(), time.monotonic()
        time.sleep(seconds)
        share = (time.process_time() - cpu) / (time.monotonic() - began)
        return {"switches": count, "arrive_s": arrived, "threads": threading.active_count() - threads,
                "idle_cpu_percent": 100 * share, "kb_per_switch": (resident() - before) * 1000 / count}
    finally:
        child.terminate()
        child.wait()
        switches.stop()


def run(hosts: int = HOSTS, networks: int = NETWORKS, ports: int = PORTS) -> Values:
    load_features()
    idling = idle(3 * hosts)  # memory is measured first where least was given back before
    knowing = known(hosts, networks, ports)
    grown = {size: one_more(size, hosts) for size in (*SIZES, ports)}
    return {"known": knowing,
            "one_more": {str(size): each for size, each in grown.items()},
            "ratio": {what: max(each[what] for each in grown.values()) / min(each[what] for each in grown.values())
                      for what in grown[0]},
            "idle": idling}


def show(figures: Values) -> None:
    known, idle = figures["known"], figures["idle"]
    print(f"{known['ports']:,} ports, {known['networks']:,} networks, {known['hosts']:,} hosts: {known['flows']:,} flows "
          f"({known['flows'] / known['ports']:.0f} a port) derived in {known['derive_cpu_s']:.1f} s of CPU; MB per 1,000 ports: "
          f"picture {known['picture_mb_per_1000_ports']:.1f}, engine {known['engine_mb_per_1000_ports']:.1f} "
          f"({known['engine_bytes_per_flow']:.0f} bytes a flow)")
    columns = Columns(title="us of CPU for one more, in a network of so many ports, at most 2,000, on two hosts")
    for heading in ("ports there", "port", "rule", "network and its port"):
        columns.add_column(heading, justify="right")
    for size, each in figures["one_more"].items():
        columns.add_row(f"{int(size):,}", *(f"{us:,.0f}" for us in each.values()))
    columns.add_row(f"most to least (goal {GOAL})", *(f"{ratio:.2f}" for ratio in figures["ratio"].values()))
    Console().print(columns)
    print(f"{idle['switches']:,} idle switches: here after {idle['arrive_s']:.1f} s, {idle['threads']} thread, "
          f"{idle['idle_cpu_percent']:.1f} % of a CPU, {idle['kb_per_switch']:.0f} KB each")


if __name__ == "__main__":
    show(run(*map(int, sys.argv[1:])))
