"""DHCPv6 (RFC 8415), stateful and stateless: the addresses of the port, whoever on it asks, and what goes with them."""

import struct
from collections.abc import Iterator
from typing import Any

from ovsagent.answers.packet import IPV6, Datagram, address6, ethernet, link_local, mac, udp6

SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE, _, INFORMATION = range(1, 12)
CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, PREFERENCE, STATUS, RAPID = 1, 2, 3, 5, 7, 13, 14
SUCCESS, NO_ADDRESSES, NO_BINDING, NOT_ON_LINK = 0, 2, 3, 4
TO_THIS_SERVER = {REQUEST, RENEW, RELEASE, DECLINE}
MOST = 1400  # bytes of an answer: no fragments

Option = tuple[int, bytes]


def reply(question: Datagram, entry: dict[str, Any]) -> bytes | None:
    message = question.payload
    asked = options(message[4:])
    if len(message) < 4 or asked is None or question.source[:2] != b"\xfe\x80":
        return None
    server = b"\x00\x03\x00\x01" + mac(entry["server_mac"])  # DUID-LL: the same on every host, after every restart
    first = dict(reversed(asked))
    kind, mine = message[0], [address6(a) for a in entry["addresses"]]
    if SERVER_ID in first and first[SERVER_ID] != server or SERVER_ID not in first and kind in TO_THIS_SERVER:
        return None
    if CLIENT_ID not in first and kind != INFORMATION:
        return None
    told = [(SERVER_ID, server)] + [(CLIENT_ID, first[CLIENT_ID]) for _ in range(CLIENT_ID in first)]
    answer = REPLY
    if kind in (SOLICIT, REQUEST, RENEW, REBIND):
        if not mine:
            return None  # stateless: addresses are not ours to give
        if kind == SOLICIT:
            answer = REPLY if RAPID in first else ADVERTISE
            told += [(RAPID, b"")] if RAPID in first else [(PREFERENCE, b"\xff")]
        told += _associations(asked, mine, int(entry["lease"]), new=kind in (SOLICIT, REQUEST))
    elif kind == CONFIRM:
        held = [a for code, data in asked if code == IA_NA for a in _addresses(data)]
        if not held:
            return None
        told += [(STATUS, _status(SUCCESS if set(held) <= set(mine) else NOT_ON_LINK))]
    elif kind in (RELEASE, DECLINE):
        told += [(STATUS, _status(SUCCESS))]  # it stays the port's
    elif kind != INFORMATION or any(code == IA_NA for code, _ in asked):
        return None
    if kind not in (CONFIRM, RELEASE, DECLINE):
        told += [(int(code), bytes.fromhex(data)) for code, data in entry["options"].items()]
    content = bytes([answer]) + message[1:4]
    for code, data in told:
        if len(content) + 4 + len(data) <= MOST:
            content += struct.pack(">HH", code, len(data)) + data
    hardware = mac(entry["server_mac"])
    return ethernet(question.mac, hardware, IPV6, udp6(link_local(hardware), question.source, (547, 546), content))


def options(data: bytes) -> list[Option] | None:
    """In their order; None when they do not end where they should."""
    found, at = [], 0
    while at < len(data):
        if at + 4 > len(data):
            return None
        code, length = struct.unpack_from(">HH", data, at)
        if at + 4 + length > len(data):
            return None
        found.append((code, data[at + 4:at + 4 + length]))
        at += 4 + length
    return found


def _addresses(association: bytes) -> list[bytes]:
    return [data[:16] for code, data in options(association[12:]) or () if code == IA_ADDRESS and len(data) >= 24]


def _associations(asked: list[Option], mine: list[bytes], lease: int, new: bool) -> Iterator[Option]:
    """The first association gets all addresses; others, of which a sane client has none, are told that there are no more."""
    free = list(mine)
    for code, data in asked:
        if code != IA_NA or len(data) < 12:
            continue
        given, free = free, []
        inner = [(IA_ADDRESS, a + struct.pack(">II", lease, lease)) for a in given]
        # What it holds by mistake ends now.
        inner += [(IA_ADDRESS, a + bytes(8)) for a in _addresses(data) if a not in mine and not new][:8]
        if not given:
            inner += [(STATUS, _status(NO_ADDRESSES if new else NO_BINDING))]
        yield IA_NA, data[:4] + struct.pack(">II", lease // 2, lease * 4 // 5) + b"".join(
            struct.pack(">HH", code, len(d)) + d for code, d in inner)


def _status(code: int) -> bytes:
    return struct.pack(">H", code)
