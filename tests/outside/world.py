"""Guests behind a router with a gateway, and who is outside; all of them with sockets in this process."""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6

from ovsagent.links import inside
from tests.clouds import PATIENCE, RunningCloud
from tests.ovs import run

ROUTER, ROUTER6, WEB, WEB6 = "203.0.113.1", "2001:db8:cafe::1", "198.51.100.80", "2001:db8:80::80"
NETWORKS = {"blue": ("10.91.0.0/24", "fd91::/64"), "red": ("10.92.0.0/24", "fd92::/64")}
GUESTS = {"a": ("blue", "h1"), "b": ("blue", "h2"), "c": ("red", "h3"), "d": ("blue", "h1")}
SILENCE = int(os.environ.get("UNRYU_SILENCE", "3"))
"""Seconds for which who had an address is listened to; in more than 10 an old gateway would have announced itself once more."""
TOO_LARGE = 1400
"""Bytes of a datagram; the first that is larger may teach only the way's MTU."""
SOLICITED = bytes.fromhex("ff0200000000000000000001ff")
ARP, FOUR, SIX, ADVERTISEMENT = b"\x08\x06", b"\x08\x00", b"\x86\xdd", b"\x88"


@dataclass
class Someone:
    """In a namespace, under an address or two."""

    namespace: str
    four: str
    six: str = ""
    port: str = ""
    mac: str = ""
    host: str = ""

    def run(self, *command: str, check: bool = True) -> str:
        return run("ip", "netns", "exec", self.namespace, *command, check=check)

    def ping(self, address: str, *options: str, count: int = 2, patience: int = 5) -> str:
        return self.run("ping", "-n", "-c", str(count), "-i", "0.1", "-W", str(patience), *options, address, check=False)

    def reaches(self, address: str, *options: str, count: int = 2, patience: int = 5) -> bool:
        """Asked three times before the answer is no: the first may teach a way's MTU, and a switch may be away for a second."""
        return any(f" {count} received" in self.ping(address, *options, count=count, patience=patience) for _ in range(3))

    def socket(self, kind: int, six: bool = False) -> socket.socket:
        with inside(self.namespace):
            made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
        made.settimeout(PATIENCE)
        return made


def refused(client: Someone, address: str, port: int = 9, own: int = 0) -> bool:
    """A datagram to a port where nobody listens: is it told so?"""
    with closing(client.socket(socket.SOCK_DGRAM)) as line:
        line.bind(("", own))
        line.connect((address, port))
        line.send(b"x")
        try:
            line.recv(1)
        except ConnectionRefusedError:
            return True
    return False


def asked(client: Someone, server: Someone, address: str, size: int = 10, port: int = 5000, at: int = 5000) -> str:
    """A datagram to that address and port, and the same back: whom the server saw."""
    with closing(server.socket(socket.SOCK_DGRAM, ":" in address)) as there, \
            closing(client.socket(socket.SOCK_DGRAM, ":" in address)) as here:
        there.bind(("", at))
        payload = (struct.pack(">I", size) * (size // 4 + 1))[:size]
        heard, peer = _said(here, there, payload, (address, port))
        answer, origin = _said(there, here, heard, peer)
        assert heard == answer == payload and origin[:2] == (address, port)
        return str(peer[0])


def _said(mouth: socket.socket, ear: socket.socket, words: bytes, to: Any) -> tuple[bytes, Any]:
    """What the other end hears, and of whom."""
    tries = 2 if len(words) > TOO_LARGE else 1
    for left in reversed(range(tries)):
        mouth.sendto(words, to)
        ear.settimeout(1 if left else PATIENCE)
        with suppress(TimeoutError):
            return ear.recvfrom(65535)
    raise AssertionError(f"{len(words)} bytes did not arrive")


class Echo:
    """A TCP server that says everything back, for as long as the block runs; it knows who came."""

    def __init__(self, server: Someone, port: int = 5001, six: bool = False) -> None:
        self.listening = server.socket(socket.SOCK_STREAM, six)
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind(("", port))
        self.listening.listen(64)
        self.listening.settimeout(None)
        self.seen: list[str] = []

    def __enter__(self) -> "Echo":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()

    def _accept(self) -> None:
        while True:
            try:
                line, peer = self.listening.accept()
            except OSError:
                return
            self.seen.append(peer[0])
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line:
            while said := line.recv(65536):
                line.sendall(said)


def streamed(client: Someone, address: str, port: int = 5001, size: int = 300_000) -> None:
    """So many bytes there and back."""
    with closing(client.socket(socket.SOCK_STREAM, ":" in address)) as line:
        line.connect((address, port))
        payload = bytes(range(250)) * (size // 250)
        sender = threading.Thread(target=line.sendall, args=(payload,))
        sender.start()
        back = b""
        while len(back) < len(payload):
            back += line.recv(65536)
        sender.join()
        assert back == payload


@dataclass
class World:
    cloud: RunningCloud
    demo: Any
    admin: Any
    external: str
    router: str
    networks: dict[str, str] = field(default_factory=dict)
    guests: dict[str, Someone] = field(default_factory=dict)

    def __post_init__(self) -> None:
        prefix = self.cloud.namespace("h1").rpartition("-")[0]
        self.internet = Someone(f"{prefix}-internet", ROUTER, ROUTER6)

    def settled(self) -> bool:
        return self.cloud.settled()

    @property
    def own(self) -> list[str]:
        """The router's addresses outside, that of IPv4 first."""
        info = self.demo.get_router(self.router).external_gateway_info
        return sorted((f["ip_address"] for f in info["external_fixed_ips"]), key=lambda address: ":" in address)

    def gateway(self) -> str:
        """The host that it is on."""
        for host in ("h1", "h2", "h3"):
            socket = f"unix:{self.cloud.state}/hosts/{host}/br-int.mgmt"
            dump = self.cloud.run("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", socket, "table=97", check=False)
            if "nat(src=" in dump.stdout:
                return host
        return ""

    @contextmanager
    def without_snat(self) -> Iterator[None]:
        try:
            self._translate(False)
            yield
        finally:
            self._translate(True)

    def _translate(self, snat: bool) -> None:
        answer = self.admin.put(f"/routers/{self.router}", json={"router": {"external_gateway_info": {
            "network_id": self.external, "enable_snat": snat}}})
        assert answer.status_code == 200 and self.settled(), answer.text

    @contextmanager
    def forwarding(self, floating: Any, name: str, **ports: Any) -> Iterator[Any]:
        path, guest = f"/floatingips/{floating.id}/port_forwardings", self.guests[name]
        answer = self.demo.post(path, json={"port_forwarding": {
            "internal_port_id": guest.port, "internal_ip_address": guest.four, **ports}})
        assert answer.status_code == 201, answer.text
        made = answer.json()["port_forwarding"]
        try:
            assert self.settled()
            yield made
        finally:
            assert self.demo.delete(f"{path}/{made['id']}").status_code == 204

    @contextmanager
    def floating(self, name: str = "", **more: Any) -> Iterator[Any]:
        port = {"port_id": self.guests[name].port} if name else {}
        made = self.demo.create_ip(floating_network_id=self.external, **port, **more)
        try:
            assert self.settled()
            yield made
        finally:
            self.demo.delete_ip(made.id)


def built(cloud: RunningCloud) -> World:
    demo, admin = cloud.connect().network, cloud.connect("admin").network
    external = next(n.id for n in admin.networks() if n.name == "internet")
    group = demo.create_security_group(name="outside")
    for version in ("IPv4", "IPv6"):
        demo.create_security_group_rule(security_group_id=group.id, direction="ingress", ethertype=version)
    router = demo.create_router(name="outside", external_gateway_info={"network_id": external})
    world = World(cloud, demo, admin, external, router.id)
    for name, (four, six) in NETWORKS.items():
        world.networks[name] = demo.create_network(name=name).id
        for ip, cidr in ((4, four), (6, six)):
            # Those that tests choose are never given out.
            pool = {"start": cidr.replace("0/24", "100"), "end": cidr.replace("0/24", "199")}
            given = {"allocation_pools": [pool]} if ip == 4 else {}
            subnet = demo.create_subnet(network_id=world.networks[name], ip_version=ip, cidr=cidr, **given)
            demo.add_interface_to_router(router, subnet=subnet.id)
    for name, (network, host) in GUESTS.items():
        port = demo.create_port(name=name, network_id=world.networks[network], security_group_ids=[group.id])
        plugged = cloud.plug(port.id, host, name, "--static")
        four, six = sorted((f["ip_address"] for f in port.fixed_ips), key=lambda address: ":" in address)
        world.guests[name] = Someone(plugged["namespace"], four, six, port.id, port.mac_address, host)
    assert world.settled()
    for ways in NETWORKS.values():  # who is outside knows the way back to addresses that nobody translates
        for cidr, own in zip(ways, world.own, strict=True):
            world.internet.run("ip", "route", "add", cidr, "via", own)
    return world


class Wire:
    """Each frame that has an address, or two, as its sender is noted at the hosts' NICs, whatever it says; that it may say
    something, it is asked every 20 ms."""

    def __init__(self, world: World, hosts: tuple[str, ...], four: str, six: str = "") -> None:
        self.four = socket.inet_aton(four)
        self.six = socket.inet_pton(socket.AF_INET6, six) if six else b""
        self.heard: dict[str, list[tuple[float, bytes]]] = {host: [] for host in hosts}
        self.over = threading.Event()
        self.lines = {host: self.line(world.cloud.namespace(host), "eth1") for host in hosts}
        self.asker = self.line(world.internet.namespace, "br0")

    @staticmethod
    def line(namespace: str, device: str) -> socket.socket:
        with inside(namespace):
            line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        line.bind((device, 3))
        line.settimeout(0.2)
        return line

    def __enter__(self) -> "Wire":
        self.threads = [threading.Thread(target=self._listen, args=pair) for pair in self.lines.items()]
        self.threads.append(threading.Thread(target=self._ask))
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()
        for line in (self.asker, *self.lines.values()):
            line.close()

    def announced(self, old: str) -> float:
        """When another host than this first said of itself, unasked, that it has the address."""
        return min((at for host, heard in self.heard.items() if host != old for at, frame in heard
                    if frame[12:14] == ARP and frame[28:32] == frame[38:42]), default=0)

    def late(self, old: str) -> list[tuple[float, str]]:
        """What this host said more than a second after that."""
        first = self.announced(old)
        return [(at - first, frame.hex()) for at, frame in self.heard[old] if at > first + 1]

    def _ask(self) -> None:
        mac = self.asker.getsockname()[4]
        question = b"\xff" * 6 + mac + ARP + struct.pack(
            ">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, socket.inet_aton(ROUTER), bytes(6), self.four)
        questions = [question]
        if self.six:
            target, group = (socket.inet_ntop(socket.AF_INET6, prefix + self.six[-3:]) for prefix in (self.six[:13], SOLICITED))
            asks = IPv6(src=ROUTER6, dst=group, hlim=255) / ICMPv6ND_NS(tgt=target) / ICMPv6NDOptSrcLLAddr(lladdr=mac.hex(":"))
            questions.append(b"\x33\x33\xff" + self.six[-3:] + mac + SIX + bytes(asks))
        while not self.over.wait(0.02):
            for each in questions:
                self.asker.send(each)

    def _listen(self, host: str, line: socket.socket) -> None:
        while not self.over.is_set():
            try:
                frame, (_, _, kind, *_) = line.recvfrom(2000)
            except TimeoutError:
                continue
            if kind == socket.PACKET_OUTGOING and self._says(frame):
                self.heard[host].append((time.monotonic(), frame))

    def _says(self, frame: bytes) -> bool:
        """Whether it comes from one of them, or advertises it."""
        if frame[12:14] == SIX:
            return bool(self.six) and self.six in (frame[22:38], frame[54:55] == ADVERTISEMENT and frame[62:78])
        return self.four == {ARP: frame[28:32], FOUR: frame[26:30]}.get(frame[12:14])
