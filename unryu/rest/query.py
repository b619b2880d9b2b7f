"""Lists: filters, fields, order and pages, from the arguments of a request to SQL."""

import re
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from unryu.auth import Context
from unryu.db import Tx
from unryu.errors import BadRequest
from unryu.resource import Field, Resource
from unryu.scope import granted_ids
from unryu.statements import equals

MAX_LIMIT = 10_000
NUMBER = re.compile("-?[0-9]{1,18}")
MOST_TAGS = 100  # in one filter
TAG_FILTERS = ("tags", "tags-any", "not-tags", "not-tags-any")
ARGUMENTS: dict[str, Any] = {
    "fields": [str], "limit": int, "marker": str, "page_reverse": bool, "sort_key": [str], "sort_dir": [str],
}
"""What a list takes beside its filters, and of which type."""
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class Query:
    """Filters, fields, order and page of a list request."""

    def __init__(self, noun: type[Resource], aliases: dict[str, str], args: Any, context: Context) -> None:
        self.noun = noun
        self.fields: set[str] = set()
        self.filters: dict[str, list[str]] = {}
        self.tags: dict[str, list[str]] = {}
        self.items: dict[str, list[tuple[str, str]]] = {}
        """List attribute → (key, value) that its items must have, one or the other item each."""
        self.sort_keys: list[str] = []
        self.sort_dirs: list[str] = []
        self.limit: int | None = None
        self.marker: str | None = None
        self.reverse = False
        self._args = args
        self._context = context
        # Nothing by what the caller may not see: the order would tell it.
        names = {f.wire: n for n, f in noun.fields.items() if f.seen and (context.is_admin or not f.hidden)}
        names |= {alias: names[name] for alias, name in aliases.items() if name in names}
        for key, values in args.lists():
            if key == "fields":
                self.fields = set(values)
            elif key == "limit":
                self.limit = _limit(values[-1])
            elif key == "marker":
                self.marker = values[-1]
            elif key == "page_reverse":
                self.reverse = _boolean(key, values[-1])
            elif key == "sort_key":
                self.sort_keys = [self._column(names, v) for v in values]
                if len(set(self.sort_keys)) < len(values):
                    raise BadRequest("A sort_key is there twice.")
            elif key == "sort_dir":
                self.sort_dirs = values
            elif key in TAG_FILTERS and "tags" in noun.fields:
                self.tags[key] = [tag for value in values for tag in value.split(",")]
                if len(self.tags[key]) > MOST_TAGS:
                    raise BadRequest(f"{key} names more than {MOST_TAGS} tags.")
            elif names.get(key) and noun.fields[names[key]].items:
                self.items[names[key]] = [_item(noun.fields[names[key]], value) for value in values]
            elif names.get(key) and noun.fields[names[key]].links is not None:
                self.filters[names[key]] = values
            else:
                self.filters[self._column(names, key)] = values
        if any(d not in ("asc", "desc") for d in self.sort_dirs):
            raise BadRequest("sort_dir must be asc or desc.")
        if self.sort_dirs and len(self.sort_dirs) != len(self.sort_keys):
            raise BadRequest("Give as many sort_dir as sort_key.")

    def _column(self, names: dict[str, str], key: str) -> str:
        name = names.get(key)
        if name is None or not filterable(self.noun.fields[name]):
            raise BadRequest(f"{self.noun.plural} cannot be filtered or sorted by '{key}'.")
        return name

    def run(self, tx: Tx, visible: sa.ColumnElement[bool]) -> tuple[list[Any], bool]:
        """The records of the page, and whether there are more."""
        columns = self.noun.table.c
        query = sa.select(self.noun.table).where(visible)
        for name, values in self.filters.items():
            f = self.noun.fields[name]
            query = query.where(_filter(self._said(name), f, values) if f.links is None else equals(self.noun, name, values))
        for key, tags in self.tags.items():
            each = [_holds(tx, columns.tags, None, tag) for tag in tags]
            together = sa.or_(*each) if key.endswith("any") else sa.and_(*each)
            query = query.where(sa.not_(together) if key.startswith("not") else together)
        for name, pairs in self.items.items():
            query = query.where(*(_holds(tx, columns[name], key, value) for key, value in pairs))
        directions = self.sort_dirs or ["asc"] * len(self.sort_keys)
        order = [(k, (d == "desc") != self.reverse) for k, d in zip(self.sort_keys, directions, strict=True)]
        keys = [key for name, desc in [*order, ("id", self.reverse)] for key in _sort_keys(columns[name], desc)]
        if self.marker is not None:
            behind = sa.select(*(key for key, _ in keys)).where(columns.id == self.marker, visible)
            row = tx.connection.execute(behind).first()
            if row is None:
                raise BadRequest(f"The marker {self.marker} is no {self.noun.kind} (any more).")
            query = query.where(_behind(keys, row))
        query = query.order_by(*(key.desc() if desc else key.asc() for key, desc in keys))
        limit = min(self.limit or MAX_LIMIT, MAX_LIMIT) if self.limit else None
        if limit:
            query = query.limit(limit + 1)
        records = [self.noun.from_columns(row) for row in tx.connection.execute(query)]
        more = bool(limit and len(records) > limit)
        records = records[:limit]
        return (records[::-1] if self.reverse else records), more

    def _said(self, name: str) -> Any:
        """What the caller is told of an attribute: what a grant shows is shared, too."""
        column = self.noun.table.c[name]
        if name not in self.noun.visible_if or not self.noun.visible_by:
            return column
        return sa.or_(column, self.noun.table.c.id.in_(granted_ids(self.noun, self._context, name)))

    def next_url(self, base: str, marker: str) -> str:
        rest = [(k, v) for k, v in self._args.items(multi=True) if k != "marker"]
        return f"{base}?{urlencode([*rest, ('marker', marker)])}"


def filterable(f: Field) -> bool:
    """May a list be filtered and sorted by it?"""
    return f.plain in (str, int, bool)


def _sort_keys(column: Any, desc: bool) -> list[tuple[Any, bool]]:
    """What to sort by, and whether downwards. Databases disagree where None goes: here it comes first."""
    there = [(sa.case((column.is_(None), 0), else_=1), desc)] if column.nullable else []
    return [*there, (column, desc)]


def _behind(keys: list[tuple[Any, bool]], row: Any) -> sa.ColumnElement[bool]:
    """Strictly behind a row in this order (a lexicographic comparison)."""
    choices: list[sa.ColumnElement[bool]] = []
    equal: list[sa.ColumnElement[bool]] = []
    for (key, desc), value in zip(keys, row, strict=True):
        if value is not None:  # else the key before it has said so
            choices.append(sa.and_(*equal, key < value if desc else key > value))
            equal.append(key == value)
    return sa.or_(*choices)


def _filter(column: Any, f: Field, values: list[str]) -> sa.ColumnElement[bool]:
    if f.plain is bool:
        return column.in_([_boolean(f.wire, v) for v in values])
    if f.plain is int:
        if not all(NUMBER.fullmatch(v) for v in values):
            raise BadRequest(f"{f.wire} is a number.")
        return column.in_([int(v) for v in values])
    condition = column.in_(values)
    return sa.or_(condition, column.is_(None)) if "" in values and f.nullable else condition


def _item(f: Field, value: str) -> tuple[str, str]:
    """`fixed_ips=subnet_id=X`: what an item of the list must say."""
    key, equals, wanted = value.partition("=")
    if not equals or key not in f.items:
        raise BadRequest(f"{f.wire} is filtered by {' or '.join(f'{f.wire}={name}=…' for name in f.items)}.")
    return key, wanted


def _holds(tx: Tx, column: Any, key: str | None, value: str) -> sa.ColumnElement[bool]:
    """Is the value (or an object with this value under the key) an item of a JSON list?"""
    if not tx.sqlite:
        return sa.cast(column, JSONB).contains([value if key is None else {key: value}])
    item = sa.func.json_each(column).table_valued("value")
    found = item.c.value if key is None else sa.func.json_extract(item.c.value, f"$.{key}")
    return sa.exists(sa.select(sa.literal(1)).select_from(item).where(found == value))


def _boolean(key: str, value: str) -> bool:
    if value.lower() in TRUE:
        return True
    if value.lower() in FALSE:
        return False
    raise BadRequest(f"{key} is true or false, not '{value}'.")


def _limit(value: str) -> int | None:
    if not NUMBER.fullmatch(value) or not 0 <= int(value) < 10**9:
        raise BadRequest(f"limit is a number of items, not '{value}'.")
    return int(value) or None
