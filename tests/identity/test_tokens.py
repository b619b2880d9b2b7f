"""Logging in, and what a token is worth and for how long."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from identity.description import describe
from identity.passwords import Guessing
from identity.tokens import Keys, Token, keys_folder
from tests.identity.conftest import Identity

DEFAULT = {"id": "default"}


def password(user: dict[str, Any]) -> dict[str, Any]:
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}


def test_a_token_says_who_where_and_as_what(identity: Identity) -> None:
    answer = identity.login("admin")
    assert answer.status_code == 201 and answer.json is not None
    token = answer.json["token"]
    assert (token["user"]["name"], token["user"]["domain"]) == ("admin", {"id": "default", "name": "Default"})
    assert (token["project"]["name"], token["project"]["domain"]["name"]) == ("admin", "Default")
    assert {r["name"] for r in token["roles"]} == {"admin", "member", "reader"}
    assert {e["type"] for e in token["catalog"]} == {"identity", "network"}
    assert token["methods"] == ["password"] and len(token["audit_ids"]) == 1 and token["expires_at"].endswith("Z")
    sealed = answer.headers["X-Subject-Token"]
    shown = identity.call("GET", "/auth/tokens", sealed, subject=sealed)
    assert shown.json == answer.json and shown.headers["X-Subject-Token"] == sealed
    demo = identity.login("demo", query="?nocatalog").json
    assert demo is not None and "catalog" not in demo["token"]
    assert {r["name"] for r in demo["token"]["roles"]} == {"member", "reader"}


def test_users_and_scopes_by_id_and_by_name(identity: Identity) -> None:
    admin = identity.token()
    [demo] = identity.listed("/users?name=demo", admin)
    [project] = identity.listed("/projects?name=demo", admin)
    word = identity.password("demo")
    users: list[dict[str, Any]] = [{"id": demo["id"]}, {"name": "demo", "domain": DEFAULT},
                                   {"name": "demo", "domain": {"name": "Default"}}]
    scopes: list[Any] = [{"project": {"id": project["id"]}}, {"project": {"name": "demo", "domain": DEFAULT}}, None]
    for user in users:
        for scope in scopes:  # None: his default project
            answer = identity.login(user, word, scope=scope)
            assert answer.status_code == 201 and answer.json is not None
            assert answer.json["token"]["project"]["id"] == project["id"]
    unscoped = identity.login("demo", scope="unscoped").json
    assert unscoped is not None and not {"project", "roles", "catalog"} & set(unscoped["token"])
    system = identity.login("admin", scope={"system": {"all": True}}).json
    assert system is not None and system["token"]["system"] == {"all": True}
    assert identity.login("demo", scope={"system": {"all": True}}).status_code == 401
    [domain_role] = identity.listed("/roles?name=member", admin)
    assert identity.call("PUT", f"/domains/default/users/{demo['id']}/roles/{domain_role['id']}", admin).status_code == 204
    domain = identity.login("demo", scope={"domain": {"name": "Default"}}).json
    assert domain is not None and domain["token"]["domain"]["id"] == "default"


def test_a_token_for_a_token(identity: Identity) -> None:
    first = identity.token("demo", scope="unscoped")
    auth = {"identity": {"methods": ["token"], "token": {"id": first}},
            "scope": {"project": {"name": "demo", "domain": DEFAULT}}}
    answer = identity.client.post("/identity/v3/auth/tokens", json={"auth": auth})
    about = identity.call("GET", "/auth/tokens", first, subject=first).json
    assert answer.status_code == 201 and answer.json is not None and about is not None
    assert answer.json["token"]["methods"] == ["password", "token"]
    assert answer.json["token"]["expires_at"] == about["token"]["expires_at"]  # no longer than the first
    assert answer.json["token"]["audit_ids"][1:] == about["token"]["audit_ids"]
    auth["identity"] = {"methods": ["token"], "token": {"id": "junk"}}
    assert identity.client.post("/identity/v3/auth/tokens", json={"auth": auth}).status_code == 401


def test_wrong_logins_are_401_in_the_same_words(identity: Identity) -> None:
    admin = identity.token()
    off = identity.made("users", admin, name="off", password="right", enabled=False)
    said = {identity.login(user, given, scope=None).text for user, given in (
        ("demo", "wrong"), ("nobody", "wrong"), ("demo", ""), ({"id": "nobody"}, "wrong"), ({"id": off["id"]}, "right"),
        ({"name": "demo", "domain": {"id": "nowhere"}}, "wrong"))}
    assert len(said) == 1 and "The user does not exist, is disabled, or the password is wrong." in said.pop()
    assert identity.login("demo", "wrong").status_code == 401


def test_wrong_logins_take_the_same_time(identity: Identity) -> None:
    def seconds(user: str) -> float:
        began = time.process_time()
        identity.login(user, "wrong", scope=None)
        return time.process_time() - began

    seconds("nobody")
    known, unknown = (min(seconds(user + str(n) if user == "nobody" else user) for n in range(4)) for user in ("demo", "nobody"))
    assert 0.6 < known / unknown < 1.6, (known, unknown)


def test_scopes_that_are_not_his_are_401(identity: Identity) -> None:
    for scope in ({"project": {"name": "alt", "domain": DEFAULT}}, {"project": {"id": "nowhere"}}, {"domain": DEFAULT},
                  {"project": {"name": "nowhere", "domain": DEFAULT}}, {"project": {"name": "demo", "domain": {"id": "x"}}}):
        answer = identity.login("demo", scope=scope)
        assert answer.status_code == 401 and "no role in that scope" in answer.text, scope


@pytest.mark.parametrize("body", [
    {}, [], {"auth": {}}, {"auth": {"identity": {}}}, {"auth": {"identity": {"methods": "password"}}},
    {"auth": {"identity": {"methods": ["password"], "password": {}}}}, password({}), password({"password": 7, "id": "x"}),
    password({"password": "secret-word"}), password({"name": "demo", "password": "secret-word"}),
    password({"name": ["demo"], "password": "secret-word", "domain": DEFAULT}),
    password({"name": "a\0b", "password": "secret-word", "domain": DEFAULT}),
    password({"name": "demo", "password": "secret-word" * 500, "domain": DEFAULT}),
])
def test_bad_requests_are_400_and_never_repeat_a_password(identity: Identity, body: Any) -> None:
    answer = identity.client.post("/identity/v3/auth/tokens", json=body)
    assert answer.status_code == 400 and "secret-word" not in answer.text
    assert answer.json is not None and answer.json["error"]["title"] == "Bad Request" and answer.json["error"]["code"] == 400


def test_methods_that_are_not_here_are_401(identity: Identity) -> None:
    for methods in ([], ["totp"], ["password", "totp"], ["password"], ["token"]):
        answer = identity.client.post("/identity/v3/auth/tokens", json={"auth": {"identity": {"methods": methods}}})
        assert answer.status_code == 401 and "one method" in answer.text


def test_who_may_ask_about_a_token(identity: Identity) -> None:
    admin, demo, alt, other = (identity.token(u) for u in ("admin", "demo", "alt", "demo"))
    for method in ("GET", "HEAD"):
        def status(token: str, subject: str, method: str = method) -> int:
            return identity.call(method, "/auth/tokens", token, subject=subject).status_code

        assert [status(demo, demo), status(admin, demo), status(demo, other)] == [200] * 3
        assert [status(alt, demo), status(alt, admin), status(alt, "junk")] == [403] * 3
        assert status(admin, "junk") == 404 and status("junk", "junk") == status("junk", demo) == 401
        assert status(admin, "") == 400
    assert identity.client.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": demo}).status_code == 401
    assert identity.call("GET", "/auth/tokens", admin, subject="é" * 300).status_code == 404


def test_a_revoked_token_is_worth_nothing(identity: Identity) -> None:
    admin, demo, other = (identity.token(u) for u in ("admin", "demo", "demo"))
    assert identity.call("GET", "/auth/projects", demo).status_code == 200
    assert identity.call("DELETE", "/auth/tokens", demo, subject=demo).status_code == 204
    assert identity.call("GET", "/auth/projects", demo).status_code == 401
    assert identity.call("GET", "/auth/tokens", demo, subject=demo).status_code == 401
    assert identity.call("GET", "/auth/tokens", admin, subject=demo).status_code == 404
    assert identity.call("GET", "/auth/projects", other).status_code == 200
    assert identity.call("DELETE", "/auth/tokens", admin, subject=other).status_code == 204
    assert identity.call("GET", "/auth/projects", other).status_code == 401


def test_old_revocations_go(identity: Identity) -> None:
    with identity.database.transaction() as tx:
        from identity.nouns import Revocation

        tx.insert(Revocation(id="old", expires=int(time.time()) - 1))
    demo = identity.token("demo")
    identity.call("DELETE", "/auth/tokens", demo, subject=demo)
    with identity.database.reading() as tx:
        assert len(tx.where("revocation")) == 1 and tx.get("revocation", "old") is None


@pytest.mark.parametrize("what", ["user", "project", "domain", "role", "password", "gone"])
def test_a_token_ends_with_what_it_stands_on(identity: Identity, what: str) -> None:
    admin = identity.token()
    domain = identity.made("domains", admin, name="d")
    project = identity.made("projects", admin, name="p", domain_id=domain["id"])
    user = identity.made("users", admin, name="u", domain_id=domain["id"], password="right")
    [role] = identity.listed("/roles?name=member", admin)
    grant = f"/projects/{project['id']}/users/{user['id']}/roles/{role['id']}"
    assert identity.call("PUT", grant, admin).status_code == 204
    scope = {"project": {"id": project["id"]}}
    token = identity.login({"id": user["id"]}, "right", scope=scope).headers["X-Subject-Token"]
    assert identity.call("GET", "/auth/projects", token).status_code == 200

    off = {"enabled": False}
    status = {
        "user": lambda: identity.call("PATCH", f"/users/{user['id']}", admin, {"user": off}),
        "project": lambda: identity.call("PATCH", f"/projects/{project['id']}", admin, {"project": off}),
        "domain": lambda: identity.call("PATCH", f"/domains/{domain['id']}", admin, {"domain": off}),
        "role": lambda: identity.call("DELETE", grant, admin),
        "password": lambda: identity.call("PATCH", f"/users/{user['id']}", admin, {"user": {"password": "new"}}),
        "gone": lambda: identity.call("DELETE", f"/users/{user['id']}", admin),
    }[what]().status_code
    assert status in (200, 204)
    assert identity.call("GET", "/auth/projects", token).status_code == 401
    assert identity.login({"id": user["id"]}, "right", scope=scope).status_code == 401
    if what == "user":  # and does not come back with him
        identity.call("PATCH", f"/users/{user['id']}", admin, {"user": {"enabled": True}})
        assert identity.call("GET", "/auth/projects", token).status_code == 401
        assert identity.login({"id": user["id"]}, "right", scope=scope).status_code == 201


def test_guessing_is_slowed_down(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    guessing = Guessing(clock=lambda: now[0])
    pauses = []
    for _ in range(12):
        guessing.wrong("demo")
        pauses.append(guessing.pause("demo"))
        now[0] += pauses[-1]
    assert pauses == [0, 0, 0, 0, 1, 2, 4, 8, 10, 10, 10, 10]
    assert guessing.pause("alt") == 0
    guessing.right("demo")
    guessing.wrong("demo")
    assert guessing.pause("demo") == 0
    for pause in ("SHORTEST", "LONGEST"):  # a slow machine needs a second for a few passwords
        monkeypatch.setattr(Guessing, pause, 600.0)
    for user in ("demo", "nobody"):  # it tells nothing about who exists
        answers = [identity.login(user, "wrong", scope=None) for _ in range(6)]
        assert "Too many wrong passwords" in answers[-1].text and {a.status_code for a in answers} == {401}
    assert identity.login("demo").status_code == 401 and identity.login("alt").status_code == 201


def a_token(**words: Any) -> Token:
    now = time.time()
    given: dict[str, Any] = {"user_id": "u", "methods": ("password",), "scope": ("project", "p"), "issued": now,
                             "expires": now + 60, "audit_ids": ("a",)}
    return Token(**{**given, **words})


def test_keys_rotate_without_ending_tokens(tmp_path: Path) -> None:
    keys, other_process = Keys(tmp_path / "keys"), Keys(tmp_path / "keys")
    assert not keys.exist() and keys.rotate(60) == 1 and keys.exist()
    first = keys.seal(a_token())
    assert other_process.open(first) == keys.open(first) is not None
    time.sleep(0.01)
    assert keys.rotate(60) == 2
    second = keys.seal(a_token())
    assert other_process.open(first) and other_process.open(second)
    os.utime(tmp_path / "keys" / "2", (0, 0))  # long ago: the first has sealed nothing since
    time.sleep(0.01)
    assert keys.rotate(60) == 2 and sorted(p.name for p in (tmp_path / "keys").iterdir()) == ["2", "3"]
    assert keys.open(first) is None and other_process.open(first) is None and other_process.open(second)
    assert {oct(p.stat().st_mode & 0o777) for p in (tmp_path / "keys").iterdir()} == {"0o600"}


def test_a_token_that_was_touched_or_is_over_opens_not(state: Path) -> None:
    keys = Keys(keys_folder())
    sealed = keys.seal(a_token())
    assert keys.open(sealed)
    other = "B" if sealed[50] == "A" else "A"
    for bad in ("", "x", sealed[:-1], sealed[:50] + other + sealed[51:], sealed + "A", "é" + sealed, "\0", "=" * 10):
        assert keys.open(bad) is None
    assert keys.open(keys.seal(a_token(expires=time.time() - 1))) is None


def test_a_token_is_described_quickly(identity: Identity) -> None:
    keys, sealed = Keys(keys_folder()), identity.token("demo")

    def once() -> float:
        began = time.process_time()
        token = keys.open(sealed)
        assert token
        with identity.database.reading() as tx:
            describe(tx, token)
        return time.process_time() - began

    once()
    best = min(once() for _ in range(50))
    print(f"described in {best * 1000:.2f} ms of CPU")
    assert best < 0.005  # 0.6 ms on a quiet machine


def test_a_user_changes_his_own_password(identity: Identity) -> None:
    demo = identity.token("demo")
    [project] = identity.listed("/auth/projects", demo)
    assert project["name"] == "demo"
    about = identity.call("GET", "/auth/tokens", demo, subject=demo).json
    assert about is not None
    path, old = f"/users/{about['token']['user']['id']}/password", identity.password("demo")
    words = {"user": {"original_password": "wrong", "password": "new"}}
    assert identity.call("POST", path, demo, words).status_code == 401
    words["user"]["original_password"] = old
    assert identity.call("POST", path, demo, words).status_code == 204
    assert identity.login("demo", old).status_code == 401 and identity.login("demo", "new").status_code == 201
    assert identity.call("GET", "/auth/projects", demo).status_code == 401


def test_a_password_changed_by_a_clock_that_was_ahead_shuts_nobody_out(identity: Identity) -> None:
    earlier = identity.token("demo")
    with identity.database.transaction() as tx:
        [demo] = tx.where("user", name="demo")
        tx.update(demo, tokens_since=int((time.time() + 3600) * 1000))
    assert identity.call("GET", "/auth/projects", earlier).status_code == 401
    assert identity.call("GET", "/auth/projects", identity.token("demo")).status_code == 200
