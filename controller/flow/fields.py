"""The fields of a packet and of the pipeline: one line each, and the terms a match is made of.

The order of the lines is the order in which Open vSwitch 3.1 writes a match back (`nx_put_raw` in its
lib/nx-match.c), prerequisites first; so what a switch dumps equals what it was sent, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

_CLASSES = {"NXM_OF": 0x0000, "NXM_NX": 0x0001, "ERICOXM_OF": 0x1000, "OXM_OF_PKT_REG": 0x8001, "OXM_OF": 0x8000}


class Term(NamedTuple):
    """One OXM of a match, ready to be sorted by its place on the wire."""

    place: int
    encoded: bytes
    of: Field
    value: int
    mask: int


Terms = tuple[Term, ...]


def _mac(text: str) -> int:
    digits = text.replace(":", "")
    if len(text) != 17 or len(digits) != 12:
        raise ValueError(f"{text!r} is not a MAC address")
    return int(digits, 16)


def _mac_text(number: int) -> str:
    return number.to_bytes(6, "big").hex(":")


def _address(family: int, kind: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            return int.from_bytes(inet_pton(family, text), "big")
        except OSError:
            raise ValueError(f"{text!r} is not an {kind} address") from None

    return parse


class Kind(NamedTuple):
    """How people write the values of a field."""

    parse: Callable[[str], int]
    text: Callable[[int], str]


MAC = Kind(_mac, _mac_text)
IP = Kind(_address(AF_INET, "IPv4"), lambda number: inet_ntop(AF_INET, number.to_bytes(4, "big")))
IP6 = Kind(_address(AF_INET6, "IPv6"), lambda number: inet_ntop(AF_INET6, number.to_bytes(16, "big")))
_FRAGMENTS = ("no", "first", "<error>", "later")
DECIMAL = Kind(lambda text: int(text, 0), str)
FRAG = Kind(lambda text: _FRAGMENTS.index(text), lambda number: _FRAGMENTS[number & 3])
HEX = Kind(lambda text: int(text, 0), lambda number: hex(number) if number else "0")  # as C's %#x does


@dataclass(frozen=True, eq=False)
class Field:
    """A field: `ETH_DST == "fa:16:3e:00:00:01"` is a term of a match, `VLAN_TCI[0:12]` some of its bits."""

    name: str  # as in set_field
    bits: int
    kind: Kind
    shown: str  # as in the match of a dump
    place: int
    oxm: int  # the header in matches and set_field
    nxm: int  # the header in load, move and output, where Open vSwitch prefers NXM
    nxm_name: str
    nxm_bits: int
    size: int = field(init=False)  # in bytes
    full: int = field(init=False)  # the mask that means "exact"

    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", (self.bits + 7) // 8)
        object.__setattr__(self, "full", (1 << self.bits) - 1)

    def __eq__(self, value: int | str) -> Terms:  # type: ignore[override]
        return self.terms(*self.number(value))

    def masked(self, value: int | str, mask: int | str) -> Terms:
        return self.terms(self.number(value)[0], self.number(mask)[0])

    def __getitem__(self, bits: slice) -> Bits:
        return Bits(self, bits.start, bits.stop - bits.start)

    def number(self, value: int | str) -> tuple[int, int]:
        """Value and mask of what a person wrote."""
        mask = full = self.full
        if isinstance(value, str):
            text, slash, prefix = value.partition("/")
            number = self.kind.parse(text)
            if slash and self.kind in (IP, IP6) and prefix.isdigit():
                if int(prefix) > self.bits:
                    raise ValueError(f"{value}: {self.name} has {self.bits} bits")
                mask = full ^ full >> int(prefix)
            elif slash:
                mask = self.kind.parse(prefix)
        else:
            number = value
        if not (0 <= number <= full and 0 <= mask <= full):
            raise ValueError(f"{value} is too wide for {self.name}, which has {self.bits} bits")
        return number, mask

    def terms(self, value: int, mask: int) -> Terms:
        return _terms(self, value, mask)

    def encoded(self, value: int, mask: int) -> Terms:
        size = self.size
        if mask == self.full:
            encoded = (self.oxm << 8 * size | value).to_bytes(4 + size, "big")
        elif mask:
            value &= mask  # a bit outside the mask would be refused by the switch
            encoded = (((self.oxm + size | 0x100) << 8 * size | value) << 8 * size | mask).to_bytes(4 + 2 * size, "big")
        else:
            return ()
        return (Term(self.place, encoded, self, value, mask),)


@lru_cache(maxsize=1 << 15)
def _terms(field: Field, value: int, mask: int) -> Terms:
    """Of a thousand matches most terms are the same."""
    return field.encoded(value, mask)


class VlanTci(Field):
    """The whole TCI, which OpenFlow 1.3 knows only as VID (with the bit that says "there is a tag") and priority."""

    __hash__ = object.__hash__

    def encoded(self, value: int, mask: int) -> Terms:
        value &= mask
        priority = mask >> 13
        if not value and mask == 0xFFFF:
            priority = 0  # untagged; there is no priority to ask for
        elif priority and (priority != 7 or not value & 0x1000):
            raise ValueError(f"vlan_tci={value:#06x}/{mask:#06x}: to match the priority takes all of it and bit 0x1000")
        terms = VLAN_VID.terms(value & 0x1FFF, mask & 0x1FFF)
        return terms + VLAN_PCP.terms(value >> 13, 7) if priority else terms


@dataclass(frozen=True, eq=False)
class Wide(Field):
    """Registers as one number, the first of them highest. A match asks each for its part, as a switch says it back."""

    parts: tuple[Field, ...] = ()

    __hash__ = object.__hash__

    def encoded(self, value: int, mask: int) -> Terms:
        shifts = range(self.bits - 32, -1, -32)
        return sum((part.terms(value >> shift & part.full, mask >> shift & part.full)
                    for part, shift in zip(self.parts, shifts, strict=True)), ())


@dataclass(frozen=True, eq=False)
class Bits:
    """Some bits of a field, from `first` on."""

    of: Field
    first: int
    width: int
    mask: int = field(init=False)  # in the whole field

    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", ((1 << self.width) - 1) << self.first)
        if self.first < 0 or self.width < 1 or self.first + self.width > self.of.bits:
            raise ValueError(f"{self.of.name} has no bits {self.first} to {self.first + self.width - 1}")

    def __eq__(self, value: int) -> Terms:  # type: ignore[override]
        self.check(value)
        return self.of.terms(value << self.first, self.mask)

    def check(self, value: int) -> None:
        if value < 0 or value >> self.width:
            raise ValueError(f"{value} is too wide for {self}, which has {self.width} bits")

    def __str__(self) -> str:
        return f"{self.of.name}[{self.first}:{self.first + self.width}]"


class Reg(Bits):
    """Bits of a register that have a meaning, and its name: `NETWORK = Reg("network", 0, 0, 15)`.

    Wider than 32 bits, it takes the registers behind this one, too: `POLICY = Reg("policy", 2, 0, 64)`.
    """

    __hash__ = object.__hash__

    def __init__(self, name: str, register: int, first: int, width: int) -> None:
        taken, registers = next((n, r) for n, r in ((1, REGISTERS), (2, XREGISTERS), (4, XXREGISTERS)) if width <= 32 * n)
        if register % taken:
            raise ValueError(f"{name} has {width} bits: it cannot begin at register {register}")
        super().__init__(registers[register // taken], first, width)
        object.__setattr__(self, "name", name)

    name: str

    def __str__(self) -> str:
        return self.name


FIELDS: list[Field] = []


def _header(name: str, number: int, bits: int) -> int:
    oxm_class = next(code for prefix, code in _CLASSES.items() if name.startswith(prefix))
    return oxm_class << 16 | number << 9 | (bits + 7) // 8


def _field(name: str, bits: int, kind: Kind, oxm: tuple[str, int], nxm: tuple[str, int] | None = None, *,
           shown: str = "", nxm_bits: int = 0, form: type[Field] = Field) -> Field:
    nxm, nxm_bits = nxm or oxm, nxm_bits or bits
    new = form(name, bits, kind, shown or name, place=len(FIELDS), oxm=_header(*oxm, bits),
               nxm=_header(*nxm, nxm_bits), nxm_name=nxm[0], nxm_bits=nxm_bits)
    FIELDS.append(new)
    return new


CONJ_ID = _field("conj_id", 32, DECIMAL, ("NXM_NX_CONJ_ID", 37))
IN_PORT = _field("in_port", 32, DECIMAL, ("OXM_OF_IN_PORT", 0), ("NXM_OF_IN_PORT", 0), nxm_bits=16)
ETH_SRC = _field("eth_src", 48, MAC, ("OXM_OF_ETH_SRC", 4), ("NXM_OF_ETH_SRC", 2), shown="dl_src")
ETH_DST = _field("eth_dst", 48, MAC, ("OXM_OF_ETH_DST", 3), ("NXM_OF_ETH_DST", 1), shown="dl_dst")
ETH_TYPE = _field("eth_type", 16, HEX, ("OXM_OF_ETH_TYPE", 5), ("NXM_OF_ETH_TYPE", 3), shown="dl_type")
VLAN_VID = _field("vlan_vid", 13, DECIMAL, ("OXM_OF_VLAN_VID", 6))
VLAN_PCP = _field("vlan_pcp", 3, DECIMAL, ("OXM_OF_VLAN_PCP", 7))
VLAN_TCI = _field("vlan_tci", 16, HEX, ("NXM_OF_VLAN_TCI", 4), form=VlanTci)
MPLS_LABEL = _field("mpls_label", 32, DECIMAL, ("OXM_OF_MPLS_LABEL", 34))  # of which 20 are: it is only written
IPV4_SRC = _field("ip_src", 32, IP, ("OXM_OF_IPV4_SRC", 11), ("NXM_OF_IP_SRC", 7), shown="nw_src")
IPV4_DST = _field("ip_dst", 32, IP, ("OXM_OF_IPV4_DST", 12), ("NXM_OF_IP_DST", 8), shown="nw_dst")
IPV6_SRC = _field("ipv6_src", 128, IP6, ("OXM_OF_IPV6_SRC", 26), ("NXM_NX_IPV6_SRC", 19))
IPV6_DST = _field("ipv6_dst", 128, IP6, ("OXM_OF_IPV6_DST", 27), ("NXM_NX_IPV6_DST", 20))
IP_FRAG = _field("nw_frag", 8, FRAG, ("NXM_NX_IP_FRAG", 26))
IP_DSCP = _field("ip_dscp", 6, DECIMAL, ("OXM_OF_IP_DSCP", 8))
IP_TTL = _field("nw_ttl", 8, DECIMAL, ("NXM_NX_IP_TTL", 29))
IP_PROTO = _field("nw_proto", 8, DECIMAL, ("OXM_OF_IP_PROTO", 10), ("NXM_OF_IP_PROTO", 6))
TCP_SRC = _field("tcp_src", 16, DECIMAL, ("OXM_OF_TCP_SRC", 13), ("NXM_OF_TCP_SRC", 9), shown="tp_src")
TCP_DST = _field("tcp_dst", 16, DECIMAL, ("OXM_OF_TCP_DST", 14), ("NXM_OF_TCP_DST", 10), shown="tp_dst")
UDP_SRC = _field("udp_src", 16, DECIMAL, ("OXM_OF_UDP_SRC", 15), ("NXM_OF_UDP_SRC", 11), shown="tp_src")
UDP_DST = _field("udp_dst", 16, DECIMAL, ("OXM_OF_UDP_DST", 16), ("NXM_OF_UDP_DST", 12), shown="tp_dst")
SCTP_SRC = _field("sctp_src", 16, DECIMAL, ("OXM_OF_SCTP_SRC", 17), shown="tp_src")
SCTP_DST = _field("sctp_dst", 16, DECIMAL, ("OXM_OF_SCTP_DST", 18), shown="tp_dst")
ICMP_TYPE = _field("icmp_type", 8, DECIMAL, ("OXM_OF_ICMPV4_TYPE", 19), ("NXM_OF_ICMP_TYPE", 13))
ICMP_CODE = _field("icmp_code", 8, DECIMAL, ("OXM_OF_ICMPV4_CODE", 20), ("NXM_OF_ICMP_CODE", 14))
ICMPV6_TYPE = _field("icmpv6_type", 8, DECIMAL, ("OXM_OF_ICMPV6_TYPE", 29), ("NXM_NX_ICMPV6_TYPE", 21),
                     shown="icmp_type")
ICMPV6_CODE = _field("icmpv6_code", 8, DECIMAL, ("OXM_OF_ICMPV6_CODE", 30), ("NXM_NX_ICMPV6_CODE", 22),
                     shown="icmp_code")
ND_RESERVED = _field("nd_reserved", 32, DECIMAL, ("ERICOXM_OF_ICMPV6_ND_RESERVED", 1))
ND_TARGET = _field("nd_target", 128, IP6, ("OXM_OF_IPV6_ND_TARGET", 31), ("NXM_NX_ND_TARGET", 23))
ND_OPTIONS_TYPE = _field("nd_options_type", 8, DECIMAL, ("ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE", 2))
ND_SLL = _field("nd_sll", 48, MAC, ("OXM_OF_IPV6_ND_SLL", 32), ("NXM_NX_ND_SLL", 24))
ND_TLL = _field("nd_tll", 48, MAC, ("OXM_OF_IPV6_ND_TLL", 33), ("NXM_NX_ND_TLL", 25))
ARP_OP = _field("arp_op", 16, DECIMAL, ("OXM_OF_ARP_OP", 21), ("NXM_OF_ARP_OP", 15))
ARP_SPA = _field("arp_spa", 32, IP, ("OXM_OF_ARP_SPA", 22), ("NXM_OF_ARP_SPA", 16))
ARP_TPA = _field("arp_tpa", 32, IP, ("OXM_OF_ARP_TPA", 23), ("NXM_OF_ARP_TPA", 17))
ARP_SHA = _field("arp_sha", 48, MAC, ("OXM_OF_ARP_SHA", 24), ("NXM_NX_ARP_SHA", 17))
ARP_THA = _field("arp_tha", 48, MAC, ("OXM_OF_ARP_THA", 25), ("NXM_NX_ARP_THA", 18))
TUN_ID = _field("tun_id", 64, HEX, ("OXM_OF_TUNNEL_ID", 38), ("NXM_NX_TUN_ID", 16))
TUN_SRC = _field("tun_src", 32, IP, ("NXM_NX_TUN_IPV4_SRC", 31))
TUN_DST = _field("tun_dst", 32, IP, ("NXM_NX_TUN_IPV4_DST", 32))
REGISTERS = tuple(_field(f"reg{number}", 32, HEX, (f"NXM_NX_REG{number}", number)) for number in range(16))
CT_STATE = _field("ct_state", 32, HEX, ("NXM_NX_CT_STATE", 105))
CT_ZONE = _field("ct_zone", 16, DECIMAL, ("NXM_NX_CT_ZONE", 106))
CT_MARK = _field("ct_mark", 32, HEX, ("NXM_NX_CT_MARK", 107))
CT_NW_SRC = _field("ct_nw_src", 32, IP, ("NXM_NX_CT_NW_SRC", 120))
CT_IPV6_SRC = _field("ct_ipv6_src", 128, IP6, ("NXM_NX_CT_IPV6_SRC", 122))
CT_NW_DST = _field("ct_nw_dst", 32, IP, ("NXM_NX_CT_NW_DST", 121))
CT_IPV6_DST = _field("ct_ipv6_dst", 128, IP6, ("NXM_NX_CT_IPV6_DST", 123))
CT_NW_PROTO = _field("ct_nw_proto", 8, DECIMAL, ("NXM_NX_CT_NW_PROTO", 119))
CT_TP_SRC = _field("ct_tp_src", 16, DECIMAL, ("NXM_NX_CT_TP_SRC", 124))
CT_TP_DST = _field("ct_tp_dst", 16, DECIMAL, ("NXM_NX_CT_TP_DST", 125))
METADATA = _field("metadata", 64, HEX, ("OXM_OF_METADATA", 2))

# What conntrack says of a packet, a bit each: `match(IPV4, NEW == 1, TRK == 1)`.
STATES = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")
NEW, EST, REL, RPL, INV, TRK, TRANSLATED = (CT_STATE[bit:bit + 1] for bit in range(7))


def _wide(name: str, nxm: str, number: int, parts: tuple[Field, ...]) -> Wide:
    bits = 32 * len(parts)
    header = _header(nxm, number, bits)
    return Wide(name, bits, HEX, name, place=-1, oxm=header, nxm=header, nxm_name=nxm, nxm_bits=bits, parts=parts)


XREGISTERS = tuple(_wide(f"xreg{n}", f"OXM_OF_PKT_REG{n}", n, REGISTERS[2 * n:2 * n + 2]) for n in range(8))
XXREGISTERS = tuple(_wide(f"xxreg{n}", f"NXM_NX_XXREG{n}", 111 + n, REGISTERS[4 * n:4 * n + 4]) for n in range(4))
BY_NXM = {field.nxm >> 9: field for field in (*FIELDS, *XREGISTERS, *XXREGISTERS)}

# Protocols, as one says them: each with what it stands on.
ARP = ETH_TYPE == 0x0806
REQUEST, REPLY = 1, 2  # of ARP, RFC 826
ARP_REQUEST, ARP_REPLY = ARP + (ARP_OP == REQUEST), ARP + (ARP_OP == REPLY)
IPV4 = ETH_TYPE == 0x0800
IPV6 = ETH_TYPE == 0x86DD
FRAGMENT = IPV4 + IP_FRAG.terms(1, 1)  # the first piece, or a later one
ICMP = IPV4 + (IP_PROTO == 1)
ICMPV6 = IPV6 + (IP_PROTO == 58)
ND_NS = ICMPV6 + (ICMPV6_TYPE == 135) + (ICMPV6_CODE == 0)
ND_NA = ICMPV6 + (ICMPV6_TYPE == 136) + (ICMPV6_CODE == 0)
TCP = IPV4 + (IP_PROTO == 6)
UDP = IPV4 + (IP_PROTO == 17)
TCP6 = IPV6 + (IP_PROTO == 6)
UDP6 = IPV6 + (IP_PROTO == 17)
