"""Who there is: domains, projects, users, roles, who has which role where, and which tokens ended early.

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
ADMIN = dict.fromkeys(("list", "show", "create", "update", "delete"), "admin")
SHOWN_TO_HIMSELF = {**ADMIN, "show": "anyone"}  # to others it is not there: see `owner=`
STAMPS = ("project_id", "tags", "created_at", "updated_at", "revision_number")
IMPLIED = {"admin": ("admin", "member", "reader"), "member": ("member", "reader")}
"""Who has the one role has the others."""


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

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        return self.replace(domain_id=self.domain_id or domain_of(context))

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        if self.password_hash == before.password_hash and (self.enabled or not before.enabled):
            return self
        return self.replace(tokens_since=int(time.time() * 1000))

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        return {r.id: {"password_expires_at": None} for r in records}


class Role(Resource, kind="role", without=STAMPS, roles=ADMIN):
    name: str = field(required=True, put=True, unique=True, check=named)
    options: dict[str, Any] = field({}, put=True, check=no_options)

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        return {r.id: {"domain_id": None} for r in records}


class Assignment(Resource, kind="assignment", path=None, without=(*STAMPS, "name", "description")):
    """A user has a role on a project, on a domain, or, where neither is said, on the system."""

    user_id: str = field(ref="user", ondelete="cascade")
    role_id: str = field(ref="role", ondelete="cascade")
    on_project: str | None = field(None, ref="project", ondelete="cascade")
    on_domain: str | None = field(None, ref="domain", ondelete="cascade")


class Revocation(Resource, kind="revocation", path=None, without=(*STAMPS, "name", "description")):
    """The token with this audit id was ended before its time."""

    expires: int = field(0, index=True)


def assignment(user_id: str, role_id: str, scope: tuple[str, str]) -> Assignment:
    """The same words are the same row: a second assignment is none."""
    kind, target = scope
    return Assignment(
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{user_id}/{role_id}/{kind}/{target}")), user_id=user_id, role_id=role_id,
        on_project=target if kind == "project" else None, on_domain=target if kind == "domain" else None,
    )


def domain_of(context: "Context") -> str:
    """Where a new project or user belongs that names no domain: the caller's."""
    project = context.token.get("project", {})
    return context.domain_id or project.get("domain", {}).get("id") or DEFAULT_DOMAIN
