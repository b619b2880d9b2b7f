"""ICMP errors about packets of floating IPs: another address everywhere in them, and all that is summed up right."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovsagent.answers.icmp import pieces
from ovsagent.answers.nat import DESTINATION, SOURCE, Floating, Translations, meant, readdressed, translated
from ovsagent.answers.packet import ICMP, TCP, UDP, checksum, ip4, udp4
from ovsagent.answers.pieces import HELD, MOST, Pieces

GUEST, OUTSIDE, CLIENT = bytes((10, 0, 0, 5)), bytes((203, 0, 113, 10)), bytes((198, 51, 100, 80))
ROUTER = b"\xfa\x16\x3e\x00\x00\x01"
HERE = Floating(1, OUTSIDE, 2, GUEST, ROUTER, ROUTER)
SHIFTED = HERE._replace(protocol=UDP, outer=range(6001, 6007), inner=range(7001, 7007))
MANY = HERE._replace(protocol=UDP, outer=range(9000, 9004), inner=range(53, 54), label=b"label")


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


@given(place=st.integers(0, 5), port=st.integers(0, 65535), size=st.sampled_from((10, 1471, 1472, 1473, 3000, 9000)))
def test_of_forwarded_ports_the_ports_are_others_too(place: int, port: int, size: int) -> None:
    """In errors, and in datagrams whole and in pieces."""
    ours, theirs = (udp4(CLIENT, to, (port, first + place), b"x" * size) for to, first in ((GUEST, 7001), (OUTSIDE, 6001)))
    assert translated(error(GUEST, CLIENT, ours[:60]), SHIFTED, False) == error(OUTSIDE, CLIENT, theirs[:60])
    assert [readdressed(piece, SHIFTED, True, DESTINATION) for piece in pieces(theirs, 1450)] == pieces(ours, 1450)
    ours, theirs = (udp4(of, CLIENT, (first + place, port), b"x" * size) for of, first in ((GUEST, 7001), (OUTSIDE, 6001)))
    assert translated(error(CLIENT, OUTSIDE, theirs[:60]), SHIFTED, True) == error(CLIENT, GUEST, ours[:60])
    assert [readdressed(piece, SHIFTED, False, SOURCE) for piece in pieces(ours, 1450)] == pieces(theirs, 1450)


def test_each_port_is_of_its_own_forwarding() -> None:
    known = Translations()
    other = MANY._replace(fixed=bytes((10, 0, 0, 6)), inside=3)
    for one in (other, SHIFTED):
        known.add(one)
    packet = udp4(CLIENT, OUTSIDE, (5, 6), b"")
    found, inward = known.end(1, packet)
    assert inward and len(found) == 2 and not known.end(2, packet)[0]
    assert {port: meant(found, UDP, port, True) for port in (6000, 6001, 6006, 6007, 8999, 9000, 9003, 9004)} == {
        6000: None, 6001: SHIFTED, 6006: SHIFTED, 6007: None, 8999: None, 9000: other, 9003: other, 9004: None}
    assert meant(found, TCP, 6001, True) is None and meant([HERE], TCP, 6001, True) is HERE
    found, inward = known.end(3, udp4(other.fixed, CLIENT, (53, 5), b""))
    assert not inward and found == [other]
    assert other.other(9002, True) == 53 and other.other(53, False) == -1 and SHIFTED.other(7006, False) == 6006


def test_pieces_wait_for_the_first() -> None:
    first, second, third = pieces(udp4(CLIENT, OUTSIDE, (7, 6001), bytes(4000)), 1500)
    held = Pieces()
    assert held.together(1, third, 100, 0) == held.together(1, second, 100, 0) == ((0, 0), [])
    assert held.together(2, first, 100, 0) == ((7, 6001), [first]), "of another network"
    assert held.together(1, first, 100, 0) == ((7, 6001), [first, third, second])
    assert held.together(1, second, 100, 1) == ((7, 6001), [second])
    assert held.together(1, second, 100, 9) == ((0, 0), []), "by then it may be of another with the same number"
    assert held.together(3, third, 101, 10)[1] == []
    for n in range(MOST + 9):
        for _ in range(HELD + 9):
            held.together(1, second[:4] + n.to_bytes(2, "big") + second[6:], 100, 10)
    assert held.together(3, first, 101, 10)[1] == [first, third], "who has few keeps them"
    assert len(held._known) == MOST and max(len(each.waiting) for each in held._known.values()) == HELD
