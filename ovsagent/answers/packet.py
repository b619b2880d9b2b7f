"""Frames in and out: Ethernet, IPv4 and IPv6, UDP and ICMP, as far as the doors for guests and for routers need them.

What a guest sends may be cut, stretched or forged anywhere: whatever is not just so is None.
"""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
ALL_MACS = b"\xff" * 6


class Datagram(NamedTuple):
    """The innermost of a question. Addresses are bytes."""

    mac: bytes  # who sent the frame
    source: bytes
    destination: bytes
    protocol: int
    ports: tuple[int, int]  # of UDP; of ICMPv6 type and code
    payload: bytes


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def link_local(hardware: bytes) -> bytes:
    """The address that this MAC makes (RFC 4291, appendix A)."""
    return b"\xfe\x80" + bytes(6) + bytes([hardware[0] ^ 2]) + hardware[1:3] + b"\xff\xfe" + hardware[3:]


def parse(frame: bytes) -> Datagram | None:
    """The datagram in an untagged frame. Checksums are not looked at: a guest's own kernel may leave them to a NIC."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == IPV4:
        return _parse4(frame[6:12], frame[14:])
    return _parse6(frame[6:12], frame[14:]) if kind == IPV6 else None


def _parse4(hardware: bytes, packet: bytes) -> Datagram | None:
    if len(packet) < 28 or packet[0] >> 4 != 4:
        return None
    header, length, fragment = (packet[0] & 15) * 4, *struct.unpack_from(">HxxH", packet, 2)
    if header < 20 or not header + 8 <= length <= len(packet) or fragment & 0x3FFF or packet[9] != UDP:
        return None
    return _udp(hardware, packet[12:16], packet[16:20], packet[header:length])


def _parse6(hardware: bytes, packet: bytes) -> Datagram | None:
    if len(packet) < 48 or packet[0] >> 4 != 6:
        return None
    length, protocol, hops = struct.unpack_from(">HBB", packet, 4)
    body = packet[40:40 + length]
    if len(body) < length or length < 8:
        return None
    if protocol == UDP:
        return _udp(hardware, packet[8:24], packet[24:40], body)
    if protocol == ICMPV6 and hops == 255:  # else it came through a router (RFC 4861, 6.1.1)
        return Datagram(hardware, packet[8:24], packet[24:40], ICMPV6, (body[0], body[1]), body[4:])
    return None


def _udp(hardware: bytes, source: bytes, destination: bytes, body: bytes) -> Datagram | None:
    sport, dport, length = struct.unpack_from(">HHH", body)
    if not 8 <= length <= len(body):
        return None
    return Datagram(hardware, source, destination, UDP, (sport, dport), body[8:length])


def ethernet(to: bytes, source: bytes, kind: int, payload: bytes) -> bytes:
    return to + source + kind.to_bytes(2, "big") + payload


def ip4(source: bytes, destination: bytes, protocol: int, body: bytes) -> bytes:
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0xC0, 20 + len(body), 0, 0, 64, protocol, 0, source, destination)
    return header[:10] + checksum(header) + header[12:] + body


def udp4(source: bytes, destination: bytes, ports: tuple[int, int], payload: bytes) -> bytes:
    length = 8 + len(payload)
    datagram = struct.pack(">HHHH", *ports, length, 0) + payload
    summed = checksum(source + destination + struct.pack(">HH", UDP, length) + datagram)
    return ip4(source, destination, UDP, datagram[:6] + (summed if any(summed) else b"\xff\xff") + payload)


def ip6(source: bytes, destination: bytes, protocol: int, body: bytes, place: int) -> bytes:
    """`place` is where the checksum of this protocol goes in its body."""
    summed = checksum(source + destination + struct.pack(">II", len(body), protocol) + body)
    body = body[:place] + (summed if any(summed) else b"\xff\xff") + body[place + 2:]
    hops = 255 if protocol == ICMPV6 else 64
    return struct.pack(">IHBB", 0x6 << 28, len(body), protocol, hops) + source + destination + body


def udp6(source: bytes, destination: bytes, ports: tuple[int, int], payload: bytes) -> bytes:
    return ip6(source, destination, UDP, struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload, 6)


def checksum(data: bytes) -> bytes:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def multicast_mac(address: bytes) -> bytes:
    return b"\x33\x33" + address[-4:]


def address4(text: str) -> bytes:
    return IPv4Address(text).packed


def address6(text: str) -> bytes:
    return IPv6Address(text).packed
