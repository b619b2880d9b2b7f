"""The SQL of nouns, each statement built once: building one costs SQLAlchemy three times what running it does."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

import sqlalchemy as sa

from unryu.resource import Resource, nouns

Shape = tuple[tuple[str, str], ...]
"""(column, `one`, `many` or `null`) each: a question without its values."""


def asked(equal: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    """The shape and the values of a question such as `network_id="…", mac_address=["…", "…"]`."""
    shape = tuple((name, "null" if value is None else "many" if _many(value) else "one") for name, value in equal.items())
    return shape, {name: list(equal[name]) if how == "many" else equal[name] for name, how in shape if how != "null"}


@cache
def where(kind: str, shape: Shape) -> sa.Select[Any]:
    """The rows of this shape, in the order of their ids."""
    noun = nouns[kind]
    return sa.select(noun.table).where(*(equals(noun, name, _place(name, how)) for name, how in shape)).order_by(noun.table.c.id)


@cache
def one(table: sa.Table) -> sa.Select[Any]:
    """The row of an `id`."""
    return sa.select(table).where(table.c.id == sa.bindparam("id"))


@cache
def locked(table: sa.Table, shared: bool, referable: bool) -> sa.Select[Any]:
    return one(table).with_for_update(read=shared, key_share=referable)


@cache
def values(table: sa.Table, column: str, shape: Shape) -> sa.Select[Any]:
    """One column of a table that is no noun's."""
    return sa.select(table.c[column]).where(*(_is(table.c[name], _place(name, how)) for name, how in shape))


@cache
def insert(table: sa.Table) -> sa.Insert:
    return table.insert()


@cache
def insert_unless_there(table: sa.Table, dialect: str) -> sa.Insert:
    """The count of rows says whether it was: an error would cost a savepoint around each try."""
    of = import_module(f"sqlalchemy.dialects.{dialect}")  # the one that is in use: both take as long to import as all of ours
    return of.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


@cache
def update(table: sa.Table) -> sa.Update:
    """The row whose id is `_id`; every other value that comes with it is set."""
    return table.update().where(table.c.id == sa.bindparam("_id"))


@cache
def delete(table: sa.Table, shape: Shape) -> sa.Delete:
    return table.delete().where(*(_is(table.c[name], _place(name, how)) for name, how in shape))


def equals(noun: type[Resource], name: str, value: Any) -> sa.ColumnElement[bool]:
    """The rows whose attribute is this, or one of these; of a list of references: whose list holds it, or one of these."""
    links = noun.fields[name].links
    if links is not None:
        return noun.table.c.id.in_(sa.select(links.c.owner).where(_is(links.c.target, value)))
    return _is(noun.table.c[name], value)


def _is(column: sa.Column[Any], value: Any) -> sa.ColumnElement[bool]:
    if value is None:
        return column.is_(None)
    return column.in_(value) if _many(value) else column == value


def _many(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) or getattr(value, "expanding", False)


def _place(name: str, how: str) -> Any:
    """Where the value goes."""
    return None if how == "null" else sa.bindparam(name, expanding=how == "many")
