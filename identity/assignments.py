"""Who has which role where: given and taken one by one, and seen all together."""

from collections.abc import Callable
from typing import Any

import flask

from identity.description import implied, named
from identity.nouns import Assignment, Role, assignment
from identity.tokens import Scope
from unryu.db import Tx
from unryu.errors import BadRequest, Forbidden, NotFound
from unryu.rest import Api

FILTERS = {"user.id": "user_id", "role.id": "role_id", "scope.project.id": "on_project", "scope.domain.id": "on_domain"}
WORDS = {"include_names", "effective", "include_subtree", "scope.system", "group.id"}


def administrator(api: Api) -> None:
    if not api.context.is_admin:
        raise Forbidden("Only an administrator may do this.")


def routes(api: Api, url: Callable[[], str]) -> None:
    for place, kind in (("projects/<target>", "project"), ("domains/<target>", "domain"), ("system", "system")):
        _grants(api, f"{api.dialect.prefix}/{place}/users/<user_id>/roles", kind)

    @api.app.get(f"{api.dialect.prefix}/role_assignments")
    def list_role_assignments() -> Any:
        administrator(api)
        args = flask.request.args
        if unknown := set(args) - set(FILTERS) - WORDS:
            raise BadRequest(f"Role assignments cannot be filtered by '{min(unknown)}'.")
        with api.database.reading() as tx:
            found = tx.where("assignment", **{FILTERS[a]: args[a] for a in args if a in FILTERS})
            if "group.id" in args:
                found = []  # there are no groups
            if "scope.system" in args:
                found = [a for a in found if not (a.on_project or a.on_domain)]
            views = _views(tx, found, url(), names=_given("include_names"), effective=_given("effective"))
        return {"role_assignments": views, "links": {"self": flask.request.url, "next": None, "previous": None}}


def _given(flag: str) -> bool:
    """As the reference service reads it: there, and not 0."""
    return flask.request.args.get(flag, "0").lower() not in ("0", "false")


def _grants(api: Api, rule: str, kind: str) -> None:
    def words(tx: Tx, user_id: str, target: str, role_id: str = "") -> Scope:
        """The scope that a URL names; all in it must be there."""
        for of, id in (("user", user_id), (kind, target), ("role", role_id)):
            if id and of != "system":
                tx.need(of, id)
        return kind, target

    def give(user_id: str, role_id: str, target: str = "all") -> Any:
        administrator(api)
        with api.database.transaction(api.context) as tx:
            record = assignment(user_id, role_id, words(tx, user_id, target, role_id))
            if tx.get("assignment", record.id) is None:
                tx.insert(record)
        return "", 204

    def take(user_id: str, role_id: str, target: str = "all") -> Any:
        administrator(api)
        with api.database.transaction(api.context) as tx:
            tx.delete(_held(tx, user_id, role_id, words(tx, user_id, target, role_id)))
        return "", 204

    def check(user_id: str, role_id: str, target: str = "all") -> Any:
        administrator(api)
        with api.database.reading() as tx:
            _held(tx, user_id, role_id, words(tx, user_id, target, role_id))
        return "", 204

    def show(user_id: str, target: str = "all") -> Any:
        administrator(api)
        with api.database.reading() as tx:
            words(tx, user_id, target)
            given = [a.role_id for a in tx.where("assignment", user_id=user_id) if _scope(a) == (kind, target)]
            views = api.views(tx, Role, tx.where("role", id=given))
        return {"roles": views, "links": {"self": flask.request.url, "next": None, "previous": None}}

    api.app.add_url_rule(f"{rule}/<role_id>", f"give_role_on_{kind}", give, methods=["PUT"])
    api.app.add_url_rule(f"{rule}/<role_id>", f"take_role_on_{kind}", take, methods=["DELETE"])
    api.app.add_url_rule(f"{rule}/<role_id>", f"check_role_on_{kind}", check, methods=["GET"])
    api.app.add_url_rule(rule, f"list_roles_on_{kind}", show, methods=["GET"])


def _held(tx: Tx, user_id: str, role_id: str, scope: Scope) -> Any:
    record = tx.get("assignment", assignment(user_id, role_id, scope).id)
    if record is None:
        raise NotFound(f"User {user_id} does not have the role {role_id} there.")
    return record


def _scope(given: Assignment) -> Scope:
    if given.on_project:
        return "project", given.on_project
    return ("domain", given.on_domain) if given.on_domain else ("system", "all")


def _views(tx: Tx, found: list[Any], url: str, names: bool, effective: bool) -> list[dict[str, Any]]:
    """As the API reference shows them. `effective`: with the roles that a role implies, each an entry."""
    records = {(kind, r.id): r for kind in ("user", "role", "project", "domain") for r in tx.where(kind)} if found else {}
    ids = {r.name: r.id for (kind, _), r in records.items() if kind == "role"}

    def view(kind: str, id: str) -> dict[str, Any]:
        record = records[kind, id]
        if not names:
            return {"id": id}
        domain = getattr(record, "domain_id", None)
        return named(record) | ({"domain": named(records["domain", domain])} if domain else {})

    views = []
    for given in found:
        kind, target = _scope(given)
        scope: dict[str, Any] = {"system": {"all": True}} if kind == "system" else {kind: view(kind, target)}
        place = "system" if kind == "system" else f"{kind}s/{target}"
        link = f"{url}/{place}/users/{given.user_id}/roles/{given.role_id}"
        for role_id in _roles_of(given.role_id, records["role", given.role_id].name, ids) if effective else [given.role_id]:
            views.append({"user": view("user", given.user_id), "role": view("role", role_id), "scope": scope,
                          "links": {"assignment": link}})
    return views


def _roles_of(id: str, name: str, ids: dict[str, str]) -> list[str]:
    return [id, *(ids[also] for also in sorted(implied([name]) - {name}) if also in ids)]
