"""The book on its way: a courier of the controller and the door of an agent, over a real socket."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.book import Courier
from controller.derive import Change, Entry, answer
from controller.leases import Alone
from ovsagent import door
from ovsagent.answers.book import Book, Outgrown, Stale, Wrong
from tests import identities
from unryu import tls


class Agent:
    """The door of an agent that has only a book."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.address = "127.0.0.1:0"
        self.server: tls.Server | None = None

    def begin(self) -> None:
        self.book = Book(self.path)
        nothing: Any = None
        self.server = door.serve(door.Door(nothing, dict, dict, dict, self.book, lambda target: None), self.address,
                                 identities.host(self.path.parent))
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def end(self) -> None:
        assert self.server
        self.server.shutdown()
        self.server.server_close()

    def data(self) -> dict[str, Any]:
        return {port: entry for (_, port, _), entry in self.book.answers.items()}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "book.json")
    made.begin()
    yield made
    made.end()


def said(port: str, **data: Any) -> Entry:
    return 0, answer("dhcp4", port, **data)


def wanted(*entries: Entry) -> dict[Any, Entry]:
    return {entry[1].key: entry for entry in entries}


def within(seconds: float, true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def courier(agent: Agent, taken: list[str], *entries: Entry, name: str = tls.CONTROLLER, host: str = "h1") -> Courier:
    made = Courier(host, agent.address, identities.service(agent.path.parent, name), wanted(*entries), 5, taken.append)
    made.start()
    return made


def test_the_whole_book_then_differences(agent: Agent) -> None:
    taken: list[str] = []
    sent = courier(agent, taken, said("p1", a=1), said("p2", a=2))
    within(60, lambda: sent.realised == 5)
    assert agent.data() == {"p1": {"a": 1}, "p2": {"a": 2}} and taken == ["h1"]
    sent.change(6, Change(add=[said("p1", a=3), said("p3", a=4)], delete=[said("p2", a=2)]))
    within(60, lambda: sent.realised == 6)
    assert agent.data() == {"p1": {"a": 3}, "p3": {"a": 4}} and agent.book.revision == 6
    assert Book(agent.path).revision == 6, "on disk before it is confirmed"
    sent.stop()
    sent.join(60)
    assert not sent.is_alive()


def test_a_book_that_is_another_one_is_replaced(agent: Agent) -> None:
    sent = courier(agent, [], said("p1", a=1))
    within(60, lambda: sent.realised == 5)
    agent.book.replace({"revision": 99, "answers": [["dhcp4", "x", "", {}]]})
    sent.change(6, Change(add=[said("p2", a=2)]))
    within(60, lambda: sent.realised == 6)
    assert agent.data() == {"p1": {"a": 1}, "p2": {"a": 2}}
    sent.stop()


def test_an_agent_that_was_away_opens_its_book_and_hears_what_it_missed(agent: Agent) -> None:
    sent = courier(agent, [], said("p1", a=1))
    within(60, lambda: sent.realised == 5)
    agent.end()
    sent.change(6, Change(add=[said("p2", a=2)]))
    time.sleep(0.3)
    agent.begin()
    within(60, lambda: sent.realised == 6)
    assert agent.data() == {"p1": {"a": 1}, "p2": {"a": 2}}
    sent.stop()


def test_it_moves_to_a_new_address(agent: Agent, tmp_path: Path) -> None:
    sent = courier(agent, [], said("p1", a=1))
    within(60, lambda: sent.realised == 5)
    other = Agent(tmp_path / "other.json")
    other.begin()
    sent.renew(other.address, wanted(said("p1", a=9)), 7)
    within(60, lambda: sent.realised == 7)
    assert other.data() == {"p1": {"a": 9}} and agent.data() == {"p1": {"a": 1}}
    sent.stop()
    other.end()


def test_a_stranger_writes_nothing_and_no_book_goes_to_another_host(agent: Agent) -> None:
    taken: list[str] = []
    lab, lost = courier(agent, taken, said("p1", a=1), name=tls.LAB), courier(agent, taken, said("p1", a=1), host="h2")
    within(60, lambda: agent.server and agent.server.refusals.count)
    assert not taken and not agent.data()
    lab.stop()
    lost.stop()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"revision": 1, "answers": [[1]]}', '{"revision": "x", "answers": []}'])
def test_a_book_that_cannot_be_read_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "b.json").write_text(text)
    book = Book(tmp_path / "b.json")
    assert (book.revision, book.answers) == (0, {})


def test_differences_to_another_book_and_nonsense_are_refused(tmp_path: Path) -> None:
    book = Book(tmp_path / "b.json")
    book.replace({"revision": 3, "answers": [["ra", "p", "", {"x": 1}]]})
    with pytest.raises(Stale):
        book.amend({"since": 2, "revision": 4, "answers": []})
    with pytest.raises(Wrong):
        book.replace({"revision": 4, "answers": [["ra", "p"]]})
    assert book.get("ra", "p") == {"x": 1} and Book(tmp_path / "b.json").revision == 3


def test_what_somebody_did_to_the_book_is_undone_and_counted(agent: Agent) -> None:
    sent = courier(agent, [], said("p1", a=1))
    within(60, lambda: sent.realised == 5)
    sent.again()
    agent.path.write_text("{}")
    within(60, lambda: json.loads(agent.path.read_text()).get("revision") == 5 or sent.again())
    assert agent.book.mended == 0, "only the file was another one"
    agent.book.answers = {}
    sent.again()
    within(60, lambda: agent.data() == {"p1": {"a": 1}})
    assert agent.book.mended == 1 and sent.realised == 5
    sent.stop()


def test_a_lesser_generation_is_not_heard_and_the_greatest_outlives_the_agent(tmp_path: Path) -> None:
    """A controller that slept while its hosts were given away."""
    def said(generation: int, **more: Any) -> dict[str, Any]:
        return {"generation": generation, "revision": 7, "answers": [["ra", "p", "", {"from": generation}]], **more}

    book = Book(tmp_path / "b.json")
    book.replace(said(5))
    book.replace(said(6))
    for content, write in ((said(5), book.replace), (said(5, since=7), book.amend)):
        with pytest.raises(Outgrown):
            write(content)
    again = Book(tmp_path / "b.json")
    assert again.generation == 6 and again.get("ra", "p") == {"from": 6}
    with pytest.raises(Outgrown):
        again.replace(said(5))
    with pytest.raises(Wrong):
        again.replace(said(5) | {"generation": "7"})
    again.amend(said(9, since=7))
    assert again.get("ra", "p") == {"from": 9} and Book(tmp_path / "b.json").generation == 9


def test_a_courier_that_was_succeeded_takes_a_new_generation_or_stays_away(agent: Agent) -> None:
    agent.book.replace({"generation": 50, "revision": 1, "answers": []})

    class Tenure(Alone):
        trusted, asked = True, 0

        def good(self, generation: int) -> bool:
            return self.trusted

        def outgrown(self) -> None:
            self.asked += 1

    lease = Tenure()
    sent = Courier("h1", agent.address, identities.service(agent.path.parent, tls.CONTROLLER), wanted(said("p1", a=1)), 5,
                   lambda host: None, lease)
    sent.generation = 49
    sent.start()
    within(60, lambda: lease.asked)
    assert not agent.data()
    lease.trusted = False
    time.sleep(0.3)
    asked = lease.asked
    sent.generation = 51
    time.sleep(0.5)
    assert lease.asked == asked and not agent.data(), "without a lease it says nothing"
    lease.trusted = True
    within(60, lambda: agent.data() == {"p1": {"a": 1}})
    sent.stop()
