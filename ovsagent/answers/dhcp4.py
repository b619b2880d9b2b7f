"""DHCPv4 (RFC 2131): one client, one lease, and that is in the book already; so there is nothing to remember here."""

import struct
from collections.abc import Iterator
from typing import Any

from ovsagent.answers.packet import ALL_MACS, IPV4, Datagram, address4, ethernet, mac, udp4

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
REQUESTED, LEASE, TYPE, SERVER, PARAMETERS, SIZE, T1, T2, CLIENT = 50, 51, 53, 54, 55, 57, 58, 59, 61
ROUTES, OLD_ROUTES = 121, 249
PAD, OVERLOAD, END = 0, 52, 255
MAGIC = b"\x63\x82\x53\x63"
FIXED = struct.Struct(">BBBBIHH4s4s4s4s16s64s128s")
HEADERS = 20 + 8 + FIXED.size + len(MAGIC)
SMALLEST = 576  # bytes of a datagram that every client takes
LARGEST = 1500 - HEADERS
NOWHERE = bytes(4)


def reply(question: Datagram, entry: dict[str, Any]) -> bytes | None:
    """The frame to answer with; None where a client must hear nothing."""
    message = question.payload
    if len(message) < FIXED.size + len(MAGIC) or message[FIXED.size:FIXED.size + 4] != MAGIC:
        return None
    op, hardware, length, _, xid, _, flags, client, _, _, relay, chaddr, sname, file = FIXED.unpack_from(message)
    ours = mac(entry["mac"])
    if (op, hardware, length, relay) != (1, 1, 6, NOWHERE) or chaddr[:6] != ours or question.mac != ours:
        return None
    asked = options(message[FIXED.size + 4:], sname, file)
    kind = verdict(asked, client, entry)
    if kind is None:
        return None
    informed = asked[TYPE][0] == INFORM
    if informed and client == NOWHERE:  # some say who they are as the sender only
        client = question.source
    yours = NOWHERE if kind == NAK or informed else address4(entry["address"])
    kept = client if kind == ACK else NOWHERE
    head = FIXED.pack(2, 1, 6, 0, xid, 0, flags, kept, yours, NOWHERE if kind == NAK else address4(entry["next"]),
                      NOWHERE, chaddr, b"", b"")
    content = head + MAGIC + b"".join(_told(kind, asked, entry, _room(asked))) + b"\xff"
    content += bytes(max(0, 300 - len(content)))  # BOOTP's smallest, which some clients insist on
    server = address4(entry["server"])
    if kind == NAK or client == NOWHERE and (flags & 0x8000 or informed):
        to, at = ALL_MACS, b"\xff" * 4
    else:
        to, at = ours, client if client != NOWHERE else yours
    return ethernet(to, mac(entry["server_mac"]), IPV4, udp4(server, at, (67, 68), content))


def verdict(asked: dict[int, bytes], client: bytes, entry: dict[str, Any]) -> int | None:
    """What to answer: the lease is fixed, so who asks for it gets it, who asks for another is refused."""
    kind = asked.get(TYPE, b"\0")[0]
    address, server = address4(entry["address"]), address4(entry["server"])
    if kind == DISCOVER:
        return OFFER
    if kind == INFORM:
        return ACK
    if kind != REQUEST:
        return None  # declined, released: it stays the port's; anything else is no client's
    if SERVER in asked:  # it chose among offers
        if asked[SERVER] != server:
            return None
        return ACK if asked.get(REQUESTED) == address else NAK
    wants = asked.get(REQUESTED, client)  # after a reboot; renewing or rebinding
    return None if wants == NOWHERE else ACK if wants == address else NAK


def options(data: bytes, sname: bytes = b"", file: bytes = b"") -> dict[int, bytes]:
    """By code; pieces of a long one joined (RFC 3396). What is cut off ends the list."""
    found: dict[int, bytes] = {}
    _collect(data, found)
    overload = found.get(OVERLOAD, b"\0")[0]
    for bit, field in ((1, file), (2, sname)):
        if overload & bit:
            _collect(field, found)
    return found


def _collect(data: bytes, found: dict[int, bytes]) -> None:
    at = 0
    while at < len(data) and data[at] != END:
        if data[at] == PAD:
            at += 1
            continue
        value = data[at + 2:at + 2 + data[at + 1]] if at + 1 < len(data) else b""
        if at + 2 > len(data) or not value or len(value) < data[at + 1]:
            return  # cut off, or empty, which none may be
        found[data[at]] = found.get(data[at], b"") + value
        at += 2 + len(value)


def _room(asked: dict[int, bytes]) -> int:
    size = int.from_bytes(asked[SIZE], "big") if len(asked.get(SIZE, b"")) == 2 else SMALLEST
    return min(max(size, SMALLEST) - HEADERS, LARGEST) - 1


def _told(kind: int, asked: dict[int, bytes], entry: dict[str, Any], room: int) -> Iterator[bytes]:
    """The options, the protocol's own first, then those asked for, then the rest; as many as there is room for."""
    values: dict[int, bytes] = {TYPE: bytes([kind]), SERVER: address4(entry["server"])}
    if CLIENT in asked:
        values[CLIENT] = asked[CLIENT]  # RFC 6842
    if kind != NAK:
        told = {int(code): bytes.fromhex(data) for code, data in entry["options"].items()}
        lease = int(entry["lease"])
        times = {LEASE: lease, T1: lease // 2, T2: lease * 7 // 8}
        given = {code: told.pop(code, b"") or seconds.to_bytes(4, "big") for code, seconds in times.items()}
        if asked[TYPE][0] != INFORM:  # whose lease is none of ours (RFC 2131, 4.3.5)
            values |= given
        wished = asked.get(PARAMETERS, b"")
        if ROUTES in told and OLD_ROUTES in wished:
            told.setdefault(OLD_ROUTES, told[ROUTES])  # what Windows called them before RFC 3442, and asks for since
        values |= {code: told[code] for code in dict.fromkeys((1, *wished)) if code in told}
        values |= {code: data for code, data in told.items() if code not in values}
    for code, data in values.items():
        pieces = [data[at:at + 255] for at in range(0, len(data), 255)]
        encoded = b"".join(bytes([code, len(piece)]) + piece for piece in pieces)
        if len(encoded) <= room:
            room -= len(encoded)
            yield encoded
