"""Flows as `ovs-ofctl dump-flows` prints them, tables by name; read from the bytes, so no dump is beyond it."""

from collections.abc import Iterable, Iterator
from struct import unpack_from
from typing import NamedTuple

from controller.flow.fields import (
    BY_NXM,
    CT_STATE,
    ETH_TYPE,
    FIELDS,
    HEX,
    IN_PORT,
    IP,
    IP6,
    IP_FRAG,
    IP_PROTO,
    MAC,
    STATES,
    VLAN_PCP,
    VLAN_VID,
    Field,
)
from controller.flow.meters import Meter, meter_text
from controller.flow.words import Flow, Table

_BY_OXM = {field.oxm >> 9: field for field in FIELDS}

# What Open vSwitch says for the two fields together (`match_format` in its lib/match.c).
_PROTOCOLS = {
    (0x0800, 1): "icmp", (0x0800, 6): "tcp", (0x0800, 17): "udp", (0x0800, 132): "sctp",
    (0x86DD, 58): "icmp6", (0x86DD, 6): "tcp6", (0x86DD, 17): "udp6", (0x86DD, 132): "sctp6",
}
_ETHER_TYPES = {0x0800: "ip", 0x86DD: "ipv6", 0x0806: "arp", 0x8035: "rarp"}
_PORTS = {0xFFFFFFF8: "IN_PORT", 0xFFFFFFFA: "NORMAL", 0xFFFFFFFB: "FLOOD", 0xFFFFFFFC: "ALL", 0xFFFFFFFD: "CONTROLLER",
          0xFFFFFFFE: "LOCAL"}
_FIRST = ("conj_id", "ct_state", "ct_zone", "ct_mark", "ct_nw_src", "ct_ipv6_src", "ct_nw_dst", "ct_ipv6_dst", "ct_nw_proto",
          "ct_tp_src", "ct_tp_dst")
_ORDER = {name: place for place, name in enumerate([
    *(f"reg{number}" for number in range(16)), "tun_id", "tun_src", "tun_dst", "metadata", "in_port", "dl_vlan",
    "dl_vlan_pcp", "vlan_tci", "dl_src", "dl_dst", "dl_type", "ipv6_src", "ipv6_dst", "arp_spa", "arp_tpa", "nw_src",
    "nw_dst", "nw_proto", "arp_op", "arp_sha", "arp_tha", "nw_ttl", "nw_frag", "icmp_type", "icmp_code", "nd_target", "nd_sll",
    "nd_tll", "nd_reserved", "nd_options_type", "tp_src", "tp_dst",
])}


class _Asked(NamedTuple):
    value: int
    mask: int


def text(flow: Flow | Meter, tables: Iterable[Table] = ()) -> str:
    if isinstance(flow, Meter):
        return meter_text(flow)
    names = {table.number: table.name for table in tables if table.bridge == flow.bridge}
    table = names.get(flow.table, flow.table)
    words = ",".join([f"priority={flow.priority}", *_match(flow.match)])
    return f"table={table}, {words} actions={','.join(_instructions(flow.instructions, names)) or 'drop'}"


def _oxms(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Headers and what follows them; a header whose length lies gets the rest."""
    at = 0
    while at < len(encoded):
        header = int.from_bytes(encoded[at:at + 4], "big")
        end = at + 4 + (header & 0xFF)
        yield header, encoded[at + 4:end]
        at = end


def _match(encoded: bytes) -> Iterator[str]:
    asked: dict[Field, _Asked] = {}
    unknown = []
    for header, payload in _oxms(encoded):
        field = _BY_OXM.get(header >> 9)
        masked = bool(header & 0x100)
        if field is None or len(payload) != field.size << masked:
            unknown.append(f"oxm({header:08x})={payload.hex()}")
            continue
        value = int.from_bytes(payload[:field.size], "big")
        asked[field] = _Asked(value, int.from_bytes(payload[field.size:], "big") if masked else field.full)
    protocol = ""
    if ETH_TYPE in asked:
        ether_type = asked[ETH_TYPE].value
        protocol = _PROTOCOLS.get((ether_type, asked[IP_PROTO].value), "") if IP_PROTO in asked else ""
        if protocol:
            del asked[IP_PROTO]
        protocol = protocol or _ETHER_TYPES.get(ether_type, "")
        if protocol:
            del asked[ETH_TYPE]
    connection = {field.shown: _value(field, *asked.pop(field)) for field in list(asked) if field.shown in _FIRST}
    yield from (f"{name}={connection[name]}" for name in _FIRST if name in connection)
    yield from filter(None, [protocol])
    shown = dict(_vlan(asked.pop(VLAN_VID, _Asked(0, 0)), asked.pop(VLAN_PCP, None)))
    shown.update((field.shown, _value(field, *value)) for field, value in asked.items())
    yield from (f"{name}={shown[name]}" for name in sorted(shown, key=lambda name: _ORDER.get(name, len(_ORDER))))
    yield from unknown


def _vlan(vid: _Asked, pcp: _Asked | None) -> Iterator[tuple[str, str]]:
    tagged = vid.value & vid.mask & 0x1000
    if tagged and (vid.mask & 0xFFF == 0xFFF or (pcp and not vid.mask & 0xFFF)):
        if vid.mask & 0xFFF:
            yield "dl_vlan", str(vid.value & 0xFFF)
        if pcp:
            yield "dl_vlan_pcp", str(pcp.value)
    elif vid.mask:
        value, mask = vid.value | (pcp.value << 13 if pcp else 0), vid.mask | (0xE000 if pcp else 0)
        yield "vlan_tci", f"{value:#06x}/{mask:#06x}" if mask != 0xFFFF else f"{value:#06x}"


def _value(field: Field, value: int, mask: int) -> str:
    if field is ETH_TYPE:
        return f"{value:#06x}"
    if field is IP_FRAG and (value, mask) == (1, 1):
        return "yes"
    if field is IN_PORT:
        return _port(value)
    if field is CT_STATE:
        return "".join(f"{'+' if value >> bit & 1 else '-'}{name}" for bit, name in enumerate(STATES) if mask >> bit & 1)
    if field.kind is HEX:
        return HEX.text(value) if mask == field.full else f"{HEX.text(value)}/{mask:#x}"
    if mask == field.full:
        return field.kind.text(value)
    if field.kind is MAC:
        return f"{field.kind.text(value)}/{field.kind.text(mask)}"
    if field.kind is IP or field.kind is IP6:
        hosts = field.full ^ mask
        prefix = str(mask.bit_count()) if not hosts & hosts + 1 else field.kind.text(mask)
        return f"{field.kind.text(value)}/{prefix}"
    return f"{value:#x}/{mask:#x}"


def _port(number: int) -> str:
    return _PORTS.get(number, str(number))


def _instructions(encoded: bytes, tables: dict[int, str]) -> Iterator[str]:
    for kind, part in _parts(encoded):
        if kind == 4 and len(part) >= 8:
            for action_kind, action in _parts(part[8:]):
                yield _action(action_kind, action, tables) or f"action({action.hex()})"
        elif kind == 1 and len(part) == 8:
            yield f"goto_table:{tables.get(part[4], part[4])}"
        elif kind == 6 and len(part) == 8:
            yield f"meter:{int.from_bytes(part[4:], 'big')}"
        else:
            yield f"instruction({part.hex()})"


def _parts(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and bytes of a list of actions or instructions; what is no list any more has type -1."""
    at = 0
    while at < len(encoded):
        kind, length = unpack_from(">HH", encoded, at) if at + 4 <= len(encoded) else (-1, 0)
        if length < 4 or at + length > len(encoded):
            kind, length = -1, len(encoded) - at
        yield kind, encoded[at:at + length]
        at += length


def _action(kind: int, action: bytes, tables: dict[int, str]) -> str | None:
    if kind == 0 and len(action) == 16:
        port, limit = unpack_from(">IH", action, 4)
        name = _PORTS.get(port)
        return f"output:{port}" if not name else f"{name}:{limit}" if name == "CONTROLLER" else name
    if kind == 17 and len(action) == 8:
        return f"push_vlan:{int.from_bytes(action[4:6], 'big'):#x}"
    if kind == 19 and len(action) == 8:
        return f"push_mpls:{int.from_bytes(action[4:6], 'big'):#06x}"
    if kind == 18:
        return "pop_vlan"
    if kind == 24:
        return "dec_ttl"
    if kind == 25 and len(action) >= 8:
        header = int.from_bytes(action[4:8], "big")
        field = _BY_OXM.get(header >> 9)
        if field and not header & 0x100 and len(action) >= 8 + field.size:
            return f"set_field:{field.kind.text(int.from_bytes(action[8:8 + field.size], 'big'))}->{field.name}"
    if kind == 0xFFFF and len(action) >= 16 and action[4:8] == b"\0\0\x23\x20":
        return _nicira_action(action, tables)
    return None


def _nicira_action(action: bytes, tables: dict[int, str]) -> str | None:
    kind = int.from_bytes(action[8:10], "big")
    if kind == 14:
        return f"resubmit(,{tables.get(action[12], action[12])})" if action[10:12] == b"\xff\xf8" else None
    if kind in (16, 45) and len(action) >= 32:
        return _learn(action, tables)
    if kind == 34:
        clause, clauses, number = unpack_from(">BBI", action, 10)
        return f"conjunction({number},{clause + 1}/{clauses})"
    if kind == 43:
        return "ct_clear"
    if kind == 35 and len(action) >= 24:
        return _ct(action, tables)
    if len(action) != 24:
        return None
    if kind == 49:
        length, first, header = unpack_from(">HHI", action, 10)
        return f"check_pkt_larger({length})->{_bits(header, first, 1)}"
    if kind == 6:
        width, source_first, first, source, destination = unpack_from(">HHHII", action, 10)
        return f"move:{_bits(source, source_first, width)}->{_bits(destination, first, width)}"
    packed, header = unpack_from(">HI", action, 10)
    first, width = packed >> 6, (packed & 0x3F) + 1
    if kind == 7:
        value = int.from_bytes(action[16:24], "big")
        return f"load:{HEX.text(value)}->{_bits(header, first, width)}"
    return f"output:{_bits(header, first, width)}" if kind == 15 else None


def _ct(action: bytes, tables: dict[int, str]) -> str:
    flags, source, zone, table = unpack_from(">HIHB", action, 10)
    words = ["commit"] if flags else []
    if table != 0xFF:
        words.append(f"table={tables.get(table, table)}")
    if source or zone:
        words.append(f"zone={_bits(source, zone >> 6, (zone & 0x3F) + 1) if source else zone}")
    more = action[24:]
    if more[:2] == b"\0\x19":
        words.append(f"exec({_action(25, more, tables)})")
    elif len(more) >= 16:  # in the forms that our own words have
        flags, ranges = unpack_from(">HH", more, 12)
        of, port = "src" if flags == 1 else "dst", f":{int.from_bytes(more[20:22], 'big')}" if ranges & 16 else ""
        words.append(f"nat({of}={IP.text(int.from_bytes(more[16:20], 'big'))}{port})" if ranges else "nat")
    return f"ct({','.join(words)})"


def _learn(action: bytes, tables: dict[int, str]) -> str | None:
    """Only with what our own words say."""
    idle, hard, priority, cookie, flags, table, fin = unpack_from(">HHHQHBxI", action, 10)
    second = action[9] == 45
    limit, result = unpack_from(">II", action, 32) if second and len(action) >= 40 else (0, 0)
    if idle or fin or result or flags != 2 or second and len(action) < 40:
        return None
    words = [f"table={tables.get(table, table)}", *([f"hard_timeout={hard}"] if hard else []), f"priority={priority}",
             "delete_learned", f"cookie={cookie:#x}", *([f"limit={limit}"] if limit else [])]
    at = 40 if second else 32
    while at + 2 <= len(action) and (header := int.from_bytes(action[at:at + 2], "big")):
        width = header & 0x7FF
        literal, loads = header & 1 << 13, header & 1 << 11
        size = (width + 15) // 16 * 2 if literal else 6
        if header & ~0x2FFF or at + 8 + size > len(action):
            return None
        said = action[at + 2:at + 2 + size]
        to, first = unpack_from(">IH", action, at + 2 + size)
        field, place, value = BY_NXM.get(to >> 9), _bits(to, first, width), int.from_bytes(said, "big")
        whole = field is not None and (first, width) == (0, field.bits)
        origin, start = unpack_from(">IH", said) if not literal else (0, 0)
        source = f"{value:#x}" if literal else _bits(origin, start, width)
        if loads:
            words.append(f"load:{source}->{place}")
        elif not literal and source == place:
            words.append(place)
        elif literal and field and whole:
            words.append(f"{field.name}={field.kind.text(value)}")
        else:
            words.append(f"{place}={source}")
        at += 8 + size
    return f"learn({','.join(words)})"


def _bits(header: int, first: int, width: int) -> str:
    field = BY_NXM.get(header >> 9)
    name = field.nxm_name if field else f"nxm({header:08x})"
    if field and (first, width) == (0, field.nxm_bits):
        return f"{name}[]"
    return f"{name}[{first}]" if width == 1 else f"{name}[{first}..{first + width - 1}]"
