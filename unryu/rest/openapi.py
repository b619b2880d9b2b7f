"""A service's OpenAPI 3.1 document, from its nouns and its routes, and the page that people read of it."""

import re
import sys
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, get_origin

import flask
import pydantic

from unryu.errors import Fault
from unryu.resource import UNSET, Field, Resource, parts_of
from unryu.rest.body import MOST, model
from unryu.rest.described import Asked, Call, Given, Page, Plain, Several, Whole, described
from unryu.rest.query import ARGUMENTS, TAG_FILTERS, filterable

if TYPE_CHECKING:
    from unryu.rest.api import Api

Schema = dict[str, Any]

HTML = Plain({"type": "string", "contentMediaType": "text/html"})
IF_MATCH = {"name": "If-Match", "in": "header", "schema": {"type": "string", "pattern": r"^revision_number=\d+$"}}
ABOUT = """A method that a path does not have is refused with 405, and `Allow` says which it has. Every answer carries
`X-Openstack-Request-Id`, and the log has it, too."""


def serve(api: "Api", title: str) -> None:
    """The document at `/openapi.json`, and for people at `/reference`: made when somebody first asks for it."""
    made: dict[str, Schema] = {}

    def document() -> Schema:
        root = flask.request.script_root
        if root not in made:
            made[root] = _Document(api).whole(title, root or "/")
        return made[root]

    @api.app.get("/openapi.json")
    @described("This document.", answers={200: dict[str, Any]}, public=True)
    def openapi() -> Any:
        return document()

    @api.app.get("/reference")
    @described("This document, for people: a page of HTML.", answers={200: HTML}, public=True)
    def reference() -> Any:
        from unryu.rest.reference import html

        return html(document())


def sentence(noun: type[Resource]) -> str:
    """What a noun is: the first line of its own words, else of its file's."""
    own = noun.__doc__ or sys.modules[noun.__module__].__doc__ or ""
    return own.strip().partition("\n")[0]


def _routes(api: "Api") -> Iterator[tuple[str, str, str, Call | None]]:
    """(rule, method, endpoint, what is said of it), in the order of their rules."""
    verbs = {f"{verb}_{noun.kind}": call for noun in api.served for verb, call in _verbs(api, noun)}
    for rule in sorted(api.app.url_map.iter_rules(), key=lambda r: r.rule):
        call = getattr(api.app.view_functions[rule.endpoint], "call", None) or verbs.get(rule.endpoint)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule.rule, method, rule.endpoint, call


def _verbs(api: "Api", noun: type[Resource]) -> Iterator[tuple[str, Call]]:
    one, many = noun.kind.replace("_", " "), noun.plural.replace("_", " ")
    guarded = "revision_number" in noun.fields
    yield "list", Call(summary=f"List {many}.", answers={200: Page(noun)}, query=noun)
    yield "show", Call(summary=f"Show one {one}.", answers={200: {noun.word: noun}}, query={"fields": [str]})
    yield "create", Call(summary=f"Create one {one}, or up to {MOST} in one call: all of them or none.",
                         body=({noun.word: Given(noun, "create")}, {noun.plural: Several(Given(noun, "create"))}),
                         answers={201: ({noun.word: Whole(noun)}, {noun.plural: [Whole(noun)]})})
    yield "update", Call(summary=f"Change one {one}.", body={noun.word: Given(noun, "update")},
                         answers={200: {noun.word: Whole(noun)}}, guarded=guarded)
    yield "delete", Call(summary=f"Delete one {one}.", answers={204: None}, guarded=guarded)


def _filters(api: "Api", noun: type[Resource]) -> dict[str, Any]:
    shown = {wire: f for wire, f in _wired(api, noun) if f.seen}
    plain = {wire: f.plain for wire, f in shown.items() if filterable(f)}
    items = {wire: Plain({"type": "string", "pattern": f"^({'|'.join(f.items)})="}) for wire, f in shown.items() if f.items}
    tags = dict.fromkeys(TAG_FILTERS, str) if "tags" in noun.fields else {}
    return {
        **{name: [example] for name, example in {**plain, **items, **tags}.items()},
        **ARGUMENTS, "sort_key": [Plain({"type": "string", "enum": list(plain)})],
    }


def _wired(api: "Api", noun: type[Resource]) -> Iterator[tuple[str, Field]]:
    """A noun's attributes by all their names on the wire."""
    for name, f in noun.fields.items():
        yield f.wire, f
        yield from ((alias, f) for alias, of in api.dialect.aliases.items() if of == name)


class _Document:
    """One in the making: `schemas` and `refusals` fill with what is referred to."""

    def __init__(self, api: "Api") -> None:
        self.api = api
        self.schemas: dict[str, Schema] = {}
        self.refusals: dict[str, Schema] = {}

    def whole(self, title: str, root: str) -> Schema:
        paths: dict[str, Schema] = {}
        for rule, method, endpoint, call in _routes(self.api):
            if call:
                path = _drawn(rule)
                paths.setdefault(path, {})[method.lower()] = self._operation(path, method, endpoint, call)
        return {
            "openapi": "3.1.0",
            "info": {"title": title, "version": self.api.dialect.prefix.strip("/"), "description": ABOUT},
            "servers": [{"url": root}],
            "security": [{"token": []}],
            "tags": [{"name": n.kind, "description": sentence(n)} for n in sorted(self.api.served, key=lambda n: n.kind)],
            "paths": paths,
            "components": {
                "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
                "responses": dict(sorted(self.refusals.items())), "schemas": dict(sorted(self.schemas.items())),
            },
        }

    def _operation(self, path: str, method: str, endpoint: str, call: Call) -> Schema:
        names = re.findall(r"{(\w+)}", path)
        query = call.query if isinstance(call.query, Mapping) else _filters(self.api, call.query)
        parameters = [
            *(_parameter("path", name, {"type": "string"}, required=True) for name in names),
            *(_parameter("query", name, self.schema(example)) for name, example in query.items()),
            *(_parameter("header", name, {"type": "string"}, required=True) for name in call.headers),
            *([IF_MATCH] if call.guarded else ()),
        ]
        answers = {status: {"description": HTTPStatus(status).phrase, **(self._json(example) if example is not None else {})}
                   for status, example in call.answers.items()}
        refused = {status: self._refusal(status) for status in _refusals(method, names, call)}
        below = {n.path: n.kind for n in self.api.served if f"{path}/".startswith(f"{self.api.dialect.prefix}{_drawn(n.path)}/")}
        kind = below[max(below, key=len)] if below else ""
        return {
            "operationId": endpoint, "summary": call.summary,
            **({"tags": [kind]} if kind else {}),
            **({"parameters": parameters} if parameters else {}),
            **({"requestBody": {"required": True, **self._json(call.body)}} if call.body is not None else {}),
            "responses": {str(status): answer for status, answer in sorted({**refused, **answers}.items())},
            **({"security": []} if call.public else {}),
        }

    def _refusal(self, status: int) -> Schema:
        name = "".join(HTTPStatus(status).phrase.title().split())
        self.refusals[name] = {"description": HTTPStatus(status).phrase, **self._json(self.api.dialect.fault(_fault(status)))}
        return {"$ref": f"#/components/responses/{name}"}

    def _json(self, example: Any) -> Schema:
        schema = self.schema(example)
        return {"content": {schema.get("contentMediaType", "application/json"): {"schema": schema}}}

    def schema(self, example: Any) -> Schema:
        """Of what is drawn as described.py says."""
        if isinstance(example, Plain):
            return dict(example.schema)
        if isinstance(example, Page):
            links = self.api.dialect.links
            return self.schema(tuple({example.noun.plural: [example.noun], **links(example.noun, "this", following)}
                                     for following in (None, "next")))
        if isinstance(example, Asked):
            return _object({key: self.schema(value) for key, value in example.item.items()}, [])
        if isinstance(example, Several):
            return {**self.schema([example.item]), "minItems": 1, "maxItems": MOST}
        if isinstance(example, dict):
            return _object({key: self.schema(value) for key, value in example.items()}, list(example))
        if isinstance(example, list):
            return {"type": "array", "items": self.schema(example[0])}
        if isinstance(example, tuple):
            return {"anyOf": [self.schema(choice) for choice in example]}
        if isinstance(example, Given):
            return self._refer(f"{example.noun.kind}_{example.verb}", self._given(example.noun, example.verb))
        if isinstance(example, Whole):
            required = [wire for wire, f in _wired(self.api, example.noun) if f.seen and not f.hidden]
            return {"allOf": [self.schema(example.noun), {"required": required}]}
        if isinstance(example, type) and issubclass(example, Resource):
            return self._refer(example.kind, self._shown(example))
        is_type = isinstance(example, type) or get_origin(example) is not None
        return self._of_type(example if is_type else type(example))

    def _refer(self, name: str, schema: Schema) -> Schema:
        self.schemas[name] = schema
        return {"$ref": f"#/components/schemas/{name}"}

    def _of_type(self, type_: Any, closed: bool = False) -> Schema:
        """As pydantic has it; `closed`: with no other keys, as in the bodies of nouns."""
        config = pydantic.ConfigDict(extra="forbid") if closed else None
        # As an item of a list: pydantic takes no config for an object alone.
        schema = pydantic.TypeAdapter(list[type_], config=config).json_schema(ref_template="#/components/schemas/{model}")
        self.schemas |= schema.pop("$defs", {})
        items: Schema = schema["items"]
        return items

    def _shown(self, noun: type[Resource]) -> Schema:
        attributes = {wire: self._attribute(f) for wire, f in _wired(self.api, noun) if f.seen}
        parts = {child.plural: [child] for child, _ in parts_of(noun.kind)}
        beside = {**noun.adds, **parts, **self.api.dialect.item(noun())}
        return _object({**attributes, **{wire: self.schema(example) for wire, example in beside.items()}}, [])

    def _given(self, noun: type[Resource], verb: str) -> Schema:
        taken = {name[2:] for name in model(noun, verb).model_fields} - {noun.within}
        known = [*_wired(self.api, noun), *((f.wire, f) for f in noun.passing.values())]
        fields = [(wire, f) for wire, f in known if f.name in taken]
        attributes = {}
        for wire, f in fields:
            usual = verb == "create" and f.default is not UNSET and not f.chosen and f.name != "project_id"
            words = {"default": f.default} if usual else {}
            if f.secret:
                words["writeOnly"] = True
            if f.admin:
                words["description"] = "Only an administrator may give it."
            attributes[wire] = {**self._attribute(f), **words}
        return _object(attributes, [wire for wire, f in fields if f.required and verb == "create"])

    def _attribute(self, f: Field) -> Schema:
        schema = self._of_type(f.plain, closed=True) | ({"maxLength": f.length} if f.plain is str else {})
        schema |= getattr(f.check, "schema", {})
        return {"anyOf": [schema, {"type": "null"}]} if f.nullable else schema


def _drawn(rule: str) -> str:
    """Flask's rule, as the document has paths."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def _object(properties: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False,
            **({"required": required} if required else {})}


def _parameter(place: str, name: str, schema: Schema, required: bool = False) -> Schema:
    return {"name": name, "in": place, "schema": schema, **({"required": True} if required else {})}


def _refusals(method: str, names: list[str], call: Call) -> set[int]:
    """The statuses that a call may be refused with: its shape tells most of them."""
    yes = {
        400: True, 401: not call.public, 403: not call.public, 404: bool(names or call.body), 409: method != "GET",
        412: call.guarded, 413: call.body is not None, 415: call.body is not None, 503: not call.public,
    }
    return {status for status, may in yes.items() if may} | set(call.faults)


def _fault(status: int) -> Fault:
    fault = Fault("what was wrong, in a sentence")
    fault.status = status
    return fault
