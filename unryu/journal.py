"""The journal: every commit's changes in commit order. Feed of the controllers, audit log, time machine.

**Revision order is commit order.** The revision comes from one counter row, taken by the transaction's last statements
and held until the commit: a sequence would let N+1 commit before N, and a reader "since N" would miss N for ever.
"""

import errno
import json
import os
import socket
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from unryu.resource import metadata, nouns

if TYPE_CHECKING:
    from unryu.db import Database

KEEP = timedelta(days=30)
PAUSE = 0.5  # seconds between two attempts to listen to a database that is away

counter = sa.Table("revision", metadata, sa.Column("number", sa.BigInteger, nullable=False))
table = sa.Table(
    "journal", metadata,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False, index=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("id", sa.String(64), nullable=False, index=True),
    sa.Column("observed", sa.Boolean, nullable=False),
    sa.Column("before", sa.Text),
    sa.Column("after", sa.Text),
    sa.Column("user_id", sa.String(64)),
    sa.Column("project_id", sa.String(64)),
    sa.Column("request_id", sa.String(64)),
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One record's change. `before` is None where it was created, `after` where it was deleted."""

    kind: str
    id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    observed: bool = False
    revision: int = 0


class Trimmed(Exception):
    """The journal no longer reaches back to where the reader stands: read the rows instead."""


def write(connection: sa.Connection, entries: list[Entry], context: Any) -> int:
    """Number the commit and store its entries. From here to the commit every other writer waits: keep it last."""
    revision = connection.execute(
        counter.update().values(number=counter.c.number + 1).returning(counter.c.number)).scalar_one()
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    who = {name: getattr(context, name, None) for name in ("user_id", "project_id", "request_id")}
    connection.execute(table.insert(), [
        {"revision": revision, "position": position, "at": at, "kind": e.kind, "id": e.id, "observed": e.observed,
         "before": _dump(e.before), "after": _dump(e.after), **who}
        for position, e in enumerate(entries)
    ])
    return revision


def _dump(image: dict[str, Any] | None) -> str | None:
    return None if image is None else json.dumps(image, separators=(",", ":"))


def head(connection: sa.Connection) -> int:
    """The revision of the newest commit that this connection sees."""
    return connection.execute(sa.select(counter.c.number)).scalar_one()


class Feed:
    """A reader that follows the journal from a revision on: all of it, or what happens to one service's nouns.

        feed = Feed(database, since=head)
        while feed.wait(5.0):
            for entry in feed.read(): …
    """

    def __init__(self, database: "Database", since: int, service: str = "") -> None:
        self.database = database
        self.revision = since
        self.service = service
        self._ear = database.bell.listen(service)

    def wait(self, timeout: float) -> bool:
        """Until a commit is announced, or the timeout (seconds). A notice only says "look again"; it may be lost."""
        return self._ear.wait(timeout)

    def wake(self) -> None:
        """Let `wait` return now (from another thread)."""
        self._ear.wake()

    def read(self) -> list[Entry]:
        """Everything committed since the last read, in order."""
        with self.database.reading() as tx:
            newest = head(tx.connection)
            if newest == self.revision:
                return []
            news = table.c.revision > self.revision
            oldest = tx.connection.scalar(sa.select(sa.func.min(table.c.revision)).where(news))
            if self.service:
                news &= table.c.kind.in_([noun.kind for noun in nouns.values() if noun.service == self.service])
            rows = tx.connection.execute(sa.select(table).where(news).order_by(table.c.revision, table.c.position)).all()
        if oldest != self.revision + 1:
            raise Trimmed(f"the journal starts after revision {self.revision + 1}")
        self.revision = newest
        return [Entry(kind=r.kind, id=r.id, before=_load(r.before), after=_load(r.after), observed=r.observed,
                      revision=r.revision) for r in rows]

    def close(self) -> None:
        self._ear.close()


def _load(image: str | None) -> dict[str, Any] | None:
    return None if image is None else json.loads(image)


def trim(database: "Database", keep: timedelta = KEEP) -> int:
    """Forget entries older than `keep`, never the newest commit's. Gives how many went."""
    edge = (datetime.now(UTC) - keep).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    with database.transaction() as tx:
        newest = head(tx.connection)
        return tx.connection.execute(table.delete().where(table.c.at < edge, table.c.revision < newest)).rowcount


# The bell: how readers in other processes learn within milliseconds that there is something new.


class Ear(Protocol):
    def wait(self, timeout: float) -> bool: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


class Bell(Protocol):
    def ring(self, connection: sa.Connection, services: Collection[str]) -> None:
        """Inside the transaction, for those who listen to all or to one of these services."""

    def rung(self, services: Collection[str]) -> None:
        """After the commit."""

    def listen(self, service: str = "") -> Ear: ...


def bell(database: "Database") -> Bell:
    return SocketBell(Path(f"{database.url.database}.bells")) if database.sqlite else PostgresBell(database)


class SocketBell:
    """SQLite: a unix datagram socket per reader, in a folder beside the database; `PID-NUMBER.SERVICE` where it listens to
    one. (The caller chooses: an ear full of others' news would lose its own.)"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def ring(self, connection: sa.Connection, services: Collection[str]) -> None:
        return

    def rung(self, services: Collection[str]) -> None:
        with self._lock:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            for path in _entries(self.folder):
                if Path(path).suffix[1:] not in ("", *services):
                    continue
                try:
                    self._socket.sendto(b"!", path)
                except OSError as error:
                    if error.errno == errno.ECONNREFUSED:  # its reader died
                        Path(path).unlink(missing_ok=True)
                    # else full (it will look anyway) or just gone: a notice may be lost

    def listen(self, service: str = "") -> "SocketEar":
        self.folder.mkdir(mode=0o700, exist_ok=True)
        return SocketEar(self.folder, service)


def _entries(folder: Path) -> Iterable[str]:
    try:
        return [entry.path for entry in os.scandir(folder)]
    except FileNotFoundError:
        return []


class SocketEar:
    _count = 0

    def __init__(self, folder: Path, service: str) -> None:
        SocketEar._count += 1
        self.path = folder / f"{os.getpid()}-{SocketEar._count}{'.' * bool(service)}{service}"
        self.path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))

    def wait(self, timeout: float) -> bool:
        self._socket.settimeout(timeout)
        try:
            self._socket.recv(1)
        except TimeoutError:
            return False
        self._socket.setblocking(False)
        try:
            while True:  # many rings are one
                self._socket.recv(1)
        except BlockingIOError:
            return True

    def wake(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
            caller.setblocking(False)
            try:
                caller.sendto(b"!", str(self.path))
            except BlockingIOError:
                return  # full: it wakes anyway

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)


class PostgresBell:
    """PostgreSQL: NOTIFY in the transaction, delivered at its commit; LISTEN on a connection of the reader's own."""

    def __init__(self, database: "Database") -> None:
        self.database = database

    def ring(self, connection: sa.Connection, services: Collection[str]) -> None:
        connection.exec_driver_sql("; ".join(f"NOTIFY {_channel(service)}" for service in ("", *services)))

    def rung(self, services: Collection[str]) -> None:
        return

    def listen(self, service: str = "") -> "PostgresEar":
        from psycopg.conninfo import make_conninfo

        # In libpq's own words: SQLAlchemy writes a URL with spaces in its password, which libpq does not read.
        url = self.database.url
        words = {**patience(url), **url.translate_connect_args(username="user", database="dbname"), **url.query}
        return PostgresEar(make_conninfo(**words), _channel(service))


def patience(url: sa.URL) -> dict[str, int]:
    """How long a PostgreSQL may be silent, in libpq's words, unless the URL says it: one whose machine vanished says no
    goodbye, and TCP alone would wait for a quarter of an hour, or for ever where nothing is being sent."""
    words = {"connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
             "tcp_user_timeout": 10_000}
    return {word: value for word, value in words.items() if word not in url.query}


def _channel(service: str) -> str:
    return f"unryu_journal_{service}" if service else "unryu_journal"


class PostgresEar:
    def __init__(self, conninfo: str, channel: str) -> None:
        self.conninfo = conninfo
        self.channel = channel
        self._connection: Any = None
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._connect()

    def _connect(self) -> None:
        import psycopg

        try:
            self._connection = psycopg.connect(self.conninfo, autocommit=True)
            self._connection.execute(f"LISTEN {self.channel}")
        except psycopg.OperationalError:
            self._connection = None

    def wait(self, timeout: float) -> bool:
        import select

        import psycopg

        try:
            if self._connection is None:
                self._connect()
                if self._connection is None:
                    select.select([self._woken], [], [], min(timeout, PAUSE))
                return True  # look: nobody listened for a while
            ready, _, _ = select.select([self._connection.pgconn.socket, self._woken], [], [], timeout)
            if self._woken in ready:
                self._woken.recv(4096)
            list(self._connection.notifies(timeout=0))  # many rings are one; a lost connection speaks, too
            return bool(ready)
        except psycopg.OperationalError:
            # The server went away. Say "look": the reader meets the outage where it reads and decides there.
            self._connection = None
            return True

    def wake(self) -> None:
        try:
            self._waker.send(b"!")
        except BlockingIOError:
            return

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._woken.close()
        self._waker.close()
