"""OpenFlow 1.3 messages from flow values, and flow values from a switch's replies. Bytes only, no socket.

os-ken would take 90 us a flow for what is a header and a join here; the tests have it decode every shape again.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple

from controller.flow import Flow, Meter, read_meter

VERSION = 4  # OpenFlow 1.3
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, EXPERIMENTER, FEATURES_REQUEST, FEATURES_REPLY = range(7)
OPEN, COMMIT, DISCARD = 0, 4, 6  # what to do with a bundle; a reply is one more
MASTER, SLAVE = 2, 3
IS_SLAVE, STALE = (1, 10), (11, 0)  # error type and code
ADD, DELETE_STRICT = 0, 4
ADD_METER, MODIFY_METER, DELETE_METER = 0, 1, 2
METER_EXISTS = (12, 1)

_ONF = 0x4F4E4600
_ATOMIC_ORDERED = 3
_PADDING = [bytes(-length % 8) for length in range(8)]

HEADER = Struct(">BBHI")
_ROLE = Struct(">BBHII4xQ").pack
_BUNDLE_CONTROL = Struct(">BBHIIIIHH").pack
_FLOW_STATS_REQUEST = Struct(">BBHIHH4xB3xII4xQQHH4x").pack
# A bundle-add header and the flow-mod in it, up to the OXM list: header, ONF part, header, cookie and mask, table,
# command, no timeouts, priority, anything for buffer, port and group, match header.
_BUNDLED_FLOW_MOD = Struct(">HHI16sHHIQQBB4xH16sHH").pack
_ONF_PART = Struct(">III2xH").pack
_ANYTHING = b"\xff" * 12 + bytes(4)
_METER_MOD = Struct(">BBHIH2sI").pack
_METERS_REQUEST = Struct(">BBHIHH4xI4x").pack
_METER_CONFIG = Struct(">H2sI").unpack_from
_EVERY_METER = 0xFFFFFFFF
_FLOW_STATS = Struct(">HBxIIH10xQQQ2xH").unpack_from

Wanted = Flow | Meter
Entry = tuple[int, Wanted]  # a cookie and its flow; of a meter 0


class Installed(NamedTuple):
    """A flow as a switch reports it; or a meter, of which it says no more than that."""

    flow: Wanted
    cookie: int
    duration: float  # seconds since it was added
    packets: int
    bytes: int


def hello() -> bytes:
    return HEADER.pack(VERSION, HELLO, 8, 0)


def features_request() -> bytes:
    return HEADER.pack(VERSION, FEATURES_REQUEST, 8, 0)


def datapath(features_reply: bytes) -> int:
    """Which switch it says it is."""
    return int.from_bytes(features_reply[8:16], "big")


def barrier(xid: int) -> bytes:
    return HEADER.pack(VERSION, 20, 8, xid)


def echo_request(xid: int) -> bytes:
    return HEADER.pack(VERSION, ECHO_REQUEST, 8, xid)


def echo_reply(request: bytes) -> bytes:
    return request[:1] + bytes([ECHO_REPLY]) + request[2:]


def role_request(xid: int, role: int, generation: int) -> bytes:
    return _ROLE(VERSION, 24, 24, xid, role, generation)


def bundle_control(xid: int, bundle: int, what: int) -> bytes:
    return _BUNDLE_CONTROL(VERSION, EXPERIMENTER, 24, xid, _ONF, 2300, bundle, what, _ATOMIC_ORDERED)


def bundled(xid: int, bundle: int, command: int, entries: Iterable[Entry]) -> bytes:
    """Flow-mods to add to a bundle, with xids that count up from `xid`.

    A delete asks for the cookie too, so that it can never hit the flow that came in the place of the one it means.
    """
    onf = _ONF_PART(_ONF, 2301, bundle, _ATOMIC_ORDERED)
    cookie_mask = (1 << 64) - 1 if command == DELETE_STRICT else 0
    pieces: list[bytes] = []
    for number, (cookie, (_, table, priority, match, instructions)) in enumerate(entries, xid):
        if cookie_mask:
            instructions = b""
        length = len(match)
        padding = _PADDING[length + 4 & 7]
        inner = 52 + length + len(padding) + len(instructions)
        pieces += (
            _BUNDLED_FLOW_MOD(0x0404, inner + 24, number, onf, 0x040E, inner, number, cookie, cookie_mask, table,
                              command, priority, _ANYTHING, 1, length + 4),
            match, padding, instructions,
        )
    return b"".join(pieces)


def meter_mod(xid: int, command: int, meter: Meter) -> bytes:
    config = meter.config if command != DELETE_METER else meter.config[:2]
    return _METER_MOD(VERSION, 29, 14 + len(config), xid, command, config[:2], meter.number) + config[2:]


def meters_request(xid: int) -> bytes:
    return _METERS_REQUEST(VERSION, 18, 24, xid, 10, 0, _EVERY_METER)


def meters(bridge: str, multipart_reply: bytes) -> Iterator[Installed]:
    """The meters in one message of a reply."""
    at, end = 16, len(multipart_reply)
    while at < end:
        length, flags, number = _METER_CONFIG(multipart_reply, at)
        yield Installed(read_meter(bridge, number, flags + multipart_reply[at + 8:at + length]), 0, 0.0, 0, 0)
        at += length


def flow_stats_request(xid: int) -> bytes:
    """Every flow of every table."""
    return _FLOW_STATS_REQUEST(VERSION, 18, 56, xid, 1, 0, 0xFF, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 1, 4)


def more_to_come(multipart_reply: bytes) -> bool:
    return bool(multipart_reply[11] & 1)


def flow_stats(bridge: str, multipart_reply: bytes) -> Iterator[Installed]:
    """The flows in one message of a reply."""
    at, end = 16, len(multipart_reply)
    while at < end:
        length, table, seconds, nanos, priority, cookie, packets, octets, match_length = _FLOW_STATS(
            multipart_reply, at)
        match_end = at + 48 + match_length
        match = multipart_reply[at + 52:match_end]
        instructions = multipart_reply[match_end + (-match_length & 7):at + length]
        flow = Flow(bridge, table, priority, match, instructions)
        yield Installed(flow, cookie, seconds + nanos / 1e9, packets, octets)
        at += length


_EXTENDED = {
    2: "bad match: invalid NXM",
    3: "bad match: unknown field",
    4: "bad request: a field that must be zero is not",
    11: "bad action: an argument that must be zero is not",
    13: "flow mod failed: no such table",
    15: "bad action: a conjunction must be the only action",
    2302: "bundle: there is none of this id (Open vSwitch forgets an idle one after 10 s)",
    2313: "bundle: one of its messages failed",
    2314: "bundle: it took too long",
}


def reason(error: bytes) -> tuple[int, int]:
    """Type and code of an error message."""
    return int.from_bytes(error[8:10], "big"), int.from_bytes(error[10:12], "big")


def complaint(error: bytes) -> str:
    """What an error message says, in words."""
    kind, code = reason(error)
    if kind == 0xFFFF:
        return _EXTENDED.get(code, f"error {code} of an OpenFlow extension")
    from os_ken.ofproto import ofproto_v1_3  # costs more to import than all of this to serve: not before there is an error

    names = (ofproto_v1_3.ofp_error_type_to_str(kind), ofproto_v1_3.ofp_error_code_to_str(kind, code))
    # OFPET_BAD_ACTION(2) and OFPBAC_BAD_OUT_PORT(4): "bad action: bad out port"
    return ": ".join(name.partition("_")[2].partition("(")[0].replace("_", " ").lower() or name for name in names)
