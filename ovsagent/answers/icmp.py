"""What routers say of packets that they do not send on: ICMP errors (RFC 1812, RFC 4443), and packets cut in pieces."""

import struct
from enum import Enum

from ovsagent.answers.packet import ICMP, ICMPV6, checksum, ip4, ip6

ABOUT4, ABOUT6 = 576 - 28, 1280 - 48    # bytes of the packet that an error brings along
ERRORS4 = (3, 4, 5, 11, 12)             # of ICMP; those of ICMPv6 are the types below 128
FRAGMENT = 44
EXTENSIONS = 0, 43, FRAGMENT, 60        # of IPv6: each says what follows it, and how long it is
REDIRECT = 137
NO_SINGLE_HOST = 224                    # the first byte of multicast, reserved and broadcast addresses, all above it


class Error(Enum):
    """(type, code) of ICMP, and of ICMPv6."""

    EXPIRED = (11, 0), (3, 0)
    NO_ROUTE = (3, 0), (1, 0)
    NO_HOST = (3, 1), (1, 3)
    NO_PORT = (3, 3), (1, 4)
    TOO_LARGE = (3, 4), (2, 0)


def sender(packet: bytes) -> bytes:
    return packet[8:24] if packet[:1] >= b"\x60" else packet[12:16]


def recipient(packet: bytes) -> bytes:
    return packet[24:40] if packet[:1] >= b"\x60" else packet[16:20]


def whole(packet: bytes) -> bytes | None:
    """The IP packet without what a frame may have behind it; None if it is not all there."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        length, later = struct.unpack_from(">HxxH", packet, 2)
        least = 1 if later & 0x1FFF else 8  # the last piece of a packet may be short
        return packet[:length] if (packet[0] & 15) * 4 + least <= length <= len(packet) and packet[0] & 15 >= 5 else None
    if len(packet) >= 48 and packet[0] >> 4 == 6:
        length = 40 + struct.unpack_from(">H", packet, 4)[0]
        return packet[:length] if 48 <= length <= len(packet) else None
    return None


def error(what: Error, packet: bytes, source: bytes, mtu: int = 0) -> bytes | None:
    """To who sent the packet, as IP; None about what nobody may be told of: errors, messages of ICMP that we do not know
    (RFC 1122, 3.2.2; RFC 4443, 2.4), later pieces, what no single host sent or was sent."""
    if packet[0] >> 4 == 4:
        header = (packet[0] & 15) * 4
        later = struct.unpack_from(">H", packet, 6)[0] & 0x1FFF
        if later or packet[9] == ICMP and (what is Error.NO_PORT or packet[header] in ERRORS4):
            return None
        if not _single4(sender(packet)) or recipient(packet)[0] >= NO_SINGLE_HOST:
            return None
        body = struct.pack(">BBHHH", *what.value[0], 0, 0, mtu) + packet[:ABOUT4]
        return ip4(source, sender(packet), ICMP, body[:2] + checksum(body) + body[4:])
    carried = _carried(packet)
    if carried is None or carried[0] == ICMPV6 and (what is Error.NO_PORT or not 127 < carried[1] != REDIRECT):
        return None
    multicast = recipient(packet)[0] == 0xFF and what is not Error.TOO_LARGE    # RFC 4443, 2.4 (e.3)
    if multicast or sender(packet)[0] == 0xFF or sender(packet) == bytes(16):
        return None
    return ip6(source, sender(packet), ICMPV6, struct.pack(">BBHI", *what.value[1], 0, mtu) + packet[:ABOUT6], 2)


def _carried(packet: bytes) -> tuple[int, int] | None:
    """Behind all extensions of an IPv6 packet: the protocol, and its first byte (0 if it is not there). None of a later piece."""
    protocol, at = packet[6], 40
    while protocol in EXTENSIONS and len(packet) >= at + 8:
        if protocol == FRAGMENT and struct.unpack_from(">H", packet, at + 2)[0] & 0xFFF8:
            return None
        protocol, at = packet[at], at + 8 + (0 if protocol == FRAGMENT else 8 * packet[at + 1])
    return protocol, next(iter(packet[at:at + 1]), 0)


def _single4(address: bytes) -> bool:
    return 0 < address[0] < NO_SINGLE_HOST and address[0] != 127


def may_be_cut(packet: bytes) -> bool:
    return packet[0] >> 4 == 4 and not packet[6] & 0x40


def pieces(packet: bytes, mtu: int) -> list[bytes]:
    """An IPv4 packet, or a piece of one, in pieces that fit (RFC 791, 3.2), of one size, since conntrack drops small ones. Its
    options stay with the first."""
    length = (packet[0] & 15) * 4
    (flags,) = struct.unpack_from(">H", packet, 6)
    body, offset, header, found = packet[length:], flags & 0x1FFF, packet[:length], []
    most = (mtu - length) // 8 * 8
    even = (len(body) // -(-len(body) // most) + 7) // 8 * 8
    while body:
        room = min(most, even) if length + len(body) > mtu else len(body)
        more = flags & 0x2000 or (0x2000 if room < len(body) else 0)
        head = bytes([0x40 | len(header) // 4]) + header[1:2] + struct.pack(">H", len(header) + min(room, len(body)))
        head += header[4:6] + struct.pack(">H", more | offset) + header[8:10] + bytes(2) + header[12:]
        found.append(head[:10] + checksum(head) + head[12:] + body[:room])
        body, offset, header = body[room:], offset + room // 8, header[:20]
    return found


def echo(packet: bytes) -> bytes | None:
    """A piece of a large ping, turned around. Flows turn whole ones; but a switch sees no more in a piece than that it is
    one, and lets all of them go the way of the one that came last."""
    four = packet[0] >> 4 == 4
    at, asked = ((packet[0] & 15) * 4, packet[9] == ICMP) if four else (48, packet[6] == FRAGMENT and packet[40] == ICMPV6)
    flags = struct.unpack_from(">H", packet, 6 if four else 42)[0]
    offset, more = (flags & 0x1FFF, flags & 0x2000) if four else (flags >> 3, flags & 1)
    request, reply = (8, 0) if four else (128, 129)
    if not asked or not (offset or more) or not offset and packet[at:at + 1] != bytes([request]):
        return None
    body = packet[at:] if offset else bytes([reply]) + packet[at + 1:at + 2] + _less(packet[at + 2:at + 4], reply - request << 8
                                                                                    ) + packet[at + 4:]
    if not four:
        return packet[:7] + b"\x40" + recipient(packet) + sender(packet) + packet[40:48] + body
    header = packet[:8] + b"\x40\1" + bytes(2) + recipient(packet) + sender(packet) + packet[20:at]
    return header[:10] + checksum(header) + header[12:] + body


def _less(checksum: bytes, more: int) -> bytes:
    """The checksum of what has become so much more (RFC 1624)."""
    return ((int.from_bytes(checksum, "big") - more) % 0xFFFF).to_bytes(2, "big")
