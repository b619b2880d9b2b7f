"""Domains, projects, users, roles, assignments, catalogue, versions: as Identity API v3 says."""

import io
import json
import logging
import sys
from typing import Any

import pytest

from identity import passwords
from identity.bootstrap import bootstrap
from tests.identity.conftest import Identity
from unryu import journal, logs


def test_versions(identity: Identity) -> None:
    root = identity.client.get("/identity/")
    assert root.status_code == 300 and root.json is not None
    [version] = root.json["versions"]["values"]
    assert version["id"].startswith("v3.") and version["status"] == "stable"
    assert version["links"][0]["href"] == "http://localhost/identity/v3/"
    for path in ("/identity/v3", "/identity/v3/"):
        shown = identity.client.get(path)
        assert shown.status_code == 200 and shown.json == {"version": version}


@pytest.mark.parametrize("plural", ["domains", "projects", "users", "roles"])
def test_the_life_of_a_noun(identity: Identity, plural: str) -> None:
    admin, kind = identity.token(), plural.removesuffix("s")
    made = identity.made(plural, admin, name="blue", description="sky")
    path = f"/{plural}/{made['id']}"
    assert made["links"] == {"self": f"http://localhost/identity/v3{path}"}
    assert not {"revision_number", "created_at", "project_id", "password", "password_hash"} & set(made)
    shown = identity.call("GET", path, admin)
    assert shown.json == {kind: made}
    changed = identity.call("PATCH", path, admin, {kind: {"name": "red"}})
    assert changed.status_code == 200 and changed.json == {kind: {**made, "name": "red"}}
    assert [r["id"] for r in identity.listed(f"/{plural}?name=red", admin)] == [made["id"]]
    page = identity.call("GET", f"/{plural}?limit=1", admin).json
    assert page is not None and page["links"]["self"].endswith("limit=1") and "marker=" in (page["links"]["next"] or "marker=")
    taken = identity.call("POST", f"/{plural}", admin, {kind: {"name": "red"}})
    assert taken.status_code == 409 and taken.json is not None and taken.json["error"]["title"] == "Conflict"
    if kind == "domain":
        assert identity.call("DELETE", path, admin).status_code == 403  # while it is enabled
        assert identity.call("PATCH", path, admin, {kind: {"enabled": False}}).status_code == 200
    assert identity.call("DELETE", path, admin).status_code == 204
    gone = identity.call("GET", path, admin)
    assert gone.status_code == 404 and gone.json is not None and gone.json["error"]["code"] == 404


@pytest.mark.parametrize(("plural", "words"), [
    ("domains", {}), ("domains", {"name": " "}), ("domains", {"name": "x" * 65}), ("users", {"name": None}),
    ("users", {"name": "u", "password": "x" * 256}), ("users", {"name": "u", "password": ["secret-word"]}),
    ("users", {"name": "u", "password_hash": "secret-word"}), ("users", {"name": "u", "tokens_since": 0}),
    ("users", {"name": "u", "options": {"ignore_password_expiry": True}}), ("users", {"name": "u", "enabled": "perhaps"}),
    ("projects", {"name": "p", "is_domain": True}), ("projects", {"name": "p", "tags": ["a/b"]}),
    ("projects", {"name": "p", "tags": [str(n) for n in range(81)]}), ("projects", {"name": "p", "id": "mine"}),
])
def test_bad_input_is_400(identity: Identity, plural: str, words: dict[str, Any]) -> None:
    admin, kind = identity.token(), plural.removesuffix("s")
    before = identity.listed(f"/{plural}", admin)
    answer = identity.call("POST", f"/{plural}", admin, {kind: words})
    assert answer.status_code == 400 and "secret-word" not in answer.text, answer.text
    assert identity.listed(f"/{plural}", admin) == before


def test_things_belong_to_a_domain_that_is_there(identity: Identity) -> None:
    admin = identity.token()
    for plural in ("users", "projects"):
        answer = identity.call("POST", f"/{plural}", admin, {plural[:-1]: {"name": "x", "domain_id": "nowhere"}})
        assert answer.status_code == 404 and "Domain nowhere could not be found" in answer.text
    other = identity.made("domains", admin, name="other")
    first, second = identity.made("users", admin, name="u"), identity.made("users", admin, name="u", domain_id=other["id"])
    assert (first["domain_id"], second["domain_id"]) == ("default", other["id"])
    identity.made("projects", admin, name="p", domain_id=other["id"])
    assert identity.call("PATCH", f"/domains/{other['id']}", admin, {"domain": {"enabled": False}}).status_code == 200
    assert identity.call("DELETE", f"/domains/{other['id']}", admin).status_code == 204
    assert identity.call("GET", f"/users/{second['id']}", admin).status_code == 404
    assert identity.listed("/projects?name=p", admin) == []
    assert identity.call("DELETE", "/domains/default", admin).status_code == 403


def test_a_project_below_a_project(identity: Identity) -> None:
    admin = identity.token()
    parent = identity.made("projects", admin, name="parent")
    child = identity.made("projects", admin, name="child", parent_id=parent["id"])
    assert (parent["parent_id"], child["parent_id"]) == ("default", parent["id"])
    assert identity.call("DELETE", f"/projects/{parent['id']}", admin).status_code == 409


def test_a_user_sees_himself_and_his_project(identity: Identity) -> None:
    admin, demo = identity.token(), identity.token("demo")
    [him], [alt] = identity.listed("/users?name=demo", admin), identity.listed("/users?name=alt", admin)
    [project], [other] = identity.listed("/projects?name=demo", admin), identity.listed("/projects?name=alt", admin)

    def status(method: str, path: str, body: Any = None) -> int:
        return identity.call(method, path, demo, body).status_code

    assert status("GET", f"/users/{him['id']}") == status("GET", f"/projects/{project['id']}") == 200
    assert status("GET", f"/users/{alt['id']}") == status("GET", f"/projects/{other['id']}") == 404
    assert [p["name"] for p in identity.listed(f"/users/{him['id']}/projects", demo)] == ["demo"]
    assert status("GET", f"/users/{alt['id']}/projects") == 404
    assert [p["name"] for p in identity.listed("/auth/projects", demo)] == ["demo"]
    assert identity.listed("/auth/domains", demo) == identity.listed("/auth/system", demo) == []
    assert identity.listed("/auth/system", admin) == [{"all": True}]
    assert {s["type"] for s in identity.listed("/auth/catalog", demo)} == {"identity", "network"}
    for path in ("/users", "/projects", "/domains", "/roles", "/role_assignments", "/services", "/endpoints", "/regions",
                 f"/projects/{project['id']}/users/{him['id']}/roles", "/domains/default"):
        assert status("GET", path) == 403, path
    assert status("POST", "/users", {"user": {"name": "x"}}) == 403
    assert status("PATCH", f"/users/{him['id']}", {"user": {"enabled": True}}) == 403
    assert status("DELETE", f"/projects/{project['id']}") == 403
    unscoped = identity.token("demo", scope="unscoped")
    assert [p["name"] for p in identity.listed("/auth/projects", unscoped)] == ["demo"]
    assert identity.call("GET", "/auth/catalog", unscoped).status_code == 403


@pytest.mark.parametrize("place", ["projects", "domains", "system"])
def test_roles_are_given_and_taken(identity: Identity, place: str) -> None:
    admin = identity.token()
    [user], [role] = identity.listed("/users?name=demo", admin), identity.listed("/roles?name=reader", admin)
    target = {"projects": identity.listed("/projects?name=alt", admin)[0]["id"], "domains": "default", "system": ""}[place]
    roles = f"/{place}/{target}/users/{user['id']}/roles".replace("//", "/")
    one = f"{roles}/{role['id']}"
    status = [identity.call(method, one, admin).status_code for method in
              ("GET", "HEAD", "PUT", "PUT", "GET", "HEAD", "DELETE", "DELETE", "GET")]
    assert status == [404, 404, 204, 204, 204, 204, 204, 404, 404]
    identity.call("PUT", one, admin)
    assert [r["name"] for r in identity.listed(roles, admin)] == ["reader"]
    scope = {"projects": "scope.project.id", "domains": "scope.domain.id", "system": "scope.system"}[place]
    [given] = identity.listed(f"/role_assignments?user.id={user['id']}&{scope}={target or 'all'}", admin)
    assert (given["user"], given["role"]) == ({"id": user["id"]}, {"id": role["id"]})
    assert given["scope"] == {"system": {"all": True}} or list(given["scope"].values()) == [{"id": target}]
    assert given["links"]["assignment"].endswith(one)
    for wrong in (one.replace(user["id"], "nobody"), one.replace(role["id"], "nothing"), f"{one}/more"):
        assert identity.call("PUT", wrong, admin).status_code == 404


def test_assignments_by_name_and_with_what_they_imply(identity: Identity) -> None:
    admin = identity.token()
    named = identity.listed("/role_assignments?include_names=True", admin)
    said = {(a["role"]["name"], a["user"]["name"], a["user"]["domain"]["name"], *(
        v.get("name", "all") for v in a["scope"].values() if isinstance(v, dict))) for a in named}
    assert said == {("admin", "admin", "Default", "admin"), ("admin", "admin", "Default", "all"),
                    ("member", "demo", "Default", "demo"), ("member", "alt", "Default", "alt")}
    assert len(identity.listed("/role_assignments?effective", admin)) == 3 + 3 + 2 + 2
    assert identity.listed("/role_assignments?group.id=x", admin) == identity.listed("/role_assignments?user.id=x", admin) == []
    assert identity.call("GET", "/role_assignments?colour=red", admin).status_code == 400


def test_the_catalogue_is_listed(identity: Identity) -> None:
    admin = identity.token()
    services, endpoints = identity.listed("/services", admin), identity.listed("/endpoints", admin)
    assert {s["type"] for s in services} == {"identity", "network"} and len(endpoints) == 6
    assert {e["url"] for e in endpoints} == {"http://127.0.0.1:8774/identity/v3", "http://127.0.0.1:8774/network"}
    assert [r["id"] for r in identity.listed("/regions", admin)] == ["RegionOne"]
    assert len(identity.listed("/endpoints?interface=public", admin)) == 2
    shown = identity.call("GET", f"/services/{services[0]['id']}", admin).json
    assert shown == {"service": services[0]}
    assert identity.call("GET", "/endpoints/nothing", admin).status_code == 404


def test_first_rows_are_made_once(identity: Identity) -> None:
    admin = identity.token()
    [demo] = identity.listed("/users?name=demo", admin)
    assert identity.call("DELETE", f"/users/{demo['id']}", admin).status_code == 204
    bootstrap()
    assert identity.listed("/users?name=demo", admin) == []  # what an operator removed stays away
    assert identity.call("GET", "/auth/tokens", admin, subject=admin).status_code == 200
    secrets = [p for p in (identity.state / "secrets").rglob("*") if p.is_file()]
    assert len(secrets) == 4 and {p.stat().st_mode & 0o777 for p in secrets} == {0o600}


def test_a_crash_between_file_and_row_loses_no_password(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is there first; the next start makes the row from it."""
    from unryu.db import Database, upgrade

    url = f"sqlite:///{identity.state}/other.db"
    monkeypatch.setenv("UNRYU_DATABASE_URL", url)
    upgrade()
    bootstrap()
    other = Database()
    with other.reading() as tx:
        [admin] = tx.where("user", name="admin")
    assert passwords.matches(identity.password("admin"), admin.password_hash)
    other.close()


def test_a_password_is_nowhere(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the journal, nor in a log, nor in a fault; also when the hashing itself fails."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setattr(logging.root, "handlers", [])  # as they were, afterwards
    logs.setup("test")
    admin = identity.token()
    user = identity.made("users", admin, name="u", password="secret-word")
    identity.call("PATCH", f"/users/{user['id']}", admin, {"user": {"password": "secret-word-2"}})
    identity.login("u", "secret-word-3", scope=None)
    with identity.database.reading() as tx:
        kept = str(tx.connection.execute(journal.table.select()).all())
        password_hash = tx.get("user", user["id"]).password_hash
        assert "secret" not in repr(tx.get("user", user["id"])) + kept and password_hash not in kept + written.getvalue()

    def broken() -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(passwords, "_hasher", broken)
    answer = identity.login("u", "secret-word-4", scope=None)
    assert answer.status_code == 500 and "no memory" not in answer.text
    said = written.getvalue()
    assert "no memory" in said and "request failed" in said and "secret-word" not in said + answer.text
    assert all(json.loads(line) for line in said.splitlines())
