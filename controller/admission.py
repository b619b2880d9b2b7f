"""Who may be a host: tokens to join with, certificates for who shows one, and hosts that were removed.

What is said here is nobody's intent and no part of the picture, so it is kept in two small tables beside the journal: a token,
and be it only its digest, has no business in an audit log.
"""

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from unryu import tls
from unryu.db import Database, Tx
from unryu.errors import BadRequest, Conflict, Forbidden, NotFound
from unryu.logs import log
from unryu.resource import metadata
from unryu.tls.authority import HOSTS, Authority

HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

tokens = sa.Table(
    "join_token", metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("host", sa.String(63), nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
)
removed = sa.Table(
    "removed_host", metadata,
    sa.Column("host", sa.String(63), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True)
class Admission:
    """`folder` is where the authorities are."""

    database: Database
    folder: Path

    def token(self, host: str, seconds: float, fingerprint: str) -> str:
        """For one host, once. It names the authority too, so that who joins knows whom he talks to."""
        if host and not HOST.fullmatch(host):
            raise BadRequest(f"{host!r} cannot be a host's name.")
        secret = secrets.token_urlsafe(24)
        with self.database.transaction() as tx:
            tx.connection.execute(tokens.delete().where(tokens.c.expires < time.time()))
            tx.connection.execute(tokens.insert().values(digest=_digest(secret), host=host, expires=time.time() + seconds))
        return f"{fingerprint}.{secret}"

    def join(self, secret: str, host: str, request: str) -> str:
        """The certificate of a new host; the token is used up by it."""
        if not HOST.fullmatch(host):
            raise BadRequest(f"{host!r} cannot be a host's name.")
        with self.database.transaction() as tx:
            found = tx.connection.execute(tokens.delete().where(
                tokens.c.digest == _digest(secret), tokens.c.expires >= time.time(), tokens.c.host.in_(("", host)),
            ).returning(tokens.c.host)).one_or_none()
            if found is None:
                raise Forbidden(f"This token does not let {host} join: it was used, or is too old, or is for another host.")
            if tx.where("agent", host=host):
                raise Conflict(f"There is a host {host}: `unryu host remove {host}` first.")
            certificate = self._sign(request, host)
        log.info("a host joins", host=host)
        return certificate

    def renew(self, host: str, request: str, issued: int) -> str:
        with self.database.reading() as tx:
            refuse_removed(tx, host, issued)
        log.info("a certificate is renewed", host=host)
        return self._sign(request, host)

    def remove(self, host: str) -> None:
        """Its agent is forgotten, and no certificate that it has is taken any more."""
        with self.database.transaction() as tx:
            agent = next(iter(tx.where("agent", host=host)), None)
            if agent is None:
                raise NotFound(f"There is no host {host}.")
            if bound := tx.where("port", binding_host_id=host):
                raise Conflict(f"{len(bound)} ports are bound to {host}, such as {bound[0].id}: unbind them first.")
            tx.delete(agent)
            tx.connection.execute(removed.delete().where(removed.c.host == host))
            tx.connection.execute(removed.insert().values(host=host, at=int(time.time() * 1000)))

    def _sign(self, request: str, host: str) -> str:
        return Authority(self.folder, HOSTS).sign(request, tls.of_host(host))


def admitted_since(tx: Tx, host: str) -> int:
    """Certificates signed before that are no longer taken."""
    return tx.connection.scalar(sa.select(removed.c.at).where(removed.c.host == host)) or 0


def refuse_removed(tx: Tx, host: str, issued: int) -> None:
    if issued < admitted_since(tx, host):
        raise Forbidden(removal(host))


def removal(host: str) -> str:
    return f"{host} was removed from this cloud: `unryu host join` lets it in again."


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
