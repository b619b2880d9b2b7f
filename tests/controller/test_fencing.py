"""Who may write to a real switch: the greatest generation; and where it has forgotten them all, whom the database names."""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import sqlalchemy as sa

from controller.derive import Change
from controller.flow import ETH_DST, Table, cookie, flow, match, output
from controller.leases import Lease
from controller.openflow import wire
from controller.openflow.app import Switches
from controller.openflow.connection import Connection
from controller.openflow.push import Deposed, push
from controller.openflow.readback import read
from controller.openflow.roles import Outgrown, become_master, become_slave
from controller.openflow.wire import Entry
from controller.pusher import ORDER, Pusher
from tests.clouds import PATIENCE
from tests.inprocess import fresh_database
from tests.ovs import OvsHost
from unryu.db import Database

pytestmark = pytest.mark.system

_TIMES = itertools.count(1e6, 1e6)  # generations are no less than the time, and the switch remembers those of the test before
LIFE = 60.0  # nobody renews here: it must outlast a loaded machine
L2 = Table("br-int", 60, "l2", "Which port is it for?")


def entry(number: int) -> Entry:
    made = flow(L2, 100, match(0xFA163E000000 + number == ETH_DST), output(number))
    return cookie("test", made), made


class Door:
    """One controller's door for switches."""

    def __init__(self, address: str) -> None:
        self.came: SimpleQueue[Connection] = SimpleQueue()
        self.switches = Switches([(address, 0)], lambda dpid, peer: "", self.came.put, lambda connection: None)
        self.switches.start()

    def all(self) -> dict[str, Connection]:
        """Of the three bridges, each once."""
        found: dict[str, Connection] = {}
        while len(found) < len(ORDER):
            connection = self.came.get(timeout=PATIENCE)
            found[ORDER[connection.dpid - 1]] = connection
        return found


@pytest.fixture(scope="module")
def host() -> Iterator[OvsHost]:
    with OvsHost("fence") as host:
        for number, bridge in enumerate(ORDER, 1):
            host.add_bridge(bridge, f"other_config:datapath-id={number:016x}")
        yield host


@pytest.fixture(scope="module")
def address(host: OvsHost) -> str:
    return host.management()


@pytest.fixture
def doors(host: OvsHost, address: str) -> Iterator[tuple[Door, Door]]:
    one, other = Door(address), Door(address)
    targets = ["tcp:{}:{}".format(*door.switches.addresses[0]) for door in (one, other)]
    for bridge in ORDER:
        host.ofctl("del-flows", bridge)
        rows = [f"-- --id=@c{n} create controller target={json.dumps(target)} max_backoff=1000 inactivity_probe=0"
                for n, target in enumerate(targets)]
        host.vsctl("set", "bridge", bridge, "controller=@c0,@c1", *" ".join(rows).split())
    yield one, other
    for door in (one, other):
        door.switches.stop()


def held(host: OvsHost) -> set[int]:
    return {int(line.rpartition("output:")[2]) for line in host.ofctl("dump-flows", "br-int").splitlines() if "output:" in line}


def restart(host: OvsHost) -> None:
    os.kill(host.vswitchd(), signal.SIGKILL)
    host.buried()
    host.start_vswitchd()


def test_the_lesser_generation_is_refused_even_what_it_had_begun(host: OvsHost, doors: tuple[Door, Door]) -> None:
    old, new = (door.all()["br-int"] for door in doors)
    become_master(old, 5)
    assert push(old, [entry(1)], []) == []
    with old.watch(4) as replies:
        first = replies.xids.start
        old.send(wire.bundle_control(first, 77, wire.OPEN) + wire.bundled(first + 1, 77, wire.ADD, [entry(2)])
                 + wire.barrier(first + 2))
        while replies.next(PATIENCE).xid != first + 2:
            continue
        become_master(new, 6)  # here the old one fell asleep, and its host was given away
        old.send(wire.bundle_control(first + 3, 77, wire.COMMIT))
        answer = replies.next(PATIENCE)
        assert answer.type == wire.ERROR and wire.reason(answer.data) == wire.IS_SLAVE
    with pytest.raises(Deposed):
        push(old, [entry(3)], [])
    with pytest.raises(Deposed):
        push(old, [], [entry(1)])
    with pytest.raises(Outgrown, match="stale"):
        become_master(old, 5)
    assert push(new, [entry(4)], []) == []
    assert held(host) == {1, 4}


def test_a_slave_says_the_masters_generation_and_takes_nothing_from_him(host: OvsHost, doors: tuple[Door, Door]) -> None:
    master, slave = (door.all()["br-int"] for door in doors)
    become_master(master, 8)
    become_slave(slave, 8)
    assert push(master, [entry(1)], []) == []
    with pytest.raises(Deposed):
        push(slave, [entry(2)], [])
    become_master(master, 8)
    assert push(master, [entry(3)], []) == [] and held(host) == {1, 3}


class Controller:
    """A pusher with a lease, and of a loop what it asks of one: it says what should be there as soon as the host is claimed."""

    def __init__(self, door: Door, database: Database, name: str, clocks: Any, *wanted: Entry) -> None:
        self.door = door
        self.lease = Lease(database, name, "", life=LIFE, clock=lambda _: sa.literal(clocks["database"], sa.Double),
                           monotonic=lambda: time.monotonic() + clocks.get(name, 0.0))
        self.lease.look()
        self.claims = 0
        self.wanted = {bridge: {e[1].key: e for e in wanted if e[1].bridge == bridge} for bridge in ORDER}
        self.pusher = Pusher("fence", self.lease, self._claimed, lambda host: None, lambda *_: None, lambda *_: None,
                             lambda installed: False)
        self.pusher.start()

    def _claimed(self, host: str, at: float) -> None:
        self.claims += 1
        self.pusher.tell(self.wanted, 1)

    def own(self) -> None:
        self.pusher.own(True, self.lease.shares.generation)
        self.connect()

    def connect(self) -> None:
        for bridge, connection in self.door.all().items():
            self.pusher.connected(bridge, connection)

    def change(self, revision: int, *add: Entry) -> None:
        self.pusher.change(revision, {"br-int": Change(add=list(add))})


def within(seconds: float, true: Callable[[], Any]) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(true())


@pytest.fixture
def two(doors: tuple[Door, Door], tmp_path: Path) -> Iterator[tuple[Controller, Controller, dict[str, float]]]:
    """Two that both believe that the host is theirs, and the clocks of the database and of both."""
    clocks = {"database": next(_TIMES)}
    with ExitStack() as stack:
        database = fresh_database(tmp_path)
        stack.callback(database.close)
        made = [Controller(door, database, name, clocks, entry(number))
                for door, name, number in zip(doors, "ab", (1, 2), strict=True)]
        for one in made:
            stack.callback(one.pusher.stop)
        made[0].lease.look()
        yield made[0], made[1], clocks


def bury(heir: Controller, clocks: dict[str, float]) -> None:
    """Time passes, and only the heir looks."""
    for _ in range(6):
        clocks["database"] += LIFE / 4
        clocks["b"] = clocks.get("b", 0.0) + LIFE / 4
        heir.lease.look()
    assert list(heir.lease.shares.members) == ["b"]


def test_a_sleeper_is_refused_by_the_switch_and_then_by_itself(host: OvsHost, two: Any) -> None:
    sleeper, heir, clocks = two
    sleeper.own()
    assert within(PATIENCE, lambda: held(host) == {1} and sleeper.pusher.realised)
    bury(heir, clocks)
    heir.own()
    assert within(PATIENCE, lambda: held(host) == {2}), "what the other wanted is nobody's now"
    # It does not know yet, its own clock stood still: the switch refuses it.
    sleeper.lease._until = time.monotonic() + 100
    sleeper.change(5, entry(7))
    assert within(PATIENCE, lambda: not sleeper.pusher.switches["br-int"].claimed)
    # Told by its own clock, it does not even try.
    clocks["a"] = 200.0
    claims = sleeper.claims
    sleeper.change(6, entry(8))
    time.sleep(0.3)
    assert held(host) == {2} and sleeper.claims == claims


def test_a_switch_that_forgot_is_not_asked_before_the_database(host: OvsHost, two: Any) -> None:
    """Restarted, it would take any generation: so whoever slept finds out first that the host is no longer his."""
    sleeper, heir, clocks = two
    sleeper.own()
    assert within(PATIENCE, lambda: held(host) == {1} and sleeper.pusher.realised)
    bury(heir, clocks)
    heir.own()
    assert within(PATIENCE, lambda: held(host) == {2})
    restart(host)
    sleeper.lease._until = time.monotonic() + 100  # its own clock stood still
    asleep, claims = sleeper.lease.shares.generation, sleeper.claims
    assert sleeper.lease.good(asleep)
    sleeper.connect()
    heir.connect()
    assert within(PATIENCE, lambda: held(host) == {2} and heir.pusher.realised)
    time.sleep(0.3)
    assert sleeper.claims == claims and not sleeper.lease.good(asleep)
    assert {i.flow for i in read(heir.pusher.switches["br-int"].connection, "br-int")} == {entry(2)[1]}


def test_who_is_ours_by_the_database_and_has_a_lesser_generation_takes_a_new_one(host: OvsHost, two: Any) -> None:
    """A counter from a backup, say: a switch must not be lost to all for ever."""
    one, other, _ = two
    stranger = other.door.all()["br-int"]
    become_master(stranger, one.lease.shares.generation + 1000)
    told: list[Any] = []
    one.lease.changed = lambda shares: (told.append(shares), one.pusher.own(True, shares.generation))
    one.own()
    assert within(PATIENCE, lambda: len(told) > 3)
    with one.lease.database.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE generation SET number = number + 1000")
    assert within(PATIENCE, lambda: held(host) == {1})
