"""A service's WSGI application: the verbs over its nouns, on Flask, in its dialect."""

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import flask
import sqlalchemy as sa
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from unryu import auth, metrics
from unryu.auth import Context, Policy
from unryu.db import Database, Tx
from unryu.errors import BadRequest, Deadlock, Fault, MethodNotAllowed, NotFound, TooLarge
from unryu.logs import log
from unryu.resource import Resource, nouns, parts_of
from unryu.rest import batch, parts, tags
from unryu.rest.body import MOST, placed, read, validate
from unryu.rest.query import Query
from unryu.rest.write import create, delete, update
from unryu.scope import granted, seen, visible_rows
from unryu.sentences import not_found

MAX_BODY = 1 << 20  # bytes: 1,000 ports in one call take a third of it
BEGINNINGS = 5  # times that a call begins when each ends in a deadlock


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What differs between OpenStack's services on the wire."""

    prefix: str
    update: str
    """HTTP method of an update: PUT, PATCH."""
    fault: Callable[[Fault], dict[str, Any]]
    links: Callable[[type[Resource], str, str | None], dict[str, Any]]
    """(noun, this page's URL, next page's URL or None) → what a list says beside its items."""
    aliases: dict[str, str]
    """Attributes with two names on the wire, `tenant_id` → `project_id`."""
    tags: bool = False
    """Tags below every noun."""
    transactions: bool = False
    """Several nouns in one call."""
    item: Callable[[Resource], dict[str, Any]] = lambda record: {}
    """What every item says beside its attributes: a link to itself."""


class Api:
    """A service's WSGI application: `Api("network", dialect, database, tokens).app`."""

    def __init__(self, service: str, dialect: Dialect, database: Database, tokens: auth.Tokens) -> None:
        self.service = service
        self.dialect = dialect
        self.database = database
        self.tokens = tokens
        self.served = [n for n in nouns.values() if n.service == service and n.path]
        self.policy = Policy(self.served)
        self.app = _App(service, static_folder=None)
        self.app.json = _Json(self.app)
        self.app.url_map.strict_slashes = False
        self.app.url_map.merge_slashes = False  # an id that is empty is no other place
        self.app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
        self.app.before_request(self._before)
        self.app.after_request(self._after)
        self.app.register_error_handler(Fault, self._fault)
        self.app.register_error_handler(HTTPException, self._http_fault)
        self.app.register_error_handler(Exception, self._crash)
        for noun in self.served:
            self._routes(noun)
            parts.routes(self, noun)
            if "tags" in noun.fields and dialect.tags:
                tags.routes(self, noun)
        if dialect.transactions:
            batch.routes(self)

    @property
    def context(self) -> Context:
        """Who asks; identity is asked at the first use within a request."""
        if "context" not in flask.g:
            flask.g.context = self.policy.context(self.tokens, flask.request.headers.get("X-Auth-Token"), flask.g.request_id)
        return flask.g.context

    def _routes(self, noun: type[Resource]) -> None:
        collection, member = self.dialect.prefix + noun.path, f"{self.dialect.prefix}{noun.path}/<id>"

        def route(rule: str, method: str, verb: str, view: Callable[..., Any]) -> None:
            if verb in noun.verbs:
                self.app.add_url_rule(rule, f"{verb}_{noun.kind}", view, methods=[method])

        route(collection, "GET", "list", lambda **within: self._list(noun, within))
        route(collection, "POST", "create", lambda **within: self._create(noun, within))
        route(member, "GET", "show", lambda id, **within: self._show(noun, id, within))
        route(member, self.dialect.update, "update", lambda id, **within: self._update(noun, id, within))
        route(member, "DELETE", "delete", lambda id, **within: self._delete(noun, id, within))

    # the verbs; `within`: what the path says beside the id

    def _list(self, noun: type[Resource], within: dict[str, str]) -> Any:
        context = self.context
        self.policy.check(context, "list", noun.kind)
        query = Query(noun, self.dialect.aliases, flask.request.args, context)
        with self.database.reading() as tx:
            for name, above in within.items():
                seen(tx, noun.fields[name].ref or "", above, context)
            page = self.page(tx, query, sa.and_(visible_rows(noun, context), *(noun.table.c[n] == v for n, v in within.items())))
            lacking = self._lacking(tx, query)
        if not lacking:
            return page
        with self.database.transaction(context) as tx:
            for kind, project_id in lacking:
                tx.default(kind, project_id)
        return self._list(noun, within)

    def page(self, tx: Tx, query: Query, among: Any) -> dict[str, Any]:
        """The page that a list request asks for, of the rows that this condition of SQL leaves."""
        records, more = query.run(tx, among)
        views = self.views(tx, query.noun, records, query.fields)
        following = query.next_url(flask.request.base_url, records[-1].id) if more else None
        return {query.noun.plural: views, **self.dialect.links(query.noun, flask.request.url, following)}

    def _lacking(self, tx: Tx, query: Query) -> list[tuple[str, str]]:
        """(kind, project) of what whoever looks must find from the start: his own, or what an administrator asks about."""
        asked = query.filters.get("project_id", [])
        project_id = asked[0] if len(asked) == 1 and self.context.is_admin else self.context.project_id
        kinds = [query.noun.kind, *(f.ref or "" for f in query.noun.fields.values() if f.part)]
        return [(kind, project_id) for kind in kinds
                if project_id and nouns[kind].default_if and not tx.find_default(kind, project_id)]

    def _show(self, noun: type[Resource], id: str, within: dict[str, str]) -> Any:
        context = self.context
        self.policy.check(context, "show", noun.kind)
        with self.database.reading() as tx:
            record = self._found(tx, noun, id, within)
            [view] = self.views(tx, noun, [record], set(flask.request.args.getlist("fields")))
        return {noun.word: view}

    def _found(self, tx: Tx, noun: type[Resource], id: str, within: dict[str, str]) -> Any:
        """The record, if it is where the path says."""
        record = seen(tx, noun.kind, id, self.context)
        if any(getattr(record, name) != above for name, above in within.items()):
            raise not_found(noun.kind, id)
        return record

    def _create(self, noun: type[Resource], within: dict[str, str]) -> Any:
        context = self.context
        self.policy.check(context, "create", noun.kind)
        body = self.body()
        if set(body) == {noun.plural} and isinstance(body[noun.plural], list) and body[noun.plural]:
            items, many = body[noun.plural], True
            if len(items) > MOST:
                raise TooLarge(f"{len(items)} {noun.plural} in one call are more than {MOST}.")
        else:
            items, many = [_unwrap(body, noun.word)], False
        given = [validate(noun, "create", placed(noun, self.rename(item), within), context) for item in items]
        with self.database.transaction(context, many=many) as tx:
            views = self.views(tx, noun, create(tx, noun, given, context))
        return ({noun.plural: views} if many else {noun.word: views[0]}), 201

    def _update(self, noun: type[Resource], id: str, within: dict[str, str]) -> Any:
        context = self.context
        self.policy.check(context, "update", noun.kind)
        values = validate(noun, "update", self.rename(_unwrap(self.body(), noun.word)), context)
        with self.database.transaction(context) as tx:
            self._found(tx, noun, id, within)
            record = update(tx, noun, id, values, context, flask.request.headers.get("If-Match"))
            [view] = self.views(tx, noun, [record])
        return {noun.word: view}

    def _delete(self, noun: type[Resource], id: str, within: dict[str, str]) -> Any:
        context = self.context
        self.policy.check(context, "delete", noun.kind)
        with self.database.transaction(context) as tx:
            self._found(tx, noun, id, within)
            delete(tx, noun, id, context, flask.request.headers.get("If-Match"))
        return "", 204

    # the wire

    def views(self, tx: Tx, noun: type[Resource], records: list[Any], fields: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Records as the caller may see them."""
        context, aliases = self.context, self.dialect.aliases
        shown = [(f.wire, n) for n, f in noun.fields.items() if f.seen and (context.is_admin or not f.hidden)]
        if fields:
            wanted = {*fields, *(name for alias, name in aliases.items() if alias in fields)}
            shown = [(wire, name) for wire, name in shown if wire in wanted]
        computed = noun.computed(tx, records, context)
        shared = self._granted(tx, noun, records)
        held = {child.plural: self._parts(tx, child, part.name, records) for child, part in parts_of(noun.kind)}
        views = []
        for record in records:
            values = record.__dict__
            view = {wire: values[name] for wire, name in shown}
            view |= computed.get(record.id, {}) | self.dialect.item(record) | shared.get(record.id, {})
            view |= {plural: each[record.id] for plural, each in held.items()}
            view |= {alias: view[name] for alias, name in aliases.items() if name in view}
            views.append({k: v for k, v in view.items() if k in fields} if fields else view)
        return views

    def _granted(self, tx: Tx, noun: type[Resource], records: list[Any]) -> dict[str, dict[str, bool]]:
        """What a grant shows to the caller is shared, in the caller's eyes; asked only of what belongs to others."""
        said: dict[str, dict[str, bool]] = {}
        for attribute in noun.visible_if if noun.visible_by else ():
            foreign = [r.id for r in records if r.project_id != self.context.project_id and not getattr(r, attribute)]
            for id in granted(tx, noun, foreign, self.context, attribute) if foreign else ():
                said.setdefault(id, {})[noun.fields[attribute].wire] = True
        return said

    def _parts(self, tx: Tx, child: type[Resource], attribute: str, records: list[Any]) -> dict[str, list[Any]]:
        """Of each record its parts, as the caller may see them: one query for the page."""
        found = tx.where(child.kind, **{attribute: [r.id for r in records]}) if records else []
        each: dict[str, list[Any]] = {record.id: [] for record in records}
        for part, view in zip(found, self.views(tx, child, found), strict=True):
            each[getattr(part, attribute)].append(view)
        return each

    def body(self) -> dict[str, Any]:
        return read(flask.request.get_data(), flask.request.mimetype)

    def rename(self, item: Any) -> Any:
        """A body whose second names (`tenant_id`) are the first ones."""
        if not isinstance(item, dict):
            return item
        for alias, name in self.dialect.aliases.items():
            if alias in item:
                rest = {k: v for k, v in item.items() if k != alias}
                if rest.setdefault(name, item[alias]) != item[alias]:
                    raise BadRequest(f"{alias} and {name} are the same, and here they differ.")
                item = rest
        return item

    def _before(self) -> None:
        flask.g.started = time.perf_counter()
        given = flask.request.headers.get("X-Openstack-Request-Id", "")
        flask.g.request_id = given if _is_request_id(given) else f"req-{uuid.uuid4()}"
        # The databases disagree about it, so it goes no further.
        if "\0" in flask.request.path:
            raise NotFound("Nothing here has a NUL character in its name.")
        if b"%00" in flask.request.query_string:
            raise BadRequest("An argument contains a NUL character.")

    def _after(self, response: flask.Response) -> flask.Response:
        response.headers["X-Openstack-Request-Id"] = flask.g.request_id
        seconds = time.perf_counter() - flask.g.started
        # The endpoint, not the path: a label must not take values that a caller makes up.
        endpoint = flask.request.endpoint or "none"
        metrics.requests.labels(self.service, flask.request.method, endpoint, response.status_code).inc()
        metrics.latency.labels(self.service, flask.request.method, endpoint).observe(seconds)
        known = flask.g.get("context")
        log.info("request", service=self.service, method=flask.request.method, path=flask.request.path,
                 status=response.status_code, ms=round(seconds * 1000, 1), request_id=flask.g.request_id,
                 user=known.user_id if known else None, project=known.project_id if known else None)
        return response

    def _fault(self, fault: Fault) -> Any:
        response = flask.jsonify(self.dialect.fault(fault))
        response.status_code = fault.status
        if fault.status == 401:
            response.headers["WWW-Authenticate"] = f'Keystone uri="{flask.request.host_url}identity"'
        return response

    def _http_fault(self, error: HTTPException) -> Any:
        """What werkzeug refuses before a verb is asked."""
        allowed = sorted(getattr(error, "valid_methods", None) or ())
        if error.code == 413:
            return self._fault(TooLarge(f"The body is larger than {MAX_BODY} bytes."))
        if error.code == 405:
            response = self._fault(MethodNotAllowed(f"{flask.request.method} cannot be done here, only {', '.join(allowed)}."))
            response.headers["Allow"] = ", ".join(allowed)
            return response
        fault = Fault(error.description or error.name, (error.name or "Error").replace(" ", ""))
        fault.status = error.code or 500
        return self._fault(fault)

    def _crash(self, error: Exception) -> Any:
        log.error("request failed", service=self.service, path=flask.request.path, request_id=flask.g.request_id,
                  exc_info=error)
        return self._fault(Fault(f"An unexpected error; the log has it under {flask.g.request_id}."))


class _Rule(Rule):
    """A route that is found, and never asked for its URL: the code that werkzeug writes to answer that took most of an API's
    start, and of each test that has one of its own."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _no_url


def _no_url(rule: Rule, **values: Any) -> tuple[str, str]:
    raise NotImplementedError(f"{rule} tells no URLs")


class _App(flask.Flask):
    url_rule_class = _Rule

    def dispatch_request(self) -> Any:
        for _ in range(BEGINNINGS - 1):
            try:
                return super().dispatch_request()
            except Deadlock:
                log.info("begun again after a deadlock", request_id=flask.g.request_id)
        return super().dispatch_request()


class _Json(flask.json.provider.DefaultJSONProvider):
    sort_keys = False
    compact = True


def _is_request_id(given: str) -> bool:
    return given.startswith("req-") and len(given) == 40 and given.isascii() and given[4:].replace("-", "").isalnum()


def _unwrap(body: dict[str, Any], word: str) -> Any:
    if set(body) != {word}:
        raise BadRequest(f"The body must be an object with the one key '{word}'.")
    return body[word]
