"""What a verb may do to rows."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
import sqlalchemy.exc

from unryu import journal, resource, statements
from unryu.errors import Conflict
from unryu.resource import Resource, new_id, nouns, pointing_at
from unryu.sentences import in_use, not_found


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# What is given out once (addresses of a subnet, VNIs): the row is the judge of who has which.
allocations = sa.Table(
    "allocation", resource.metadata,
    sa.Column("pool", sa.String(64), primary_key=True),
    sa.Column("value", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False, index=True),
)

Taken = Callable[[Iterable[str]], set[str]]
"""Which of these candidates are taken?"""


class Tx:
    """What a verb may do to rows. Every change is an entry of the journal of the same commit."""

    def __init__(
        self, connection: sa.Connection, context: Any, sqlite: bool, steady: bool, many: bool = False
    ) -> None:
        """`steady`: what was read once stays so until the end, whoever else writes."""
        self.connection = connection
        self.context = context
        self.sqlite = sqlite
        self.entries: list[journal.Entry] = []
        self._steady = steady
        self._many = many
        self._queued: set[str] = set()
        self._known: dict[tuple[str, str], Any] = {}
        """Records that nobody but us can change until our end: all that we read, or what we locked or wrote."""
        self._locked: set[tuple[str, str, bool, bool]] = set()
        self._touched: dict[tuple[str, str], Any] = {}
        self._defaults: dict[tuple[str, str | None], Any] = {}
        self.revision = 0
        self.now = datetime.now(UTC)

    @property
    def services(self) -> set[str]:
        """Whose nouns were changed."""
        return {nouns[entry.kind].service for entry in self.entries}

    # reading

    def get(self, kind: str, id: str | None) -> Any:
        """The record, or None."""
        if not id:
            return None
        known = self._known.get((kind, id))
        return known or self._read(statements.one(nouns[kind].table), kind, id, keep=self._steady)

    def need(self, kind: str, id: str | None) -> Any:
        """The record, or a 404 that names it."""
        record = self.get(kind, id)
        if record is None:
            raise not_found(kind, id)
        return record

    def where(self, kind: str, **equal: Any) -> list[Any]:
        """The records whose attributes equal these; a list or set means any of its members."""
        noun = nouns[kind]
        shape, values = statements.asked(equal)
        return [noun.from_columns(row) for row in self.connection.execute(statements.where(kind, shape), values)]

    def lock(self, kind: str, id: str, shared: bool = False, referable: bool = False) -> Any:
        """The record, nobody else changing it until the commit; None if it is gone. `shared`: others may hold it so
        too, but nobody may change it. `referable`: others may write what refers to it. (SQLite has one writer anyway.)"""
        if self.sqlite:
            return self.get(kind, id)
        if {(kind, id, False, False), (kind, id, shared, referable)} & self._locked:
            return self.get(kind, id)
        self._locked.add((kind, id, shared, referable))
        return self._read(statements.locked(nouns[kind].table, shared, referable), kind, id, keep=not (shared and referable))

    def _read(self, statement: Any, kind: str, id: str, keep: bool) -> Any:
        row = self.connection.execute(statement, {"id": id}).first()
        record = nouns[kind].from_columns(row) if row else None
        if keep and record:
            self._known[kind, id] = record
        return record

    def serialize(self, what: str) -> None:
        """Nobody else passes here with the same words until the commit. (SQLite has one writer anyway.)"""
        if not self.sqlite:
            number = int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8).digest(), "big", signed=True)
            self.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))

    # writing

    def make(self, kind: str, context: Any, **values: Any) -> Any:
        """A new record, as its noun has it when somebody with this context asks for it; what follows from one thing is
        written so in another."""
        return self.insert(nouns[kind](id=new_id(), **values).before_create(self, context))

    def change(self, record: Any, context: Any, **changes: Any) -> Any:
        return self.update(record.replace(**changes).before_update(self, context, record))

    def insert(self, record: Resource) -> Any:
        changes: dict[str, Any] = {} if record.id else {"id": new_id()}
        if "created_at" in record.fields:
            changes |= {"created_at": now(), "updated_at": now()}
        given = record.replace(**changes)
        record = given.stored()
        self._execute(statements.insert(record.table), record, record.row())
        self._known[record.kind, record.id] = record
        self._link(None, record)
        self._note(None, record)
        given.after_create(self, self.context)
        return record

    def update(self, record: Any, **changes: Any) -> Any:
        """Store a changed record; nothing happens where nothing differs."""
        before = self.need(record.kind, record.id)
        after = record.replace(**changes).stored()
        changed = {n for n in record.fields if getattr(before, n) != getattr(after, n)}
        if not changed:
            return before
        if not all(record.fields[n].observed for n in changed):
            stamp = {"revision_number": (before.revision_number or 0) + 1, "updated_at": now()}
            stamp = {n: v for n, v in stamp.items() if n in record.fields}
            after, changed = after.replace(**stamp), changed | set(stamp)
        self._execute(statements.update(record.table), after, {"_id": record.id, **{n: getattr(after, n) for n in changed}})
        self._known[record.kind, record.id] = after
        self._link(before, after)
        # A fact that no flow depends on (a heartbeat, a status) moves nobody: it stays out of the journal.
        if not all(record.fields[n].observed and record.fields[n].inert for n in changed):
            self._note(before, after)
        return after

    def delete(self, record: Resource) -> None:
        """Delete a record and what goes with it; a 409 names what holds it."""
        for noun, f in pointing_at(record.kind):
            holders = self.where(noun.kind, **{f.name: record.id})
            if holders and f.ondelete == "restrict":
                raise in_use(record, holders)
            for holder in holders:
                if f.ondelete == "clear":
                    self.update(holder.cleared(f.name))
                else:
                    self.delete(holder)
        for grant in self.where(record.visible_by, object_type=record.kind, object_id=record.id) if record.visible_by else ():
            self.delete(grant)
        self._execute(statements.delete(record.table, (("id", "one"),)), record, {"id": record.id})
        self._known.pop((record.kind, record.id), None)
        self.connection.execute(statements.delete(allocations, (("owner", "one"),)), {"owner": record.id})
        self._note(record, None)
        record.after_delete(self, self.context)

    def touch(self, kind: str, id: str) -> Any:
        """A change of its parts is a change of it: one in a transaction, however many they are. Gives the record."""
        if (kind, id) not in self._touched:
            # Two groups whose rules name each other are written at once: neither writer may wait for the other's group.
            whole = self.lock(kind, id, referable=True) or self.need(kind, id)
            self._touched[kind, id] = self.update(whole, revision_number=whole.revision_number + 1)
        return self._touched[kind, id]

    def default(self, kind: str, project_id: str | None) -> Any:
        """The record of this kind that every project has from the start (`default_if`); made now if it is not there."""
        default = self._defaults.get((kind, project_id)) or self.find_default(kind, project_id)
        if default is None:
            self.serialize(f"default {kind} {project_id}")
            noun = nouns[kind]
            default = self.find_default(kind, project_id) or self.make(
                kind, self.context, project_id=project_id, **{noun.default_if or "": True})
        self._defaults[kind, project_id] = default
        return default

    def find_default(self, kind: str, project_id: str | None) -> Any:
        return next(iter(self.where(kind, project_id=project_id, **{nouns[kind].default_if or "": True})), None)

    def allocate(self, pool: str, owner: str, choose: Callable[[Taken], str]) -> str:
        """A value out of a pool, freed with its owner. `choose(taken)` is pure choice: it gives a free value or raises
        a Fault. The row is the judge: who loses chooses again, and only then asks what is taken, for a blind choice is
        nearly always right."""
        if self._many and pool not in self._queued:
            self.serialize(f"pool {pool}")
            self._queued.add(pool)
        insert = statements.insert_unless_there(allocations, self.connection.dialect.name)
        taken: Taken = _blind
        while True:
            value = choose(taken)
            if self.connection.execute(insert, {"pool": pool, "value": value, "owner": owner}).rowcount:
                return value
            taken = partial(self.taken, pool)

    def taken(self, pool: str, candidates: Iterable[str] | None = None) -> set[str]:
        """Which of these values (or of all) are given out."""
        shape, values = statements.asked({"pool": pool} if candidates is None else {"pool": pool, "value": list(candidates)})
        return set(self.connection.scalars(statements.values(allocations, "value", shape), values))

    def owner(self, pool: str, value: str) -> str | None:
        """To whom a value is given out."""
        return self.connection.scalar(
            sa.select(allocations.c.owner).where(allocations.c.pool == pool, allocations.c.value == value))

    def given_out(self, pools: Iterable[str]) -> dict[str, int]:
        """How many values of each of these pools are given out."""
        columns = allocations.c
        rows = self.connection.execute(sa.select(columns.pool, sa.func.count()).where(
            columns.pool.in_(list(pools))).group_by(columns.pool))
        return {row[0]: row[1] for row in rows}

    def release(self, pool: str, value: str) -> None:
        shape, values = statements.asked({"pool": pool, "value": value})
        self.connection.execute(statements.delete(allocations, shape), values)

    def _link(self, before: Resource | None, after: Resource) -> None:
        """Keep beside the row what its lists of references point to."""
        for name, f in after.fields.items():
            if f.links is not None:
                old, new = set(getattr(before, name) if before else ()), set(getattr(after, name))
                if old - new:
                    shape, values = statements.asked({"owner": after.id, "target": old - new})
                    self._execute(statements.delete(f.links, shape), after, values)
                if new - old:
                    rows = [{"owner": after.id, "target": target} for target in sorted(new - old)]
                    self._execute(statements.insert(f.links), after, rows)

    def _execute(self, statement: Any, record: Resource, values: Any) -> None:
        try:
            self.connection.execute(statement, values)
        except sa.exc.IntegrityError as error:
            raise Conflict(f"{_title(record)} conflicts with another that is there already, or refers to one that is "
                           f"gone: {first_line(error)}") from error

    def _note(self, before: Resource | None, after: Resource | None) -> None:
        some = after or before
        assert some is not None
        observed = before is not None and after is not None and all(
            f.observed for n, f in some.fields.items() if getattr(before, n) != getattr(after, n))
        self.entries.append(journal.Entry(
            kind=some.kind, id=some.id, before=before.image() if before else None,
            after=after.image() if after else None, observed=observed))


def _blind(candidates: Iterable[str]) -> set[str]:
    return set()


def _title(record: Resource) -> str:
    return f"{record.kind} {record.id}"


def first_line(error: sa.exc.DBAPIError) -> str:
    return str(error.orig).splitlines()[0]
