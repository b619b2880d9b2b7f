"""What a write does, inside a transaction: for one call, for many in a body, for a transaction of several nouns."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from unryu import quota
from unryu.auth import Context
from unryu.db import Tx
from unryu.errors import BadRequest, Conflict, Forbidden, PreconditionFailed
from unryu.resource import UNSET, Field, Resource, new_id, nouns
from unryu.scope import EVERYBODY, dependent, grant, owned, seen
from unryu.sentences import class_name


def create(tx: Tx, noun: type[Resource], given: Iterable[dict[str, Any]], context: Context) -> list[Any]:
    """Validated bodies, one or many; gives the stored records. What they share is looked up once."""
    checked: set[tuple[str, str]] = set()
    foreign: list[tuple[str, str]] = []
    complete = []
    for values in given:
        foreign += _check_references(tx, noun, values, context, checked)
        complete.append(_with_project(tx, noun, values, context))
    if "project_id" in noun.fields:
        for project_id, more in sorted(Counter(values["project_id"] for values in complete).items()):
            quota.check(tx, noun, project_id, more)
    records = [_insert(tx, noun, values, context) for values in complete]
    _check_still_seen(tx, foreign, context)
    return records


def _with_project(tx: Tx, noun: type[Resource], values: dict[str, Any], context: Context) -> dict[str, Any]:
    for whole in _wholes(noun):  # a part is its owner's, whoever adds it
        values = {**values, "project_id": tx.touch(whole.ref or "", values[whole.name]).project_id}
    if "project_id" in noun.fields:
        values = {"project_id": context.project_id, **values}
        if not values["project_id"]:
            raise BadRequest(f"A {noun.kind} belongs to a project, and this token is of none: say which project_id.")
    return values


def _insert(tx: Tx, noun: type[Resource], values: dict[str, Any], context: Context) -> Any:
    open_ = {name: UNSET for name, f in noun.fields.items() if f.chosen}
    record = noun(id=new_id(), **{**open_, **values}).before_create(tx, context)
    twins = tx.where(noun.kind, **dict(zip(noun.identity, _key(record), strict=True))) if noun.identity else ()
    if twins:
        raise Conflict(f"{class_name(noun.kind)} already exists. Its id is {twins[0].id}.", f"{class_name(noun.kind)}Exists")
    record = tx.insert(record)
    _share(tx, None, record)
    return record


def update(tx: Tx, noun: type[Resource], id: str, values: dict[str, Any], context: Context, if_match: str | None = None) -> Any:
    _touch_wholes(tx, noun, id, context)
    before = owned(tx, noun.kind, id, context)
    check_match(before, if_match)
    foreign = _check_references(tx, noun, values, context)
    record = tx.update(before.replace(**values).before_update(tx, context, before))
    _share(tx, before, record)
    _check_still_seen(tx, foreign, context)
    return record


def delete(tx: Tx, noun: type[Resource], id: str, context: Context, if_match: str | None = None) -> None:
    _touch_wholes(tx, noun, id, context)
    record = owned(tx, noun.kind, id, context)
    check_match(record, if_match)
    record.before_delete(tx, context)
    tx.delete(record)


def _touch_wholes(tx: Tx, noun: type[Resource], id: str, context: Context) -> None:
    """Before the part is locked: who replaces all parts begins with the whole, too."""
    for whole in _wholes(noun):
        tx.touch(whole.ref or "", getattr(seen(tx, noun.kind, id, context), whole.name))


def replace(tx: Tx, noun: type[Resource], id: str, part: Field, given: list[dict[str, Any]], context: Context,
            if_match: str | None = None) -> list[Any]:
    """Make these all the parts of one record: the difference is written, what stays keeps its id. Gives the parts."""
    whole = owned(tx, noun.kind, id, context, referable=True)
    check_match(whole, if_match)
    child = nouns[part.kind]
    have = {_key(record): record for record in tx.where(child.kind, **{part.name: id})}
    wanted: dict[Any, Any] = {}
    checked: set[tuple[str, str]] = {(part.name, id)}
    for values in given:
        _check_references(tx, child, values, context, checked)
        record = child(id=new_id(), **{**values, "project_id": whole.project_id}).before_create(tx, context)
        if wanted.setdefault(_key(record), record) is not record:
            raise Conflict(f"The same {child.kind} is there twice: {values}.", f"Duplicate{class_name(child.kind)}InPost")
    gone = [record for key, record in have.items() if key not in wanted]
    new = [record for key, record in wanted.items() if key not in have]
    quota.check(tx, child, whole.project_id, more=len(new) - len(gone))
    for record in gone:
        tx.delete(record)
    writable = [name for name, f in child.fields.items() if f.put]
    parts = [*(_changed(tx, record, wanted[key], writable) for key, record in have.items() if key in wanted),
             *(tx.insert(record) for record in new)]
    if tx.entries:
        tx.touch(noun.kind, id)
    return parts


def _share(tx: Tx, before: Any, after: Any) -> None:
    """Shared (`visible_if`) and granted to everybody (`visible_by`) are one thing in two words: who says one says both."""
    for attribute in after.visible_if if after.visible_by else ():
        was, shared = before is not None and getattr(before, attribute), getattr(after, attribute)
        to_all = {"object_type": after.kind, "object_id": after.id, "action": grant(attribute), "target_project_id": EVERYBODY}
        if shared and not was:
            tx.insert(nouns[after.visible_by](project_id=after.project_id, **to_all))
        elif was and not shared:
            [held] = tx.where(after.visible_by, **to_all) or [None]
            users = dependent(tx, after, held) if held else ()
            if users:
                raise Conflict(f"{class_name(after.kind)} {after.id} cannot stop being {attribute}: it is in use by another "
                               f"project, {sorted(users)[0]}.", "InvalidSharedSetting")
            if held:
                tx.delete(held)


def _changed(tx: Tx, record: Resource, wanted: Resource, names: list[str]) -> Any:
    changes = {name: getattr(wanted, name) for name in names if getattr(wanted, name) != getattr(record, name)}
    return tx.update(record, **changes) if changes else record


def _key(record: Resource) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in record.identity)


def _wholes(noun: type[Resource]) -> list[Field]:
    return [f for f in noun.fields.values() if f.part or f.name == noun.within]


def check_match(record: Resource, wanted: str | None) -> None:
    """`If-Match: revision_number=N`: change it only while it is what the caller saw."""
    if wanted and wanted.strip('"') != f"revision_number={record.revision_number}":
        raise PreconditionFailed(
            f"{class_name(record.kind)} {record.id} is at revision_number={record.revision_number}, not {wanted}.",
            "RevisionNumberConstraintFailed")


def _check_references(tx: Tx, noun: type[Resource], values: dict[str, Any], context: Context,
                      checked: set[tuple[str, str]] | None = None) -> list[tuple[str, str]]:
    """404 or 403 where one points to what the caller does not see, or must own; what was `checked` is not looked up again.
    Gives what belongs to others, (kind, id)."""
    checked = set() if checked is None else checked
    foreign: list[tuple[str, str]] = []
    for name, value in values.items():
        f = noun.fields.get(name) or noun.passing[name]
        for id in () if not f.ref or value is None else [value] if isinstance(value, str) else value:
            if (name, id) not in checked:
                target = seen(tx, f.ref or "", id, context)
                if not context.owns(target):
                    if f.own:
                        raise Forbidden(f"{class_name(f.ref or '')} {id} belongs to another project.")
                    foreign.append((f.ref or "", id))
                checked.add((name, id))
    return foreign


def _check_still_seen(tx: Tx, foreign: list[tuple[str, str]], context: Context) -> None:
    """Once our row refers to it, who stops sharing it waits for us, and finds us using it. Who did so before is seen here."""
    for kind, id in foreign:
        seen(tx, kind, id, context)
