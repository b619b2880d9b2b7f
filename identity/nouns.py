"""Who there is: domains, projects, users, groups, roles, who has which role where, and which tokens ended early.

Only administrators read and write these; beyond that everybody sees himself and the project he is in.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from identity.passwords import hashed
from unryu.errors import Forbidden
from unryu.resource import Resource, field

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

DEFAULT_DOMAIN = "default"
ADMIN_PROJECT = (DEFAULT_DOMAIN, "admin")
"""Domain and name of the one project whose administrators are the cloud's."""
ADMIN = dict.fromkeys(("list", "show", "create", "update", "delete"), "admin")
SHOWN_TO_HIMSELF = {**ADMIN, "show": "anyone"}  # to others it is not there: see `owner=`
STAMPS = ("project_id", "tags", "created_at", "updated_at", "revision_number")
NOTHING_SHARED = (*STAMPS, "name", "description")

Actor = tuple[str, str]
"""("user", id) or ("group", id): who has a role."""
Scope = tuple[str, str]
"""("project", id), ("domain", id) or ("system", "all"): where."""


def named(name: str) -> str:
    if not name.strip():
        raise ValueError("it is blank")
    return name


def no_options(options: dict[str, Any]) -> dict[str, Any]:
    if options:
        raise ValueError(f"there is no option {next(iter(options))!r}")
    return options


def tags(values: list[str]) -> list[str]:
    if len(values) > 80:
        raise ValueError("there are more than 80")
    for value in values:
        if not 0 < len(value) <= 255 or set(value) & {"/", ",", "\0"}:
            raise ValueError("a tag has 1 to 255 characters and neither slash nor comma")
    return sorted(set(values))


def no_domain(value: bool) -> bool:
    if value:
        raise ValueError("a project that acts as a domain is made as a domain")
    return value


class Domain(Resource, kind="domain", without=STAMPS, roles=ADMIN):
    name: str = field(required=True, put=True, unique=True, check=named, length=64)
    description: str | None = field("", put=True, length=1024)  # type: ignore[assignment]  # the client sends null
    enabled: bool = field(True, put=True)
    options: dict[str, Any] = field({}, put=True, check=no_options)

    def before_delete(self, tx: "Tx", context: "Context") -> None:
        if self.id == DEFAULT_DOMAIN:
            raise Forbidden("The default domain cannot be deleted.")
        if self.enabled:
            raise Forbidden(f"Domain {self.id} is enabled, and all in it goes with it: disable it first.")


class Project(Resource, kind="project", without=STAMPS, roles=SHOWN_TO_HIMSELF, owner=("id", "project_id"),
              unique_together=(("domain_id", "name"),)):
    name: str = field(required=True, put=True, check=named, length=64)
    domain_id: str | None = field(None, ref="domain", ondelete="cascade")
    parent_id: str | None = field(None, ref="project")
    is_domain: bool = field(False, check=no_domain)
    enabled: bool = field(True, put=True)
    tags: list[str] = field([], put=True, check=tags)
    options: dict[str, Any] = field({}, put=True, check=no_options)

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        return self.replace(domain_id=self.domain_id or domain_of(context))

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        return {r.id: {"parent_id": r.parent_id or r.domain_id} for r in records}


class User(Resource, kind="user", without=STAMPS, roles=SHOWN_TO_HIMSELF, owner=("id", "user_id"),
           unique_together=(("domain_id", "name"),)):
    name: str = field(required=True, put=True, check=named)
    email: str | None = field(None, put=True)
    domain_id: str | None = field(None, ref="domain", ondelete="cascade")
    # Points nowhere, once its project is gone: then it does not count.
    default_project_id: str | None = field(None, put=True, length=64)
    enabled: bool = field(True, put=True)
    password_hash: str | None = field(None, put=True, wire="password", secret=True, check=hashed)
    tokens_since: int = field(0, post=False, internal=True)
    """Milliseconds since 1970: tokens issued earlier ended with the old password."""
    options: dict[str, Any] = field({}, put=True, check=no_options)
    adds = {"password_expires_at": None}

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        return self.replace(domain_id=self.domain_id or domain_of(context))

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        if self.password_hash == before.password_hash and (self.enabled or not before.enabled):
            return self
        return self.replace(tokens_since=int(time.time() * 1000))

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        return {r.id: {"password_expires_at": None} for r in records}


class Group(Resource, kind="group", without=STAMPS, roles=ADMIN, unique_together=(("domain_id", "name"),)):
    """Users who share roles: what the group has, each of them has."""

    name: str = field(required=True, put=True, check=named, length=64)
    domain_id: str | None = field(None, ref="domain", ondelete="cascade")

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        return self.replace(domain_id=self.domain_id or domain_of(context))


class Membership(Resource, kind="membership", path=None, without=NOTHING_SHARED, unique_together=(("user_id", "group_id"),)):
    """A user is in a group."""

    user_id: str = field(ref="user", ondelete="cascade")
    group_id: str = field(ref="group", ondelete="cascade")


class Role(Resource, kind="role", without=STAMPS, roles=ADMIN):
    name: str = field(required=True, put=True, unique=True, check=named)
    options: dict[str, Any] = field({}, put=True, check=no_options)
    adds = {"domain_id": None}

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        return {r.id: {"domain_id": None} for r in records}


class Implication(Resource, kind="implication", path=None, without=NOTHING_SHARED, unique_together=(("prior_id", "implied_id"),)):
    """Who has the one role has the other."""

    prior_id: str = field(ref="role", ondelete="cascade")
    implied_id: str = field(ref="role", ondelete="cascade")


class Assignment(Resource, kind="assignment", path=None, without=NOTHING_SHARED):
    """A user or a group has a role on a project, on a domain or on the system. `inherited`: not on the domain itself, but
    on every project in it."""

    user_id: str | None = field(None, ref="user", ondelete="cascade")
    group_id: str | None = field(None, ref="group", ondelete="cascade")
    role_id: str = field(ref="role", ondelete="cascade")
    on_project: str | None = field(None, ref="project", ondelete="cascade")
    on_domain: str | None = field(None, ref="domain", ondelete="cascade")
    on_system: str | None = field(None, length=64)
    """`all`, as in a token: so that a change of it is seen to touch the system's tokens."""
    inherited: bool = field(False)

    @property
    def scope(self) -> Scope:
        if self.on_project:
            return "project", self.on_project
        return ("domain", self.on_domain) if self.on_domain else ("system", "all")

    @property
    def actor(self) -> Actor:
        return ("user", self.user_id) if self.user_id else ("group", self.group_id or "")


class Revocation(Resource, kind="revocation", path=None, without=NOTHING_SHARED):
    """The token with this audit id was ended before its time."""

    expires: int = field(0, index=True)


def assignment(actor: Actor, role_id: str, scope: Scope, inherited: bool = False) -> Assignment:
    """The same words are the same row: a second assignment is none."""
    (who, id), (kind, target) = actor, scope
    words = f"{id}/{role_id}/{kind}/{target}" + ("/inherited" if inherited else "")
    return Assignment(id=str(uuid.uuid5(uuid.NAMESPACE_OID, words)), role_id=role_id, inherited=inherited,
                      **{f"{who}_id": id, f"on_{kind}": target})


def domain_of(context: "Context") -> str:
    """Where a new project or user belongs that names no domain: the caller's."""
    project = context.token.get("project", {})
    return context.domain_id or project.get("domain", {}).get("id") or DEFAULT_DOMAIN
