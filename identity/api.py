"""Identity API v3: our nouns in its dialect, tokens, assignments, catalogue and versions."""

from http import HTTPStatus
from typing import Any

import flask

from identity import assignments, groups
from identity.auth import own_routes, token_routes
from identity.catalog import Catalog
from identity.login import Login
from identity.settings import IdentitySettings
from identity.tokens import Keys, keys_folder
from unryu.auth import Tokens
from unryu.db import Database
from unryu.errors import Fault, NotFound
from unryu.resource import Resource
from unryu.rest import Api, Dialect, described, openapi

PREFIX = "/v3"
VERSION = {
    "id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
    "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
}


def fault(error: Fault) -> dict[str, Any]:
    return {"error": {"code": error.status, "title": HTTPStatus(error.status).phrase, "message": error.sentence}}


def links(noun: type[Resource], page: str, following: str | None) -> dict[str, Any]:
    return {"links": {"self": page, "next": following, "previous": None}}


def item(record: Resource) -> dict[str, Any]:
    return {"links": {"self": f"{url()}{record.path}/{record.id}"}}


def url() -> str:
    """Of this API, as the caller spells it."""
    return flask.request.host_url.rstrip("/") + flask.request.script_root + PREFIX


DIALECT = Dialect(prefix=PREFIX, update="PATCH", fault=fault, links=links, aliases={}, item=item)


def application(database: Database, tokens: Tokens) -> Any:
    settings = IdentitySettings.read()
    api = Api("identity", DIALECT, database, tokens)
    catalog = Catalog(settings)
    keys = Keys(keys_folder())
    login = Login(database, keys, settings.token_lifetime)
    _version_routes(api)
    token_routes(api, keys, login, catalog)
    own_routes(api, login, catalog)
    assignments.routes(api, url)
    groups.routes(api)
    _catalog_routes(api, "services", "service", catalog.services)
    _catalog_routes(api, "endpoints", "endpoint", catalog.endpoints)
    _catalog_routes(api, "regions", "region", catalog.regions)
    openapi.serve(api, "Identity API")
    return api.app


def _version_routes(api: Api) -> None:
    def version() -> dict[str, Any]:
        return {**VERSION, "links": [{"rel": "self", "href": url() + "/"}]}

    link = {"rel": str, "href": str}
    drawn = {"id": str, "status": str, "updated": str, "media-types": [{"base": str, "type": str}], "links": [link]}

    @api.app.get("/")
    @described("List the versions of this API.", answers={300: {"versions": {"values": [drawn]}}}, public=True)
    def list_versions() -> Any:
        return {"versions": {"values": [version()]}}, 300

    @api.app.get(PREFIX)
    @described("Show this version.", answers={200: {"version": drawn}}, public=True)
    def show_version() -> Any:
        return {"version": version()}


def _catalog_routes(api: Api, plural: str, kind: str, items: list[dict[str, Any]]) -> None:
    """Read only, for now: what the settings say."""

    def shown(entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "links": {"self": f"{url()}/{plural}/{entry['id']}"}}

    drawn = {**items[0], "links": {"self": str}}

    @described(f"List the {plural}.", query=dict.fromkeys(items[0], str),
               answers={200: {plural: [drawn], "links": assignments.PAGE}})
    def list_all() -> Any:
        assignments.administrator(api)
        wanted = {k: v for k, v in flask.request.args.items() if k in items[0]}
        found = [shown(e) for e in items if all(str(e[k]) == v for k, v in wanted.items())]
        return assignments.page(**{plural: found})

    @described(f"Show one {kind}.", answers={200: {kind: drawn}})
    def show(id: str) -> Any:
        assignments.administrator(api)
        found = next((e for e in items if e["id"] == id), None)
        if found is None:
            raise NotFound(f"There is no {kind} {id}.")
        return {kind: shown(found)}

    api.app.add_url_rule(f"{PREFIX}/{plural}", f"list_{kind}", list_all)
    api.app.add_url_rule(f"{PREFIX}/{plural}/<id>", f"show_{kind}", show)
