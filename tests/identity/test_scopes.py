"""What a role is worth where it was given: project, domain, system; by groups, from above, implied; and how it ends.

The network stands beside identity here, asking it about tokens as it does in a cloud."""

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from controller.api import application as network
from tests.identity.conftest import Identity

DEFAULT = {"id": "default"}
SYSTEM = {"system": {"all": True}}


@pytest.fixture
def apis(identity: Identity) -> Identity:
    identity.rooms.add("network", network(identity.database, identity.tokens))
    return identity


def asked(apis: Identity, token: str, method: str, path: str, body: Any = None) -> TestResponse:
    return apis.client.open(f"/network/v2.0{path}", method=method, headers={"X-Auth-Token": token}, json=body)


def names(apis: Identity, token: str) -> set[str]:
    answer = asked(apis, token, "GET", "/networks")
    assert answer.status_code == 200 and answer.json is not None, answer.text
    return {n["name"] for n in answer.json["networks"]}


def made(apis: Identity, token: str, name: str, **words: Any) -> str:
    answer = asked(apis, token, "POST", "/networks", {"network": {"name": name, **words}})
    assert answer.status_code == 201 and answer.json is not None, answer.text
    return str(answer.json["network"]["id"])


def one(apis: Identity, plural: str, name: str) -> str:
    [found] = apis.listed(f"/{plural}?name={name}", apis.token())
    return str(found["id"])


def give(apis: Identity, role: str, place: str, user: str = "", group: str = "", method: str = "PUT", end: str = "") -> int:
    who = f"groups/{group}" if group else f"users/{one(apis, 'users', user)}"
    return apis.call(method, f"{place}/{who}/roles/{one(apis, 'roles', role)}{end}", apis.token()).status_code


def on(apis: Identity, project: str) -> str:
    return f"/projects/{one(apis, 'projects', project)}"


def roles(apis: Identity, token: str) -> set[str]:
    about = apis.call("GET", "/auth/tokens", token, subject=token).json
    assert about is not None
    return {r["name"] for r in about["token"].get("roles", ())}


def test_admin_of_a_project_is_admin_there_only(apis: Identity) -> None:
    assert give(apis, "admin", on(apis, "demo"), "demo") == 204
    demo, alt = apis.token("demo"), apis.token("alt")
    assert "admin" in roles(apis, demo)
    about = apis.call("GET", "/auth/tokens", demo, subject=demo).json
    assert about is not None and about["token"]["is_admin_project"] is False
    his, ours = made(apis, alt, "alt's"), made(apis, demo, "demo's")
    assert names(apis, demo) == {"demo's"}
    for method, body in (("GET", None), ("PUT", {"network": {"name": "x"}}), ("DELETE", None)):
        assert asked(apis, demo, method, f"/networks/{his}", body).status_code == 404
    for body in ({"shared": True}, {"project_id": one(apis, "projects", "alt")}, {"provider:segmentation_id": 7}):
        assert asked(apis, demo, "POST", "/networks", {"network": body}).status_code == 403, body
    assert asked(apis, demo, "GET", "/agents").status_code == 403
    shown = asked(apis, demo, "GET", f"/networks/{ours}").json
    assert shown is not None and "provider:segmentation_id" not in shown["network"]
    for path in ("/users", "/projects", "/groups", "/role_assignments", "/role_inferences"):
        assert apis.call("GET", path, demo).status_code == 403, path
    assert apis.call("PUT", f"{on(apis, 'admin')}/users/{one(apis, 'users', 'demo')}/roles/{one(apis, 'roles', 'admin')}",
                     demo).status_code == 403


def test_the_clouds_administrator_on_his_project_and_on_the_system(apis: Identity) -> None:
    demo, admin, system = apis.token("demo"), apis.token(), apis.token(scope=SYSTEM)
    id = made(apis, demo, "demo's")
    for token in (admin, system):
        assert names(apis, token) == {"demo's"}
        assert asked(apis, token, "GET", "/agents").status_code == 200
        assert asked(apis, token, "PUT", f"/networks/{id}", {"network": {"name": "demo's"}}).status_code == 200
        assert apis.call("GET", "/users", token).status_code == 200
    lost = asked(apis, system, "POST", "/networks", {"network": {"name": "whose?"}})
    assert lost.status_code == 400 and "project_id" in lost.text and names(apis, admin) == {"demo's"}
    made(apis, system, "given", project_id=one(apis, "projects", "alt"))
    assert names(apis, apis.token("alt")) == {"given"}


def test_another_project_of_that_name_is_no_admin_project(apis: Identity) -> None:
    admin = apis.token()
    other = apis.made("domains", admin, name="other")
    impostor = apis.made("projects", admin, name="admin", domain_id=other["id"])
    assert give(apis, "admin", f"/projects/{impostor['id']}", "demo") == 204
    token = apis.token("demo", scope={"project": {"id": impostor["id"]}})
    made(apis, apis.token("alt"), "alt's")
    assert names(apis, token) == set() and apis.call("GET", "/users", token).status_code == 403


@pytest.mark.parametrize("role", ["reader", "member", "admin"])
def test_a_domain_and_no_scope_have_no_networks(apis: Identity, role: str) -> None:
    assert give(apis, role, "/domains/default", "demo") == 204
    made(apis, apis.token("demo"), "demo's")
    for scope in ({"domain": DEFAULT}, "unscoped"):
        token = apis.token("demo", scope=scope)
        for method, body in (("GET", None), ("POST", {"network": {}})):
            answer = asked(apis, token, method, "/networks", body)
            assert answer.status_code == 403 and "token of a project" in answer.text
        assert asked(apis, token, "GET", "/extensions").status_code == 200
        assert apis.call("GET", "/users", token).status_code == 403


def test_roles_on_the_system_below_admin_have_no_networks(apis: Identity) -> None:
    assert give(apis, "reader", "/system", "demo") == 204
    made(apis, apis.token("alt"), "alt's")
    assert asked(apis, apis.token("demo", scope=SYSTEM), "GET", "/networks").status_code == 403


def test_an_operator_may_have_neutrons_rule(identity: Identity) -> None:
    (identity.state / "policy.yaml").write_text('context_is_admin: "role:admin"\n')
    identity.rooms.add("network", network(identity.database, identity.tokens))
    assert give(identity, "admin", on(identity, "demo"), "demo") == 204
    made(identity, identity.token("alt"), "alt's")
    assert names(identity, identity.token("demo")) == {"alt's"}


def test_a_reader_reads(apis: Identity) -> None:
    assert give(apis, "member", on(apis, "demo"), "demo", method="DELETE") == 204
    assert give(apis, "reader", on(apis, "demo"), "demo") == 204
    token = apis.token("demo")
    assert names(apis, token) == set()
    assert asked(apis, token, "POST", "/networks", {"network": {}}).status_code == 403


def test_a_group_is_who_is_in_it(apis: Identity) -> None:
    admin = apis.token()
    group, demo = apis.made("groups", admin, name="staff", description="d"), one(apis, "users", "demo")
    member = f"/groups/{group['id']}/users/{demo}"
    status = [apis.call(m, member, admin).status_code for m in ("HEAD", "PUT", "PUT", "HEAD", "GET")]
    assert status == [404, 204, 204, 204, 204]
    assert [u["name"] for u in apis.listed(f"/groups/{group['id']}/users", admin)] == ["demo"]
    mine = apis.token("demo")
    assert [g["name"] for g in apis.listed(f"/users/{demo}/groups", mine)] == ["staff"]
    assert apis.call("GET", f"/users/{one(apis, 'users', 'alt')}/groups", mine).status_code == 404
    assert apis.call("PUT", member, mine).status_code == apis.call("GET", f"/groups/{group['id']}", mine).status_code == 403
    assert apis.call("PUT", f"/groups/nothing/users/{demo}", admin).status_code == 404
    assert apis.call("PUT", f"/groups/{group['id']}/users/nobody", admin).status_code == 404

    assert give(apis, "member", on(apis, "alt"), group=group["id"]) == 204
    assert {p["name"] for p in apis.listed("/auth/projects", mine)} == {"demo", "alt"}
    there = apis.token("demo", scope={"project": {"name": "alt", "domain": DEFAULT}})
    assert roles(apis, there) == {"member", "reader"}
    made(apis, there, "the group's")
    assert apis.call("DELETE", member, admin).status_code == 204
    assert asked(apis, there, "GET", "/networks").status_code == 401
    assert apis.call("DELETE", member, admin).status_code == 404
    assert apis.login("demo", scope={"project": {"name": "alt", "domain": DEFAULT}}).status_code == 401


def test_a_role_inherited_from_the_domain(apis: Identity) -> None:
    place, end = "/OS-INHERIT/domains/default", "/inherited_to_projects"
    status = [give(apis, "reader", place, "demo", method=m, end=end) for m in ("HEAD", "PUT", "PUT", "HEAD")]
    assert status == [404, 204, 204, 204]
    assert apis.login("demo", scope={"domain": DEFAULT}).status_code == 401  # not on the domain itself
    token = apis.token("demo", scope={"project": {"name": "alt", "domain": DEFAULT}})
    assert roles(apis, token) == {"reader"} and names(apis, token) == set()
    assert {p["name"] for p in apis.listed("/auth/projects", token)} == {"admin", "demo", "alt"}
    [given] = apis.listed("/role_assignments?scope.OS-INHERIT:inherited_to=projects", apis.token())
    assert given["scope"] == {"domain": DEFAULT, "OS-INHERIT:inherited_to": "projects"}
    effective = apis.listed(f"/role_assignments?effective&user.id={one(apis, 'users', 'demo')}", apis.token())
    assert len(effective) == 2 + 3  # member and reader on demo; reader on each project
    assert give(apis, "reader", place, "demo", method="DELETE", end=end) == 204
    assert asked(apis, token, "GET", "/networks").status_code == 401


def test_a_role_implies_another(apis: Identity) -> None:
    admin = apis.token()
    boss = apis.made("roles", admin, name="boss")["id"]
    member, reader = one(apis, "roles", "member"), one(apis, "roles", "reader")
    path = f"/roles/{boss}/implies/{member}"
    assert [apis.call(m, path, admin).status_code for m in ("HEAD", "PUT", "PUT", "HEAD")] == [404, 201, 201, 200]
    said = apis.call("GET", f"/roles/{boss}/implies", admin).json
    assert said is not None and [r["name"] for r in said["role_inference"]["implies"]] == ["member"]
    inferences = apis.listed("/role_inferences", admin)
    assert {(i["prior_role"]["name"], r["name"]) for i in inferences for r in i["implies"]} == {
        ("admin", "member"), ("member", "reader"), ("boss", "member")}
    assert give(apis, "boss", on(apis, "alt"), "demo") == 204
    token = apis.token("demo", scope={"project": {"name": "alt", "domain": DEFAULT}})
    assert roles(apis, token) == {"boss", "member", "reader"}
    apis.call("PUT", f"/roles/{reader}/implies/{boss}", admin)  # a circle ends, too
    assert roles(apis, token) == {"boss", "member", "reader"}
    assert apis.call("PUT", f"/roles/{boss}/implies/{one(apis, 'roles', 'admin')}", admin).status_code == 403
    assert apis.call("PUT", f"/roles/{boss}/implies/nothing", admin).status_code == 404
    made(apis, token, "boss's")
    assert apis.call("DELETE", path, admin).status_code == 204
    assert roles(apis, token) == {"boss"} and asked(apis, token, "GET", "/networks").status_code == 403


Change = Callable[[Identity, str], Any]


@pytest.mark.parametrize(("scope", "prepare", "change", "before", "after"), [
    ("alt", "none", "member of a group", None, {"member", "reader"}),
    ("alt", "in", "group gets admin", {"member", "reader"}, {"admin", "member", "reader"}),
    ("alt", "in", "group loses member", {"member", "reader"}, None),
    ("alt", "in", "group is gone", {"member", "reader"}, None),
    ("alt", "in", "leaves the group", {"member", "reader"}, None),
    ("alt", "in", "group inherits admin", {"member", "reader"}, {"admin", "member", "reader"}),
    ("system", "in", "group gets admin on the system", {"reader"}, {"admin", "member", "reader"}),
])
def test_what_is_remembered_of_a_token_changes_at_once(
    apis: Identity, scope: str, prepare: str, change: str, before: set[str] | None, after: set[str] | None
) -> None:
    admin, demo = apis.token(), one(apis, "users", "demo")
    group = apis.made("groups", admin, name="staff")["id"]
    assert give(apis, "member", on(apis, "alt"), group=group) == 204
    assert give(apis, "reader", "/system", group=group) == 204
    member = f"/groups/{group}/users/{demo}"
    if prepare == "in":
        assert apis.call("PUT", member, admin).status_code == 204
    where = SYSTEM if scope == "system" else {"project": {"name": "alt", "domain": DEFAULT}}
    token = apis.login("demo", scope=where).headers.get("X-Subject-Token", "")
    assert bool(token) == (before is not None)
    if token:
        assert {r["name"] for r in apis.tokens.describe(token)["roles"]} == before  # from now on it is remembered
    assert {
        "member of a group": lambda: apis.call("PUT", member, admin).status_code,
        "leaves the group": lambda: apis.call("DELETE", member, admin).status_code,
        "group is gone": lambda: apis.call("DELETE", f"/groups/{group}", admin).status_code,
        "group gets admin": lambda: give(apis, "admin", on(apis, "alt"), group=group),
        "group loses member": lambda: give(apis, "member", on(apis, "alt"), group=group, method="DELETE"),
        "group gets admin on the system": lambda: give(apis, "admin", "/system", group=group),
        "group inherits admin": lambda: give(apis, "admin", "/OS-INHERIT/domains/default", group=group,
                                             end="/inherited_to_projects"),
    }[change]() == 204
    if after is None:
        assert asked(apis, token, "GET", "/networks").status_code == 401
    else:
        token = token or apis.token("demo", scope=where)
        assert {r["name"] for r in apis.tokens.describe(token)["roles"]} == after


def test_a_domain_takes_its_groups_with_it(apis: Identity) -> None:
    admin = apis.token()
    domain = apis.made("domains", admin, name="other")["id"]
    group = apis.made("groups", admin, name="staff", domain_id=domain)["id"]
    assert give(apis, "member", on(apis, "alt"), group=group) == 204
    assert apis.call("PUT", f"/groups/{group}/users/{one(apis, 'users', 'demo')}", admin).status_code == 204
    taken = apis.call("POST", "/groups", admin, {"group": {"name": "staff", "domain_id": domain}})
    assert taken.status_code == 409
    token = apis.token("demo", scope={"project": {"name": "alt", "domain": DEFAULT}})
    assert apis.call("PATCH", f"/domains/{domain}", admin, {"domain": {"enabled": False}}).status_code == 200
    assert apis.call("DELETE", f"/domains/{domain}", admin).status_code == 204
    assert apis.call("GET", f"/groups/{group}", admin).status_code == 404
    assert asked(apis, token, "GET", "/networks").status_code == 401


def test_from_scope_to_scope_by_a_token(apis: Identity) -> None:
    def rescoped(token: str, scope: Any) -> TestResponse:
        auth = {"identity": {"methods": ["token"], "token": {"id": token}}, "scope": scope}
        return apis.client.post("/identity/v3/auth/tokens", json={"auth": auth})

    token = apis.token(scope="unscoped")
    for scope in ({"project": {"name": "admin", "domain": DEFAULT}}, SYSTEM, {"project": {"name": "admin", "domain": DEFAULT}}):
        answer = rescoped(token, scope)
        assert answer.status_code == 201
        token = answer.headers["X-Subject-Token"]
        assert "admin" in roles(apis, token)
    assert rescoped(token, {"project": {"name": "demo", "domain": DEFAULT}}).status_code == 401
    for wrong in ({"system": {"all": False}}, {"system": {}}, {"system": {"all": True, "more": True}}, {}):
        assert rescoped(token, wrong).status_code == 400


def test_a_service_asks_about_anybodys_token(apis: Identity) -> None:
    admin, alt = apis.token(), apis.token("alt")
    apis.made("roles", admin, name="service")
    demo = apis.token("demo")
    assert apis.call("GET", "/auth/tokens", demo, subject=alt).status_code == 403
    assert give(apis, "service", on(apis, "demo"), "demo") == 204
    shown = apis.call("GET", "/auth/tokens", demo, subject=alt)
    assert shown.status_code == 200 and shown.json is not None and shown.json["token"]["user"]["name"] == "alt"
    assert apis.call("DELETE", "/auth/tokens", demo, subject=alt).status_code == 403
    assert apis.call("HEAD", "/auth/tokens", demo, subject="junk").status_code == 404


def test_assignments_of_groups_are_listed(apis: Identity) -> None:
    admin = apis.token()
    group = apis.made("groups", admin, name="staff")["id"]
    apis.call("PUT", f"/groups/{group}/users/{one(apis, 'users', 'demo')}", admin)
    for place in (on(apis, "alt"), "/domains/default", "/system"):
        assert give(apis, "reader", place, group=group) == 204
        assert [r["name"] for r in apis.listed(f"{place}/groups/{group}/roles", admin)] == ["reader"]
    given = apis.listed(f"/role_assignments?group.id={group}&include_names", admin)
    assert {a["group"]["name"] for a in given} == {"staff"} and len(given) == 3
    spread = apis.listed(f"/role_assignments?effective&user.id={one(apis, 'users', 'demo')}&scope.system", admin)
    assert [a["links"]["membership"].split("/v3")[1] for a in spread] == [f"/groups/{group}/users/{one(apis, 'users', 'demo')}"]
    assert apis.call("GET", f"/role_assignments?effective&group.id={group}", admin).status_code == 400
