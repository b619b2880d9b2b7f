"""The verbs over any Resource, on Flask: list, show, create (one or many), update, delete, in a service's dialect."""

import json
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import flask
import pydantic
import sqlalchemy as sa
from werkzeug.exceptions import HTTPException

from unryu import auth, errors, metrics
from unryu.auth import Context, Policy
from unryu.db import Database, Tx, class_name, not_found
from unryu.errors import BadRequest, Fault, Forbidden, PreconditionFailed, TooLarge
from unryu.logs import log
from unryu.resource import Field, Resource, between, new_id, nouns

MAX_BODY = 1 << 20  # bytes: 1,000 ports in one call take a third of it
MAX_LIMIT = 10_000
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


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
        self.app = flask.Flask(service, static_folder=None)
        self.app.json = _Json(self.app)
        self.app.url_map.strict_slashes = False
        self.app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
        self.app.before_request(self._before)
        self.app.after_request(self._after)
        self.app.register_error_handler(Fault, self._fault)
        self.app.register_error_handler(HTTPException, lambda e: self._fault(_http_fault(e)))
        self.app.register_error_handler(Exception, self._crash)
        for noun in self.served:
            self._routes(noun)

    @property
    def context(self) -> Context:
        """Who asks; identity is asked at the first use within a request."""
        if "context" not in flask.g:
            flask.g.context = auth.context(self.tokens, flask.request.headers.get("X-Auth-Token"), flask.g.request_id)
        return flask.g.context

    def _routes(self, noun: type[Resource]) -> None:
        collection, member = self.dialect.prefix + noun.path, f"{self.dialect.prefix}{noun.path}/<id>"

        def route(rule: str, method: str, verb: str, view: Callable[..., Any]) -> None:
            if verb in noun.verbs:
                self.app.add_url_rule(rule, f"{verb}_{noun.kind}", view, methods=[method])

        route(collection, "GET", "list", lambda: self._list(noun))
        route(collection, "POST", "create", lambda: self._create(noun))
        route(member, "GET", "show", lambda id: self._show(noun, id))
        route(member, self.dialect.update, "update", lambda id: self._update(noun, id))
        route(member, "DELETE", "delete", lambda id: self._delete(noun, id))

    # the verbs

    def _list(self, noun: type[Resource]) -> Any:
        context = self.context
        self.policy.check(context, "list", noun.kind)
        query = _Query(noun, self.dialect.aliases, flask.request.args, context)
        with self.database.reading() as tx:
            records, more = query.run(tx, visible_rows(noun, context))
            views = self.views(tx, noun, records, query.fields)
        page = flask.request.url
        following = query.next_url(flask.request.base_url, records[-1].id) if more else None
        return {noun.plural: views, **self.dialect.links(noun, page, following)}

    def _show(self, noun: type[Resource], id: str) -> Any:
        context = self.context
        self.policy.check(context, "show", noun.kind)
        with self.database.reading() as tx:
            record = seen(tx, noun.kind, id, context)
            [view] = self.views(tx, noun, [record], set(flask.request.args.getlist("fields")))
        return {noun.kind: view}

    def _create(self, noun: type[Resource]) -> Any:
        context = self.context
        self.policy.check(context, "create", noun.kind)
        body = self.body()
        if set(body) == {noun.plural} and isinstance(body[noun.plural], list) and body[noun.plural]:
            items, many = body[noun.plural], True
        else:
            items, many = [_unwrap(body, noun.kind)], False
        given = [validate(noun, "create", self._rename(item), context) for item in items]
        with self.database.transaction(context) as tx:
            views = self.views(tx, noun, [create(tx, noun, values, context) for values in given])
        return ({noun.plural: views} if many else {noun.kind: views[0]}), 201

    def _update(self, noun: type[Resource], id: str) -> Any:
        context = self.context
        self.policy.check(context, "update", noun.kind)
        values = validate(noun, "update", self._rename(_unwrap(self.body(), noun.kind)), context)
        with self.database.transaction(context) as tx:
            before = owned(tx, noun.kind, id, context)
            _if_match(before)
            _check_references(tx, noun, values, context)
            after = before.replace(**values).before_update(tx, context, before)
            [view] = self.views(tx, noun, [tx.update(after)])
        return {noun.kind: view}

    def _delete(self, noun: type[Resource], id: str) -> Any:
        context = self.context
        self.policy.check(context, "delete", noun.kind)
        with self.database.transaction(context) as tx:
            record = owned(tx, noun.kind, id, context)
            _if_match(record)
            record.before_delete(tx, context)
            tx.delete(record)
        return "", 204

    # the wire

    def views(self, tx: Tx, noun: type[Resource], records: list[Any], fields: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Records as the caller may see them."""
        context, aliases = self.context, self.dialect.aliases
        shown = [(f.wire, n) for n, f in noun.fields.items() if f.seen and (context.is_admin or not f.hidden)]
        computed = noun.computed(tx, records, context)
        views = []
        for record in records:
            view = {wire: getattr(record, name) for wire, name in shown}
            view |= computed.get(record.id, {}) | self.dialect.item(record)
            view |= {alias: view[name] for alias, name in aliases.items() if name in view}
            views.append({k: v for k, v in view.items() if k in fields} if fields else view)
        return views

    def body(self) -> dict[str, Any]:
        try:
            body = json.loads(flask.request.get_data())
        except RecursionError as error:
            raise BadRequest("The body is nested too deeply.") from error
        except ValueError as error:
            raise BadRequest(f"The body is not JSON: {error}.") from error
        if not isinstance(body, dict):
            raise BadRequest("The body is not a JSON object.")
        return body

    def _rename(self, item: Any) -> Any:
        if not isinstance(item, dict):
            return item
        aliases = self.dialect.aliases
        return {aliases.get(k, k) if aliases.get(k) not in item else k: v for k, v in item.items()}

    def _before(self) -> None:
        flask.g.started = time.perf_counter()
        given = flask.request.headers.get("X-Openstack-Request-Id", "")
        flask.g.request_id = given if _is_request_id(given) else f"req-{uuid.uuid4()}"

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

    def _crash(self, error: Exception) -> Any:
        log.error("request failed", service=self.service, path=flask.request.path, request_id=flask.g.request_id,
                  exc_info=error)
        return self._fault(Fault(f"An unexpected error; the log has it under {flask.g.request_id}."))


class _Json(flask.json.provider.DefaultJSONProvider):
    sort_keys = False
    compact = True


def _http_fault(error: HTTPException) -> Fault:
    if error.code == 413:
        return TooLarge(f"The body is larger than {MAX_BODY} bytes.")
    fault = Fault(error.description or error.name, (error.name or "Error").replace(" ", ""))
    fault.status = error.code or 500
    return fault


def _is_request_id(given: str) -> bool:
    return given.startswith("req-") and len(given) == 40 and given.isascii() and given[4:].replace("-", "").isalnum()


def _unwrap(body: dict[str, Any], kind: str) -> Any:
    if set(body) != {kind}:
        raise BadRequest(f"The body must be an object with the one key '{kind}'.")
    return body[kind]


def _if_match(record: Resource) -> None:
    """`If-Match: revision_number=N`: change it only while it is what the caller saw."""
    wanted = flask.request.headers.get("If-Match")
    if wanted and wanted.strip('"') != f"revision_number={record.revision_number}":
        raise PreconditionFailed(
            f"{class_name(record.kind)} {record.id} is at revision_number={record.revision_number}, not {wanted}.",
            "RevisionNumberConstraintFailed")


# Who sees what.


def visible_rows(noun: type[Resource], context: Context) -> sa.ColumnElement[bool]:
    """The rows of a noun that a context may see, as a condition of SQL."""
    mine, whose = noun.owner
    if context.is_admin or mine not in noun.fields:
        return sa.true()
    columns = noun.table.c
    choices = [columns[mine] == getattr(context, whose)]
    if noun.visible_if:
        choices.append(columns[noun.visible_if])
    if noun.visible_with:
        parent = nouns[noun.fields[noun.visible_with].ref or ""]
        choices.append(columns[noun.visible_with].in_(sa.select(parent.table.c.id).where(visible_rows(parent, context))))
    return sa.or_(*choices)


def seen(tx: Tx, kind: str, id: str, context: Context, lock: bool = False) -> Any:
    """The record if the context may see it; else 404, so that a stranger cannot tell foreign from absent."""
    record = tx.lock(kind, id) if lock else tx.get(kind, id)
    if record is None or not _visible(tx, record, context):
        raise not_found(kind, id)
    return record


def _visible(tx: Tx, record: Any, context: Context) -> bool:
    if context.owns(record) or (record.visible_if and getattr(record, record.visible_if)):
        return True
    if not record.visible_with:
        return False
    parent = tx.get(record.fields[record.visible_with].ref, getattr(record, record.visible_with))
    return parent is not None and _visible(tx, parent, context)


def owned(tx: Tx, kind: str, id: str, context: Context) -> Any:
    """The record, locked, if the context may change it."""
    record = seen(tx, kind, id, context, lock=True)
    if not context.owns(record):
        raise Forbidden(f"{class_name(kind)} {id} belongs to another project.")
    return record


# From a body to a record.


def create(tx: Tx, noun: type[Resource], values: dict[str, Any], context: Context) -> Any:
    if "project_id" in noun.fields:
        values = {"project_id": context.project_id, **values}
    _check_references(tx, noun, values, context)
    return tx.insert(noun(id=new_id(), **values).before_create(tx, context))


def _check_references(tx: Tx, noun: type[Resource], values: dict[str, Any], context: Context) -> None:
    for name, value in values.items():
        f = noun.fields[name]
        if f.ref and value:
            target = seen(tx, f.ref, value, context)
            if f.own and not context.owns(target):
                raise Forbidden(f"{class_name(f.ref)} {value} belongs to another project.")


_models: dict[tuple[str, str], type[pydantic.BaseModel]] = {}


def model(noun: type[Resource], verb: str) -> type[pydantic.BaseModel]:
    """The pydantic model of a body: made from the declaration, once."""
    key = (noun.kind, verb)
    if key not in _models:
        fields: dict[str, Any] = {}
        for name, f in noun.fields.items():
            if not f.seen and not f.secret or f.observed or not (f.post if verb == "create" else f.put):
                continue
            default = ... if verb == "create" and f.required else None
            fields["f_" + name] = (_annotated(f), pydantic.Field(default, alias=f.wire))
        _models[key] = pydantic.create_model(
            f"{noun.__name__}{verb.title()}", __config__=pydantic.ConfigDict(extra="forbid"), **fields)
    return _models[key]


def _annotated(f: Field) -> Any:
    fits = text(f.length) if f.plain is str else between(-(2**63), 2**63 - 1) if f.plain is int else characters
    return Annotated[f.type, *(pydantic.AfterValidator(check) for check in (fits, f.check) if check)]


def text(length: int) -> Callable[[str | None], str | None]:
    """A check: no longer than this, and all of it characters that every database stores."""
    def check(value: str | None) -> str | None:
        if value is not None and len(value) > length:
            raise ValueError(f"it is longer than {length} characters")
        return characters(value)

    return check


def characters(value: Any) -> Any:
    """A check of a text, or of all texts in a structure."""
    if isinstance(value, dict | list):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            characters(item)
    elif isinstance(value, str):
        if "\0" in value:
            raise ValueError("it contains a NUL character")
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError("it contains half of a surrogate pair, which is no character")
    return value


def validate(noun: type[Resource], verb: str, body: Any, context: Context) -> dict[str, Any]:
    """The attributes given in a body, checked and by their own names; a 400 in a sentence otherwise."""
    if not isinstance(body, dict):
        raise BadRequest(f"'{noun.kind}' must be an object.")
    by_wire = {f.wire: f for f in noun.fields.values()}
    for wire in body:
        f = by_wire.get(wire)
        if f and f.admin and not context.is_admin and not (wire == "project_id" and body[wire] == context.project_id):
            raise Forbidden(f"Only an administrator may set {wire} of a {noun.kind}.")
    try:
        parsed = model(noun, verb).model_validate(body)
    except pydantic.ValidationError as error:
        raise BadRequest(_sentence(noun, verb, by_wire, error)) from error
    return {name[2:]: getattr(parsed, name) for name in parsed.model_fields_set}


def _sentence(noun: type[Resource], verb: str, by_wire: dict[str, Field], error: pydantic.ValidationError) -> str:
    sentences = []
    for e in error.errors(include_url=False, include_input=False)[:5]:
        where = ".".join(str(part) for part in e["loc"]) or noun.kind
        if e["type"] == "extra_forbidden" and len(e["loc"]) == 1:
            known = where in by_wire and by_wire[where].seen
            sentences.append(f"Attribute '{where}' of a {noun.kind} cannot be given in {verb}." if known
                             else f"Unrecognized attribute '{where}' of a {noun.kind}.")
        elif e["type"] == "missing":
            sentences.append(f"Attribute '{where}' of a {noun.kind} is required.")
        else:
            message = str(e["ctx"]["error"]) if e["type"] == "value_error" else e["msg"]
            sentences.append(f"Invalid input for {where}: {message[:1].lower()}{message[1:]}.")
    return " ".join(sentences)


# Lists.


class _Query:
    """Filters, fields, order and page of a list request."""

    def __init__(self, noun: type[Resource], aliases: dict[str, str], args: Any, context: Context) -> None:
        self.noun = noun
        self.fields: set[str] = set()
        self.filters: dict[str, list[str]] = {}
        self.sort_keys: list[str] = []
        self.sort_dirs: list[str] = []
        self.limit: int | None = None
        self.marker: str | None = None
        self.reverse = False
        self._args = args
        # Nothing by what the caller may not see: the order would tell it.
        names = {f.wire: n for n, f in noun.fields.items() if f.seen and (context.is_admin or not f.hidden)}
        names |= {alias: names[name] for alias, name in aliases.items() if name in names}
        for key, values in args.lists():
            if key == "fields":
                self.fields = set(values)
            elif key == "limit":
                self.limit = _limit(values[-1])
            elif key == "marker":
                self.marker = values[-1]
            elif key == "page_reverse":
                self.reverse = _boolean(key, values[-1])
            elif key == "sort_key":
                self.sort_keys = [self._column(names, v) for v in values]
            elif key == "sort_dir":
                self.sort_dirs = values
            else:
                self.filters[self._column(names, key)] = values
        if any(d not in ("asc", "desc") for d in self.sort_dirs):
            raise BadRequest("sort_dir must be asc or desc.")
        if self.sort_dirs and len(self.sort_dirs) != len(self.sort_keys):
            raise BadRequest("Give as many sort_dir as sort_key.")

    def _column(self, names: dict[str, str], key: str) -> str:
        name = names.get(key)
        if name is None or self.noun.fields[name].plain not in (str, int, bool):
            raise BadRequest(f"{self.noun.plural} cannot be filtered or sorted by '{key}'.")
        return name

    def run(self, tx: Tx, visible: sa.ColumnElement[bool]) -> tuple[list[Any], bool]:
        """The records of the page, and whether there are more."""
        columns = self.noun.table.c
        query = sa.select(self.noun.table).where(visible)
        for name, values in self.filters.items():
            query = query.where(_filter(columns[name], self.noun.fields[name], values))
        directions = self.sort_dirs or ["asc"] * len(self.sort_keys)
        order = [(k, (d == "desc") != self.reverse) for k, d in zip(self.sort_keys, directions, strict=True)]
        keys = [key for name, desc in [*order, ("id", self.reverse)] for key in _sort_keys(columns[name], desc)]
        if self.marker is not None:
            behind = sa.select(*(key for key, _ in keys)).where(columns.id == self.marker, visible)
            row = tx.connection.execute(behind).first()
            if row is None:
                raise BadRequest(f"The marker {self.marker} is no {self.noun.kind} (any more).")
            query = query.where(_behind(keys, row))
        query = query.order_by(*(key.desc() if desc else key.asc() for key, desc in keys))
        limit = min(self.limit or MAX_LIMIT, MAX_LIMIT) if self.limit else None
        if limit:
            query = query.limit(limit + 1)
        records = [self.noun.from_row(row) for row in tx.connection.execute(query).mappings()]
        more = bool(limit and len(records) > limit)
        records = records[:limit]
        return (records[::-1] if self.reverse else records), more

    def next_url(self, base: str, marker: str) -> str:
        from urllib.parse import urlencode

        rest = [(k, v) for k, v in self._args.items(multi=True) if k != "marker"]
        return f"{base}?{urlencode([*rest, ('marker', marker)])}"


def _sort_keys(column: Any, desc: bool) -> list[tuple[Any, bool]]:
    """What to sort by, and whether downwards. Databases disagree where None goes: here it comes first."""
    there = [(sa.case((column.is_(None), 0), else_=1), desc)] if column.nullable else []
    return [*there, (column, desc)]


def _behind(keys: list[tuple[Any, bool]], row: Any) -> sa.ColumnElement[bool]:
    """Strictly behind a row in this order (a lexicographic comparison)."""
    choices: list[sa.ColumnElement[bool]] = []
    equal: list[sa.ColumnElement[bool]] = []
    for (key, desc), value in zip(keys, row, strict=True):
        if value is not None:  # else the key before it has said so
            choices.append(sa.and_(*equal, key < value if desc else key > value))
            equal.append(key == value)
    return sa.or_(*choices)


def _filter(column: Any, f: Field, values: list[str]) -> sa.ColumnElement[bool]:
    if f.plain is bool:
        return column.in_([_boolean(f.wire, v) for v in values])
    if f.plain is int:
        if not all(v.lstrip("-").isdigit() and len(v) < 18 for v in values):
            raise BadRequest(f"{f.wire} is a number.")
        return column.in_([int(v) for v in values])
    if any("\0" in v for v in values):
        raise BadRequest(f"{f.wire} contains a NUL character.")
    condition = column.in_(values)
    return sa.or_(condition, column.is_(None)) if "" in values and f.nullable else condition


def _boolean(key: str, value: str) -> bool:
    if value.lower() in TRUE:
        return True
    if value.lower() in FALSE:
        return False
    raise BadRequest(f"{key} is true or false, not '{value}'.")


def _limit(value: str) -> int | None:
    if not value.isdigit() or len(value) > 9:
        raise BadRequest(f"limit is a number of items, not '{value}'.")
    return int(value) or None


__all__ = ["Api", "Dialect", "create", "errors", "owned", "seen", "validate", "visible_rows"]
