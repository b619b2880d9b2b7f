"""What a write does, inside a transaction: for one call, for many in a body, for a transaction of several nouns."""

from typing import Any

from unryu import quota
from unryu.auth import Context
from unryu.db import Tx, class_name
from unryu.errors import BadRequest, Forbidden, PreconditionFailed
from unryu.resource import Resource, new_id
from unryu.scope import owned, seen


def create(tx: Tx, noun: type[Resource], values: dict[str, Any], context: Context) -> Any:
    """Values are a validated body; gives the stored record."""
    if "project_id" in noun.fields:
        values = {"project_id": context.project_id, **values}
        if not values["project_id"]:
            raise BadRequest(f"A {noun.kind} belongs to a project, and this token is of none: say which project_id.")
        quota.check(tx, noun, values["project_id"])
    _check_references(tx, noun, values, context)
    return tx.insert(noun(id=new_id(), **values).before_create(tx, context))


def update(tx: Tx, noun: type[Resource], id: str, values: dict[str, Any], context: Context, if_match: str | None = None) -> Any:
    before = owned(tx, noun.kind, id, context)
    _if_match(before, if_match)
    _check_references(tx, noun, values, context)
    return tx.update(before.replace(**values).before_update(tx, context, before))


def delete(tx: Tx, noun: type[Resource], id: str, context: Context, if_match: str | None = None) -> None:
    record = owned(tx, noun.kind, id, context)
    _if_match(record, if_match)
    record.before_delete(tx, context)
    tx.delete(record)


def _if_match(record: Resource, wanted: str | None) -> None:
    """`If-Match: revision_number=N`: change it only while it is what the caller saw."""
    if wanted and wanted.strip('"') != f"revision_number={record.revision_number}":
        raise PreconditionFailed(
            f"{class_name(record.kind)} {record.id} is at revision_number={record.revision_number}, not {wanted}.",
            "RevisionNumberConstraintFailed")


def _check_references(tx: Tx, noun: type[Resource], values: dict[str, Any], context: Context) -> None:
    for name, value in values.items():
        f = noun.fields[name]
        if f.ref and value:
            target = seen(tx, f.ref, value, context)
            if f.own and not context.owns(target):
                raise Forbidden(f"{class_name(f.ref)} {value} belongs to another project.")
