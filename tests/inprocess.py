"""A service's API in-process, on a fresh database, with tokens that say what they are: `user:project:role,role`."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from controller.api import application
from unryu import journal
from unryu.auth import Tokens
from unryu.db import Database, upgrade
from unryu.resource import nouns

Json = dict[str, Any]

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


@functools.cache
def _migrated() -> bytes:
    """An empty database at the newest schema: walking the history for each test would be most of what `make check` does."""
    with tempfile.TemporaryDirectory(prefix="unryu-migrated-") as folder:
        upgrade(f"sqlite:///{folder}/unryu.db")
        return Path(folder, "unryu.db").read_bytes()


def fresh_database(folder: Path) -> Database:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "unryu.db").write_bytes(_migrated())
    return Database(f"sqlite:///{folder}/unryu.db")


def said(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What was logged, each line with its facts."""
    return [{"event": record.getMessage(), **vars(record).get("facts", {})} for record in caplog.records]


class Api:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.client = Client(application(database, tokens()))

    def __call__(self, method: str, path: str, body: Any = None, token: str | None = DEMO, **more: Any) -> Any:
        headers = {"X-Auth-Token": token} if token else {}
        return self.client.open(f"/v2.0{path}", method=method, json=body, headers={**headers, **more.pop("headers", {})}, **more)

    def make(self, kind: str, token: str = DEMO, **values: Any) -> Json:
        answer = self("POST", nouns[kind].path, {kind: values}, token)
        assert answer.status_code == 201, answer.get_data(as_text=True)
        return answer.json[kind]

    def revision(self) -> int:
        with self.database.reading() as tx:
            return journal.head(tx.connection)

    def refused(self, status: int, words: str, method: str, path: str, body: Any = None, token: str | None = DEMO) -> Json:
        """Refused with this status and a sentence that has these words; and nothing changed."""
        before = self.revision()
        answer = self(method, path, body, token)
        assert answer.status_code == status, answer.get_data(as_text=True)
        fault = answer.json["NeutronError"]
        assert words in fault["message"] and "Traceback" not in fault["message"], fault
        assert self.revision() == before
        return fault
