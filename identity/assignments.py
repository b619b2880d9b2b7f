"""Who has which role where: given and taken one by one, and seen all together; and which role implies which."""

from collections.abc import Callable, Iterable
from typing import Any

import flask

from identity.description import named
from identity.nouns import Actor, Assignment, Implication, Role, Scope, assignment
from identity.roles import effective
from unryu.db import Tx
from unryu.errors import BadRequest, Forbidden, NotFound
from unryu.resource import Resource
from unryu.rest import Api, Plain, described
from unryu.rest.query import Query

FILTERS = {"user.id": "user_id", "group.id": "group_id", "role.id": "role_id", "scope.project.id": "on_project",
           "scope.domain.id": "on_domain"}
FLAGS = {"include_names", "effective", "include_subtree", "scope.system", "scope.OS-INHERIT:inherited_to"}


def administrator(api: Api) -> None:
    if not api.context.is_admin:
        raise Forbidden("Only an administrator may do this.")


def page(**items: Any) -> dict[str, Any]:
    """A list that has one page."""
    return {**items, "links": {"self": flask.request.url, "next": None, "previous": None}}


PAGE = {"self": str, "next": None, "previous": None}
"""The links of such a list, for the document."""


def listed(api: Api, tx: Tx, noun: type[Resource], ids: Iterable[str]) -> dict[str, Any]:
    """Those of a noun with these ids, filtered and in pages as any list of the noun."""
    query = Query(noun, api.dialect.aliases, flask.request.args, api.context)
    return api.page(tx, query, noun.table.c.id.in_(list(ids)))


def routes(api: Api, url: Callable[[], str]) -> None:
    prefix = api.dialect.prefix
    for who in ("user", "group"):
        roles = f"{who}s/<actor>/roles"
        _grants(api, f"{prefix}/projects/<target>/{roles}", "", who, "project")
        _grants(api, f"{prefix}/domains/<target>/{roles}", "", who, "domain")
        _grants(api, f"{prefix}/system/{roles}", "", who, "system")
        _grants(api, f"{prefix}/OS-INHERIT/domains/<target>/{roles}", "/inherited_to_projects", who, "domain")
    _implications(api, url)

    one = Plain({"type": "object", "required": ["role", "scope", "links"]})

    @api.app.get(f"{prefix}/role_assignments")
    @described("List who has which role where.", query=dict.fromkeys([*FILTERS, *sorted(FLAGS)], str),
               answers={200: {"role_assignments": [one], "links": PAGE}})
    def list_role_assignments() -> Any:
        administrator(api)
        args = flask.request.args
        if unknown := set(args) - set(FILTERS) - FLAGS:
            raise BadRequest(f"Role assignments cannot be filtered by '{min(unknown)}'.")
        wanted: dict[str, Any] = {FILTERS[a]: args[a] for a in args if a in FILTERS}
        if "scope.system" in args:
            wanted["on_system"] = "all"
        if "scope.OS-INHERIT:inherited_to" in args:
            wanted["inherited"] = True
        spread = _given("effective")
        if spread and "group_id" in wanted:
            raise BadRequest("Effective assignments are of users: they cannot be filtered by a group.")
        with api.database.reading() as tx:
            if spread:
                found = [(a, made) for a, made in effective(tx, tx.where("assignment"))
                         if all(getattr(a, name) == value for name, value in wanted.items())]
            else:
                found = [(made, made) for made in tx.where("assignment", **wanted)]
            views = _views(tx, found, url(), names=_given("include_names"))
        return page(role_assignments=views)


def _given(flag: str) -> bool:
    """As the reference service reads it: there, and not 0."""
    return flask.request.args.get(flag, "0").lower() not in ("0", "false")


def _grants(api: Api, rule: str, end: str, who: str, kind: str) -> None:
    """The routes of one kind of actor in one kind of place."""
    inherited = bool(end)

    def words(tx: Tx, actor: str, target: str, role_id: str = "") -> tuple[Actor, Scope]:
        """What a URL names; all of it must be there."""
        for of, id in ((who, actor), (kind, target), ("role", role_id)):
            if id and of != "system":
                tx.need(of, id)
        return (who, actor), (kind, target)

    def held(tx: Tx, actor: str, role_id: str, target: str) -> Assignment:
        by, place = words(tx, actor, target, role_id)
        record: Assignment | None = tx.get("assignment", assignment(by, role_id, place, inherited).id)
        if record is None:
            raise NotFound(f"The {who} {actor} does not have the role {role_id} there.")
        return record

    there = f"on {'the system' if kind == 'system' else f'every project in a {kind}' if inherited else f'a {kind}'}"

    @described(f"Give a {who} a role {there}.", answers={204: None})
    def give(actor: str, role_id: str, target: str = "all") -> Any:
        administrator(api)
        with api.database.transaction(api.context) as tx:
            by, place = words(tx, actor, target, role_id)
            record = assignment(by, role_id, place, inherited)
            if tx.get("assignment", record.id) is None:
                tx.insert(record)
        return "", 204

    @described(f"Take a role {there} from a {who}.", answers={204: None})
    def take(actor: str, role_id: str, target: str = "all") -> Any:
        administrator(api)
        with api.database.transaction(api.context) as tx:
            tx.delete(held(tx, actor, role_id, target))
        return "", 204

    @described(f"Ask whether a {who} was given a role {there}.", answers={204: None})
    def check(actor: str, role_id: str, target: str = "all") -> Any:
        administrator(api)
        with api.database.reading() as tx:
            held(tx, actor, role_id, target)
        return "", 204

    @described(f"List the roles that a {who} was given {there}.", answers={200: {"roles": [Role], "links": PAGE}})
    def show(actor: str, target: str = "all") -> Any:
        administrator(api)
        with api.database.reading() as tx:
            words(tx, actor, target)
            given = tx.where("assignment", **{f"{who}_id": actor, f"on_{kind}": target}, inherited=inherited)
            return page(roles=api.views(tx, Role, tx.where("role", id={a.role_id for a in given})))

    name = f"{'inherited_' if inherited else ''}role_of_{who}_on_{kind}"
    for method, view in (("PUT", give), ("DELETE", take), ("GET", check)):
        api.app.add_url_rule(f"{rule}/<role_id>{end}", f"{view.__name__}_{name}", view, methods=[method])
    api.app.add_url_rule(rule + end, f"show_{name}", show, methods=["GET"])


def _views(tx: Tx, found: list[tuple[Assignment, Assignment]], url: str, names: bool) -> list[dict[str, Any]]:
    """As the API reference shows them, each (as it comes to be, as it was made)."""
    kinds = ("user", "group", "role", "project", "domain") if found and names else ()
    records = {(kind, r.id): r for kind in kinds for r in tx.where(kind)}

    def view(kind: str, id: str) -> dict[str, Any]:
        if not names:
            return {"id": id}
        record = records[kind, id]
        domain = getattr(record, "domain_id", None)
        return named(record) | ({"domain": named(records["domain", domain])} if domain else {})

    views = []
    for one, made in found:
        kind, target = one.scope
        scope: dict[str, Any] = {"system": {"all": True}} if kind == "system" else {kind: view(kind, target)}
        if made.inherited:
            scope["OS-INHERIT:inherited_to"] = "projects"
        links = {"assignment": f"{url}{_path(made)}"}
        if one.actor != made.actor:
            links["membership"] = f"{url}/groups/{made.group_id}/users/{one.user_id}"
        if one.role_id != made.role_id:
            links["prior_role"] = f"{url}/roles/{made.role_id}"
        views.append({one.actor[0]: view(*one.actor), "role": view("role", one.role_id), "scope": scope, "links": links})
    return views


def _path(made: Assignment) -> str:
    (who, actor), (kind, target) = made.actor, made.scope
    place = "system" if kind == "system" else f"{kind}s/{target}"
    path = f"/{place}/{who}s/{actor}/roles/{made.role_id}"
    return f"/OS-INHERIT{path}/inherited_to_projects" if made.inherited else path


def _implications(api: Api, url: Callable[[], str]) -> None:
    rule = f"{api.dialect.prefix}/roles/<prior>/implies"

    drawn = {"id": str, "name": str, "links": {"self": str}}
    several = {"prior_role": drawn, "implies": [drawn]}
    pair = {"role_inference": {"prior_role": drawn, "implies": drawn}}

    def view(role: Role) -> dict[str, Any]:
        return {**named(role), "links": {"self": f"{url()}/roles/{role.id}"}}

    def found(tx: Tx, prior: str, implied: str) -> tuple[Role, Role, list[Implication]]:
        return tx.need("role", prior), tx.need("role", implied), tx.where("implication", prior_id=prior, implied_id=implied)

    def answer(prior: Role, implied: Role) -> dict[str, Any]:
        return {"role_inference": {"prior_role": view(prior), "implies": view(implied)}}

    @described("Let a role imply another: who has the one has the other.", answers={201: pair})
    def imply(prior: str, implied: str) -> Any:
        administrator(api)
        with api.database.transaction(api.context) as tx:
            one, other, there = found(tx, prior, implied)
            if other.name == "admin":
                raise Forbidden("No role implies admin: it is given by name only.")
            if not there:
                tx.insert(Implication(prior_id=prior, implied_id=implied))
        return answer(one, other), 201

    @described("Ask whether a role implies another.", answers={200: pair})
    def show(prior: str, implied: str) -> Any:
        administrator(api)
        with api.database.reading() as tx:
            one, other, there = found(tx, prior, implied)
            if not there:
                raise NotFound(f"Role {prior} does not imply role {implied}.")
            return answer(one, other)

    @described("Let a role imply another no more.", answers={204: None})
    def stop(prior: str, implied: str) -> Any:
        administrator(api)
        with api.database.transaction(api.context) as tx:
            _, _, there = found(tx, prior, implied)
            if not there:
                raise NotFound(f"Role {prior} does not imply role {implied}.")
            tx.delete(there[0])
        return "", 204

    def inference(tx: Tx, prior: Role) -> dict[str, Any]:
        ids = {i.implied_id for i in tx.where("implication", prior_id=prior.id)}
        return {"prior_role": view(prior), "implies": [view(role) for role in tx.where("role", id=ids)]}

    @described("List the roles that a role implies.", answers={200: {"role_inference": several, "links": {"self": str}}})
    def list_of_one(prior: str) -> Any:
        administrator(api)
        with api.database.reading() as tx:
            return {"role_inference": inference(tx, tx.need("role", prior)), "links": {"self": flask.request.url}}

    @described("List which roles imply which.", answers={200: {"role_inferences": [several], "links": {"self": str}}})
    def list_all() -> Any:
        administrator(api)
        with api.database.reading() as tx:
            inferences = [inference(tx, role) for role in tx.where("role")]
        return {"role_inferences": [i for i in inferences if i["implies"]], "links": {"self": flask.request.url}}

    for method, view_of in (("PUT", imply), ("GET", show), ("DELETE", stop)):
        api.app.add_url_rule(f"{rule}/<implied>", f"{view_of.__name__}_implied_role", view_of, methods=[method])
    api.app.add_url_rule(rule, "list_implied_roles", list_of_one, methods=["GET"])
    api.app.add_url_rule(f"{api.dialect.prefix}/role_inferences", "list_role_inferences", list_all, methods=["GET"])
