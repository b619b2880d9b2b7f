"""Who has which role where, in the end: by himself, by his groups, from the domain above, and implied by another role."""

from collections.abc import Iterable, Iterator
from typing import Any

from identity.nouns import Assignment, Project, Role, Scope
from unryu.db import Tx


def held(tx: Tx, user_id: str, scope: Scope) -> list[Role]:
    """The roles that a user has there; none also where there is no such place."""
    kind, id = scope
    place = tx.get(kind, id) if kind != "system" else None
    ids = {a.role_id for a in of_user(tx, user_id) if _reaches(a, scope, place)}
    return list(tx.where("role", id=closure(tx, ids))) if ids else []


def of_user(tx: Tx, user_id: str) -> list[Assignment]:
    """His own and his groups' assignments, as they were made."""
    groups = [m.group_id for m in tx.where("membership", user_id=user_id)]
    return [*tx.where("assignment", user_id=user_id), *(tx.where("assignment", group_id=groups) if groups else ())]


def projects(tx: Tx, user_id: str) -> list[Project]:
    """The enabled ones where he has a role."""
    given = of_user(tx, user_id)
    direct = tx.where("project", id={a.on_project for a in given if a.on_project}, enabled=True)
    below = tx.where("project", domain_id={a.on_domain for a in given if a.inherited}, enabled=True)
    return list({p.id: p for p in [*direct, *below]}.values())


def closure(tx: Tx, ids: Iterable[str]) -> set[str]:
    """These roles and all that they imply."""
    implied = tx.where("implication")  # a handful
    found: set[str] = set()
    fresh = set(ids)
    while fresh:
        found |= fresh
        fresh = {i.implied_id for i in implied if i.prior_id in fresh} - found
    return found


def effective(tx: Tx, given: Iterable[Assignment]) -> Iterator[tuple[Assignment, Assignment]]:
    """Assignments spread over what they come to: users, places and roles; (as it comes to be, as it was made)."""
    members: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for membership in tx.where("membership"):
        members.setdefault(membership.group_id, []).append(membership.user_id)
    for project in tx.where("project"):
        below.setdefault(project.domain_id, []).append(project.id)
    for made in given:
        roles = sorted(closure(tx, [made.role_id]), key=lambda id: (id != made.role_id, id))
        places: list[dict[str, Any]] = [{}]
        if made.inherited:
            places = [{"on_domain": None, "on_project": id} for id in below.get(made.on_domain or "", ())]
        for user_id in [made.user_id] if made.user_id else members.get(made.group_id or "", ()):
            for place in places:
                for role_id in roles:
                    yield made.replace(group_id=None, user_id=user_id, role_id=role_id, **place), made


def _reaches(given: Assignment, scope: Scope, place: Any) -> bool:
    if given.inherited:
        return scope[0] == "project" and place is not None and given.on_domain == place.domain_id
    return given.scope == scope
