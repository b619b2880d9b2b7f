"""What a token says of its bearer, read from the rows as they are now: user, scope, roles."""

from datetime import UTC, datetime
from typing import Any

from identity.nouns import ADMIN_PROJECT, Scope
from identity.roles import held
from identity.tokens import Token
from unryu.db import Tx
from unryu.errors import Unauthorized

ENDED = "The token has ended: it was revoked, or its user or its scope is disabled or gone."


def describe(tx: Tx, token: Token) -> dict[str, Any]:
    """The `token` object of Identity API v3, without the catalogue; 401 where it is worth nothing any more."""
    user = tx.get("user", token.user_id)
    domain = user and tx.get("domain", user.domain_id)
    if user is None or not user.enabled or not domain.enabled or token.issued * 1000 < user.tokens_since:
        raise Unauthorized(ENDED)
    if tx.get("revocation", token.audit_ids[0]):
        raise Unauthorized(ENDED)
    return {
        "methods": token.methods,
        "user": {"id": user.id, "name": user.name, "domain": named(domain), "password_expires_at": None},
        "audit_ids": token.audit_ids,
        "issued_at": moment(token.issued),
        "expires_at": moment(token.expires),
        **_scope(tx, user.id, token.scope, domain),
    }


def _scope(tx: Tx, user_id: str, scope: Scope, domain: Any) -> dict[str, Any]:
    kind, id = scope
    if not kind:
        return {}
    granted = held(tx, user_id, scope)
    if not granted:
        raise Unauthorized(ENDED)
    said: dict[str, Any] = {"roles": [named(role) for role in granted]}
    if kind == "system":
        return said | {"system": {"all": True}}
    if kind == "domain":
        target = tx.get("domain", id)
        if not target.enabled:
            raise Unauthorized(ENDED)
        return said | {"domain": named(target)}
    project = tx.get("project", id)
    of = domain if project.domain_id == domain.id else tx.get("domain", project.domain_id)
    if not (project.enabled and of.enabled):
        raise Unauthorized(ENDED)
    return said | {"project": {**named(project), "domain": named(of)}, "is_domain": False,
                   "is_admin_project": (project.domain_id, project.name) == ADMIN_PROJECT}


def named(record: Any) -> dict[str, Any]:
    return {"id": record.id, "name": record.name}


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
