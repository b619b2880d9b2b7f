"""Where routers leave: nobody moves without need, nobody comes back, and who slept changes nothing."""

import time
from collections.abc import Callable
from typing import Any

import pytest

import controller.gateways as module
from controller.gateways import Gateways, choice
from controller.picture import Picture
from unryu.resource import nouns

HOSTS = ("h1", "h2", "h3")


def row(host: str = "", successor: str = "", kind: str = "router_gateway", **more: Any) -> Any:
    return nouns[kind](id="g", router_id="r", port_id="p", network_id="out", host=host, successor=successor, **more)


def test_it_stays_where_it_is_and_goes_where_it_is_expected() -> None:
    everybody = set(HOSTS)
    host, successor = choice(row(), everybody, everybody)
    assert host and successor and host != successor
    assert choice(row(host, successor), everybody, everybody) == (host, successor)
    gone = everybody - {host}
    moved, third = choice(row(host, successor), gone, gone)
    assert moved == successor and third == (gone - {successor}).pop()
    assert choice(row(moved, third), everybody, everybody) == (moved, third), "it comes not back by itself"


def test_without_anybody_connected_it_stays() -> None:
    assert choice(row("h1", "h2"), set(), set()) == ("h1", "")
    assert choice(row("h1", "h2"), {"h1"}, {"h2"}) == ("h1", "h2"), "who is away for a moment keeps it"
    assert choice(row(), set(), set()) == ("", "")


def test_routers_spread_over_hosts() -> None:
    found = [choice(row().replace(router_id=f"r{n}"), set(HOSTS), set(HOSTS))[0] for n in range(60)]
    assert all(found.count(host) > 8 for host in HOSTS)


class Rows:
    """A database of one row, for one thread."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def transaction(self) -> "Rows":
        return self

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def lock(self, kind: str, id: str) -> Any:
        return self.held

    def update(self, held: Any, **changes: Any) -> None:
        self.held = held.replace(**changes)


@pytest.fixture
def picture() -> Picture:
    picture = Picture()
    picture.put("network", "out", nouns["network"](id="out", network_type="flat", physical_network="physical1", external=True))
    for host in HOSTS:
        wires = {"physical1": 9} if host != "h3" else {}
        picture.put("agent", host, nouns["agent"](id=host, host=host, ofports={"br-ex": wires}))
    return picture


@pytest.mark.parametrize("kind", module.HELD)
def test_a_host_that_is_gone_is_succeeded_and_only_those_with_the_wire_succeed(
        picture: Picture, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    called: list[float] = []
    database: Any = Rows(row(kind=kind))
    gateways = Gateways(database, lambda router: True, lambda: called.append(time.monotonic()))
    for host in HOSTS:
        gateways.came(host)

    def settled() -> Any:
        gateways.look(picture, [database.held])
        gateways._store(gateways._wanted)
        gateways._wanted = {}
        return database.held

    first = settled()
    assert {first.host, first.successor} == {"h1", "h2"} and first.generation == 1
    gateways.went(first.host)
    assert settled() == first, "not at once"
    assert _eventually(lambda: called)
    second = settled()
    assert (second.host, second.successor, second.generation) == (first.successor, "", 2)
    gateways.came(first.host)
    third = settled()
    assert (third.host, third.successor, third.generation) == (second.host, first.host, 2)


def test_in_a_tunnel_a_gateway_has_a_host_and_an_interface_none(picture: Picture) -> None:
    picture.put("network", "out", nouns["network"](id="out", network_type="vxlan"))
    gateways = Gateways(Rows(row()), lambda router: True, lambda: None)  # type: ignore[arg-type]
    gateways.came("h1")
    gateways.look(picture, [row(kind=kind) for kind in module.HELD])
    assert list(gateways._wanted) == [("router_gateway", "g")]


def test_who_decided_about_an_older_generation_changes_nothing(picture: Picture) -> None:
    database: Any = Rows(row("h1", "h2", generation=3))
    gateways = Gateways(database, lambda router: True, lambda: None)
    gateways.came("h2")
    gateways._began = -100.0
    gateways.look(picture, [row("h1", "h2", generation=2)])
    gateways._store(gateways._wanted)
    assert (database.held.host, database.held.generation) == ("h1", 3)


def test_a_switch_that_begins_anew_counts_as_a_move() -> None:
    """It knows no connection any more. Of a router's port on a wire nothing was remembered."""
    for kind, generation in (("router_gateway", 4), ("router_interface", 3)):
        database: Any = Rows(row("h1", "h2", kind, generation=3))
        gateways = Gateways(database, lambda router: True, lambda: None)
        gateways.emptied("h2", [database.held])
        gateways.emptied("h1", [database.held])
        gateways._store(gateways._wanted)
        assert (database.held.host, database.held.successor, database.held.generation) == ("h1", "h2", generation)


def test_it_counts_as_one_whoever_would_be_next(picture: Picture) -> None:
    database: Any = Rows(row("h1", "h2", generation=3))
    gateways = Gateways(database, lambda router: True, lambda: None)
    gateways.came("h1")
    gateways.emptied("h1", [database.held])
    gateways.look(picture, [database.held])
    gateways._store(gateways._wanted)
    assert (database.held.host, database.held.successor, database.held.generation) == ("h1", "", 4)


def test_another_controllers_routers_are_left_to_it(picture: Picture) -> None:
    gateways = Gateways(Rows(row()), lambda router: False, lambda: None)  # type: ignore[arg-type]
    gateways.came("h1")
    gateways.look(picture, [row()])
    assert not gateways._wanted


def _eventually(question: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not question() and time.monotonic() < deadline:
        time.sleep(0.01)
    return question()
