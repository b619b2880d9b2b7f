"""A service's API in-process, on a fresh database, with tokens that say what they are: `user:project:role,role`."""

from pathlib import Path
from typing import Any

from unryu.auth import Tokens
from unryu.db import Database, upgrade

ADMIN = "root:admin:admin,member,reader"
DEMO = "demo:demo:member,reader"
ALT = "alt:alt:member,reader"
READER = "viewer:demo:reader"


def ask(token: str) -> dict[str, Any] | None:
    """Identity, in four lines; the real one stands behind the same question in tests of the whole cloud."""
    if token.count(":") != 2:
        return None
    user, project, roles = token.split(":")
    return {"user": {"id": user}, "project": {"id": project}, "expires_at": "2999-01-01T00:00:00+00:00",
            "roles": [{"id": role, "name": role} for role in roles.split(",")]}


def tokens() -> Tokens:
    return Tokens(ask)


def fresh_database(folder: Path) -> Database:
    folder.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{folder}/unryu.db"
    upgrade(url)
    return Database(url)
