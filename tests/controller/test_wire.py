"""Our bytes, decoded again by os-ken: two encoders that know nothing of each other agree."""

from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_parser, ofproto_v1_3, ofproto_v1_3_parser

from controller.flow import FIELDS, VLAN_TCI, Field, Flow, match
from controller.openflow import wire
from tests.controller.test_flow import EVERY_WORD

SWITCH = SimpleNamespace(ofproto=ofproto_v1_3, ofproto_parser=ofproto_v1_3_parser)

# What os-ken calls our fields, and the ones it does not know: Open vSwitch is asked about those (test_push).
UNKNOWN_TO_OSKEN = {"nd_reserved", "nd_options_type", "ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst", "ct_nw_proto",
                    "ct_tp_src", "ct_tp_dst", "nw_frag"}
FIELDS_OF_OSKEN = {"ip_src": "ipv4_src", "ip_dst": "ipv4_dst", "nw_proto": "ip_proto", "tun_id": "tunnel_id",
                   "tun_src": "tun_ipv4_src", "tun_dst": "tun_ipv4_dst", "icmp_type": "icmpv4_type",
                   "icmp_code": "icmpv4_code", "nd_target": "ipv6_nd_target", "nd_sll": "ipv6_nd_sll",
                   "nd_tll": "ipv6_nd_tll", "nw_ttl": "nw_ttl"}


def parsed(message: bytes) -> Any:
    return ofproto_parser.msg(SWITCH, *wire.HEADER.unpack_from(message), message)


def flow_mod(bundled: bytes) -> Any:
    """The flow-mod in the only message of these bytes."""
    assert int.from_bytes(bundled[2:4], "big") == len(bundled)
    return parsed(bundled[24:])


fields = st.sampled_from([field for field in FIELDS if field is not VLAN_TCI and field.name not in UNKNOWN_TO_OSKEN])


@st.composite
def asked(draw: st.DrawFn) -> dict[Field, int]:
    return {field: draw(st.integers(0, field.full)) for field in draw(st.lists(fields, max_size=6, unique=True))}


@given(asked(), st.integers(0, 254), st.integers(0, 0xFFFF), st.integers(0, (1 << 64) - 1), st.integers(0, 0xFFFFFFFF))
def test_osken_decodes_any_match_as_it_was_asked(asked: dict[Field, int], table: int, priority: int, cookie: int,
                                                 xid: int) -> None:
    flow = Flow("br-int", table, priority, match(*(field == value for field, value in asked.items())), b"")
    decoded = flow_mod(wire.bundled(xid, 1, wire.ADD, [(cookie, flow)]))
    assert (decoded.table_id, decoded.priority, decoded.cookie, decoded.xid) == (table, priority, cookie, xid)
    assert (decoded.command, decoded.idle_timeout, decoded.hard_timeout, decoded.flags) == (0, 0, 0, 0)
    for field, value in asked.items():
        got = decoded.match[FIELDS_OF_OSKEN.get(field.name, field.name)]
        assert (field.kind.parse(got) if isinstance(got, str) else got) == value
    assert len(decoded.match.items()) == len(asked)


@pytest.mark.parametrize("flow", [flow for flow in EVERY_WORD if not any(
    name in EVERY_WORD[flow] for name in UNKNOWN_TO_OSKEN)], ids=lambda flow: f"priority {flow.priority}")
def test_osken_decodes_every_word_and_encodes_the_same_instructions(flow: Flow) -> None:
    decoded = flow_mod(wire.bundled(9, 1, wire.ADD, [(7, flow)]))
    again = bytearray()
    for instruction in decoded.instructions:
        instruction.serialize(again, len(again))
    assert bytes(again) == flow.instructions


def test_a_bundle_message_is_one_that_osken_would_send() -> None:
    flow = Flow("br-int", 3, 5, match(VLAN_TCI == 0), b"")
    ours = wire.bundled(9, 1, wire.ADD, [(7, flow)])
    theirs = ofproto_v1_3_parser.ONFBundleAddMsg(SWITCH, 1, 3, flow_mod(ours), [])
    theirs.xid = 9
    theirs.serialize()
    assert ours[:24] == bytes(theirs.buf)[:24]
    for what in (wire.OPEN, wire.COMMIT, wire.DISCARD):
        control = ofproto_v1_3_parser.ONFBundleCtrlMsg(SWITCH, 1, what, 3, [])
        control.xid = 9
        control.serialize()
        assert wire.bundle_control(9, 1, what) == bytes(control.buf)


def test_a_delete_names_the_cookie_it_means() -> None:
    flow = next(flow for flow in EVERY_WORD if flow.instructions)
    decoded = flow_mod(wire.bundled(9, 1, wire.DELETE_STRICT, [(0xABCD, flow)]))
    assert (decoded.command, decoded.cookie, decoded.cookie_mask) == (4, 0xABCD, (1 << 64) - 1)
    assert (decoded.out_port, decoded.out_group) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert decoded.instructions == []


def test_many_flows_are_one_stream_with_xids_that_count_up() -> None:
    entries = list(enumerate(EVERY_WORD))
    stream, xids = wire.bundled(100, 1, wire.ADD, entries), []
    while stream:
        length = int.from_bytes(stream[2:4], "big")
        xids.append((int.from_bytes(stream[4:8], "big"), parsed(stream[24:length]).xid))
        stream = stream[length:]
    assert xids == [(100 + index, 100 + index) for index, _ in enumerate(entries)]


def test_plain_messages() -> None:
    barrier = ofproto_v1_3_parser.OFPBarrierRequest(SWITCH)
    barrier.xid = 3
    barrier.serialize()
    assert wire.barrier(3) == bytes(barrier.buf)
    echo = parsed(wire.echo_reply(wire.echo_request(5)))
    assert isinstance(echo, ofproto_v1_3_parser.OFPEchoReply) and echo.xid == 5
    request = ofproto_v1_3_parser.OFPFlowStatsRequest(SWITCH, match=ofproto_v1_3_parser.OFPMatch())
    request.xid = 4
    request.serialize()
    assert wire.flow_stats_request(4) == bytes(request.buf)


def test_flow_stats_are_unpacked_as_they_were_packed() -> None:
    def stats(flow: Flow) -> bytes:
        padded = pack(">HH", 1, 4 + len(flow.match)) + flow.match + bytes(-(4 + len(flow.match)) % 8)
        length = 48 + len(padded) + len(flow.instructions)
        numbers = (flow.table, 3, 500_000_000, flow.priority, 0, 0, 0, 99, 12, 345)
        return pack(">HBxIIHHHH4xQQQ", length, *numbers) + padded + flow.instructions

    reply = pack(">BBHIHH4x", 4, 19, 0, 1, 1, 1) + b"".join(map(stats, EVERY_WORD))
    assert wire.more_to_come(reply)
    assert list(wire.flow_stats("br-int", reply)) == [wire.Installed(flow, 99, 3.5, 12, 345) for flow in EVERY_WORD]


@pytest.mark.parametrize("kind, code, sentence", [
    (2, 4, "bad action: bad out port"),
    (4, 9, "bad match: bad prereq"),
    (0xFFFF, 2313, "bundle: one of its messages failed"),
    (0xFFFF, 9999, "error 9999 of an OpenFlow extension"),
    (2, 99, "bad action: Unknown(99)"),
])
def test_errors_in_words(kind: int, code: int, sentence: str) -> None:
    assert wire.complaint(pack(">BBHIHH", 4, 1, 12, 1, kind, code)) == sentence
