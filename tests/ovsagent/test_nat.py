"""ICMP errors about packets of floating IPs: another address everywhere in them, and all that is summed up right."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovsagent.answers.nat import Floating, translated
from ovsagent.answers.packet import ICMP, checksum, ip4, udp4

GUEST, OUTSIDE, CLIENT = bytes((10, 0, 0, 5)), bytes((203, 0, 113, 10)), bytes((198, 51, 100, 80))
HERE = Floating(1, OUTSIDE, 2, GUEST, b"\xfa\x16\x3e\x00\x00\x01")


def error(source: bytes, destination: bytes, about: bytes) -> bytes:
    body = struct.pack(">BBHHH", 3, 4, 0, 0, 1400) + about
    return ip4(source, destination, ICMP, body[:2] + checksum(body) + body[4:])


@given(payload=st.binary(max_size=40), port=st.integers(0, 65535))
def test_both_ways_it_is_what_would_have_been_said_with_the_other_address(payload: bytes, port: int) -> None:
    ours, theirs = (udp4(CLIENT, to, (port, 53), payload) for to in (GUEST, OUTSIDE))
    assert translated(error(GUEST, CLIENT, ours), HERE, False) == error(OUTSIDE, CLIENT, theirs)
    ours, theirs = (udp4(of, CLIENT, (53, port), payload) for of in (GUEST, OUTSIDE))
    assert translated(error(CLIENT, OUTSIDE, theirs), HERE, True) == error(CLIENT, GUEST, ours)


def test_who_answers_in_the_name_of_another_keeps_his_own_address() -> None:
    """An error of a router behind the guest's packet: only what it is about is the guest's."""
    ours, theirs = (udp4(of, CLIENT, (53, 7), b"x") for of in (GUEST, OUTSIDE))
    router = bytes((192, 0, 2, 1))
    assert translated(error(router, OUTSIDE, theirs), HERE, True) == error(router, GUEST, ours)


def test_a_udp_packet_without_a_checksum_gets_none() -> None:
    about = udp4(CLIENT, GUEST, (7, 53), b"x")
    about = about[:26] + bytes(2) + about[28:]
    assert translated(error(GUEST, CLIENT, about), HERE, False)[20 + 8 + 26:][:2] == bytes(2)


@pytest.mark.parametrize("length", range(20, 60))
def test_what_is_cut_off_is_left_as_it_is(length: int) -> None:
    packet = error(GUEST, CLIENT, udp4(CLIENT, GUEST, (7, 53), b"payload"))[:length]
    assert len(translated(packet, HERE, False)) == length


def test_who_calls_himself_is_still_outside_at_the_other_end() -> None:
    ours, theirs = (udp4(OUTSIDE, to, (7, 53), b"x") for to in (GUEST, OUTSIDE))
    assert translated(error(GUEST, OUTSIDE, ours), HERE, False) == error(OUTSIDE, OUTSIDE, theirs)
    ours, theirs = (udp4(of, OUTSIDE, (7, 53), b"x") for of in (GUEST, OUTSIDE))
    assert translated(error(OUTSIDE, OUTSIDE, theirs), HERE, True) == error(OUTSIDE, GUEST, ours)
