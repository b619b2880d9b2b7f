"""Who sees what, and who may change it: as a condition of SQL for lists, as a question for one record."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from unryu.auth import Context
from unryu.db import Tx
from unryu.errors import Forbidden
from unryu.resource import Resource, nouns, pointing_at
from unryu.sentences import class_name, not_found
from unryu.statements import equals

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
    choices += (columns[attribute] for attribute in noun.visible_if)
    if noun.visible_with:
        parent = nouns[noun.fields[noun.visible_with].ref or ""]
        choices.append(columns[noun.visible_with].in_(sa.select(parent.table.c.id).where(visible_rows(parent, context))))
    if noun.visible_by:
        choices.append(columns.id.in_(granted_ids(noun, context)))
    return sa.or_(*choices)


def grant(attribute: str) -> str:
    """The action of a grant that makes this so (of `visible_if`) in the eyes of whom it is for."""
    return f"access_as_{attribute}"


def granted_ids(noun: type[Resource], context: Context, attribute: str = "") -> sa.Select[Any]:
    """What others let this project see (or see as that), by the noun that says so (`visible_by`: an RBAC policy)."""
    grants = nouns[noun.visible_by or ""].table.c
    found = sa.select(grants.object_id).where(
        grants.object_type == noun.kind, grants.target_project_id.in_([context.project_id, EVERYBODY]))
    return found.where(grants.action == grant(attribute)) if attribute else found


def granted(tx: Tx, noun: type[Resource], ids: Iterable[str], context: Context, attribute: str = "") -> set[str]:
    """Which of these a grant shows to the caller's project (or to everybody)."""
    wanted = granted_ids(noun, context, attribute).where(nouns[noun.visible_by or ""].table.c.object_id.in_(list(ids)))
    return set(tx.connection.scalars(wanted))


def dependent(tx: Tx, record: Any, held: Any) -> set[str]:
    """The projects that would no longer see a record as what they use it for, if this grant ended."""
    target = held.target_project_id
    alike = tx.where(record.visible_by, object_type=record.kind, object_id=record.id, action=held.action)
    others = {g.target_project_id for g in alike if g.id != held.id}
    if EVERYBODY in others:
        return set()
    users: set[str] = set()
    for noun, f in pointing_at(record.kind):
        if "project_id" in noun.fields and grant(f.shown) == held.action:
            of_it = sa.select(noun.table.c.project_id).distinct().where(equals(noun, f.name, record.id))
            users.update(project for project in tx.connection.scalars(of_it) if project)
    return (users if target == EVERYBODY else users & {target}) - others - {record.project_id}


def seen(tx: Tx, kind: str, id: str, context: Context, lock: bool = False, **words: bool) -> Any:
    """The record if the context may see it; else 404, so that a stranger cannot tell foreign from absent."""
    record = tx.lock(kind, id, **words) if lock else tx.get(kind, id)
    if record is None or not _visible(tx, record, context):
        raise not_found(kind, id)
    return record


def _visible(tx: Tx, record: Any, context: Context) -> bool:
    if context.owns(record) or any(getattr(record, attribute) for attribute in record.visible_if):
        return True
    if record.visible_by and granted(tx, type(record), [record.id], context):
        return True
    if not record.visible_with:
        return False
    parent = tx.get(record.fields[record.visible_with].ref, getattr(record, record.visible_with))
    return parent is not None and _visible(tx, parent, context)


def owned(tx: Tx, kind: str, id: str, context: Context, **words: bool) -> Any:
    """The record, locked (with the words of `Tx.lock`), if the context may change it."""
    record = seen(tx, kind, id, context, lock=True, **words)
    if not context.owns(record):
        raise Forbidden(f"{class_name(kind)} {id} belongs to another project.")
    return record
