"""The engine, and transactions that commit rows and journal together.

SQLite (WAL) in the state folder unless `[database] url` names a PostgreSQL. One writer at a time on SQLite (a file
lock, so that waiting is a queue in the kernel and not a poll); on PostgreSQL rows are locked where a rule spans them.
"""

import fcntl
import json
import os
import select
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import sqlalchemy as sa
import sqlalchemy.exc
from pydantic import Field as Setting

from unryu import journal
from unryu.config import Settings, state_dir
from unryu.db.transaction import Tx, first_line
from unryu.errors import BadRequest, Deadlock, Unavailable
from unryu.logs import log

CROSSED = ("40P01", "40001")
"""PostgreSQL's words for a transaction that it ended for the sake of others: deadlock, serialization failure."""
STOOD_STILL = "25P03"
LOCK_TIMEOUT = 10.0  # seconds a writer waits for a stranger (SQLite; for each other our own queue elsewhere) before it gives up
IMPATIENT = 0.1  # while somebody has just waited in vain: else each of those who queue would wait as long, one by one
IDLE = 5.0
"""Seconds that a transaction may stand still (PostgreSQL): a frozen process must not keep what it locked, least of all the
revision counter, for which everybody waits."""


class DatabaseSettings(Settings):
    section: ClassVar[str] = "database"
    url: str = Setting("", description="SQLAlchemy URL; empty: SQLite in the state folder")


class Database:
    def __init__(self, url: str = "", idle: float = IDLE, limited: bool = True) -> None:
        """`limited`: no statement is waited for for ever. (One that shapes the schema may take its time.)"""
        url = url or DatabaseSettings.read().url or f"sqlite:///{state_dir()}/unryu.db"
        if url.startswith("postgresql://"):
            url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        self.url = sa.make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if self.sqlite:
            self.engine = sa.create_engine(self.url, json_deserializer=_json)
            self._lock_path = f"{self.url.database}.lock"
            sa.event.listen(self.engine, "connect", _sqlite_connect)
            sa.event.listen(self.engine, "begin", _sqlite_begin)
        else:
            self.engine = sa.create_engine(self.url, pool_size=16, connect_args={
                **journal.patience(self.url), "options": f"-c idle_in_transaction_session_timeout={int(idle * 1000)}"})
            sa.event.listen(self.engine, "checkout", _postgres_checkout)
            if limited:
                from unryu.db.patience import SILENCE, limit  # a library that who has SQLite does not need

                limit(self.engine, SILENCE)
        self.bell = journal.bell(self)
        self._silent: set[str] = set()
        """What of it is away: said once, and once when it is back, however many ask meanwhile."""

    @contextmanager
    def transaction(self, context: Any = None, many: bool = False) -> Iterator[Tx]:
        """Rows and journal in one commit, then the bell. An error inside changes nothing. `many`: it takes several values
        of a pool, and queues for them: two that took many crosswise would wait for each other."""
        with self._one_writer(), self._errors("written"), self.engine.connect() as connection:
            connection = connection.execution_options(unryu_write=True, unryu_impatient="written" in self._silent)
            with connection.begin():
                tx = Tx(connection, context, self.sqlite, steady=self.sqlite, many=many)
                yield tx
                if tx.entries:
                    tx.revision = journal.write(connection, tx.entries, context)
                    self.bell.ring(connection, tx.services)
        if tx.revision:
            self.bell.rung(tx.services)

    @contextmanager
    def reading(self) -> Iterator[Tx]:
        """A snapshot: everything read inside is of one instant."""
        with self._errors("read"), self.engine.connect() as connection:
            if not self.sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield Tx(connection, None, self.sqlite, steady=True)

    def close(self) -> None:
        self.engine.dispose()

    def _one_writer(self) -> AbstractContextManager[None]:
        return _file_lock(self._lock_path) if self.sqlite else nullcontext()

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
            if what in self._silent:
                self._silent.discard(what)
                log.info(f"the database can be {what} again")
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) in CROSSED:
                raise Deadlock(f"Others were changing the same things: {first_line(error)}. Try again.") from error
            from unryu.metrics import silences  # not sooner: the API says first where its workers' counts are kept

            silences.labels(what).inc()
            if what not in self._silent:
                self._silent.add(what)
                log.error(f"the database cannot be {what}; asking again until it can", error=first_line(error))
            # Where a server is and who we are to it is nobody's business; what SQLite says is "database or disk is full".
            raise Unavailable(f"The database does not answer{f': {first_line(error)}' if self.sqlite else ''}.") from error
        except sa.exc.InternalError as error:
            if getattr(error.orig, "sqlstate", None) != STOOD_STILL:
                raise
            raise Unavailable("We stood still in the middle of a transaction, and the database gave it up.") from error
        except sa.exc.DataError as error:
            raise BadRequest(f"There is a value that the database cannot hold: {error.orig}.") from error
        except UnicodeEncodeError as error:
            raise BadRequest("There is a text with half of a surrogate pair in it, which is no character.") from error


def _json(text: str) -> Any:
    """A column's value. Most lists are empty, and a thousand rows have thousands of them."""
    return [] if text == "[]" else json.loads(text)


@contextmanager
def _file_lock(path: str) -> Iterator[None]:
    """One writer over all threads and processes: an open file description of its own is the unit of flock."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sqlite_connect(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _sqlite_begin
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={int(LOCK_TIMEOUT * 1000)}"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("unryu_impatient"):
        connection.exec_driver_sql(f"PRAGMA busy_timeout={int(IMPATIENT * 1000)}")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("unryu_write") else "BEGIN")
    finally:
        if options.get("unryu_impatient"):
            connection.exec_driver_sql(f"PRAGMA busy_timeout={int(LOCK_TIMEOUT * 1000)}")


def _postgres_checkout(connection: Any, _: Any, proxy: Any) -> None:
    """An idle connection on which the server says something was closed. (Asking it would cost a round trip each time.)"""
    if select.select([connection], [], [], 0)[0]:
        raise sa.exc.DisconnectionError
