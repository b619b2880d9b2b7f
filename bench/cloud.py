"""A whole cloud of two hosts: how soon it answers, what it weighs, and how soon a plugged port is reached.

`python -m bench.cloud`, as root. "Plugged" is the moment at which a port's row goes into the host's OVSDB, as libvirt or
anybody would put it; "reached" is the first ping answered by a guest on the other host. Beside it, in the same round and
on the same vswitchd, the floor: the same on a bridge whose only flow is NORMAL and that nobody controls.
"""

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Columns

from ovsagent.links import inside
from ovsagent.ovsdb import Client

ROUNDS = 25
# Type 8, code 0, checksum, identifier 1, sequence 0 (RFC 792). With identifier 0 the answer is all zeros, checksum too,
# and conntrack calls it invalid.
ECHO = bytes.fromhex("0800f7fe00010000")
BIN = Path(sys.executable).parent


def command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


class Lab:
    """`unryu` on a state folder of its own."""

    def __init__(self, state: str) -> None:
        self.state = state

    def unryu(self, *words: str) -> str:
        return command(str(BIN / "unryu"), "--state", self.state, *words)

    def status(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.unryu("status", "-o", "json"))
        return said


@contextmanager
def lab(*options: str) -> Iterator[tuple[Lab, dict[str, float]]]:
    with tempfile.TemporaryDirectory(prefix="unryu-bench-") as state:
        cloud = Lab(f"{state}/c")
        try:
            seconds = json.loads(cloud.unryu("up", "--hosts", "2", *options, "-o", "json"))["seconds"]
            yield cloud, seconds
        finally:
            cloud.unryu("down")


def memory(cloud: Lab) -> dict[str, float]:
    """MB by process name: the proportional set, in which a page shared by N processes counts 1/N for each."""
    weights: dict[str, float] = {}
    for process in cloud.status()["processes"]:
        rollup = Path(f"/proc/{process['pid']}/smaps_rollup").read_text()
        [pss] = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")]
        weights[process["name"]] = weights.get(process["name"], 0) + pss / 1024
    return weights


def guest(host: str, name: str, mac: str, address: str, neighbour: tuple[str, str] | None) -> str:
    """A namespace with its link ready; only the row in OVSDB is missing. The neighbour is known, so that no lost ARP
    request, which the kernel repeats after a second, is taken for slowness."""
    guest = f"{host}-{name}"
    command("ip", "netns", "add", guest)
    command("ip", "-n", host, "link", "add", f"t-{name}", "type", "veth", "peer", "name", "eth0", "netns", guest)
    # As our agent and libvirt do it: the host's own stack has no business on a guest's tap.
    command("ip", "netns", "exec", host, "sysctl", "-qw", f"net.ipv6.conf.t-{name}.disable_ipv6=1")
    command("ip", "-n", host, "link", "set", f"t-{name}", "up")
    command("ip", "-n", guest, "link", "set", "eth0", "address", mac, "up")
    command("ip", "netns", "exec", guest, "ethtool", "-K", "eth0", "tx", "off")
    command("ip", "-n", guest, "addr", "add", address, "dev", "eth0")
    if neighbour:
        command("ip", "-n", guest, "neigh", "add", neighbour[0], "lladdr", neighbour[1], "dev", "eth0")
    return guest


def row(name: str, bridge: str, ids: dict[str, str]) -> list[dict[str, Any]]:
    """What puts a guest's link on a bridge: as many together as one likes."""
    interface, port = f"i_{name}", f"p_{name}"
    return [
        {"op": "insert", "table": "Interface", "uuid-name": interface, "row": {
            "name": f"t-{name}", "external_ids": ["map", list(ids.items())]}},
        {"op": "insert", "table": "Port", "uuid-name": port, "row": {
            "name": f"t-{name}", "interfaces": ["named-uuid", interface]}},
        {"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]],
         "mutations": [["ports", "insert", ["named-uuid", port]]]}]


class FirstAnswer(threading.Thread):
    """Pings from a namespace every half millisecond until one is answered. (`ping -i 0.001` sends in lumps of 10 ms.)"""

    def __init__(self, namespace: str, peer: str) -> None:
        super().__init__(daemon=True)
        self.peer = peer
        with inside(namespace):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.settimeout(0.0005)
        self.answered = 0.0
        self.start()

    def run(self) -> None:
        deadline = time.perf_counter() + 10
        while not self.answered and time.perf_counter() < deadline:
            try:
                self.socket.sendto(ECHO, (self.peer, 0))
                if self.socket.recv(100)[20] == 0:  # echo reply, behind the IP header
                    self.answered = time.perf_counter()
            except (TimeoutError, BlockingIOError):
                continue

    def at(self) -> float:
        """When the first answer came, by time.perf_counter()."""
        self.join()
        self.socket.close()
        if not self.answered:
            raise RuntimeError(f"{self.peer} was not reached within 10 s")
        return self.answered


class Plugs:
    """Rounds of plugging a guest on h2 and asking one on h1."""

    def __init__(self, cloud: Lab) -> None:
        import openstack

        config = openstack.config.OpenStackConfig(config_files=[f"{cloud.state}/clouds.yaml"])
        self.network = openstack.connection.Connection(config=config.get_one("unryu-admin")).network
        self.cloud = cloud
        self.namespace = next(h["namespace"] for h in cloud.status()["hosts"] if h["name"] == "h2")
        self.ovsdb = Client(Path(cloud.state, "hosts/h2/db.sock"), {"Interface": ("name", "ofport")}, lambda: None)
        self.ovsdb.start()
        net = self.network.create_network(name="bench")
        self.network_id = net.id
        self.network.create_subnet(network_id=net.id, ip_version=4, cidr="10.0.0.0/16", gateway_ip=None)
        peer = self.network.create_port(network_id=net.id, name="peer")
        self.peer_mac, self.peer_ip = peer.mac_address, peer.fixed_ips[0]["ip_address"]
        cloud.unryu("lab", "plug", peer.id, "--host", "h1", "--as", "peer")
        self._floor()

    def _floor(self) -> None:
        """A bridge with NORMAL on h2's vswitchd, and a guest on it to ask."""
        self._vsctl("add-br", "br-floor", "--", "set", "bridge", "br-floor", "datapath_type=netdev")
        self._guest("floor", "02:00:00:00:ff:01", "10.1.255.1/16", None)
        self._vsctl("add-port", "br-floor", "t-floor")

    def _vsctl(self, *words: str) -> None:
        command("ovs-vsctl", f"--db=unix:{self.cloud.state}/hosts/h2/db.sock", *words)

    def _guest(self, name: str, mac: str, address: str, neighbour: tuple[str, str] | None) -> None:
        guest(self.namespace, name, mac, address, neighbour)

    def round(self, number: int) -> tuple[dict[str, float], dict[str, float]]:
        """Milliseconds to commit, ofport and first answer: ours, and the floor."""
        return self.ours(number), self.floor(number)

    def ours(self, number: int, first: Callable[[], object] = lambda: None) -> dict[str, float]:
        """`first` is done in the moment before the plug, and counts."""
        port = self.network.create_port(network_id=self.network_id, binding_host_id="h2")
        address = port.fixed_ips[0]["ip_address"]
        self._guest(f"g{number}", port.mac_address, f"{address}/16", (self.peer_ip, self.peer_mac))
        ids = {"iface-id": port.id, "attached-mac": port.mac_address}
        took = self._plug(f"g{number}", self.peer_ip, "br-int", ids, first)
        self._unplug(f"g{number}", "br-int")
        self.network.delete_port(port.id)
        return took

    def floor(self, number: int) -> dict[str, float]:
        mac = f"02:00:00:00:00:{number:02x}"
        peer = command("ip", "-n", f"{self.namespace}-floor", "-j", "link", "show", "eth0")
        self._guest(f"f{number}", mac, f"10.1.0.{number + 1}/16", ("10.1.255.1", json.loads(peer)[0]["address"]))
        command("ip", "-n", f"{self.namespace}-floor", "neigh", "replace", f"10.1.0.{number + 1}", "lladdr", mac, "dev", "eth0")
        took = self._plug(f"f{number}", "10.1.255.1", "br-floor", {})
        self._unplug(f"f{number}", "br-floor")
        return took

    def _unplug(self, name: str, bridge: str) -> None:
        self._vsctl("del-port", bridge, f"t-{name}")
        command("ip", "netns", "del", f"{self.namespace}-{name}")

    def _plug(self, name: str, peer: str, bridge: str, ids: dict[str, str],
              first: Callable[[], object] = lambda: None) -> dict[str, float]:
        asked = FirstAnswer(f"{self.namespace}-{name}", peer)
        time.sleep(0.05)
        began = time.perf_counter()
        first()
        self.ovsdb.transact(*row(name, bridge, ids))
        committed = time.perf_counter()
        self.ovsdb.wait(lambda tables: any(row["name"] == f"t-{name}" and row["ofport"]
                                           for row in tables["Interface"].values()), 5)
        numbered = time.perf_counter()
        return {"commit": (committed - began) * 1000, "ofport": (numbered - began) * 1000,
                "ping": (asked.at() - began) * 1000}

    def close(self) -> None:
        self.ovsdb.stop()
        for path in Path("/run/netns").glob(f"{self.namespace}-*"):
            command("ip", "netns", "del", path.name)


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    with lab() as (cloud, seconds):
        time.sleep(3)  # at rest
        weights = memory(cloud)
        plugs = Plugs(cloud)
        try:
            plugs.round(0)  # warm
            pairs = [plugs.round(number) for number in range(1, rounds + 1)]
        finally:
            plugs.close()
    switches = sum(mb for name, mb in weights.items() if name.startswith(("ovs-", "ovsdb-")))
    return {
        "first API answer, s": seconds["api"], "all ready, s": seconds["all"],
        "memory of ours, MB": round(sum(weights.values()) - switches), "memory of Open vSwitch, MB": round(switches),
        "memory by process, MB": {name: round(mb, 1) for name, mb in sorted(weights.items())},
        "plug, ms": {which: {key: round(statistics.median(pair[index][key] for pair in pairs), 2)
                             for key in ("commit", "ofport", "ping")}
                     for index, which in enumerate(("unryu", "floor"))},
    }


def show(result: dict[str, Any]) -> None:
    console = Console()
    table = Columns(title=f"Plugged to reached, median of {ROUNDS} rounds, ms")
    for column in ("", "OVSDB commit", "ofport", "first ping answered"):
        table.add_column(column)
    for which, figures in result["plug, ms"].items():
        table.add_row(which, *(f"{value:.1f}" for value in figures.values()))
    console.print(table)
    for key, value in result.items():
        if key != "plug, ms":
            console.print(f"{key}: {value}")


if __name__ == "__main__":
    show(run())
