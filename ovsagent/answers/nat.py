"""What carries no port, or those of another packet, and so is translated by no flow: ICMP errors about packets of floating IPs,
which carry a piece of the packet that they are about; and pieces of datagrams to and from forwarded ports.
"""

from bisect import bisect_right, insort
from typing import Any, NamedTuple

from ovsagent.answers.packet import ICMP, TCP, UDP, address4, checksum, mac

CHECKSUM_AT = {TCP: 16, UDP: 6}
SOURCE, DESTINATION = slice(12, 16), slice(16, 20)


class Floating(NamedTuple):
    """A floating IP here, or, where its ports are forwarded, some of them: an entry of the book."""

    outside: int  # the number of its network
    address: bytes
    inside: int
    fixed: bytes
    inward: bytes  # the MAC that leads inside, and the one that leads away
    outward: bytes
    mac: bytes = b""  # its own, outside
    mtu: int = 0  # inside
    protocol: int = 0  # of forwarded ports
    outer: range = range(0)
    inner: range = range(0)
    label: bytes = b""  # who says for which forwarding a piece is, where the switch translates it

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Floating":
        own = int(entry["outside"]), address4(entry["address"]), int(entry["inside"]), address4(entry["fixed"])
        if "protocol" not in entry:
            return cls(*own, mac(entry["mac"]), mac(entry["mac"]))
        outer, inner = (range(int(low), int(high) + 1) for low, high in (entry["outer"], entry["inner"]))
        return cls(*own, mac(entry["router"]), mac(entry["gateway"]), mac(entry["mac"]), int(entry["mtu"]),
                   int(entry["protocol"]), outer, inner, mac(entry.get("label", "")))

    def ports(self, inward: bool) -> range:
        """As they are at the end where something comes from."""
        return self.outer if inward else self.inner

    def other(self, port: int, inward: bool) -> int:
        """What a port is at the other end. Where many are one, nobody knows which it was: -1."""
        if not self.protocol:
            return port
        here, there = self.ports(inward), self.ports(not inward)
        if port not in here or len(there) > len(here):
            return -1
        return there[here.index(port) if len(there) == len(here) else 0]


class Translations:
    """All that is translated here, by how it is seen at either end."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, bytes, bool], list[Floating]] = {}

    def add(self, one: Floating) -> None:
        for number, address, inward in ((one.outside, one.address, True), (one.inside, one.fixed, False)):
            insort(self._seen.setdefault((number, address, inward), []), one, key=lambda o: (o.protocol, o.ports(inward).start))

    def end(self, number: int, packet: bytes) -> tuple[list[Floating], bool]:
        """What may translate a packet that was met on this network, and whether it goes inward."""
        found = self._seen.get((number, packet[DESTINATION], True))
        return (found, True) if found else (self._seen.get((number, packet[SOURCE], False), []), False)


def meant(found: list[Floating], protocol: int, port: int, inward: bool) -> Floating | None:
    """The one of them that this port is of."""
    place = bisect_right(found, (protocol, port), key=lambda one: (one.protocol, one.ports(inward).start))
    one = found[place - 1] if place else None
    return one if one and (not one.protocol or one.protocol == protocol and port in one.ports(inward)) else None


def ports(packet: bytes) -> tuple[int, int]:
    """Of TCP and UDP, source and destination; (0, 0) where it does not say."""
    length = (packet[0] & 15) * 4
    if packet[9] not in CHECKSUM_AT or int.from_bytes(packet[6:8], "big") & 0x1FFF or len(packet) < length + 4:
        return 0, 0
    return int.from_bytes(packet[length:length + 2], "big"), int.from_bytes(packet[length + 2:length + 4], "big")


def about(packet: bytes) -> bytes:
    """The packet that an ICMP error is about, as far as it is there; empty if it is none."""
    quoted = packet[(packet[0] & 15) * 4 + 8:]
    return quoted if packet[9] == ICMP and len(quoted) >= 20 else b""


def translated(packet: bytes, here: Floating, inward: bool) -> bytes:
    """The error as its recipient knows what it is about: for the guest if it came from outside, or from the guest. What it is
    about went the other way. (Only at that end: at the other may be the same address, of who calls himself.)"""
    length, quoted = (packet[0] & 15) * 4, about(packet)
    if not quoted:
        return packet
    error, what = packet[length:length + 8], readdressed(quoted, here, inward, SOURCE if inward else DESTINATION)
    body = error[:2] + checksum(error[:2] + bytes(2) + error[4:] + what) + error[4:] + what
    before, after = _ends(here, inward)
    return _header(packet[:length], before, after, DESTINATION if inward else SOURCE) + body


def readdressed(packet: bytes, here: Floating, inward: bool, at: slice) -> bytes:
    """With the address there, and its port, that it has at the other end."""
    port = here.other(ports(packet)[at is DESTINATION], inward)
    return _header(packet, *_ends(here, inward), at, port.to_bytes(2, "big") if port >= 0 else b"")


def _ends(here: Floating, inward: bool) -> tuple[bytes, bytes]:
    return (here.address, here.fixed) if inward else (here.fixed, here.address)


def _header(packet: bytes, before: bytes, after: bytes, at: slice, port: bytes = b"") -> bytes:
    """An IPv4 header with another address there, and what there is of its content."""
    length = (packet[0] & 15) * 4
    if packet[0] >> 4 != 4 or length < 20 or len(packet) < length or packet[at] != before:
        return packet
    header = packet[:10] + bytes(2) + packet[12:at.start] + after + packet[at.stop:length]
    later = int.from_bytes(packet[6:8], "big") & 0x1FFF
    content = packet[length:] if later else _content(packet[9], packet[length:], before, after, 0 if at is SOURCE else 2, port)
    return header[:10] + checksum(header) + header[12:] + content


def _content(protocol: int, content: bytes, before: bytes, after: bytes, place: int, port: bytes) -> bytes:
    """Of TCP and UDP: their port, and their checksum, which counts addresses, too (RFC 1624). It may be cut off, or not be there
    at all."""
    at = CHECKSUM_AT.get(protocol, 0)
    if not at or len(content) < 4:
        return content
    old = content[place:place + 2]
    port = port or old
    content = content[:place] + port + content[place + 2:]
    summed = content[at:at + 2]
    if len(summed) < 2 or protocol == UDP and not any(summed):
        return content
    mended = checksum(bytes(255 - byte for byte in summed + before + old) + after + port)
    return content[:at] + (b"\xff\xff" if protocol == UDP and not any(mended) else mended) + content[at + 2:]
