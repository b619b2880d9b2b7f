"""A fresh identity service for every test: SQLite, in-process, first rows made as `unryu up` makes them."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from identity.api import application
from identity.bootstrap import bootstrap
from unryu.auth import Tokens
from unryu.db import Database, upgrade
from unryu.journal import Feed, head
from unryu.service import Rooms, ask_in_process, load_nouns


class Identity:
    """The service, and hands to use it with."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.database = Database()
        self.rooms = Rooms(self.database)
        self.tokens = Tokens(ask_in_process(self.rooms))
        self.rooms.add("identity", application(self.database, self.tokens))
        with self.database.reading() as tx:
            self.feed = Feed(self.database, head(tx.connection))
        self.client = Client(self.rooms)

    def password(self, user: str) -> str:
        return (self.state / "secrets" / f"{user}-password").read_text().strip()

    def login(self, user: str | dict[str, Any] = "admin", password: str | None = None, scope: Any = ...,
              query: str = "") -> TestResponse:
        """As a user of the default domain by his name; in the project of that name, unless a scope is given."""
        given = user if isinstance(user, dict) else {"name": user, "domain": {"id": "default"}}
        given = {**given, "password": self.password(str(user)) if password is None else password}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": given}}}
        if scope is ...:
            auth["scope"] = {"project": {"name": user, "domain": {"name": "Default"}}}
        elif scope is not None:
            auth["scope"] = scope
        return self.client.post(f"/identity/v3/auth/tokens{query}", json={"auth": auth})

    def token(self, user: str = "admin", password: str | None = None, **words: Any) -> str:
        answer = self.login(user, password, **words)
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    def call(self, method: str, path: str, token: str, body: Any = None, subject: str = "") -> TestResponse:
        headers = {"X-Auth-Token": token} | ({"X-Subject-Token": subject} if subject else {})
        answer = self.client.open(f"/identity/v3{path}", method=method, headers=headers, json=body)
        self.tokens.forget(self.feed.read())  # as a thread does in the service
        return answer

    def made(self, plural: str, token: str, **words: Any) -> dict[str, Any]:
        kind = plural.removesuffix("s")
        answer = self.call("POST", f"/{plural}", token, {kind: words})
        assert answer.status_code == 201 and answer.json is not None, answer.text
        record: dict[str, Any] = answer.json[kind]
        return record

    def listed(self, path: str, token: str) -> list[dict[str, Any]]:
        answer = self.call("GET", path, token)
        assert answer.status_code == 200 and answer.json is not None, answer.text
        [items] = [v for k, v in answer.json.items() if isinstance(v, list)]
        return items


@pytest.fixture(scope="session")
def first_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with the first rows in it."""
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNRYU_STATE", str(state))
        load_nouns()
        upgrade()
        bootstrap()
    return state


@pytest.fixture
def state(first_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path / "state"
    shutil.copytree(first_state, state)
    monkeypatch.setenv("UNRYU_STATE", str(state))
    return state


@pytest.fixture
def identity(state: Path) -> Iterator[Identity]:
    service = Identity(state)
    yield service
    service.feed.close()
    service.database.close()
