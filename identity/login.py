"""From a login request to a token: who it is (password, or an earlier token) and for which scope."""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from identity import forms
from identity.description import ENDED, describe
from identity.nouns import Scope
from identity.passwords import Guessing, matches
from identity.tokens import UNSCOPED, Keys, Token
from unryu.db import Database, Tx
from unryu.errors import BadRequest, Unauthorized
from unryu.logs import log

WRONG = "The user does not exist, is disabled, or the password is wrong."
NO_SCOPE = "The user has no role in that scope, or it does not exist or is disabled."


class Login:
    def __init__(self, database: Database, keys: Keys, lifetime: int, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self.keys = keys
        self.lifetime = lifetime
        self.clock = clock
        self.guessing = Guessing()

    def token(self, auth: forms.Auth) -> tuple[Token, dict[str, Any]]:
        """The token of a request, and its description."""
        token = self._who(auth.identity)
        with self.database.reading() as tx:
            if auth.scope is None:
                return _by_default(tx, token)
            return _scoped(tx, token, UNSCOPED if auth.scope == "unscoped" else _scope(tx, auth.scope))

    def _who(self, identity: forms.Identity) -> Token:
        """A token without scope, for who has shown who he is."""
        now = self.clock()
        if identity.methods == ["password"] and identity.password:
            user = self.check(identity.password.user)
            # Were the password changed by a clock that was ahead, no token would be good until that time has come.
            issued = max(now, (user.tokens_since + 1) / 1000)
            return Token(user_id=user.id, methods=("password",), scope=UNSCOPED, issued=issued, expires=now + self.lifetime,
                         audit_ids=(_audit_id(),))
        if identity.methods == ["token"] and identity.token:
            earlier = self.keys.open(identity.token.id)
            if earlier is None:
                raise Unauthorized(ENDED)
            with self.database.reading() as tx:
                describe(tx, earlier)
            # It lives no longer than the first: nobody stays logged in for ever.
            return replace(earlier, methods=tuple(dict.fromkeys((*earlier.methods, "token"))), issued=now,
                           audit_ids=(_audit_id(), earlier.audit_ids[-1]))
        raise Unauthorized("Give one method, password or token, and what it needs.")

    def check(self, given: forms.User) -> Any:
        """The user whose password this is; else 401, in the same words and time for all reasons."""
        with self.database.reading() as tx:
            user = _find(tx, "user", given)
            domain = user and tx.get("domain", user.domain_id)
        key = user.id if user else f"{given.id}/{given.name}/{given.domain}"
        if pause := self.guessing.pause(key):
            raise Unauthorized(f"Too many wrong passwords for this user. Try again in {pause:.0f} seconds.")
        right = matches(given.password, user and user.password_hash)
        if right and user.enabled and domain.enabled:
            self.guessing.right(key)
            return user
        self.guessing.wrong(key)
        log.warning("login refused", user=user and user.id)
        raise Unauthorized(WRONG)


def _by_default(tx: Tx, token: Token) -> tuple[Token, dict[str, Any]]:
    """Who names no scope gets his default project, where he has a role in it."""
    user = tx.get("user", token.user_id)
    if user and user.default_project_id and token.methods == ("password",):
        try:
            return _scoped(tx, token, ("project", user.default_project_id))
        except Unauthorized:
            return _scoped(tx, token, UNSCOPED)
    return _scoped(tx, token, UNSCOPED)


def _scoped(tx: Tx, token: Token, scope: Scope) -> tuple[Token, dict[str, Any]]:
    token = replace(token, scope=scope)
    try:
        return token, describe(tx, token)
    except Unauthorized as error:
        raise Unauthorized(NO_SCOPE) from error


def _scope(tx: Tx, where: forms.Where) -> Scope:
    if where.system is not None:
        if where.system != {"all": True}:
            raise BadRequest('The scope of the system is {"all": true}.')
        return "system", "all"
    kind, given = ("project", where.project) if where.project else ("domain", where.domain)
    if given is None:
        raise BadRequest("A scope is a project, a domain or the system.")
    record = _find(tx, kind, given)
    if record is None:
        raise Unauthorized(NO_SCOPE)
    return kind, record.id


def _find(tx: Tx, kind: str, given: forms.Domain) -> Any:
    """What is named by its id, or by its name (in a domain, unless it is one); None where it is not."""
    if given.id is not None:
        return tx.get(kind, given.id)
    if given.name is None:
        raise BadRequest(f"A {kind} is named by id or by name.")
    if not isinstance(given, forms.Named):
        return next(iter(tx.where(kind, name=given.name)), None)
    if given.domain is None:
        raise BadRequest(f"A {kind} that is named by name needs its domain.")
    domain = _find(tx, "domain", given.domain)
    return next(iter(tx.where(kind, name=given.name, domain_id=domain.id)), None) if domain else None


def _audit_id() -> str:
    return secrets.token_urlsafe(16)
