"""Leases on both databases, the clocks in the tests' hands: who lives, whose each host is, who may write until when."""

import time
from collections import Counter
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from controller import leases
from controller.leases import LIFE, NOBODYS, Lease, Member, NameTaken, Shares
from controller.reach import Reach
from tests.postgres import Postgres
from unryu.db import Database, upgrade
from unryu.errors import Unavailable


class Clocks:
    """The database's, and each machine's own."""

    def __init__(self) -> None:
        self.database = 1000.0
        self.machine = 50.0

    def pass_by(self, seconds: float) -> None:
        self.database += seconds
        self.machine += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


Make = Callable[[str], Lease]


@pytest.fixture
def make(database: Database, clocks: Clocks) -> Make:
    def make(name: str) -> Lease:
        return Lease(database, name, f"{name}:1", clock=lambda _: sa.literal(clocks.database, sa.Double),
                     monotonic=lambda: clocks.machine)

    return make


HOSTS = [f"h{number}" for number in range(300)]


def owners(lease: Lease) -> dict[str, str]:
    return {host: lease.shares.owner(host).name for host in HOSTS}


def living(lease: Lease) -> list[str]:
    return sorted(lease.shares.members)


def rounds(clocks: Clocks, seconds: float, *renewing: Lease) -> None:
    for _ in range(round(seconds / 0.3)):
        clocks.pass_by(0.3)
        for lease in renewing:
            lease.look()


def test_hosts_are_shared_and_one_that_goes_moves_its_own_only(make: Make, clocks: Clocks) -> None:
    a, b, c = (make(name) for name in "abc")
    for lease in (a, b, c, a, b):
        lease.look()
    assert living(a) == living(b) == living(c) == ["a", "b", "c"]
    before = owners(a)
    assert owners(b) == owners(c) == before and min(Counter(before.values()).values()) > 60
    rounds(clocks, 1.5, a, b)
    assert living(a) == living(b) == ["a", "b"]
    after = owners(a)
    assert owners(b) == after
    assert all(after[host] == before[host] for host in HOSTS if before[host] != "c") and "c" not in after.values()


def test_who_takes_over_has_a_greater_generation_than_who_had_it(make: Make, clocks: Clocks) -> None:
    a, b = make("a"), make("b")
    a.look(), b.look(), a.look()
    seen = a.shares.generation, b.shares.generation
    rounds(clocks, 1.5, a)
    assert living(a) == ["a"] and a.shares.generation > max(seen)
    b.look()
    assert living(b) == ["a", "b"] and b.shares.generation > a.shares.generation and b.shares.anew
    a.look()
    assert living(a) == ["a", "b"] and a.shares.generation > b.shares.generation and not a.shares.anew


def test_a_lease_is_good_for_less_than_its_life_and_what_was_given_with_it_never_again(make: Make, clocks: Clocks) -> None:
    a, b = make("a"), make("b")
    assert not a.good(0) and not a.good(10**12)
    a.look(), b.look()
    first = a.shares.generation
    assert a.good(first)
    clocks.pass_by(LIFE - 0.1)
    b.look()
    assert "a" in living(b), "alive, while it has stopped writing already"
    assert not a.good(first)
    rounds(clocks, 1.8, b)
    assert "a" not in living(b)
    a.look()
    assert not a.good(first) and a.good(a.shares.generation)


def test_the_database_is_asked_where_the_last_look_was_before_the_moment(make: Make, clocks: Clocks) -> None:
    a, b = make("a"), make("b")
    a.look(), b.look(), a.look()
    held = a.shares.generation
    assert a.vouched(held, since=clocks.machine)
    # a machine that stood still: its own clock tells it nothing of the time that passed
    clocks.database += 100
    rounds(clocks, 1.5, b)
    assert "a" not in living(b)
    clocks.machine = a._seen + 0.1
    assert a.good(held), "it cannot know"
    assert not a.vouched(held, since=clocks.machine), "and so it asks before it claims a switch that came back"
    assert not a.good(held) and a.shares.anew


def test_who_slept_or_was_cut_off_buries_nobody(make: Make, clocks: Clocks) -> None:
    """A database that comes back finds all of them late; the first to return must not end the others."""
    a, b = make("a"), make("b")
    a.look(), b.look(), a.look()
    kept = b.shares.generation
    clocks.pass_by(60)
    a.look()
    clocks.pass_by(0.3)
    a.look(), b.look()
    assert living(a) == living(b) == ["a", "b"] and b.shares.generation == kept
    assert b.good(kept), "nobody wrote meanwhile: it goes on where it was"


def test_a_clock_of_the_database_that_jumps_leaves_one_lease_each(make: Make, clocks: Clocks) -> None:
    a, b = make("a"), make("b")
    a.look(), b.look(), a.look()
    rounds(clocks, 1.5, a, b)
    for jump in (3600.0, -3600.0):
        clocks.database += jump
        rounds(clocks, 3, a, b)
        assert living(a) == living(b) == ["a", "b"] and a.shares.generation != b.shares.generation
    rounds(clocks, 1.5, a)
    assert living(a) == ["a"], "an hour back, and the dead do not live an hour longer"


def test_generations_outgrow_a_database_from_a_backup(make: Make, database: Database, clocks: Clocks) -> None:
    a = make("a")
    a.look()
    before = a.shares.generation
    with database.transaction() as tx:  # yesterday's
        tx.connection.execute(leases.counter.update().values(number=1))
        tx.connection.execute(leases.table.delete())
    clocks.pass_by(5)
    a.look()
    assert a.shares.generation > before
    a.outgrown()
    assert a.shares.generation > before + 1 and not a.shares.anew


def test_the_next_life_of_a_name_takes_over_at_once_and_the_old_one_ends(make: Make, clocks: Clocks) -> None:
    a, again = make("a"), make("a")
    a.look(), again.look()
    assert living(again) == ["a"] and again.shares.generation > a.shares.generation
    with pytest.raises(NameTaken):
        a.look()


def test_a_renewal_of_which_nobody_heard_begins_a_new_lease(make: Make, database: Database, clocks: Clocks) -> None:
    """The connection broke as a new generation was committed: what was ours may have been another's for a moment."""
    a = make("a")
    a.look()
    first = a.shares.generation
    with database.transaction() as tx:
        tx.connection.execute(leases.table.update().values(generation=first + 5))
    a.look()
    assert a.shares.generation == first + 5 and a.shares.anew and not a.good(first) and a.good(first + 5)


def test_given_back_it_is_gone(make: Make, clocks: Clocks) -> None:
    a, b = make("a"), make("b")
    a.look(), b.look(), a.look()
    b.stop()
    assert not b.good(b.shares.generation)
    a.look()
    assert living(a) == ["a"]
    b.look()
    assert not b.vouched(b.shares.generation, since=clocks.machine), "and whoever still asks does not bring it back"
    a.look()
    assert living(a) == ["a"]


def test_changes_are_told_once(make: Make, clocks: Clocks) -> None:
    a, b = make("a"), make("b")
    told: list[Shares] = []
    a.changed = told.append
    a.look(), a.look(), b.look(), a.look(), a.look()
    assert [sorted(shares.members) for shares in told] == [["a"], ["a", "b"]]
    b.look()  # it has seen nobody come
    assert len(told) == 2


@pytest.mark.system
def test_a_controller_frozen_in_the_middle_of_its_renewal_holds_nobody_up(postgres: Postgres) -> None:
    """Its locks would stay for as long as it sleeps, were it not for the limit on standing still."""
    with postgres.database() as url:
        upgrade(url)
        frozen, other = Database(url, idle=0.4), Database(url, idle=0.4)
        a, b = Lease(frozen, "a", ""), Lease(other, "b", "")
        a.look(), b.look()
        with pytest.raises(Unavailable), frozen.transaction() as tx:
            tx.connection.execute(leases.table.update().where(a._ours).values(door="x"))
            tx.connection.execute(leases.counter.update().values(number=leases.counter.c.number + 1))
            for _ in range(100):
                time.sleep(0.3)
                b.look()
                if living(b) == ["b"]:
                    break
        assert living(b) == ["b"]
        frozen.close(), other.close()


def test_a_member_keeps_its_hosts_whatever_its_place_in_the_list() -> None:
    names = ["c1", "c2", "c3"]
    shares = [Shares(me, {name: Member(name, "", 1) for name in order}) for me, order in (("c1", names), ("c2", names[::-1]))]
    assert all(shares[0].owner(host) == shares[1].owner(host) for host in HOSTS)
    assert all(shares[0].mine(host) != (shares[0].owner(host).name != "c1") for host in HOSTS)
    alone = Shares("x", {"x": Member("x", "", 0)})
    assert alone.mine("h1") and alone.mine("") and not NOBODYS.mine("h1")


def test_a_host_that_its_controller_does_not_reach_goes_to_the_next_and_comes_back(make: Make, clocks: Clocks) -> None:
    a, b, c = (make(name) for name in "abc")
    for lease in (a, b, c, a, b):
        lease.look()
    host = next(host for host in HOSTS if a.shares.mine(host))
    before, claimed = owners(a), a.shares.generation
    a.reach(frozenset({host}))
    for lease in (a, b, c):
        lease.look()
    moved = owners(a)
    assert owners(b) == owners(c) == moved and moved[host] != "a" and {**moved, host: "a"} == before
    heir = {"b": b, "c": c}[moved[host]]
    assert heir.shares.generation > claimed and not heir.shares.anew
    for lease in (b, c):
        lease.reach(frozenset({host}))
    for lease in (b, c, a, b):
        lease.look()
    assert owners(a) == owners(b) == before, "where nobody reaches it, it is whose it would be"
    for lease in (a, b, c):
        lease.reach(frozenset())
    for lease in (c, b, a):
        lease.look()
    assert owners(a) == before and a.shares.generation > heir.shares.generation


def test_who_is_missed_for_long_is_given_up_and_wanted_back_after_as_long() -> None:
    reach, all_of = Reach(patience=10), {"h1", "h2", "h3"}

    def judged(now: float, there: set[str], ours: set[str]) -> set[str]:
        return set(reach.judge(ours, there, all_of, now))

    assert judged(0, {"h1"}, {"h1", "h2"}) == judged(9, {"h1"}, {"h1", "h2"}) == set()
    assert judged(9.5, {"h1", "h2"}, {"h1", "h2"}) == judged(10, {"h1"}, {"h1", "h2"}) == set(), "it was back for a moment"
    assert judged(20, {"h1"}, {"h1", "h2"}) == {"h2"}
    assert judged(21, {"h1", "h2"}, {"h1"}) == judged(30, {"h1", "h2"}, {"h1"}) == {"h2"}, "another has it"
    assert judged(31, {"h1", "h2"}, {"h1"}) == set()
    assert judged(50, {"h1"}, {"h1", "h2"}) == set() and judged(60, {"h1"}, {"h1", "h2"}) == {"h2"}
    assert judged(61, {"h1", "h2"}, {"h1", "h2"}) == set(), "nobody else could take it"
    all_of.discard("h2")
