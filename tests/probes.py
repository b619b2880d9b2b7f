"""Packets between namespaces, all at once: who got them, from whom as it saw it, what came back, and what routers said of them.

All sockets are this process's own, opened inside the guests; the packets are as their kernels make them.
"""

import errno
import random
import selectors
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from ipaddress import ip_address
from typing import NamedTuple, Protocol

from ovsagent.links import inside

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
PATIENCE = 0.9  # seconds: under a second, when a SYN is sent again and would hide that the first was lost
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
TOKEN = struct.Struct(">II")
HOPS = 64

# Of Linux, which Python does not name.
IP_MTU_DISCOVER, IP_RECVERR, IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR = 10, 11, 23, 24, 25
CUT, PROBE = 0, 3  # values of MTU_DISCOVER: never forbid to cut; forbid it, and believe nothing that was said before
SOL_RAW, ICMP_FILTER, ICMP6_FILTER = 255, 1, 1
PIECES6 = 1288  # bytes of each, so that IPv6 pieces fit wherever IPv6 goes: nobody cuts them on the way


class Packet(NamedTuple):
    version: int
    protocol: int
    port: int
    """Of ICMP, the type."""
    size: int = TOKEN.size
    """Bytes of what it carries; of TCP, of all that is said."""
    hops: int = HOPS
    whole: bool = False
    """It may not be cut on the way."""


class Probe(NamedTuple):
    source: str
    address: str
    packet: Packet


class Told(NamedTuple):
    """An ICMP error."""

    kind: tuple[int, int]
    by: str
    mtu: int


class Someone(Protocol):
    name: str
    namespace: str
    addresses: dict[int, str]
    """By version: those that it speaks from."""


class Probes:
    """Everybody hears on these ports; whoever hears something says it back. One round, then all is closed."""

    def __init__(self, everybody: Iterable[Someone], ports: Collection[int],
                 more: Iterable[tuple[Someone, str]] = ()) -> None:
        """`more`: further addresses of somebody."""
        self.everybody = {one.name: one for one in everybody}
        self.eyes = selectors.DefaultSelector()
        self.arrived: dict[Probe, tuple[str, str]] = {}
        """Who heard it, and as whose."""
        self.answered: set[Probe] = set()
        self.told: dict[Probe, Told] = {}
        self.moved: set[Probe] = set()
        """Streams that came from another port than they were sent from."""
        self._open: list[socket.socket] = []
        self._asked: list[Probe] = []
        self._round, self._from = random.randrange(1 << 32), random.randrange(20000, 30000)
        self._own: dict[Probe, int] = {}
        """The ports of streams."""
        self._mouths: dict[tuple[str, int, int], socket.socket] = {}
        self._ears = [(one, address) for one in self.everybody.values() for address in one.addresses.values()] + list(more)
        self._ports = ports

    def run(self, probes: Collection[Probe], patience: float = PATIENCE) -> "Probes":
        try:
            for one, address in self._ears:
                for port in self._ports:
                    self._listen(one, address, port)
            for count, probe in enumerate(probes):
                self._send(probe)
                if count % 20 == 0:
                    self._look(0.02)  # paced: a burst would be lost before the switch
            self._look(patience)
            return self
        finally:
            self.eyes.close()
            for one in self._open:
                one.close()

    def _opened(self, one: Someone, version: int, kind: int, protocol: int = 0) -> socket.socket:
        with inside(one.namespace):
            made = socket.socket(FAMILIES[version], kind, protocol)
        made.setblocking(False)
        if kind != socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._open.append(made)
        return made

    def _watch(self, line: socket.socket, call: Callable[..., None], *about: object, event: int = selectors.EVENT_READ) -> None:
        self.eyes.register(line, event, partial(call, line, *about))

    def _look(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in self.eyes.select(left):
                key.data()

    # Who hears.

    def _listen(self, one: Someone, address: str, port: int) -> None:
        version = ip_address(address).version
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            ear = self._opened(one, version, kind)
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if kind == socket.SOCK_DGRAM:
                _may_be_cut(ear, version, True)
            ear.bind((address, port))
            if kind == socket.SOCK_STREAM:
                ear.listen(128)
            self._watch(ear, self._accept if kind == socket.SOCK_STREAM else self._echo, one)

    def _echo(self, ear: socket.socket, one: Someone) -> None:
        try:
            said, sender = ear.recvfrom(65535)
            if probe := self._known(said):
                self.arrived[probe] = one.name, sender[0]
            ear.sendto(said[:TOKEN.size] if probe and probe.packet.whole else said, sender)
        except OSError:
            pass  # an error about what was answered before, or nobody to answer to

    def _accept(self, ear: socket.socket, one: Someone) -> None:
        line, sender = ear.accept()
        line.setblocking(False)
        self._open.append(line)
        self._watch(line, self._echo_stream, one, *sender[:2])

    def _echo_stream(self, line: socket.socket, one: Someone, sender: str, port: int) -> None:
        try:
            said = line.recv(65536)
            line.send(said)
        except OSError:
            said = b""
        if probe := self._known(said):
            self.arrived[probe] = one.name, sender
            if port != self._own[probe]:
                self.moved.add(probe)
        if not said:
            self.eyes.unregister(line)

    # Who asks.

    def _known(self, said: bytes) -> Probe | None:
        if len(said) < TOKEN.size:
            return None
        round, number = TOKEN.unpack_from(said)
        return self._asked[number] if round == self._round and number < len(self._asked) else None

    def _send(self, probe: Probe) -> None:
        said = TOKEN.pack(self._round, len(self._asked)).ljust(probe.packet.size, b"\0")
        self._asked.append(probe)
        source, (version, protocol, port, *_) = self.everybody[probe.source], probe.packet
        if protocol == TCP:
            line = self._opened(source, version, socket.SOCK_STREAM)
            line.bind((source.addresses[version], 0))
            self._own[probe] = line.getsockname()[1]
            if line.connect_ex((probe.address, port)) == errno.EINPROGRESS:
                self._watch(line, self._connected, probe, said, event=selectors.EVENT_WRITE)
            return
        mouth = self._mouth(source, version, protocol)
        _may_be_cut(mouth, version, not probe.packet.whole)
        if version == 4:
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, probe.packet.hops)
        else:
            mouth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, probe.packet.hops)
        if protocol != UDP:
            said, port = echo_request(port, said), 0
        for _ in range(3):  # what was said of an earlier packet may be what this call fails with
            try:
                mouth.sendto(said, (probe.address, port))
                return
            except OSError as error:
                if error.errno in (errno.ENETUNREACH, errno.EMSGSIZE):
                    return

    def _mouth(self, source: Someone, version: int, protocol: int) -> socket.socket:
        """One of each guest; all of them with the same port, so that whoever translates them has to keep them apart."""
        key = source.name, version, protocol
        if key not in self._mouths:
            kind = socket.SOCK_DGRAM if protocol == UDP else socket.SOCK_RAW
            mouth = self._mouths[key] = self._opened(source, version, kind, protocol if kind == socket.SOCK_RAW else 0)
            if protocol == UDP:
                mouth.setsockopt(*((socket.IPPROTO_IP, IP_RECVERR) if version == 4 else (socket.IPPROTO_IPV6, IPV6_RECVERR)), 1)
                mouth.bind((source.addresses[version], self._from))
            elif version == 4:
                mouth.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", 0xFFFFFFFE))
                mouth.bind((source.addresses[version], 0))
            else:
                mouth.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, REPLIES_ONLY)
                mouth.bind((source.addresses[version], 0))
            self._watch(mouth, self._hear, source.name, 28 if protocol == ICMP else 8 if protocol == ICMPV6 else 0)
        return self._mouths[key]

    def _hear(self, mouth: socket.socket, name: str, header: int) -> None:
        if mouth.type == socket.SOCK_DGRAM:
            self._complaints(mouth, name)
        while True:
            try:
                said, sender = mouth.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:
                continue  # the error that its own queue has told of
            probe = self._known(said[header:])
            if probe and header and said[header - 4:header - 2] != echo_request(0, said[header:])[4:6]:
                continue  # it would be another's
            if probe and (probe.source, probe.address) == (name, sender[0]):
                self.answered.add(probe)

    def _complaints(self, mouth: socket.socket, name: str) -> None:
        while True:
            try:
                about, words, _, _ = mouth.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            for _, _, said in words:
                _, origin, kind, code, _, mtu, _ = struct.unpack_from("=IBBBBII", said)
                by = {2: said[20:24], 3: said[24:40]}.get(origin)  # sockaddr_in, sockaddr_in6; 1 is this very kernel
                probe = self._known(about)
                if by and probe and probe.source == name:
                    self.told[probe] = Told((kind, code), str(ip_address(by)), mtu)

    def _connected(self, line: socket.socket, probe: Probe, said: bytes) -> None:
        self.eyes.unregister(line)
        if line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            line.send(said)
            self._watch(line, self._read, probe, bytearray())

    def _read(self, line: socket.socket, probe: Probe, heard: bytearray) -> None:
        try:
            heard += (more := line.recv(65536))
        except OSError:
            more = b""
        if len(heard) == probe.packet.size:
            self.answered.add(probe)
        if not more or len(heard) == probe.packet.size:
            self.eyes.unregister(line)
            line.close()


def _may_be_cut(line: socket.socket, version: int, yes: bool) -> None:
    if version == 4:
        line.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, CUT if yes else PROBE)
    else:
        line.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, CUT if yes else PROBE)
        line.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, PIECES6 if yes else 0)


def echo_request(kind: int, about: bytes) -> bytes:
    """Its number is its own, as that of every `ping` is. (Of ICMPv6 the kernel makes the checksum.)"""
    header = struct.pack("!BBHHH", kind, 0, 0, sum(TOKEN.unpack_from(about)) & 0xFFFF, 1) + about
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~(total + (total >> 16)) & 0xFFFF
    return header[:2] + struct.pack("!H", total) + header[4:]


REPLIES_ONLY = b"".join(struct.pack("=I", 0xFFFFFFFF ^ (1 << 129 % 32 if word == 129 // 32 else 0)) for word in range(8))
"""ICMP6_FILTER: nothing but echo replies (RFC 3542, 3.2)."""
