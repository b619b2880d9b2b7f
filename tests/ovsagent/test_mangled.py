"""Whatever a guest sends, cut, stretched and forged: it may get no answer, but a fault of ours would end the host's agent. And
whatever a controller of another version writes into the book."""

import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ovsagent.answers import calls, desk, dhcp4, dhcp6, metadata, nat, ra, routers
from ovsagent.answers.announcing import announcements
from ovsagent.answers.book import Book, forgiving
from ovsagent.answers.packet import ICMPV6, IPV6, address4, address6, ethernet, ip6, mac, parse, udp4, udp6
from tests.ovsagent.test_routers import ENTRIES, GUEST, OUTSIDE, ROUTER, Said, came

FOURS = [address4(a) for a in ("10.0.0.5", "10.0.0.1", "10.0.0.6", "203.0.113.35", "203.0.113.40", "203.0.113.5", "0.0.0.0")]
SIXES = [address6(a) for a in ("fd00::5", "fd00::1", "2001:db8::5", "2001:db8::77", "fe80::1", "ff02::1", "::")]
REASONS = [*range(1, 7), calls.LEAST_MTU, 600, 1400]
EXTENSIONS = [0, 43, 44, 60]
FORWARDED: dict[str, Any] = {
    "zone": 1, "outside": 9, "address": "203.0.113.40", "mac": OUTSIDE, "inside": 7, "fixed": "10.0.0.6", "router": ROUTER,
    "gateway": OUTSIDE, "mtu": 1400, "outer": [10, 20]}
TRANSLATED = [
    ["floating", "5", "", {"outside": 9, "address": "203.0.113.35", "inside": 7, "fixed": "10.0.0.5", "mac": ROUTER, "zone": 1}],
    ["forwarding", "6", "", {**FORWARDED, "protocol": 17, "inner": [10, 20]}],
    ["forwarding", "7", "", {**FORWARDED, "protocol": 6, "inner": [10, 10], "label": "02:00:00:00:06:10"}]]
BOOK: dict[str, dict[str, Any]] = {
    "dhcp4": {"mac": GUEST, "address": "10.0.0.5", "server": "10.0.0.1", "server_mac": ROUTER, "next": "10.0.0.1", "lease": 3600,
              "options": {"1": "ffffff00", "121": "00" * 300}},
    "dhcp6": {"server_mac": ROUTER, "addresses": ["fd00::5"], "lease": 3600, "options": {"23": "00" * 16}},
    "ra": {"source_mac": ROUTER, "managed": True, "other": True, "lifetime": 9, "mtu": 1400, "prefixes": [["fd00::/64", True]],
           "dns": ["fd00::1"]}}

numbers = st.sampled_from([0, 1, 8, 20, 0x1FFF, 0x2000, 0x2001, 0xFFFF]) | st.integers(0, 0xFFFF)
ports = st.sampled_from([9, 10, 20])
bodies = st.binary(max_size=64) | st.builds(bytes, st.sampled_from([1400, 8000]))


@st.composite
def fours(draw: st.DrawFn, content: st.SearchStrategy[bytes] = bodies) -> bytes:
    protocol, length = draw(st.sampled_from([1, 6, 17, 99])), draw(st.sampled_from([5, 5, 5, 6, 15, 0, 1]))
    inner = draw(content)
    if protocol == 1:
        inner = bytes([draw(st.sampled_from([0, 3, 5, 8, 11, 12, 13]))]) + bytes(7) + inner
    elif protocol != 99:
        inner = struct.pack(">HHHH", draw(ports), draw(ports), draw(numbers), 0) + inner
    options = bytes(max(0, length - 5) * 4)
    size = draw(st.just(20 + len(options + inner)) | numbers)
    return struct.pack(">BBHHHBBH4s4s", 0x40 | length, 0, size, draw(st.integers(0, 2)), draw(numbers), draw(st.integers(0, 3)),
                       protocol, 0, draw(st.sampled_from(FOURS)), draw(st.sampled_from(FOURS))) + options + inner


@st.composite
def sixes(draw: st.DrawFn) -> bytes:
    body = draw(bodies)
    carried = draw(st.sampled_from([6, 17, 58, 99]))
    for extension in draw(st.lists(st.sampled_from(EXTENSIONS), max_size=3)):
        body = struct.pack(">BBHI", carried, draw(st.sampled_from([0, 0, 1, 255])), draw(numbers), 1) + body
        carried = extension
    size = draw(st.just(len(body)) | numbers)
    return struct.pack(">IHBB", 6 << 28, size, carried, draw(st.integers(0, 3))) + draw(st.sampled_from(SIXES)) + draw(
        st.sampled_from(SIXES)) + body


@st.composite
def mangled(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    frame = bytearray(draw(whole))
    for place in draw(st.lists(st.integers(0, 100), max_size=2)):
        frame[place % len(frame)] = draw(st.integers(0, 255))
    return bytes(frame[:draw(st.none() | st.integers(0, len(frame)))])


called = st.builds(came, st.sampled_from(REASONS) | numbers, fours(fours()) | fours() | sixes(),
                   of=st.sampled_from([ROUTER, OUTSIDE, "ff:ff:cb:00:71:01"]), by=st.sampled_from([GUEST, OUTSIDE]))
news = st.builds(ethernet, st.just(mac(OUTSIDE)), st.just(mac(GUEST)), st.sampled_from([0x0806, IPV6]), bodies)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> routers.Routers:
    book = Book(tmp_path_factory.mktemp("mangled") / "book.json")
    book.replace({"revision": 1, "answers": [*(["router", str(n), "", e] for n, e in enumerate(ENTRIES)), *TRANSLATED]})
    return routers.Routers(book)


@settings(max_examples=500)
@given(frame=mangled(called) | mangled(news), number=st.sampled_from([7, 9]), now=st.floats(0, 100))
@example(came(calls.NOT_SERVED, ip6(SIXES[0], SIXES[1], 44, struct.pack(">BxHI", 58, 1, 7), 2)), 7, 0.0)
@example(came(calls.PIECE, udp4(FOURS[6], FOURS[3], (9, 10), b"to whom no port is forwarded")), 9, 0.0)
def test_the_routers_door_bears_it(door: routers.Routers, frame: bytes, number: int, now: float) -> None:
    said = Said()
    door.device.send = door.next_hops.send = said.device  # type: ignore[method-assign]
    door.heard(frame, number, now)
    door.next_hops.tick(now)
    assert sum(len(one) for one, _ in said) < 100_000


@st.composite
def questions(draw: st.DrawFn) -> bytes:
    def options(form: str, codes: list[int]) -> bytes:
        values = st.binary(max_size=8) | st.sampled_from([FOURS[0], bytes(16) + bytes(12), bytes(12)])
        most = 255 if form == "BB" else 0xFFFF
        each = draw(st.lists(st.tuples(st.sampled_from(codes), values, st.none() | numbers), max_size=6))
        return b"".join(struct.pack(form, code, (len(value) if size is None else size) & most) + value
                        for code, value, size in each)

    kind = draw(st.sampled_from(sorted(BOOK)))
    if kind == "ra":
        packet = ip6(draw(st.sampled_from(SIXES)), SIXES[5], ICMPV6, b"\x85\0\0\0" + bytes(4) + draw(bodies), 2)
    elif kind == "dhcp6":
        asked = bytes([draw(st.integers(0, 13))]) + b"abc" + options(">HH", [1, 2, 3, 5, 14])
        packet = udp6(SIXES[4], SIXES[5], (546, 547), asked)
    else:
        asked = dhcp4.FIXED.pack(1, 1, 6, 0, 1, 0, draw(numbers), draw(st.sampled_from(FOURS)), bytes(4), bytes(4), bytes(4),
                                 mac(GUEST), b"", b"") + dhcp4.MAGIC + bytes([53, 1, draw(st.integers(0, 9))])
        packet = udp4(FOURS[6], b"\xff" * 4, (68, 67), asked + options("BB", [0, 50, 52, 53, 54, 55, 57, 61, 255]))
    return ethernet(b"\xff" * 6, mac(GUEST), IPV6 if packet[0] >> 4 == 6 else 0x0800, packet)


@settings(max_examples=500)
@given(frame=mangled(questions()))
def test_so_does_the_hosts_desk(frame: bytes) -> None:
    question = parse(frame)
    if question and (who := desk.clerk(question)):
        answer = who[1](question, BOOK[who[0]])
        assert answer is None or len(answer) < 1514


@given(head=mangled(st.builds(lambda path, rest: b"GET /" + path + b" HTTP/1.1\r\n" + rest, st.binary(max_size=40), bodies)))
def test_and_the_metadata_address(head: bytes) -> None:
    answer, _ = metadata.reply(head, {"openstack/latest/meta_data.json": "{}"})
    assert answer.startswith(b"HTTP/1.1 ") and b"HTTP/1.1 5" not in answer


ODD = [None, 5, -1, 2**70, "", "x", "zz:zz", [], ["x"], [5], {}, {"x": "y"}, {"999": "00"}, 1.5,
       "9.9.9.999", "10.0.0.0/8", "\ud800"]
DISCOVER = parse(ethernet(b"\xff" * 6, mac(GUEST), 0x0800, udp4(FOURS[6], b"\xff" * 4, (68, 67), dhcp4.FIXED.pack(
    1, 1, 6, 0, 1, 0, 0, *[bytes(4)] * 4, mac(GUEST), b"", b"") + dhcp4.MAGIC + b"\x35\1\1\xff")))
SOLICIT = parse(ethernet(bytes(6), mac(GUEST), IPV6, udp6(
    SIXES[4], SIXES[5], (546, 547), b"\1abc\0\1\0\1x\0\3\0\x0c" + bytes(12))))
ANNOUNCED = {"network": 5, "mac": GUEST, "addresses": ["203.0.113.10", "fd00::7"], "word": ROUTER}


@pytest.mark.parametrize("read, entry", [
    (partial(dhcp4.reply, DISCOVER), BOOK["dhcp4"]), (partial(dhcp6.reply, SOLICIT), BOOK["dhcp6"]),
    (ra.advertisement, BOOK["ra"]), (routers.Interface, ENTRIES[1]), (nat.Floating.of, TRANSLATED[0][3]),
    (nat.Floating.of, TRANSLATED[2][3]), (lambda entry: list(announcements(entry)), ANNOUNCED),
    (partial(metadata.document, "/1.0/x"), {"ec2/x": "y"}),
])
def test_an_entry_of_another_version_hurts_nobody_else(read: Callable[[Any], object], entry: dict[str, Any]) -> None:
    assert read(entry)
    for name in entry:
        for odd in ODD:
            with forgiving(entry):
                read({**entry, name: odd})
