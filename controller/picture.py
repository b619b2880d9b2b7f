"""The picture: every record of the network at one revision, with indexes; moved forward from the journal."""

from collections.abc import Iterable
from typing import Any

from unryu import journal
from unryu.db import Tx
from unryu.resource import Resource, nouns

Cell = tuple[Any, ...]
"""What a reader can depend on: ("get", kind, id), ("where", kind, attribute, value), ("all", kind)."""

SERVICE = "network"


class Picture:
    def __init__(self) -> None:
        self.revision = 0
        self._records: dict[str, dict[str, Any]] = {kind: {} for kind, n in nouns.items() if n.service == SERVICE}
        self._indexes: dict[str, dict[str, dict[Any, dict[str, Any]]]] = {kind: {} for kind in self._records}

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
        """The records with this one attribute of this value (in this list of references, this one of them), by id: in the
        same order whatever the history."""
        [(attribute, value)] = equal.items()
        index = self._indexes[kind].get(attribute)
        if index is None:
            index = self._indexes[kind][attribute] = {}
            for record in self._records[kind].values():
                for each in _values(record, attribute):
                    index.setdefault(each, {})[record.id] = record
        return [record for _, record in sorted(index.get(value, {}).items())]

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
        for attribute, index in self._indexes[kind].items():  # what was never asked for has no readers either
            if before is not None:
                for value in _values(before, attribute):
                    del index[value][id]
                    if not index[value]:
                        del index[value]
                    touched["where", kind, attribute, value] = None
            if after is not None:
                for value in _values(after, attribute):
                    index.setdefault(value, {})[id] = after
                    touched["where", kind, attribute, value] = None
        return touched


def _values(record: Resource, attribute: str) -> Iterable[Any]:
    """What a record is found by."""
    value = getattr(record, attribute)
    return value if record.fields[attribute].links is not None else (value,)


def flow_relevant(record: Resource) -> Resource:
    """The record without what no flow may depend on: a feature that tried would find the default there."""
    return type(record).from_row({n: getattr(record, n) for n, f in record.fields.items() if not f.inert})
