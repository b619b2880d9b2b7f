"""Quotas: how many of a noun a project may have, counted and checked where it is written."""

from collections.abc import Iterable

import sqlalchemy as sa

from unryu.db import Tx
from unryu.errors import Conflict
from unryu.resource import Resource, field, nouns

UNLIMITED = -1


class Quota(Resource, kind="quota", path=None, without=("name", "description", "tags"),
             unique_together=(("project_id", "resource"),)):
    """A project's own limit for a kind, where it differs from the declared one."""

    resource: str = field(length=64)
    limit: int = field(UNLIMITED)


def limited(service: str) -> list[type[Resource]]:
    """The nouns of a service that a project may only have so many of."""
    return [n for n in nouns.values() if n.service == service and n.quota is not None]


def limits(tx: Tx, project_id: str | None, kinds: Iterable[type[Resource]]) -> dict[str, int]:
    """Kind → limit of a project; UNLIMITED is -1."""
    own = {q.resource: q.limit for q in tx.where("quota", project_id=project_id)}
    return {noun.kind: own.get(noun.kind, noun.quota or 0) for noun in kinds}


def used(tx: Tx, noun: type[Resource], project_id: str | None) -> int:
    count = sa.select(sa.func.count()).select_from(noun.table).where(noun.table.c.project_id == project_id)
    return tx.connection.execute(count).scalar_one()


def set_limit(tx: Tx, noun: type[Resource], project_id: str, limit: int) -> None:
    tx.serialize(f"quota {noun.kind} {project_id}")
    for own in tx.where("quota", project_id=project_id, resource=noun.kind):
        tx.update(own, limit=limit)
        return
    tx.insert(Quota(project_id=project_id, resource=noun.kind, limit=limit))


def check(tx: Tx, noun: type[Resource], project_id: str | None, more: int = 1) -> None:
    """One more, or so many, please: 409 where that is more than the project may have."""
    if noun.quota is None or more <= 0:
        return
    limit = limits(tx, project_id, [noun])[noun.kind]
    if limit == UNLIMITED:
        return
    tx.serialize(f"quota {noun.kind} {project_id}")  # two that take the last one count one after the other
    if used(tx, noun, project_id) + more > limit:
        raise Conflict(f"Quota exceeded for resources: ['{noun.kind}'].", "OverQuota")
