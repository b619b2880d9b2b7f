"""Tokens are asked about once, forgotten when the journal touches what they stand on; policy may be overridden."""

import threading
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from tests.unryu.library import LIBRARY, application, known
from unryu.auth import Tokens
from unryu.db import Database
from unryu.errors import Unauthorized, Unavailable
from unryu.journal import Entry

ANN = {"X-Auth-Token": "ann:blue:member"}


class Asked:
    """Identity that counts how often it is asked."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def __call__(self, token: str) -> dict[str, Any] | None:
        self.tokens.append(token)
        return known(token)


def change(kind: str, id: str = "x", **after: str) -> Entry:
    return Entry(kind=kind, id=id, before=None, after=after)


def test_a_token_is_asked_about_once() -> None:
    ask = Asked()
    tokens = Tokens(ask)
    assert tokens.describe("ann:blue:member") is tokens.describe("ann:blue:member")
    tokens.describe("bob:red:member")
    assert ask.tokens == ["ann:blue:member", "bob:red:member"]
    for _ in range(2):  # a no is not remembered: it may be made in a moment
        with pytest.raises(Unauthorized):
            tokens.describe("junk")
    assert len(ask.tokens) == 4 and "ann:blue" not in repr(vars(tokens))  # not the token itself


def test_a_token_is_remembered_no_longer_than_it_lives() -> None:
    now = [0.0]

    def ask(token: str) -> dict[str, Any]:
        return {"user": {"id": "u"}, "expires_at": "1970-01-01T00:01:00.000000Z", "n": now[0]}

    tokens = Tokens(ask, clock=lambda: now[0])
    tokens.describe("t")
    now[0] = 59
    assert tokens.describe("t")["n"] == 0
    now[0] = 61
    assert tokens.describe("t")["n"] == 61


@pytest.mark.parametrize(("entry", "forgotten"), [
    (change("user", "ann"), True), (change("user", "bob"), False), (change("project", "blue"), True),
    (change("role", "role-member"), True), (change("revocation", "audit-ann"), True),
    (change("assignment", user_id="ann"), True), (change("assignment", user_id="bob", on_project="red"), False),
    (change("domain", "green"), False), (change("network", "ann"), False), (change("unheard-of", "ann"), False),
])
def test_what_the_journal_touches_is_forgotten(entry: Entry, forgotten: bool) -> None:
    ask = Asked()
    tokens = Tokens(ask)
    tokens.describe("ann:blue:member")
    tokens.forget([entry])
    tokens.describe("ann:blue:member")
    assert (len(ask.tokens) == 2) == forgotten


def test_what_is_revoked_while_it_is_asked_about_is_not_remembered() -> None:
    asked, may_answer, times = threading.Event(), threading.Event(), []

    def ask(token: str) -> dict[str, Any] | None:
        times.append(token)
        asked.set()
        may_answer.wait(10)
        return known(token)

    tokens = Tokens(ask)
    caller = threading.Thread(target=tokens.describe, args=("ann:blue:member",))
    caller.start()
    assert asked.wait(10)
    tokens.forget([change("user", "ann")])
    may_answer.set()
    caller.join()
    tokens.describe("ann:blue:member")
    assert len(times) == 2


def test_a_thread_follows_the_journal(database: Database) -> None:
    ask = Asked()
    tokens = Tokens(ask, service="library")
    tokens.describe("ann:blue:member")
    stop = threading.Event()
    follower = threading.Thread(target=tokens.follow, args=(database, stop))
    follower.start()
    for _ in range(200):
        with database.transaction() as tx:
            tx.insert(LIBRARY["shelf"](project_id="blue"))
        tokens.describe("ann:blue:member")
        if len(ask.tokens) > 1:
            break
        stop.wait(0.01)
    stop.set()
    follower.join(10)
    assert len(ask.tokens) > 1 and not follower.is_alive()


def test_identity_away_is_503(database: Database) -> None:
    def ask(token: str) -> dict[str, Any] | None:
        raise Unavailable("The identity service does not answer.")

    assert Client(application(database, Tokens(ask))).get("/v1/shelves", headers=ANN).status_code == 503


def test_policy_may_be_overridden(database: Database, state: Path) -> None:
    (state / "policy.yaml").write_text('create_shelf: "rule:admin"\nlist_shelf: "user_id:ann"\n')
    client = Client(application(database, Tokens(known)))
    assert client.post("/v1/shelves", json={"shelf": {}}, headers=ANN).status_code == 403
    assert client.post("/v1/shelves", json={"shelf": {}}, headers={"X-Auth-Token": "root:ops:admin"}).status_code == 201
    assert client.get("/v1/shelves", headers=ANN).status_code == 200
    assert client.get("/v1/shelves", headers={"X-Auth-Token": "bob:red:member"}).status_code == 403
