"""Leases: which controllers live, whose each host is, and until when we may write.

A row is a lease. It is there for as long as its controller lives; whoever finds one that was not renewed for LIFE seconds
buries it. So all see the same living, and only the database's clock counts. Hosts are shared among the living by
rendezvous hash: one who comes or goes moves its own share and no other. Who lives and cannot reach a host's switches says so
in its row: the host is then the next one's, as long as there is one that says nothing of the kind.

Generations come from one counter. Who takes a lease, or sees any of that change, takes a new one *after* that: whatever he
claims then, he claims with a greater one than anybody who had it before (docs/decisions/0015-leases.md).
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa
from prometheus_client import Gauge

from unryu.db import Database
from unryu.errors import Deadlock, Unavailable
from unryu.logs import log
from unryu.resource import metadata

LIFE = 1.2  # seconds without a renewal after which a controller counts as dead
TRUSTED = 0.85  # of its life, after which it stops writing by itself: well before another may begin
ROUNDS = 4  # renewals in a life

table = sa.Table(
    "lease", metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", sa.String(32), nullable=False),
    sa.Column("door", sa.String(255), nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("renewed", sa.Double, nullable=False),
    sa.Column("unreached", sa.Text, nullable=False, server_default="[]"),  # names of hosts, as JSON
)
counter = sa.Table("generation", metadata, sa.Column("number", sa.BigInteger, nullable=False))

good = Gauge("unryu_lease_good", "Whether this controller may write to switches")
number = Gauge("unryu_lease_generation", "Generation of this controller's lease")


class Member(NamedTuple):
    name: str
    door: str
    generation: int
    unreached: frozenset[str] = frozenset()
    """Hosts whose switches do not come to it."""


@dataclass(frozen=True)
class Shares:
    """Who shares the hosts, as one look at the database showed it."""

    me: str
    members: Mapping[str, Member]
    anew: bool = field(default=False, compare=False)
    """Our lease had ended: what was ours must be claimed as if it never had been."""

    @property
    def generation(self) -> int:
        return self.members[self.me].generation

    def owner(self, host: str) -> Member:
        """Whose host it is (that of no host: who sees to the ports of none)."""
        if len(self.members) == 1:
            return self.members[self.me]
        able = [member for member in self.members.values() if host not in member.unreached]
        return max(able or self.members.values(), key=lambda member: _weight(host, member.name))

    def mine(self, host: str) -> bool:
        return self.me in self.members and self.owner(host).name == self.me


NOBODYS = Shares("", {})
"""Before anything is known."""


@cache
def _weight(host: str, name: str) -> bytes:
    return blake2b(f"{host}\0{name}".encode(), digest_size=8).digest()


class Tenure(Protocol):
    """What the loop and its pushers ask of a lease."""

    def good(self, generation: int) -> bool:
        """Whether what was given to us with this generation may be written to, now."""

    def vouched(self, generation: int, since: float) -> bool:
        """Whether the database has said after that moment (monotonic) that this generation is still our newest."""

    def outgrown(self) -> None:
        """A switch or an agent has seen a greater generation, though the database says that it is ours: take a new one."""

    def reach(self, unreached: frozenset[str]) -> None:
        """The switches of these hosts do not come to us: others may have them, if they come to those."""

    def start(self, changed: Callable[[Shares], None]) -> None:
        """From now on shares are told, from whatever thread."""

    def stop(self) -> None: ...


class Alone:
    """No other controller can be: everything is ours, for ever, and nobody is to be fenced off (generation 0)."""

    def good(self, generation: int) -> bool:
        return True

    def vouched(self, generation: int, since: float) -> bool:
        return True

    def outgrown(self) -> None:
        return

    def reach(self, unreached: frozenset[str]) -> None:
        return

    def start(self, changed: Callable[[Shares], None]) -> None:
        good.set(1)
        changed(Shares("", {"": Member("", "", 0)}))

    def stop(self) -> None:
        return


class NameTaken(Exception):
    """Another controller goes by our name."""


def _database_clock(database: Database) -> Any:
    """Seconds since 1970 by the database's own clock."""
    if database.sqlite:
        return (sa.func.julianday("now") - 2440587.5) * 86400.0
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)


class Lease:
    """Ours, and a thread that renews it. `database` should be one of its own: a renewal waits in no queue for a connection."""

    def __init__(self, database: Database, name: str, door: str, life: float = LIFE,
                 clock: Callable[[Database], Any] = _database_clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.database = database
        self.life = life
        self.shares = Shares(name, {name: Member(name, door, 0)})
        self.changed: Callable[[Shares], None] = lambda shares: None
        self._name, self._door = name, door
        self._holder = secrets.token_hex(16)  # of this process: our name may have had another before us
        self._clock, self._monotonic = clock, monotonic
        self._first = 0
        """The generation with which our lease began: what was ours before is not."""
        self._unreached: frozenset[str] = frozenset()
        self._until = 0.0
        self._seen = 0.0
        self._watching = 0.0
        """Since when no look was so late that others may have been as late as we."""
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self._oldest = 0.0
        """For how long the one of the others who is the latest was not renewed."""
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    # asked by everybody

    def good(self, generation: int) -> bool:
        return 0 < self._first <= generation and self._monotonic() < self._until

    def vouched(self, generation: int, since: float) -> bool:
        with self._looking:
            if self._seen < since:
                with suppress(Unavailable, Deadlock):
                    self._look()
            return self._seen >= since and self.good(generation) and generation == self.shares.generation

    def outgrown(self) -> None:
        with self._looking, suppress(Unavailable, Deadlock):  # who asked will find out again
            self._look(outgrown=True)

    def reach(self, unreached: frozenset[str]) -> None:
        self._unreached = unreached  # the next renewal says it

    def look(self) -> None:
        """Renew, bury the dead, see who lives."""
        with self._looking:
            self._look()

    def start(self, changed: Callable[[Shares], None]) -> None:
        self.changed = changed
        good.set_function(lambda: self.good(self.shares.generation))
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Give it back: the others need not wait for its end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._looking, suppress(Unavailable):  # else it ends by itself
            self._until = 0.0
            with self.database.transaction() as tx:
                tx.connection.execute(table.delete().where(self._ours))

    def _run(self) -> None:
        said = False
        # Somebody's end is seen when it comes, not a round later.
        while not self._stopping.wait(min(self.life / ROUNDS, max(self.life - self._oldest, 0.02))):
            try:
                self.look()
                if said:
                    log.info("the lease is renewed again", generation=self.shares.generation)
                said = False
            except (Unavailable, Deadlock) as error:
                if self._monotonic() >= self._until and not said:
                    log.error("the lease could not be renewed and has ended; no switch is written to until it is",
                              error=error.sentence)
                    said = True

    # One look: one transaction. The clock is read before it is sent, so that we think our lease shorter than it is.

    @property
    def _ours(self) -> Any:
        return (table.c.name == self._name) & (table.c.holder == self._holder)

    def _look(self, outgrown: bool = False) -> None:
        if self._stopping.is_set():
            return
        began = self._monotonic()
        if began >= self._until:
            self._watching = began  # we slept, or the database did, and then the others are as late as we
        unreached = self._unreached
        with self.database.transaction() as tx:
            connection = tx.connection
            now = self._clock(self.database)
            generation = connection.scalar(table.update().where(self._ours).values(
                renewed=now, unreached=json.dumps(sorted(unreached))).returning(table.c.generation))
            if began - self._watching >= self.life:
                self._bury(connection, now)
            rows = connection.execute(
                sa.select(table, (now - table.c.renewed).label("age")).where(table.c.name != self._name)).all()
            others = {row.name: Member(row.name, row.door, row.generation, frozenset(json.loads(row.unreached))) for row in rows}
            reached = {name: member.unreached for name, member in (*others.items(), (self._name, Member("", "", 0, unreached)))}
            # (It may be ours and another one where we did not hear that a transaction had succeeded.)
            anew = generation != self.shares.generation
            if generation is None or outgrown or reached != {name: m.unreached for name, m in self.shares.members.items()}:
                generation = self._take(connection, now, unreached, lost=generation is None)
        members = {**others, self._name: Member(self._name, self._door, generation, unreached)}
        self._seen, self._until = began, began + TRUSTED * self.life
        self._oldest = max((row.age for row in rows), default=0.0)
        if anew:
            self._first = generation
        number.set(generation)
        if anew or members != self.shares.members:
            log.info("the hosts are shared", among=sorted(members), generation=generation,
                     **{"but for": {name: sorted(m.unreached) for name, m in members.items() if m.unreached}})
            self.shares = Shares(self._name, members, anew)
            self.changed(self.shares)

    def _bury(self, connection: sa.Connection, now: Any) -> None:
        # Who is locked is just renewing. Waiting for him, while he may wait for us, would end both.
        late = sa.select(table.c.name).where(table.c.name != self._name, sa.func.abs(now - table.c.renewed) > self.life)
        for name in connection.scalars(table.delete().where(table.c.name.in_(
                late.with_for_update(skip_locked=True))).returning(table.c.name)):
            log.warning("a controller is gone: its hosts are shared among the others", controller=name)

    def _take(self, connection: sa.Connection, now: Any, unreached: frozenset[str], lost: bool) -> int:
        """A new generation, and a row that bears it."""
        if lost and self._first and connection.scalar(sa.select(table.c.name).where(table.c.name == self._name)):
            raise NameTaken(f"another controller goes by the name {self._name}: say [controller] name of each")
        # No less than the time: generations go on growing when the database is an older one, from a backup.
        greater = sa.func.max if self.database.sqlite else sa.func.greatest
        generation = connection.execute(counter.update().values(
            number=greater(counter.c.number + 1, sa.cast(now, sa.BigInteger))).returning(counter.c.number)).scalar_one()
        connection.execute(table.delete().where(table.c.name == self._name))
        connection.execute(table.insert().values(
            name=self._name, holder=self._holder, door=self._door, generation=generation, renewed=now,
            unreached=json.dumps(sorted(unreached))))
        return int(generation)
