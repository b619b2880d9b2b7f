"""What is announced, when, and what conntrack is told to forget."""

from pathlib import Path
from typing import Any

from ovsagent.answers.announcing import Announcer, announcements
from ovsagent.answers.book import Book

MAC = "fa:16:3e:00:00:01"
ENTRY = {"network": 5, "mac": MAC, "addresses": ["203.0.113.10"]}
GATEWAY = {"network": 5, "mac": MAC, "addresses": ["203.0.113.5", "2001:db8::5"], "word": "02:00:00:00:00:07", "every": 10}


class Line:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendto(self, frame: bytes, where: Any) -> None:
        assert where == ("routers", 0)
        self.sent.append(frame)


def told(book: Book, revision: int, *answers: Any) -> None:
    book.replace({"revision": revision, "answers": list(answers)})


def times(announcer: Announcer, until: float) -> list[float]:
    """The moments at which something is said, by tenths of a second."""
    found, line = [], Line()
    for tenth in range(int(until * 10) + 1):
        before = len(line.sent)
        announcer._say(line, tenth / 10)  # type: ignore[arg-type]
        found += [tenth / 10] * (len(line.sent) > before)
    return found


def test_what_is_new_is_said_four_times_and_a_gateway_for_ever(tmp_path: Path) -> None:
    book = Book(tmp_path / "book.json")
    announcer = Announcer(book, lambda zone, address: None)
    told(book, 1, ["announce", "fip", "", ENTRY])
    announcer._look(0.0)
    assert times(announcer, 30) == [0.0, 0.2, 1.0, 3.0]
    told(book, 2, ["announce", "fip", "", ENTRY], ["announce", "gw", "", GATEWAY])
    announcer._look(0.0)
    assert times(announcer, 30) == [0.0, 0.2, 1.0, 3.0, 10.0, 20.0, 30.0]
    told(book, 3)
    announcer._look(30.0)
    assert not times(announcer, 60)


def test_an_agent_that_begins_anew_says_nothing_again(tmp_path: Path) -> None:
    told(Book(tmp_path / "book.json"), 1, ["announce", "fip", "", ENTRY])
    announcer = Announcer(Book(tmp_path / "book.json"), lambda zone, address: None)
    announcer._look(0.0)
    assert not times(announcer, 10)


def test_who_had_an_address_before_is_forgotten(tmp_path: Path) -> None:
    forgotten: list[tuple[int, str]] = []
    book = Book(tmp_path / "book.json")
    announcer = Announcer(book, lambda zone, address: forgotten.append((zone, address)))
    floating = {"zone": 40000, "fixed": "10.0.0.5", "address": "203.0.113.10"}
    told(book, 1, ["floating", "fip", "", floating], ["translator", "gw", "", {"zone": 40000, "address": "203.0.113.5"}])
    announcer._look(0.0)
    assert not forgotten
    told(book, 2, ["floating", "fip", "", {**floating, "fixed": "10.0.0.6"}],
         ["translator", "gw", "", {"zone": 40000, "address": "203.0.113.5"}])
    announcer._look(0.0)
    assert forgotten == [(40000, "10.0.0.5"), (40000, "203.0.113.10")]
    told(book, 3)
    announcer._look(0.0)
    assert forgotten[2:] == [(40000, "10.0.0.6"), (40000, "203.0.113.10"), (40000, "")]


def test_the_generation_is_said_where_nobody_else_looks() -> None:
    request, reply, six = announcements(GATEWAY)
    assert request[:6] == reply[:6] == b"\xff" * 6 and request[20:22] + reply[20:22] == b"\0\1\0\2"
    assert request[32:38].hex(":") == "02:00:00:00:00:07" and request[28:32] == request[38:42] == bytes((203, 0, 113, 5))
    assert six[12:14] == b"\x86\xdd"
    [alone, *_] = [f for f in announcements({**GATEWAY, "addresses": []}) if f[12:14] == b"\x08\x06"]
    assert alone[32:38].hex(":") == "02:00:00:00:00:07" and alone[28:32] == bytes(4)
