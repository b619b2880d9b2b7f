"""Who sees what, and who may change it: as a condition of SQL for lists, as a question for one record."""

from typing import Any

import sqlalchemy as sa

from unryu.auth import Context
from unryu.db import Tx, class_name, not_found
from unryu.errors import Forbidden
from unryu.resource import Resource, nouns

EVERYBODY = "*"
"""The target of a grant to all projects."""


def visible_rows(noun: type[Resource], context: Context) -> sa.ColumnElement[bool]:
    """The rows of a noun that a context may see, as a condition of SQL."""
    mine, whose = noun.owner
    if context.is_admin or mine not in noun.fields:
        return sa.true()
    columns = noun.table.c
    own = getattr(context, whose)
    choices = [sa.false() if own is None else columns[mine] == own]
    if noun.visible_if:
        choices.append(columns[noun.visible_if])
    if noun.visible_with:
        parent = nouns[noun.fields[noun.visible_with].ref or ""]
        choices.append(columns[noun.visible_with].in_(sa.select(parent.table.c.id).where(visible_rows(parent, context))))
    if noun.visible_by:
        choices.append(columns.id.in_(granted_ids(noun, context)))
    return sa.or_(*choices)


def granted_ids(noun: type[Resource], context: Context) -> sa.Select[Any]:
    """What others let this project see, by the noun that says so (`visible_by`: an RBAC policy)."""
    grants = nouns[noun.visible_by or ""].table.c
    return sa.select(grants.object_id).where(
        grants.object_type == noun.kind, grants.target_project_id.in_([context.project_id, EVERYBODY]))


def seen(tx: Tx, kind: str, id: str, context: Context, lock: bool = False) -> Any:
    """The record if the context may see it; else 404, so that a stranger cannot tell foreign from absent."""
    record = tx.lock(kind, id) if lock else tx.get(kind, id)
    if record is None or not _visible(tx, record, context):
        raise not_found(kind, id)
    return record


def _visible(tx: Tx, record: Any, context: Context) -> bool:
    if context.owns(record) or (record.visible_if and getattr(record, record.visible_if)):
        return True
    if record.visible_by and tx.connection.execute(
            granted_ids(type(record), context).where(nouns[record.visible_by].table.c.object_id == record.id)).first():
        return True
    if not record.visible_with:
        return False
    parent = tx.get(record.fields[record.visible_with].ref, getattr(record, record.visible_with))
    return parent is not None and _visible(tx, parent, context)


def owned(tx: Tx, kind: str, id: str, context: Context) -> Any:
    """The record, locked, if the context may change it."""
    record = seen(tx, kind, id, context, lock=True)
    if not context.owns(record):
        raise Forbidden(f"{class_name(kind)} {id} belongs to another project.")
    return record
