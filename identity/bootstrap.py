"""The first rows of a cloud: a domain, three roles, an administrator, two tenants. Called before the services start."""

import secrets
from itertools import pairwise

from identity.nouns import DEFAULT_DOMAIN, Domain, Implication, Project, Role, User, assignment
from identity.passwords import hashed
from identity.settings import IdentitySettings
from identity.tokens import Keys, keys_folder, write_secret
from unryu.config import state_dir
from unryu.db import Database, Tx

ROLES = ("admin", "member", "reader")
"""Each implies the next."""
FIRST = {"admin": "admin", "demo": "member", "alt": "member"}
"""A user and his project, both of this name → his role in it."""


def bootstrap() -> None:
    """In one transaction, once: what an operator changes or removes later stays so."""
    keys = Keys(keys_folder())
    if not keys.exist():
        keys.rotate(IdentitySettings.read().token_lifetime)
    database = Database()
    try:
        with database.transaction() as tx:
            if tx.get("domain", DEFAULT_DOMAIN) is None:
                _first_rows(tx)
    finally:
        database.close()


def _first_rows(tx: Tx) -> None:
    tx.insert(Domain(id=DEFAULT_DOMAIN, name="Default", description="The default domain"))
    roles = {name: tx.insert(Role(name=name)) for name in ROLES}
    for prior, implied in pairwise(ROLES):
        tx.insert(Implication(prior_id=roles[prior].id, implied_id=roles[implied].id))
    for name, role in FIRST.items():
        project = tx.insert(Project(name=name, domain_id=DEFAULT_DOMAIN))
        user = tx.insert(User(name=name, domain_id=DEFAULT_DOMAIN, default_project_id=project.id,
                              password_hash=hashed(_password(name))))
        tx.insert(assignment(("user", user.id), roles[role].id, ("project", project.id)))
        if role == "admin":
            tx.insert(assignment(("user", user.id), roles[role].id, ("system", "all")))


def _password(user: str) -> str:
    """In its file before its row is committed: a crash between the two loses nothing."""
    path = state_dir() / "secrets" / f"{user}-password"
    if path.exists() and (known := path.read_text().strip()):
        return known
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = secrets.token_urlsafe(18)
    write_secret(path, password)
    return password
