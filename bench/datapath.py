"""What the default group costs the packets of guests, beside a bridge of only NORMAL on the same switches.

`python -m bench.datapath`, as root. A cloud of two hosts; within a host and across both, guests of ours and guests of the floor
take turns: TCP, UDP in frames of 64 bytes (RFC 2544), and the first packet of a connection. The floor's guests are plugged by
the words that the agent uses, so that nothing but the bridge tells them apart, and its hosts are joined by a plain VXLAN port.

The goals are per switch core: what a second of the switches' CPU carries. It is also what a busy machine leaves comparable;
what came through by the clock stands beside it. "Cold" is a first packet for which the switch has nothing cached: all that the
datapath has learnt is thrown away before each. "New" is a connection of guests who talk already, to a switch that is awake;
"next" is the packet behind it.
"""

import re
import socket
import statistics
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Columns

from bench.cloud import Lab, command, lab
from ovsagent import links
from ovsagent.links import inside

ROUNDS, SECONDS, WARM = 7, 0.35, 0.1
COLD, NEW = 50, 200                  # first packets
TURN = 20       # of new connections: taking turns one by one, one side's ping finds the switch still awake from the other's
GOALS = {"within": 0.93, "across": 0.95, "first": 1.6}
VNI = 0                              # of the floor's tunnel: the one that no network of a cloud has
FRAME = bytes(64 - 4 - 14 - 20 - 8)  # what an Ethernet frame of 64 bytes leaves UDP


@dataclass(frozen=True)
class Guest:
    namespace: str
    address: str
    mac: str
    behind: str = ""
    """Its own address, where others call it by another."""

    @property
    def own(self) -> str:
        return self.behind or self.address


Traffic = Callable[[Guest, Guest], AbstractContextManager[None]]


class Switch:
    """The ovs-vswitchd of a host."""

    def __init__(self, state: str, host: str) -> None:
        self.dir = Path(state, "hosts", host)
        self.pid = int((self.dir / "vswitchd.pid").read_text())

    def vsctl(self, *words: str) -> None:
        command("ovs-vsctl", f"--db=unix:{self.dir}/db.sock", *words)

    def forget(self) -> None:
        command("ovs-appctl", "-t", f"{self.dir}/vswitchd.ctl", "revalidator/purge")

    def cpu(self) -> float:
        """Seconds of all its threads, to the nanosecond: utime and stime count in ticks of 10 ms."""
        return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{self.pid}/task").glob("*/schedstat")) / 1e9


class Sides:
    """Three guests of ours and three of the floor: two on h1, one on h2."""

    def __init__(self, cloud: Lab, stack: ExitStack) -> None:
        import openstack

        self.spaces = {host["name"]: host["namespace"] for host in cloud.status()["hosts"]}
        self.switches = {host: Switch(cloud.state, host) for host in ("h1", "h2")}
        config = openstack.config.OpenStackConfig(config_files=[f"{cloud.state}/clouds.yaml"])
        network = openstack.connection.Connection(config=config.get_one("unryu-admin")).network
        net = network.create_network(name="datapath")
        network.create_subnet(network_id=net.id, ip_version=4, cidr="10.0.0.0/24", gateway_ip=None)
        self._floor_bridges()
        self.guests: dict[str, list[Guest]] = {"Unryu": [], "NORMAL": []}
        for number, host in enumerate(("h1", "h1", "h2"), start=1):
            port = network.create_port(network_id=net.id)
            cloud.unryu("lab", "plug", port.id, "--host", host, "--as", f"g{number}", "--static")
            self.guests["Unryu"].append(Guest(f"{self.spaces[host].rpartition('-')[0]}-g{number}",
                                              port.fixed_ips[0]["ip_address"], port.mac_address))
            self.guests["NORMAL"].append(self._floor_guest(host, number, net.mtu, stack))
        for three in self.guests.values():
            for one in three:
                for other in three:     # no question of a kernel's comes between
                    if other != one:
                        command("ip", "-n", one.namespace, "neigh", "replace", other.address, "lladdr", other.mac, "dev", "eth0")

    def _floor_bridges(self) -> None:
        ends = {host: re.findall(r"inet ([0-9.]+)", command("ip", "-n", space, "addr", "show", "br-phys"))[0]
                for host, space in self.spaces.items()}
        for host, other in (("h1", "h2"), ("h2", "h1")):
            self.switches[host].vsctl(
                "add-br", "br-floor", "--", "set", "bridge", "br-floor", "datapath_type=netdev",
                "--", "add-port", "br-floor", "v-floor", "--", "set", "interface", "v-floor", "type=vxlan",
                f"options:remote_ip={ends[other]}", f"options:key={VNI}")

    def _floor_guest(self, host: str, number: int, mtu: int, stack: ExitStack) -> Guest:
        new = Guest(f"{self.spaces[host]}-f{number}", f"10.1.0.{number}", f"02:00:00:00:00:{number:02x}")
        command("ip", "netns", "add", new.namespace)
        stack.callback(command, "ip", "netns", "del", new.namespace)
        command("ip", "netns", "exec", new.namespace, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        with inside(self.spaces[host]):
            links.create_pair(f"f{number}", "eth0", namespace=new.namespace, mac=new.mac, mtu=mtu)
            links.raise_host_end(f"f{number}", alias="", mtu=mtu)
        command("ip", "-n", new.namespace, "link", "set", "eth0", "up")
        command("ip", "netns", "exec", new.namespace, "ethtool", "-K", "eth0", "tx", "off")
        command("ip", "-n", new.namespace, "addr", "add", f"{new.address}/24", "dev", "eth0")
        self.switches[host].vsctl("add-port", "br-floor", f"f{number}")
        return new

    def pair(self, side: str, way: str) -> tuple[Guest, Guest]:
        one, two, three = self.guests[side]
        return one, two if way == "within" else three

    def passes(self, way: str) -> list[Switch]:
        """The switches that a packet passes."""
        return [self.switches["h1"]] + ([self.switches["h2"]] if way == "across" else [])

    def burden(self, way: str, traffic: Traffic, pair: tuple[Guest, Guest]) -> dict[str, float]:
        """What came through in a moment of that traffic, and the CPU of the switches for it."""
        with traffic(*pair), _arrived(pair[1]) as arrived:
            time.sleep(WARM)
            before = (time.perf_counter(), sum(switch.cpu() for switch in self.passes(way)), *arrived())
            time.sleep(SECONDS)
            after = (time.perf_counter(), sum(switch.cpu() for switch in self.passes(way)), *arrived())
        seconds, cpu, octets, packets = (b - a for a, b in zip(before, after, strict=True))
        return {"Mbit/s": octets * 8e-6 / seconds, "packets/s": packets / seconds,
                "CPU s a GB": cpu / octets * 1e9, "CPU us a packet": cpu / packets * 1e6}


@contextmanager
def _arrived(guest: Guest) -> Iterator[Callable[[], tuple[int, int]]]:
    """Octets and packets that the switch gave the guest, whether or not somebody there read them."""
    with ExitStack() as stack:
        with inside(guest.namespace):
            file = stack.enter_context(Path("/proc/thread-self/net/dev").open(encoding="ascii"))    # stays that namespace's

        def read() -> tuple[int, int]:
            file.seek(0)
            words = next(line for line in file.read().splitlines() if "eth0:" in line).split()
            return int(words[1]), int(words[2])

        yield read


def _socket(guest: Guest, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    with inside(guest.namespace):
        made = socket.socket(socket.AF_INET, kind, protocol)
    made.settimeout(5)
    return made


@contextmanager
def tcp(sender: Guest, receiver: Guest) -> Iterator[None]:
    """One stream."""
    def take() -> None:
        room = bytearray(1 << 18)
        while end.recv_into(room):
            pass

    def give() -> None:
        data = bytes(1 << 18)
        while not done.is_set():
            begin.sendall(data)
        begin.close()

    done = threading.Event()
    with _socket(receiver, socket.SOCK_STREAM) as listener:
        listener.bind((receiver.own, 0))
        listener.listen()
        begin = _socket(sender, socket.SOCK_STREAM)
        begin.connect((receiver.address, listener.getsockname()[1]))
        end, _ = listener.accept()
        end.settimeout(5)
    threads = [threading.Thread(target=take), threading.Thread(target=give)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
        end.close()


def _answered(begin: socket.socket, end: socket.socket) -> None:
    """Asked until it is: a datagram that comes to a busy machine may be lost."""
    for one in (begin, end):
        one.settimeout(0.2)
    for left in reversed(range(25)):
        try:
            begin.send(FRAME)
            end.sendto(*end.recvfrom(100))
            begin.recv(100)
            break
        except TimeoutError:
            if not left:
                raise
    for one in (begin, end):
        one.settimeout(5)


@contextmanager
def udp(sender: Guest, receiver: Guest) -> Iterator[None]:
    """As many small ones as the sender can, on a connection that was answered once."""
    def give() -> None:
        while not done.is_set():
            begin.send(FRAME)

    done = threading.Event()
    with _socket(receiver, socket.SOCK_DGRAM) as end, _socket(sender, socket.SOCK_DGRAM) as begin:
        end.bind((receiver.own, 0))
        begin.connect((receiver.address, end.getsockname()[1]))
        _answered(begin, end)
        thread = threading.Thread(target=give)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


WAYS = ("within", "across")
TRAFFIC = {"TCP": tcp, "UDP": udp}
UNITS = {"TCP": ("Mbit/s", "CPU s a GB"), "UDP": ("packets/s", "CPU us a packet")}
FIRST = ("cold", "new")


def echo(asks: socket.socket, peer: Guest, identifier: int) -> float:
    """Microseconds until a ping of a connection of its own is answered: by the kernel, since a process adds its waking up."""
    words = 0x0800 + identifier + 1
    question = struct.pack("!BBHHH", 8, 0, ~(words + (words >> 16)) & 0xFFFF, identifier, 1)
    began = time.perf_counter()
    asks.sendto(question, (peer.address, 0))
    while (said := asks.recv(100)) and (said[20], said[24:26]) != (0, question[4:6]):   # an echo reply, behind the IP header
        pass
    return (time.perf_counter() - began) * 1e6


def first_packets(sides: Sides, way: str) -> dict[str, dict[str, float]]:
    """Microseconds, medians over both directions, of ours and of the floor in turns.

    Both, since it is luck whether a switch that reads its ports one by one comes to the answer in the same round: here that is
    100 us, more than all flows cost.
    """
    took: dict[str, dict[str, list[list[float]]]] = {
        kind: {side: [[], []] for side in sides.guests} for kind in ("cold", "new", "next")}
    pairs = {side: (sides.pair(side, way), sides.pair(side, way)[::-1]) for side in sides.guests}
    with ExitStack() as stack:
        sockets = {side: [stack.enter_context(_socket(asks, socket.SOCK_RAW, socket.IPPROTO_ICMP)) for asks, _ in both]
                   for side, both in pairs.items()}

        def ask(kind: str, side: str, direction: int, identifier: int) -> None:
            took[kind][side][direction].append(echo(sockets[side][direction], pairs[side][direction][1], identifier))

        for number, direction in product(range(COLD), (0, 1)):
            for side in sorted(pairs, reverse=bool(number % 2)):
                for switch in sides.passes(way):
                    switch.forget()
                time.sleep(0.005)
                ask("cold", side, direction, 1 + number)
        for number, direction in product(range(0, NEW, TURN), (0, 1)):
            for side in sorted(pairs, reverse=bool(number // TURN % 2)):
                for one, kind in product(range(TURN), ("new", "next")):
                    ask(kind, side, direction, 1 + COLD + number + one)
    return {kind: {side: statistics.mean(map(statistics.median, figures)) for side, figures in of.items()}
            for kind, of in took.items()}


def compared(ours: list[dict[str, float]], floor: list[dict[str, float]], name: str) -> dict[str, Any]:
    """Ratios are medians over rounds, of what stood side by side in a round."""
    rate, cost = UNITS[name]
    pairs = list(zip(ours, floor, strict=True))
    return {side: {figure: round(statistics.median(one[figure] for one in figures), 2) for figure in (rate, cost)}
            for side, figures in (("Unryu", ours), ("NORMAL", floor))} | {
        "by the clock": round(statistics.median(a[rate] / b[rate] for a, b in pairs), 3),
        "per switch core": round(statistics.median(b[cost] / a[cost] for a, b in pairs), 3)}


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    result: dict[str, Any] = {"rounds": rounds, "goals": GOALS}
    with ExitStack() as stack:
        cloud, _ = stack.enter_context(lab())
        sides = Sides(cloud, stack)
        seen: dict[tuple[str, str, str], list[dict[str, float]]] = defaultdict(list)
        for number in range(rounds):
            for way, name in product(WAYS, TRAFFIC):
                for side in sorted(sides.guests, reverse=bool(number % 2)):
                    seen[way, name, side].append(sides.burden(way, TRAFFIC[name], sides.pair(side, way)))
        for way in WAYS:
            result[way] = {name: compared(seen[way, name, "Unryu"], seen[way, name, "NORMAL"], name) for name in TRAFFIC}
            result[way]["first packet, us"] = {
                kind: {side: round(us, 1) for side, us in of.items()} | {"times": round(of["Unryu"] / of["NORMAL"], 2)}
                for kind, of in first_packets(sides, way).items()}
    return result


def show(result: dict[str, Any]) -> None:
    table = Columns(title=f"The default group beside only NORMAL, median of {result['rounds']} rounds")
    for column in ("", "Unryu", "NORMAL", "ratio", "goal"):
        table.add_column(column, justify="right" if column else "left")
    for way, name in product(WAYS, TRAFFIC):
        of = result[way][name]
        for figure, ratio, goal in zip(UNITS[name], ("by the clock", "per switch core"),
                                       ("", f"≥ {result['goals'][way]}"), strict=True):
            table.add_row(f"{name} {way}, {figure}", f"{of['Unryu'][figure]:,.1f}", f"{of['NORMAL'][figure]:,.1f}",
                          f"{of[ratio]:.2f}", goal)
    for way in WAYS:
        for kind, of in result[way]["first packet, us"].items():
            table.add_row(f"{kind} packet {way}, us", f"{of['Unryu']:.0f}", f"{of['NORMAL']:.0f}", f"{of['times']:.2f}",
                          f"≤ {result['goals']['first']}" if kind in FIRST else "")
    Console().print(table)


if __name__ == "__main__":
    show(run())
