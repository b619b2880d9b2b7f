"""The words flows are written in: tables, matches, actions, and the flow itself: nothing but its OpenFlow 1.3 bytes.

A word is encoded where a feature says it, so that comparing, hashing, remembering and pushing are matters of bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from struct import Struct
from typing import NamedTuple

from controller.flow.fields import BY_NXM, CT_MARK, CT_NW_PROTO, CT_TP_DST, CT_TP_SRC, IP, Bits, Field, Term, Terms

LEARNED = "learned"
"""Who wrote a flow that a switch wrote by itself: in the place of a feature in its cookie."""

_IN_PORT = 0xFFFFFFF8  # OFPP_IN_PORT: back where it came from
_VENDOR = 0x00002320  # Nicira, whose actions Open vSwitch extends OpenFlow by

_OUTPUT = Struct(">HHIH6x").pack
_OUTPUT_REG = Struct(">HHIHHIH6x").pack
_SET_FIELD = Struct(">HHI").pack
_LOAD = Struct(">HHIHHIQ").pack
_MOVE = Struct(">HHIHHHHII").pack
_PUSH = Struct(">HHH2x").pack
_POP_VLAN = Struct(">HH4x").pack
_RESUBMIT = Struct(">HHIHHB3x").pack
_CT = Struct(">HHIHHIHB5x").pack
_CT_CLEAR = Struct(">HHIH6x").pack
_NAT = Struct(">HHIH2xHH4sH2x").pack
_LEARN = Struct(">HHIHHHHQHB5x").pack
_LEARN_TO = Struct(">IH").pack
_LOADED = Struct(">10xHIQ").unpack
_LEARN2 = Struct(">HHIHHHHQHBxHHIHH").pack
_LEARN_FROM = Struct(">HIHIH").pack
_PACKET_LARGER = Struct(">HHIHHHI6x").pack
_DEC_TTL = Struct(">HH4x").pack
_CONJUNCTION = Struct(">HHIHBBI").pack
_GOTO = Struct(">HHB3x").pack
_METER = Struct(">HHI").pack
_APPLY = Struct(">HH4x").pack
_HASHED = Struct(">BHH").pack


@dataclass(frozen=True, eq=False)
class Table:
    """One question of the pipeline, the tables that may follow it, and where a packet goes that no flow answers."""

    bridge: str
    number: int
    name: str
    question: str
    next: tuple[str, ...] = ()
    miss: str = "drop"
    learned: bool = False  # the switch itself writes flows here, as packets teach it


class Jump(NamedTuple):
    """An action that names a table, so that the edge can be checked."""

    table: Table
    last: bool
    encoded: bytes


class Through(NamedTuple):
    """The meter that a packet passes before anything else is done with it."""

    encoded: bytes


class Flow(NamedTuple):
    """A flow as the switch holds it: its OXM list and its instructions, encoded."""

    bridge: str
    table: int
    priority: int
    match: bytes
    instructions: bytes

    @property
    def key(self) -> tuple[int, int, bytes]:
        """What a bridge holds once: two flows of one key are the same place with two contents."""
        return self[1:4]


def match(*words: Terms) -> bytes:
    """The OXM list of all the terms, in the order in which a switch gives it back."""
    terms = sorted(chain.from_iterable(words))
    asked = {term[2] for term in terms}
    if (CT_TP_SRC in asked or CT_TP_DST in asked) and CT_NW_PROTO not in asked:
        raise ValueError("ct_tp_src and ct_tp_dst need ct_nw_proto: a switch forgets them without it, which means all")
    if len({term[0] for term in terms}) != len(terms):
        terms = _merged(terms)
    return b"".join([term[1] for term in terms])


def one(*words: Terms) -> Terms:
    """The terms with those of one field merged: beforehand, where many a match asks for them."""
    return tuple(_merged(sorted(chain.from_iterable(words))))


def _merged(terms: list[Term]) -> list[Term]:
    """One term a field, where several of them ask for bits of it (two names in one register, say)."""
    merged: list[Term] = []
    for term in terms:
        if not merged or merged[-1].of is not term.of:
            merged.append(term)
            continue
        before = merged.pop()
        if (before.value ^ term.value) & before.mask & term.mask:
            raise ValueError(f"a match asks {term.of.name} for {before.value:#x} and for {term.value:#x} at once")
        merged.extend(term.of.terms(before.value | term.value, before.mask | term.mask))
    return merged


def output(port: int | Bits) -> bytes:
    """Out of this port, or out of the port whose number the register holds."""
    if isinstance(port, int):
        return _OUTPUT(0, 16, port, 0)
    return _OUTPUT_REG(0xFFFF, 24, _VENDOR, 15, port.first << 6 | port.width - 1, port.of.nxm, 0xFFFF)


def to_in_port() -> bytes:
    """Back out of the port it came from, which a plain output never does."""
    return _OUTPUT(0, 16, _IN_PORT, 0)


def set_field(field: Field, value: int | str) -> bytes:
    number, mask = field.number(value)
    if mask != field.full:
        raise ValueError(f"set_field writes the whole of {field.name}: {value} has a mask")
    length = 8 + field.size
    padding = -length % 8
    return _SET_FIELD(25, length + padding, field.oxm) + number.to_bytes(field.size, "big") + bytes(padding)


def _bits(place: Field | Bits) -> Bits:
    return place if isinstance(place, Bits) else Bits(place, 0, place.nxm_bits)


def load(place: Field | Bits, value: int) -> bytes:
    bits = _bits(place)
    bits.check(value)
    return _LOAD(0xFFFF, 24, _VENDOR, 7, bits.first << 6 | bits.width - 1, bits.of.nxm, value)


def move(source: Field | Bits, destination: Field | Bits) -> bytes:
    src, dst = _bits(source), _bits(destination)
    if src.width != dst.width:
        raise ValueError(f"move from {src.width} bits of {src} to {dst.width} bits of {dst}")
    return _MOVE(0xFFFF, 24, _VENDOR, 6, src.width, src.first, dst.first, src.of.nxm, dst.of.nxm)


def push_vlan() -> bytes:
    return _PUSH(17, 8, 0x8100)


def push_mpls() -> bytes:
    """A label before what the frame carries, which nobody looks at any more from here on."""
    return _PUSH(19, 8, 0x8847)


def pop_vlan() -> bytes:
    return _POP_VLAN(18, 8)


def dec_ttl() -> bytes:
    """One hop less. What had its last one goes nowhere from here, unseen: ask for TTLs 0 and 1 before."""
    return _DEC_TTL(24, 8)


def larger(length: int, into: Bits) -> bytes:
    """Write 1 there where the frame (its Ethernet header counted) is longer than that, or else 0."""
    if into.width != 1:
        raise ValueError(f"check_pkt_larger writes one bit, not the {into.width} of {into}")
    return _PACKET_LARGER(0xFFFF, 24, _VENDOR, 49, length, into.first, into.of.nxm)


def resubmit(table: Table) -> Jump:
    """Ask that table too, then go on here."""
    return Jump(table, False, _RESUBMIT(0xFFFF, 16, _VENDOR, 14, 0xFFF8, table.number))


def ct(zone: int | Bits, table: Table) -> Jump:
    """Ask conntrack whose the packet is, in this zone, and go on in that table with what it says."""
    return Jump(table, False, _ct(0, zone, table.number))


def ct_commit(zone: int | Bits, mark: int | None = None) -> bytes:
    """Have conntrack remember the packet's connection, with this mark. Never with a bare `nat`: that ends Open vSwitch 3.1."""
    return _ct(1, zone, 0xFF, b"" if mark is None else set_field(CT_MARK, mark))


def ct_clear() -> bytes:
    """Forget what conntrack said of the packet. Asked again in the zone where it was asked before, it would not look again."""
    return _CT_CLEAR(0xFFFF, 16, _VENDOR, 43)


def ct_nat(zone: int, table: Table, source: str = "", destination: str = "", port: int = 0) -> Jump:
    """Have conntrack put this IPv4 address in the place of the source or destination, remember that, and go on in that
    table. Ports stay as they are where they can, or become this one. A connection that it knows is treated as it began."""
    if bool(source) == bool(destination):
        raise ValueError("nat takes an address, of the source or of the destination: a bare one ends Open vSwitch 3.1")
    nat = _NAT(0xFFFF, 24, _VENDOR, 36, 1 if source else 2, 17 if port else 1,
               IP.parse(source or destination).to_bytes(4, "big"), port)
    return Jump(table, False, _ct(1, zone, table.number, nat))


def ct_undo(zone: int, table: Table) -> Jump:
    """Have conntrack translate what belongs to a connection that it knows, and go on in that table with what it says."""
    return Jump(table, False, _ct(0, zone, table.number, _NAT(0xFFFF, 16, _VENDOR, 36, 0, 0, b"", 0)[:16]))


def _ct(flags: int, zone: int | Bits, table: int, more: bytes = b"") -> bytes:
    source, value = (0, zone) if isinstance(zone, int) else (zone.of.nxm, zone.first << 6 | zone.width - 1)
    return _CT(0xFFFF, 24 + len(more), _VENDOR, 35, flags, source, value, table) + more


def learn(table: Table, priority: int, terms: Terms, *loads: bytes) -> bytes:
    """Have the switch write this flow when the packet comes: the one flow that this teacher can teach, known beforehand to
    the last bit, so that no guest can make the table grow. It goes with the last flow that teaches it."""
    if not table.learned:
        raise ValueError(f"table {table.name} is not one that learns")
    taught = flow(table, priority, match(terms), *loads)
    specs = b"".join([*(_learned(0, _asked(term), term.value) for term in terms),
                      *(_learned(1 << 11, BY_NXM[header >> 9][packed >> 6:(packed >> 6) + (packed & 0x3F) + 1], value)
                        for packed, header, value in map(_LOADED, loads))])
    length = 32 + len(specs)
    padding = -length % 8
    return _LEARN(0xFFFF, length + padding, _VENDOR, 16, 0, 0, priority, cookie(LEARNED, taught), 2, table.number
                  ) + specs + bytes(padding)


def remember(table: Table, priority: int, same: Iterable[Bits], copies: Iterable[tuple[Field | Bits, Bits]], *loads: bytes,
             seconds: int, most: int, of: int = 0) -> bytes:
    """Have the switch write down for some seconds what the packet says: for packets that are the `same` in these fields,
    a flow that loads what `copies` names. At most so many, since who sends such packets is not ours to choose, and so many
    `of` each number (below 65,536), that nobody is forgotten for others' sake."""
    if not table.learned:
        raise ValueError(f"table {table.name} is not one that learns")
    specs = [_copied(0, bits, bits) for bits in same]
    specs += [_copied(1 << 11, _bits(source), destination) for source, destination in copies]
    specs += [_learned(1 << 11, BY_NXM[header >> 9][packed >> 6:(packed >> 6) + (packed & 0x3F) + 1], value)
              for packed, header, value in map(_LOADED, loads)]
    encoded = b"".join(specs)
    length = 40 + len(encoded)
    padding = -length % 8
    return _LEARN2(0xFFFF, length + padding, _VENDOR, 45, 0, seconds, priority, REMEMBERED | of, 2, table.number, 0, 0, most, 0, 0
                   ) + encoded + bytes(padding)


def _copied(kind: int, source: Bits, destination: Bits) -> bytes:
    if source.width != destination.width:
        raise ValueError(f"{source.width} bits of {source} cannot be remembered as {destination.width} bits of {destination}")
    return _LEARN_FROM(kind | source.width, source.of.nxm, source.first, destination.of.nxm, destination.first)


def _asked(term: Term) -> Bits:
    """The bits that a term asks for; a switch learns runs of bits only."""
    first = (term.mask & -term.mask).bit_length() - 1
    bits = Bits(term.of, first, term.mask.bit_length() - first)
    if bits.mask != term.mask:
        raise ValueError(f"what is learned of {term.of.name} has holes: {term.mask:#x}")
    return bits


def _learned(kind: int, bits: Bits, value: int) -> bytes:
    """`kind` says whether the flow matches these bits or loads them."""
    size = (bits.width + 15) // 16 * 2
    number = value >> bits.first if not kind else value
    return (1 << 13 | kind | bits.width).to_bytes(2, "big") + number.to_bytes(size, "big") + _LEARN_TO(bits.of.nxm, bits.first)


def conjunction(number: int, clause: int, clauses: int) -> bytes:
    """The only word of its flow: a packet that meets one for each clause (from 0 on) meets `CONJ_ID == number`, too."""
    return _CONJUNCTION(0xFFFF, 16, _VENDOR, 34, clause, clauses, number)


def goto(table: Table) -> Jump:
    """Go on in that table; always the last word."""
    return Jump(table, True, _GOTO(1, 8, table.number))


drop = b""  # a flow that does nothing with a packet drops it


def through(meter: int) -> Through:
    """Drop what this meter does not let pass; always the first word. In the datapath it drops a packet for all that follows,
    so it must not stand in one of several ways of a packet (see `paced` in the pipeline)."""
    return Through(_METER(6, 8, meter))


def flow(table: Table, priority: int, match: bytes, *actions: bytes | Jump | Through) -> Flow:
    """The flow, unless it goes where its table may not go."""
    if not 0 <= priority <= 0xFFFF:
        raise ValueError(f"priority {priority} in table {table.name}: priorities are 0 to 65535")
    applied, first, onward = [], b"", b""
    for action in actions:
        if isinstance(action, Through):
            if action is not actions[0]:
                raise ValueError(f"a flow of table {table.name} does something before its meter")
            first = action.encoded
            continue
        if onward:
            raise ValueError(f"a flow of table {table.name} goes on after its goto")
        if isinstance(action, bytes):
            applied.append(action)
            continue
        target, last, encoded = action
        if target.bridge != table.bridge or (target.name not in table.next and target.name != table.miss):
            raise ValueError(f"table {table.name} has no edge to table {target.name}")
        if not last:
            applied.append(encoded)
        elif target.number <= table.number:
            raise ValueError(f"table {table.name} cannot go back to table {target.name}: OpenFlow only goes forward")
        else:
            onward = encoded
    encoded = b"".join(applied)
    if encoded:
        if len(encoded) > 0xF000:  # a message holds 64 KiB
            raise ValueError(f"a flow of table {table.name} has {len(encoded)} bytes of actions: that is too long")
        encoded = _APPLY(4, 8 + len(encoded)) + encoded
    return Flow(table.bridge, table.number, priority, match, first + encoded + onward)


@lru_cache
def feature_number(feature: str) -> int:
    """The 16 bits by which cookies name a feature: the same in every run."""
    return int.from_bytes(blake2b(feature.encode(), digest_size=2).digest(), "big")


def cookie(feature: str, flow: Flow) -> int:
    """Who wrote the flow (16 bits) and what it is (48 bits), so that a restart knows every flow again."""
    _, table, priority, match, instructions = flow
    digest = blake2b(_HASHED(table, priority, len(match)) + match + instructions, digest_size=6).digest()
    return feature_number(feature) << 48 | int.from_bytes(digest, "big")


def diff(have: Iterable[Flow], want: Iterable[Flow]) -> tuple[list[Flow], list[Flow]]:
    """What to add and what to delete. New actions for a held key are only added: that replaces, and keeps counters."""
    held, wanted = dict.fromkeys(have), dict.fromkeys(want)
    add = [flow for flow in wanted if flow not in held]
    replaced = {flow[:4] for flow in add}
    return add, [flow for flow in held if flow not in wanted and flow[:4] not in replaced]


REMEMBERED = feature_number(LEARNED) << 48
"""The cookie of what packets said, beside the 16 bits that say of whom: its content is known to nobody beforehand."""
