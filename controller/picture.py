"""The picture: every record of the network at one revision, with indexes; moved forward from the journal."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from unryu import journal
from unryu.db import Tx
from unryu.resource import Resource, nouns

Cell = tuple[Any, ...]
"""What a reader can depend on: ("get", kind, id), ("where", kind, attributes, equal), ("values", kind, attributes, equal,
wanted), ("all", kind)."""

SERVICE = "network"


class Picture:
    def __init__(self) -> None:
        self.revision = 0
        self._records: dict[str, dict[str, Any]] = {kind: {} for kind, n in nouns.items() if n.service == SERVICE}
        self._indexes: dict[str, dict[Names, dict[Key, dict[str, Any]]]] = {kind: {} for kind in self._records}
        self._counts: dict[str, dict[tuple[Names, Names], dict[Key, dict[Key, int]]]] = {kind: {} for kind in self._records}
        """What stands in the wanted attributes of records whose asked attributes are equal to this, and in how many."""

    @classmethod
    def of(cls, tx: Tx) -> "Picture":
        """All rows, as of this snapshot."""
        picture = cls()
        picture.revision = journal.head(tx.connection)
        for kind, records in picture._records.items():
            for record in tx.where(kind):
                records[record.id] = flow_relevant(record)
        return picture

    def get(self, kind: str, id: str | None) -> Any:
        return self._records[kind].get(id) if id else None

    def all(self, kind: str) -> Iterable[Any]:
        return self._records[kind].values()

    def where(self, kind: str, **equal: Any) -> list[Any]:
        """The records with these attributes of these values (in a list of references, this one of them; in a list of
        objects with addresses, this address), by id: in the same order whatever the history."""
        asked, key = question(equal)
        index = self._indexes[kind].get(asked)
        if index is None:
            index = self._indexes[kind][asked] = {}
            for record in self._records[kind].values():
                for each in _keys(record, asked):
                    index.setdefault(each, {})[record.id] = record
        return [record for _, record in sorted(index.get(key, {}).items())]

    def values(self, kind: str, *wanted: str, **equal: Any) -> frozenset[Any]:
        """What stands in this attribute of the records that `where` gives (of several attributes: tuples), each once.
        Kept by counting: to ask costs what is found, not what there is."""
        asked, key = question(equal)
        counts = self._counts[kind].get((wanted, asked))
        if counts is None:
            counts = self._counts[kind][wanted, asked] = {}
            for record in self._records[kind].values():
                for each in _keys(record, asked):
                    counted(counts, each, _whole(record, wanted), 1)
        found = counts.get(key, ())
        return frozenset(found if len(wanted) > 1 else (value for (value,) in found))

    def apply(self, entries: Iterable[journal.Entry]) -> dict[Cell, None]:
        """Move forward; gives the cells that changed, in order."""
        touched: dict[Cell, None] = {}
        for entry in entries:
            self.revision = entry.revision
            if entry.kind in self._records:
                after = nouns[entry.kind].from_row(entry.after) if entry.after is not None else None
                touched |= self.put(entry.kind, entry.id, after)
        return touched

    def put(self, kind: str, id: str, record: Resource | None) -> dict[Cell, None]:
        """Set one record (None: it is gone); gives the cells that changed."""
        records = self._records[kind]
        before, after = records.get(id), flow_relevant(record) if record is not None else None
        if before == after:
            return {}
        if after is None:
            del records[id]
        else:
            records[id] = after
        touched: dict[Cell, None] = {("get", kind, id): None, ("all", kind): None}
        for asked, index in self._indexes[kind].items():  # what was never asked for has no readers either
            for key in _keys(before, asked):
                del index[key][id]
                if not index[key]:
                    del index[key]
                touched["where", kind, asked, key] = None
            for key in _keys(after, asked):
                index.setdefault(key, {})[id] = after
                touched["where", kind, asked, key] = None
        for (wanted, asked), counts in self._counts[kind].items():
            was, comes = _pairs(before, asked, wanted), _pairs(after, asked, wanted)
            for change, those, others in ((-1, was, comes), (1, comes, was)):
                for key, value in those:
                    if (key, value) not in others and counted(counts, key, value, change):
                        touched["values", kind, asked, key, wanted] = None
        return touched


Names = tuple[str, ...]
Key = tuple[Any, ...]


def question(equal: dict[str, Any]) -> tuple[Names, Key]:
    """One name for one question, in whichever order its words came."""
    asked = tuple(sorted(equal))
    return asked, tuple(equal[attribute] for attribute in asked)


def _keys(record: Resource | None, asked: Names) -> Iterator[Key]:
    """What a record is found by."""
    return product(*(_parts(record, attribute) for attribute in asked)) if record is not None else iter(())


def _parts(record: Resource, attribute: str) -> Iterable[Any]:
    value, field = getattr(record, attribute), record.fields[attribute]
    if "ip_address" in field.items:
        return dict.fromkeys(item["ip_address"] for item in value)
    return dict.fromkeys(value) if field.links is not None else (value,)


def _whole(record: Resource, wanted: Names) -> Key:
    """What stands there, in a form that can be counted."""
    values = ((attribute, getattr(record, attribute)) for attribute in wanted)
    return tuple(frozenset(_parts(record, name)) if isinstance(value, list) else value for name, value in values)


def _pairs(record: Resource | None, asked: Names, wanted: Names) -> dict[tuple[Key, Key], None]:
    return {} if record is None else {(key, _whole(record, wanted)): None for key in _keys(record, asked)}


def counted(counts: dict[Any, dict[Any, int]], key: Any, value: Any, change: int) -> bool:
    """Whether there is one more value, or one less, than there was."""
    found = counts.setdefault(key, {})
    now = found.get(value, 0) + change
    if now:
        found[value] = now
        return now == change == 1
    del found[value]
    if not found:
        del counts[key]
    return True


def flow_relevant(record: Resource) -> Resource:
    """The record without what no flow may depend on: a feature that tried would find the default there."""
    return type(record).from_row({n: getattr(record, n) for n, f in record.fields.items() if not f.inert})
