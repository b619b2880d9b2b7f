"""Routers: what they cost packets, how soon a floating IP is one, connections through SNAT, and the end of a gateway.

`python -m bench.routers`, as root. Packets are compared on one switch, per second of its CPU (see bench/datapath.py): a bridge of
only NORMAL, two guests of one network, two that a router joins, a caller outside with the floating IP of a guest. "Associated"
is from the call to the API to the first ping answered from outside, which begins to ask before.
"""

import os
import re
import signal
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Columns

from bench.cloud import FirstAnswer, Lab, command, lab
from bench.datapath import TRAFFIC, UNITS, Guest, Sides, echo
from bench.streams import Session, Streams
from ovsagent.links import inside
from topology import api
from topology.cloud import Cloud

ROUNDS, TIMES, CONNECTIONS, PINGS, STREAMS, MANY = 20, 10, 1000, 40, 20, 5000
SILENCE, PATIENCE = 0.5, 60.0
OUTSIDE = "203.0.113.1"


class Ways:
    """The guests of bench/datapath.py, with a router, a network behind it, and a floating IP."""

    def __init__(self, cloud: Lab, stack: ExitStack) -> None:
        import openstack

        self.cloud = cloud
        self.sides = Sides(cloud, stack)
        config = openstack.config.OpenStackConfig(config_files=[f"{cloud.state}/clouds.yaml"])
        self.network = openstack.connection.Connection(config=config.get_one("unryu-admin")).network
        self.network.put(f"/quotas/{self.network.get_project_id()}", json={"quota": {"port": -1, "floatingip": -1}}
                         ).raise_for_status()
        self.external = next(n.id for n in self.network.networks() if n.name == "internet")
        self.prefix = self.sides.spaces["h1"].rpartition("-")[0]
        self.internet = Guest(f"{self.prefix}-internet", OUTSIDE, "")
        self.router = self.network.create_router(name="bench", external_gateway_info={"network_id": self.external}).id
        near = next(n.id for n in self.network.networks() if n.name == "datapath")
        door = self.network.create_port(network_id=near)
        self.network.add_interface_to_router(self.router, port=door.id)
        far = self.network.create_network(name="far")
        subnet = self.network.create_subnet(network_id=far.id, ip_version=4, cidr="10.2.0.0/24")
        self.network.add_interface_to_router(self.router, subnet=subnet.id)
        port = self.network.create_port(network_id=far.id)
        cloud.unryu("lab", "plug", port.id, "--host", "h1", "--as", "far", "--static")
        self.far = Guest(f"{self.prefix}-far", port.fixed_ips[0]["ip_address"], port.mac_address)
        self.guests = self.sides.guests["Unryu"]
        for one in self.guests:
            command("ip", "-n", one.namespace, "route", "add", "default", "via", door.fixed_ips[0]["ip_address"])
        # Who answers has to be let in: the default group lets in only its own.
        for group in {g for p in self.network.ports(network_id=[near, far.id]) for g in p.security_group_ids}:
            self.network.create_security_group_rule(security_group_id=group, direction="ingress", ethertype="IPv4")
        self.ports = {p.fixed_ips[0]["ip_address"]: p.id for p in self.network.ports(network_id=near)}
        self.settle()

    def settle(self) -> None:
        while True:
            switches = api.controller(Cloud(Path(self.cloud.state)).controllers()[0], "/switches")
            if all(s["connected"] and s["wanted"] == s["realised"] for s in switches):
                return
            time.sleep(0.01)

    def flows(self, host: str) -> int:
        text = command("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", f"unix:{self.cloud.state}/hosts/{host}/br-int.mgmt")
        return len(re.findall(r", table=(?!102)", text))

    def reached(self, address: str, change: Callable[[], Any]) -> float:
        """Milliseconds from the call to the first answer."""
        asking = FirstAnswer(self.internet.namespace, address)
        time.sleep(0.05)
        began = time.perf_counter()
        change()
        return (asking.at() - began) * 1000


def packets(ways: Ways) -> dict[str, Any]:
    one, two, _ = ways.guests
    floating = ways.network.create_ip(floating_network_id=ways.external, port_id=ways.ports[two.address])
    called = Guest(two.namespace, floating.floating_ip_address, two.mac, behind=two.address)
    ways.settle()
    pairs = {"NORMAL": ways.sides.pair("NORMAL", "within"), "same network": (one, two), "routed": (one, ways.far),
             "floating IP": (ways.internet, called)}
    seen: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for turn in range(ROUNDS):
        for name, traffic in TRAFFIC.items():
            for way in (*pairs, *pairs)[turn % len(pairs):][:len(pairs)]:
                seen[name, way].append(ways.sides.burden("within", traffic, pairs[way]))
    result: dict[str, Any] = {}
    for name in TRAFFIC:
        rate, cost = UNITS[name]
        for way in pairs:
            # By rounds: on a busy machine what a GB costs doubles from one minute to the next.
            ratios = [floor[cost] / each[cost] for floor, each in zip(seen[name, "NORMAL"], seen[name, way], strict=True)]
            result.setdefault(name, {})[way] = {rate: round(statistics.median(each[rate] for each in seen[name, way]), 1),
                                                "per switch core, of NORMAL": round(statistics.median(ratios), 3)}
    result["first packet, us"] = {}
    for way, (asks, answers) in pairs.items():
        with inside(asks.namespace):
            line = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        line.settimeout(5)
        took = []
        for number in range(PINGS):
            ways.sides.switches["h1"].forget()
            time.sleep(0.005)
            took.append(echo(line, answers, 1 + number))
        line.close()
        result["first packet, us"][way] = round(statistics.median(took))
    ways.network.delete_ip(floating.id)
    return result


def associations(ways: Ways) -> dict[str, float]:
    """Of one address, back and forth between two hosts."""
    floating = ways.network.create_ip(floating_network_id=ways.external)
    new, moved = [], []
    ids = [ways.ports[guest.address] for guest in (ways.guests[0], ways.guests[2])]

    def associate(port: str | None) -> None:
        ways.network.put(f"/floatingips/{floating.id}", json={"floatingip": {"port_id": port}}).raise_for_status()

    for _ in range(TIMES):
        new.append(ways.reached(floating.floating_ip_address, lambda: associate(ids[0])))
        time.sleep(0.2)
        # Where it is now, nobody answers; who answers next is the other.
        associate(None)
        ways.settle()
        new.append(ways.reached(floating.floating_ip_address, lambda: associate(ids[1])))
        gone = time.perf_counter()
        associate(ids[0])
        asking = FirstAnswer(ways.internet.namespace, floating.floating_ip_address)
        moved.append((asking.at() - gone) * 1000)
        associate(None)
        ways.settle()
    ways.network.delete_ip(floating.id)
    return {"median": round(statistics.median(new), 1), "worst": round(max(new), 1),
            "moved, median": round(statistics.median(moved), 1)}


def connections(ways: Ways) -> dict[str, float]:
    """New ones a second, one after the other, by one guest: through SNAT, and to a guest of its own network."""
    found: dict[str, float] = {}
    for name, there in (("SNAT", ways.internet), ("same network", ways.guests[1])):
        with inside(there.namespace):
            listener = socket.create_server(("", 5000), backlog=128)
        with inside(ways.guests[0].namespace):
            lines = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(CONNECTIONS)]
        began = time.perf_counter()
        for line in lines:
            line.connect((there.address, 5000))
            listener.accept()[0].close()
        found[name] = round(CONNECTIONS / (time.perf_counter() - began))
        for line in (*lines, listener):
            line.close()
    return found


def failover(ways: Ways) -> dict[str, Any]:
    """The gateway's vswitchd frozen, with open streams of three kinds: how many go on, and after how many seconds."""
    holder = next(h for h in ("h1", "h2") if "nat(src=" in command(
        "ovs-ofctl", "-O", "OpenFlow13", "dump-flows", f"unix:{ways.cloud.state}/hosts/{h}/br-int.mgmt", "table=97"))
    guest = ways.guests[0 if holder == "h2" else 2]
    pids = [p["pid"] for p in ways.cloud.status()["processes"] if p["host"] == holder and p["name"].startswith("ovs-vswitchd")]
    with Streams(guest.namespace, ways.internet.namespace, OUTSIDE, STREAMS) as streams:
        time.sleep(1)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        silent = began + SILENCE    # what was on its way has come
        try:
            while sum(map(len, streams.went_on(silent).values())) < len(streams.all) and time.monotonic() < began + PATIENCE:
                time.sleep(0.1)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        return {kind: {"streams": STREAMS, "alive": len(after), **_seconds([SILENCE + each for each in after])}
                for kind, after in streams.went_on(silent).items()}


def _seconds(found: list[float]) -> dict[str, float]:
    return {"median s": round(statistics.median(found), 2), "worst s": round(max(found), 2)} if found else {}


def endings(ways: Ways) -> dict[str, dict[str, float]]:
    """A way is taken from a session: milliseconds from the API's answer to the last answer of the other end."""
    one, _, far = ways.guests
    floating = ways.network.create_ip(floating_network_id=ways.external)
    address = floating.floating_ip_address

    def associate(guest: Guest | None) -> None:
        port = ways.ports[guest.address] if guest else None
        ways.network.put(f"/floatingips/{floating.id}", json={"floatingip": {"port_id": port}}).raise_for_status()

    def lead_out(**info: Any) -> None:
        way = {"network_id": ways.external, **info} if info else None
        ways.network.put(f"/routers/{ways.router}", json={"router": {"external_gateway_info": way}}).raise_for_status()

    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(TIMES):
        for name, last in (("floating IP taken away", None), ("floating IP moved", far)):
            associate(one)
            found[name].append(Session(ways.internet, one, address).ended(partial(associate, last)))
            associate(None)
        for name, more in (("SNAT disabled", {"enable_snat": False}), ("gateway cleared", {})):
            found[name].append(Session(one, ways.internet, OUTSIDE).ended(partial(lead_out, **more)))
            lead_out(enable_snat=True)
            ways.settle()
    ways.network.delete_ip(floating.id)
    return {name: {"median": round(statistics.median(of)), "worst": round(max(of))} for name, of in found.items()}


def costs(ways: Ways) -> dict[str, int]:
    """Flows on br-int of the host of its port, and of the host of its gateway."""
    before = ways.flows("h1")
    floating = ways.network.create_ip(floating_network_id=ways.external, port_id=ways.ports[ways.guests[0].address])
    ways.settle()
    one = ways.flows("h1") - before
    ways.network.delete_ip(floating.id)
    ways.settle()
    with_gateway = {host: ways.flows(host) for host in ("h1", "h2")}
    ways.network.put(f"/routers/{ways.router}", json={"router": {"external_gateway_info": None}}).raise_for_status()
    ways.settle()
    return {"a floating IP": one, "a gateway, both hosts": sum(with_gateway.values()) - sum(map(ways.flows, with_gateway))}


def crowd(ways: Ways) -> None:
    """Many more ports, half of them on each host, without guests."""
    net = ways.network.create_network(name="crowd")
    ways.network.create_subnet(network_id=net.id, ip_version=4, cidr="10.128.0.0/16", gateway_ip=None)
    for _ in range(MANY // 100):
        ways.network.post("/ports", json={"ports": [
            {"network_id": net.id, "binding:host_id": f"h{1 + n % 2}"} for n in range(100)]}).raise_for_status()
    ways.settle()


def run() -> dict[str, Any]:
    with ExitStack() as stack:
        cloud, _ = stack.enter_context(lab())
        ways = Ways(cloud, stack)
        result = packets(ways)
        result["connections/s"] = connections(ways)
        result["associated, ms, 10 ports"] = associations(ways)
        crowd(ways)
        result[f"associated, ms, {MANY} ports"] = associations(ways)
        result["failover"] = failover(ways)
        ways.settle()
        result["sessions ended, ms"] = endings(ways)
        result["flows"] = costs(ways)
    return result


def show(result: dict[str, Any]) -> None:
    table = Columns(title="Routers")
    for column in ("", "", ""):
        table.add_column(column)
    for name, of in result.items():
        for what, value in of.items() if isinstance(of, dict) else ():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
            table.add_row(name, what, shown)
    Console().print(table)


if __name__ == "__main__":
    show(run())
