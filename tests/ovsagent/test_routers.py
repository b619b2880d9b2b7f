"""The routers' door: ICMP errors and pieces as other programs read them, and next hops that are asked for."""

import socket
import struct
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from os_ken.lib.packet import arp, ethernet, icmp, icmpv6, ipv4, ipv6, udp
from os_ken.lib.packet.packet import Packet

from ovsagent.answers import calls, next_hops, routers
from ovsagent.answers.book import Book
from ovsagent.answers.device import attach
from ovsagent.answers.icmp import Error, error, pieces, whole
from ovsagent.answers.packet import address4, address6, checksum, ip4, ip6, mac, udp4, udp6
from ovsagent.answers.packet import ethernet as framed

GUEST, ROUTER, OUTSIDE = "fa:16:3e:00:00:01", "fa:16:3e:00:00:ff", "fa:16:3e:00:00:fe"
FOUR = address4("10.0.0.5"), address4("10.0.1.9")
SIX = address6("fd00::5"), address6("fd01::9")
ASKED4 = udp4(*FOUR, (40000, 33434), b"where")
ASKED6 = udp6(*SIX, (40000, 33434), b"where")
ENTRIES: list[dict[str, Any]] = [
    {"network": 7, "mac": ROUTER, "addresses": ["10.0.0.1/24", "fd00::1/64"], "next_hops": []},
    {"network": 9, "mac": OUTSIDE, "addresses": ["203.0.113.5/24", "2001:db8::5/64"],
     "next_hops": ["203.0.113.1", "2001:db8::1"]},
]


class Said(list[tuple[bytes, int]]):
    def device(self, frame: bytes, number: int) -> None:
        self.append((frame, number))


@pytest.fixture
def door(tmp_path: Path) -> tuple[routers.Routers, Said]:
    book = Book(tmp_path / "book.json")
    book.replace({"revision": 1, "answers": [["router", str(n), "", entry] for n, entry in enumerate(ENTRIES)]})
    made, said = routers.Routers(book), Said()
    made.device.send = made.next_hops.send = said.device  # type: ignore[method-assign]
    return made, said


def came(reason: int, packet: bytes, of: str = ROUTER, by: str = GUEST, payer: int = 100) -> bytes:
    """As a flow brings it: behind two labels."""
    return framed(mac(of), mac(by), 0x8847, struct.pack(">II", payer << 12, reason << 12) + packet)


@pytest.mark.parametrize("reason, four, six", [
    (calls.EXPIRED, (11, 0), (3, 0)), (calls.NO_ROUTE, (3, 0), (1, 0)), (calls.NOT_SERVED, (3, 3), (1, 4)),
])
def test_errors_go_back_where_the_packet_came_from(
        door: tuple[routers.Routers, Said], reason: int, four: tuple[int, int], six: tuple[int, int]) -> None:
    desk, said = door
    desk.heard(came(reason, ASKED4), 7, 0.0)
    desk.heard(came(reason, ASKED6), 7, 0.0)
    desk.heard(came(reason, ASKED4), 8, 0.0)   # no router of that network here
    assert [number for _, number in said] == [7, 7]
    frame = Packet(said[0][0])
    outer, told = frame.get_protocol(ipv4.ipv4), frame.get_protocol(icmp.icmp)
    assert (frame[0].dst, frame[0].src) == (GUEST, ROUTER)
    assert (outer.src, outer.dst, told.type, told.code) == ("10.0.0.1", "10.0.0.5", *four)
    assert checksum(said[0][0][34:]) == b"\0\0" and said[0][0].endswith(ASKED4)
    frame = Packet(said[1][0])
    outer, told6 = frame.get_protocol(ipv6.ipv6), frame.get_protocol(icmpv6.icmpv6)
    assert (outer.src, outer.dst, told6.type_, told6.code) == ("fd00::1", "fd00::5", *six)
    body = said[1][0][54:]
    assert checksum(SIX[0][:8] + bytes(7) + b"\1" + SIX[0] + struct.pack(">II", len(body), 58) + body) == b"\0\0"


@pytest.mark.parametrize("packet", [
    ip4(*FOUR, 1, b"\x03\x01" + bytes(30)), ip4(*FOUR, 1, b"\x0b\x00" + bytes(30)),             # about errors
    ip6(*SIX, 58, b"\x01\x00" + bytes(30), 2), ip6(*SIX, 58, b"\x89\x00" + bytes(38), 2),        # and about a redirect
    ip6(*SIX, 0, struct.pack(">BB6xBB6x", 60, 0, 58, 1) + bytes(8) + b"\x01\x00" + bytes(30), 4),
    ASKED4[:6] + b"\x00\x10" + ASKED4[8:],                                                      # a later piece
    ip6(*SIX, 44, bytes([17, 0, 0, 8, 0, 0, 0, 1]) + bytes(16), 2),
    udp4(bytes(4), FOUR[1], (1, 2), b""), udp4(address4("224.0.0.5"), FOUR[1], (1, 2), b""),     # from no single host
    udp4(address4("127.0.0.1"), FOUR[1], (1, 2), b""), udp6(bytes(16), SIX[1], (1, 2), b""),
    udp4(FOUR[0], address4("224.0.0.5"), (1, 2), b""), udp6(SIX[0], address6("ff02::5"), (1, 2), b""),   # to no single one
])
def test_what_nobody_may_be_told_of(packet: bytes) -> None:
    assert error(Error.EXPIRED, packet, packet[12:16] if packet[0] >> 4 == 4 else SIX[0]) is None


def test_a_directed_broadcast_is_told_of_to_nobody(door: tuple[routers.Routers, Said]) -> None:
    desk, said = door
    desk.heard(came(calls.EXPIRED, udp4(FOUR[0], address4("10.0.0.255"), (1, 2), b"")), 7, 0.0)
    desk.heard(came(calls.EXPIRED, udp4(address4("10.0.0.255"), FOUR[1], (1, 2), b"")), 7, 0.0)
    assert not said


@pytest.mark.parametrize("frame", [came(1, ASKED4)[:-3], came(1, ASKED6)[:-3], came(1, b"\x44" + ASKED4[1:]), b"", bytes(14)])
def test_what_is_not_whole_is_nothing(door: tuple[routers.Routers, Said], frame: bytes) -> None:
    desk, said = door
    desk.heard(frame, 7, 0.0)
    assert not said


def test_who_sends_too_much_is_told_less(door: tuple[routers.Routers, Said]) -> None:
    desk, said = door
    for _ in range(500):
        desk.heard(came(calls.EXPIRED, ASKED4), 7, 0.0)
    assert len(said) < 150 and desk.refused == 500 - len(said)
    said.clear()
    desk.heard(came(calls.EXPIRED, ASKED4, payer=101), 7, 0.0)
    assert len(said) == 1, "each has his own share, also at one router"


def test_too_large_with_dont_fragment_names_the_mtu_and_without_is_cut(door: tuple[routers.Routers, Said]) -> None:
    desk, said = door
    large = udp4(*FOUR, (1, 2), bytes(range(256)) * 6)
    desk.heard(came(1400, large[:6] + b"\x40\x00" + large[8:]), 7, 0.0)
    told = Packet(said[0][0]).get_protocol(icmp.icmp)
    assert (told.type, told.code, told.data.mtu) == (3, 4, 1400) and len(said[0][0]) == 14 + 576
    said.clear()
    desk.heard(came(1400, udp6(*SIX, (1, 2), bytes(1600))), 7, 0.0)
    told6 = Packet(said[0][0]).get_protocol(icmpv6.icmpv6)
    assert (told6.type_, told6.code) == (2, 0) and said[0][0][58:62] == struct.pack(">I", 1400)
    said.clear()
    desk.heard(came(1400, large), 7, 0.0)
    assert [(frame[:6], frame[6:12], number) for frame, number in said] == [(mac(ROUTER), mac(GUEST), 7)] * 2
    assert together([frame[14:] for frame, _ in said], 1400) == large[20:]


def together(cut: list[bytes], mtu: int) -> bytes:
    """Of pieces, what they were."""
    body = b""
    for n, piece in enumerate(cut):
        packet, _, _ = ipv4.ipv4.parser(piece)
        assert len(piece) == packet.total_length <= mtu and checksum(piece[:20]) == b"\0\0"
        assert packet.offset * 8 == len(body) and packet.flags == (0 if n == len(cut) - 1 else 1)
        body += piece[20:]
    return body


def test_pieces_of_pieces() -> None:
    packet = udp4(*FOUR, (1, 2), bytes(range(256)) * 16)
    assert together([small for piece in pieces(packet, 1450) for small in pieces(piece, 600)], 600) == packet[20:]
    assert whole(packet + b"padding") == packet


@pytest.mark.parametrize("payload", [b"abcdefg" * 180, b"\0" * 1400, b"\xff" * 1400])
def test_pieces_of_a_large_ping_are_turned_around(door: tuple[routers.Routers, Said], payload: bytes) -> None:
    """With the checksum of the whole, which is not here."""
    desk, said = door
    asked4 = b"\x08\0" + bytes(2) + b"\0\1\0\1" + payload
    cut = pieces(ip4(FOUR[0], address4("10.0.0.1"), 1, asked4[:2] + checksum(asked4) + asked4[4:]), 1000)
    for piece in cut:
        desk.heard(came(calls.NOT_SERVED, piece), 7, 0.0)
    turned, _, _ = ipv4.ipv4.parser(said[0][0][14:])
    whole4 = together([frame[14:] for frame, _ in said], 1000)
    assert (turned.src, turned.dst, turned.ttl, whole4[0]) == ("10.0.0.1", "10.0.0.5", 64, 0)
    assert checksum(whole4) == b"\0\0" and whole4[4:] == asked4[4:]
    said.clear()
    echo6 = ip6(SIX[0], address6("fd00::1"), 58, b"\x80\0" + bytes(2) + b"\0\1\0\1" + payload, 2)
    for offset, part in ((1, echo6[40:840]), (800, echo6[840:])):
        piece = echo6[:4] + struct.pack(">H", len(part) + 8) + b"\x2c" + echo6[7:40] + struct.pack(">BxHI", 58, offset, 7) + part
        desk.heard(came(calls.NOT_SERVED, piece), 7, 0.0)
    turned6 = said[0][0][14:]
    back = turned6[48:] + said[1][0][14 + 48:]
    assert (turned6[7], turned6[8:24], turned6[24:40], turned6[48]) == (64, address6("fd00::1"), SIX[0], 129)
    assert checksum(turned6[8:40] + struct.pack(">II", len(back), 58) + back) == b"\0\0"
    said.clear()
    unknown = ip4(*FOUR, 1, b"\x0d\0" + bytes(18)), ip6(*SIX, 58, b"\x8b\0" + bytes(18), 2)
    for asked in (cut[0][:20] + b"\0" + cut[0][21:], *unknown):
        desk.heard(came(calls.NOT_SERVED, asked), 7, 0.0)
    assert not said, "of what it does not know of ICMP a router says nothing"


def waiting(packet: bytes, end: str, payer: int = 100) -> bytes:
    return came(calls.NEXT_HOP, packet, of=f"{'ff:ff' if packet[0] >> 4 == 4 else '00:00'}:{end}", by=OUTSIDE, payer=payer)


def test_a_packet_waits_for_its_next_hop_and_is_sent_on(door: tuple[routers.Routers, Said]) -> None:
    desk, said = door
    desk.heard(waiting(ASKED4, "cb:00:71:01"), 9, 10.0)
    desk.heard(waiting(ASKED4, "cb:00:71:01"), 9, 10.1)
    [(asked, number)] = said
    question = Packet(asked).get_protocol(arp.arp)
    assert (number, question.opcode, question.src_mac, question.src_ip, question.dst_ip) == (
        9, 1, OUTSIDE, "203.0.113.5", "203.0.113.1")
    said.clear()
    reply = framed(mac(OUTSIDE), mac("0a:00:00:00:00:01"), 0x0806, struct.pack(
        ">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, mac("0a:00:00:00:00:01"), address4("203.0.113.1"), mac(OUTSIDE),
        address4("203.0.113.5")))
    desk.heard(reply[:22] + mac("01:00:5e:00:00:01") + reply[28:], 9, 10.2)
    assert not said, "a group is nobody's next hop"
    desk.heard(reply, 9, 10.2)
    assert [Packet(frame).get_protocol(ethernet.ethernet).dst for frame, _ in said] == ["0a:00:00:00:00:01"] * 2
    assert all(frame[14:] == ASKED4 and number == 9 for frame, number in said)
    said.clear()
    for now in range(11, 200):      # asked again before the switch forgets it
        desk.next_hops.tick(float(now))
        if said:
            said.clear()
            desk.heard(reply, 9, float(now))
    assert 7 <= desk.next_hops.asked - 1 <= 9
    used = count(1)
    desk.next_hops.counts = lambda: {(9, address4("203.0.113.1")): next(used)}
    for now in range(200, 2000):
        desk.next_hops.tick(float(now))
        desk.heard(reply, 9, float(now))
    assert desk.next_hops.warm, "for as long as it is used"
    desk.next_hops.counts = lambda: {(9, address4("203.0.113.1")): 1000}
    for now in range(2000, 2000 + 3 * int(next_hops.LOOK)):
        desk.next_hops.tick(float(now))
        desk.heard(reply, 9, float(now))
    assert not desk.next_hops.warm


def test_nobody_asks_in_the_name_of_who_has_gone(door: tuple[routers.Routers, Said]) -> None:
    """A gateway that has moved, or was made anew with another MAC: its neighbours would believe that it is still here."""
    desk, said = door
    desk.book.amend({"since": 1, "revision": 2, "answers": [["announce", "1", "", {**ENTRIES[1], "addresses": []}]]})
    hop = framed(mac(OUTSIDE), mac("0a:00:00:00:00:01"), 0x0806, struct.pack(
        ">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, mac("0a:00:00:00:00:01"), address4("203.0.113.1"), mac(OUTSIDE), FOUR[0]))
    desk.heard(waiting(ASKED4, "cb:00:71:01"), 9, 0.0)
    desk.heard(hop, 9, 0.1)
    desk.next_hops.tick(26.0)
    assert len(said) == 3, "asked, sent on, asked again"
    desk.book.amend({"since": 2, "revision": 3, "answers": [["announce", "1", "", None]]})
    desk._read()
    desk.next_hops.tick(60.0)
    assert len(said) == 3 and not desk.next_hops.warm


def test_neighbour_discovery_of_a_next_hop(door: tuple[routers.Routers, Said]) -> None:
    """A MAC holds the end of the address only: what it is of is the destination, or a next hop that the book names."""
    desk, said = door
    desk.heard(waiting(ASKED6, "00:00:00:01"), 9, 0.0)
    desk.heard(waiting(udp6(SIX[0], address6("2001:db8::77"), (1, 2), b""), "00:00:00:77"), 9, 0.0)
    desk.heard(waiting(ASKED6, "00:00:00:55"), 9, 0.0)     # nobody can say which
    asked = [Packet(frame).get_protocol(icmpv6.icmpv6).data for frame, _ in said]
    assert [a.dst for a in asked] == ["2001:db8::1", "2001:db8::77"] and asked[0].option.hw_src == OUTSIDE
    assert Packet(said[0][0])[0].dst == "33:33:ff:00:00:01"
    said.clear()
    target = address6("2001:db8::1")
    body = struct.pack(">BBHI16sBB6s", 136, 0, 0, 0x60000000, target, 2, 1, mac("0a:00:00:00:00:01"))
    desk.heard(framed(mac(OUTSIDE), mac("0a:00:00:00:00:02"), 0x86DD, ip6(target, SIX[0], 58, body, 2)), 9, 0.5)
    assert [frame[:6] for frame, _ in said] == [mac("0a:00:00:00:00:01")]


def test_a_silent_next_hop_is_told_of_by_the_router_itself(door: tuple[routers.Routers, Said]) -> None:
    desk, said = door
    for n in range(40):
        desk.heard(waiting(ASKED4, "cb:00:71:02"), 9, n / 100)
    for now in (0.5, 1.0, 1.5, 2.0, 2.5):
        desk.next_hops.tick(now)
    assert len(said) == 3 and desk.next_hops.pause(2.5) == pytest.approx(0.5)
    said.clear()
    desk.next_hops.tick(3.0)
    assert len(said) == next_hops.HELD and not desk.next_hops.waiting
    frame = Packet(said[0][0])
    outer, told = frame.get_protocol(ipv4.ipv4), frame.get_protocol(icmp.icmp)
    assert (frame[0].dst, outer.src, outer.dst, told.type, told.code) == (OUTSIDE, "203.0.113.5", "10.0.0.5", 3, 1)
    assert frame.get_protocol(udp.udp) is None


def test_who_scans_fills_no_memory(door: tuple[routers.Routers, Said]) -> None:
    desk, said = door
    for n in range(2000):
        desk.heard(waiting(ASKED4, f"0a:14:{n >> 8:02x}:{n & 255:02x}"), 9, 0.0)
    assert len(desk.next_hops.waiting) == next_hops.WAITING and len(said) <= next_hops.WAITING


def test_who_scans_keeps_nobody_else_waiting(door: tuple[routers.Routers, Said]) -> None:
    """Neither others behind the same router, nor himself from his way out."""
    desk, said = door
    for n in range(600):
        desk.heard(waiting(ASKED4, f"0a:14:{n >> 8:02x}:{n & 255:02x}"), 9, 0.0)
    said.clear()
    desk.heard(waiting(ASKED4, "cb:00:71:01"), 9, 0.0)
    for n in range(600):
        desk.heard(waiting(ASKED4, f"0a:15:{n >> 8:02x}:{n & 255:02x}", payer=101), 9, 0.0)
    asked = [Packet(frame).get_protocol(arp.arp).dst_ip for frame, _ in said]
    assert asked[0] == "203.0.113.1" and sum(a.startswith("10.21.") for a in asked) == next_hops.WAITING // 2
    assert len(desk.next_hops.waiting) == next_hops.WAITING + 1


def test_who_floods_the_way_out_pushes_nobody_else_from_it(door: tuple[routers.Routers, Said]) -> None:
    desk, said = door
    mine = udp4(*FOUR, (5, 6), b"mine")
    desk.heard(waiting(mine, "cb:00:71:01", payer=101), 9, 0.0)
    for _ in range(1000):
        desk.heard(waiting(ASKED4, "cb:00:71:01"), 9, 0.0)
    held = desk.next_hops.waiting[next_hops.Hop(9, address4("203.0.113.1"))].held
    assert len(held) == next_hops.HELD_NAMED and held[0].packet == mine


def test_what_is_about_a_packet_is_no_answer(door: tuple[routers.Routers, Said]) -> None:
    """An advertisement that comes since it has no hop left says nothing of its target: only a wire does."""
    desk, said = door
    desk.heard(waiting(udp6(SIX[0], address6("2001:db8::77"), (1, 2), b""), "00:00:00:77"), 9, 0.0)
    lie = ip6(SIX[0], SIX[1], 58, struct.pack(">BBHI16s", 136, 0, 0, 0, address6("2001:db8::77")) + b"\2\1" + mac(GUEST), 2)
    desk.heard(came(calls.EXPIRED, lie, of=OUTSIDE), 9, 0.0)
    assert list(desk.next_hops.waiting) == [next_hops.Hop(9, address6("2001:db8::77"))] and not desk.next_hops.warm


def test_whoever_floods_the_door_is_muted_alone() -> None:
    toll = calls.Toll()
    assert sum(toll.pass_(came(calls.EXPIRED, ASKED4), 7, 0.0) for _ in range(600)) == calls.BURST
    for other in (came(calls.EXPIRED, ASKED4, payer=101), framed(bytes(6), bytes(6), 0x0806, b"")):
        assert toll.pass_(other, 7, 0.0)
    assert list(toll.calls.muted) == [100] and not toll.answers.muted
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        attach(there, toll.filter())
        for payer in (100, 101):
            here.send(came(calls.EXPIRED, ASKED4, payer=payer))
        here.send(framed(bytes(6), bytes(6), 0x0806, b""))
        there.settimeout(1)
        assert [there.recv(2000)[12:17] for _ in range(2)] == [b"\x88\x47\0\x06\x50", b"\x08\x06"], "the kernel drops his"
    toll.release(1.0)
    assert toll.pass_(came(calls.EXPIRED, ASKED4), 7, 1.0)


def unreachable(source: str, destination: str, about: bytes) -> bytes:
    body = struct.pack(">BBHHH", 3, 3, 0, 0, 0) + about
    return ip4(address4(source), address4(destination), 1, body[:2] + checksum(body) + body[4:])


def test_only_errors_of_a_floating_ip_are_translated_and_once(door: tuple[routers.Routers, Said]) -> None:
    desk, said = door
    answers = [["floating", str(n), "", {"outside": 9, "address": f"203.0.113.3{n}", "inside": 7, "fixed": f"10.0.0.{n}",
                                         "mac": ROUTER, "zone": 32771}] for n in (5, 6)]
    desk.book.replace({"revision": 2, "answers": answers})
    about = udp4(address4("203.0.113.35"), address4("198.51.100.80"), (1, 2), b"what")

    def heard(packet: bytes, number: int) -> list[tuple[bytes, int]]:
        said.clear()
        desk.heard(came(calls.TRANSLATE, packet, by=OUTSIDE), number, 0.0)
        return [(frame[26:34], to) for frame, to in said]

    inward = heard(unreachable("198.51.100.80", "203.0.113.35", about), 9)
    assert inward == [(address4("198.51.100.80") + address4("10.0.0.5"), 7)]
    out = unreachable("10.0.0.5", "198.51.100.80", udp4(address4("198.51.100.80"), address4("10.0.0.5"), (1, 2), b"what"))
    assert heard(out, 7) == [(address4("203.0.113.35") + address4("198.51.100.80"), 7)]
    assert not heard(unreachable("10.0.0.5", "198.51.100.80", b"short"), 7), "it would come back, with one hop less"
    assert not heard(unreachable("203.0.113.35", "10.0.0.9", about), 9), "to its MAC, in its name, for a guest behind it"
    for _ in range(500):
        heard(unreachable("198.51.100.80", "203.0.113.35", about), 9)
    assert not said and heard(unreachable("198.51.100.80", "203.0.113.36", about), 9), "each has its own share"


def test_a_book_of_another_version_costs_the_others_nothing(tmp_path: Path) -> None:
    book = Book(tmp_path / "book.json")
    odd = {**ENTRIES[0], "mac": 5}
    book.replace({"revision": 1, "answers": [["router", "odd", "", odd], ["router", "good", "", ENTRIES[0]]]})
    desk = routers.Routers(book)
    said = Said()
    desk.device.send = said.device  # type: ignore[method-assign]
    desk.heard(came(calls.EXPIRED, ASKED4), 7, 0.0)
    assert len(said) == 1
