"""Router advertisements (RFC 4861, RFC 8106): asked for, and from time to time unasked."""

import struct
from ipaddress import IPv6Network
from typing import Any

from ovsagent.answers.packet import ICMPV6, IPV6, Datagram, address6, ethernet, ip6, link_local, mac, multicast_mac

SOLICITATION, ADVERTISEMENT = 133, 134
SOURCE_MAC, PREFIX, MTU, DNS = 1, 3, 5, 25
ON_LINK, AUTONOMOUS = 0x80, 0x40
VALID, PREFERRED = 86400, 14400  # seconds, RFC 4861's own defaults cut: a changed prefix is forgotten within the day
DNS_LIFETIME = 1800
INTERVAL = (30.0, 60.0)  # seconds between two that nobody asked for
ALL_NODES = address6("ff02::1")
UNSPECIFIED = bytes(16)


def reply(question: Datagram, entry: dict[str, Any]) -> bytes | None:
    """To who asks; to all where the asker has no address yet."""
    options = kinds(question.payload[4:])
    if options is None or question.source == UNSPECIFIED and SOURCE_MAC in options:
        return None     # RFC 4861, 6.1.1
    if question.source == UNSPECIFIED or question.source[:2] != b"\xfe\x80":
        return advertisement(entry)
    return advertisement(entry, question.mac, question.source)


def kinds(options: bytes) -> set[int] | None:
    """Of neighbour discovery's options; None if they are not whole."""
    found = set()
    while options:
        if len(options) < 2 or not 0 < 8 * options[1] <= len(options):
            return None
        found.add(options[0])
        options = options[8 * options[1]:]
    return found


def advertisement(entry: dict[str, Any], to: bytes = multicast_mac(ALL_NODES), at: bytes = ALL_NODES) -> bytes:
    hardware = mac(entry["source_mac"])
    flags = (0x80 if entry["managed"] else 0) | (0x40 if entry["other"] else 0)
    body = struct.pack(">BBHBBHII", ADVERTISEMENT, 0, 0, 64, flags, entry["lifetime"], 0, 0)
    body += struct.pack(">BB6s", SOURCE_MAC, 1, hardware) + struct.pack(">BBxxI", MTU, 1, entry["mtu"])
    for cidr, autonomous in entry["prefixes"]:
        network = IPv6Network(cidr)
        body += struct.pack(">BBBBIIxxxx16s", PREFIX, 4, network.prefixlen, ON_LINK | (AUTONOMOUS if autonomous else 0),
                            VALID, PREFERRED, network.network_address.packed)
    if servers := [address6(a) for a in entry["dns"]]:
        body += struct.pack(">BBxxI", DNS, 1 + 2 * len(servers), DNS_LIFETIME) + b"".join(servers)
    return ethernet(to, hardware, IPV6, ip6(link_local(hardware), at, ICMPV6, body, 2))
