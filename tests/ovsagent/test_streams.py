"""Guests that only listen are made to speak when the gateway has moved; what is said to them, when, and to whom."""

import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from ovsagent.answers import streams
from ovsagent.answers.book import Book
from ovsagent.answers.packet import checksum
from ovsagent.answers.streams import ROUNDS, Streams
from ovsagent.ovsdb import Tables, Uuid
from tests.ovsagent.test_announcing import told

MAC, ROUTER = "fa:16:3e:00:00:01", "fa:16:3e:00:01:01"
WAY = {"generation": 1, "inside": [[7, ROUTER]], "near": ["10.0.0.0/24"]}


def session(port: int, to: str = "203.0.113.9", state: str = "ESTABLISHED", protocol: str = "tcp") -> str:
    return (f"{protocol},orig=(src=10.0.0.11,dst={to},sport={port},dport=80),reply=(src={to},dst=10.0.0.11,sport=80,"
            f"dport={port}),zone=100,protoinfo=(state={state})")


class Line:
    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []
        """(ofport, the guest's port) of each."""

    def sendto(self, frame: bytes, where: Any) -> None:
        assert where == ("door", 0) and frame[:6].hex(":") == MAC and frame[6:12].hex(":") == ROUTER
        packet = frame[18:]
        assert packet[20:24] == struct.pack(">HH", 80, int.from_bytes(packet[22:24], "big")) and packet[33] == 0x10
        assert packet[12:20] == socket.inet_aton("203.0.113.9") + socket.inet_aton("10.0.0.11")
        assert not any(checksum(packet[:20])) and not any(checksum(packet[12:20] + struct.pack(">HH", 6, 20) + packet[20:]))
        self.sent.append((int.from_bytes(frame[14:16], "big"), int.from_bytes(packet[22:24], "big")))


@pytest.fixture
def book(tmp_path: Path) -> Book:
    book = Book(tmp_path / "book.json")
    tell(book, WAY)
    return book


def tell(book: Book, way: dict[str, Any]) -> None:
    guests = [["announce", f"port{n}", "", {"network": n, "mac": MAC, "addresses": ["10.0.0.11"]}] for n in (7, 8)]
    told(book, book.revision + 1, *guests, ["way out", "g", "", way])


def agent(book: Book, *sessions: str) -> Streams:
    rows = {Uuid(f"{n}"): {"name": f"t{n}", "ofport": 93 + n, "external_ids": {"iface-id": f"port{n}"}} for n in (7, 8)}
    return Streams(book, lambda: Tables({"Interface": rows}), lambda zone: sessions if zone == 100 else [])


def said(agent: Streams, now: float) -> list[tuple[int, int]]:
    line = Line()
    agent._say(line, now)  # type: ignore[arg-type]
    return line.sent


def test_each_stream_beyond_a_gateway_that_moved_is_asked_for_in_rounds(book: Book) -> None:
    it = agent(book, session(4001), session(4002, "10.0.0.12"), session(4003, state="TIME_WAIT"), session(4004, protocol="udp"),
               session(4005, state="FIN_WAIT_2"))
    tell(book, {**WAY, "generation": 2})
    it._look(10.0)
    assert [said(it, 10 + after) for after in (0, *ROUNDS, 60)] == [[], *[[(100, 4001), (100, 4005)]] * len(ROUNDS), []]


def test_nobody_is_asked_where_no_gateway_moved(book: Book) -> None:
    it = agent(book, session(4001))
    tell(book, {**WAY, "near": []})
    it._look(0.0)
    told(book, book.revision + 1)
    it._look(0.0)
    tell(book, {**WAY, "generation": 9})
    it._look(0.0)
    assert not said(it, 60)


def test_moved_again_it_begins_anew_and_what_says_nothing_hurts_nobody(book: Book) -> None:
    it = agent(book, session(4001))
    tell(book, {**WAY, "generation": 2})
    it._look(0.0)
    assert said(it, 1) and said(it, 1)
    tell(book, {**WAY, "generation": 3})
    it._look(1.0)
    assert not said(it, 1.1) and said(it, 1.3)
    tell(book, {"generation": 4})
    it._look(9.0)


def test_who_has_thousands_leaves_room_for_others(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST", 10)
    monkeypatch.setattr(streams, "PAUSE", 0.0)
    it = agent(book)
    it.sessions = lambda zone: (session(n) for n in range(1, 50 if zone == 100 else 4))
    tell(book, {**WAY, "generation": 2, "inside": [[7, ROUTER], [8, ROUTER]]})
    it._look(0.0)
    assert [ofport for ofport, _ in said(it, 1)].count(101) == 3 and len(said(it, 1)) == 10
