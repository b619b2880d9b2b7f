"""From a body to checked attributes: pydantic models made from the declarations, and sentences of our own."""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pydantic

from unryu.auth import Context
from unryu.checks import between
from unryu.errors import BadRequest, Forbidden, UnsupportedType
from unryu.resource import Field, Resource

MOST = 1000
"""Items, or operations, in one call."""
DEEPEST = 32
"""Lists and objects within each other: no noun has more than a handful, and what walks them recurses."""

_models: dict[tuple[str, str], type[pydantic.BaseModel]] = {}


def read(data: bytes, mimetype: str) -> dict[str, Any]:
    """The JSON object of a request; no mimetype is taken for JSON, too."""
    if mimetype not in ("", "application/json"):
        raise UnsupportedType(f"The body must be application/json, not {mimetype}.")
    try:
        body = json.loads(data.decode())  # not bytes: those it would also take for UTF-16
    except RecursionError as error:
        raise BadRequest("The body is nested too deeply.") from error
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise BadRequest("The body is not a JSON object.")
    if data.count(b"[") + data.count(b"{") > DEEPEST and _deeper(body):
        raise BadRequest(f"The body is nested too deeply: more than {DEEPEST} levels.")
    return body


def _deeper(body: Any) -> bool:
    level = [body]
    for _ in range(DEEPEST):
        level = [item for each in level if isinstance(each, dict | list)
                 for item in (each.values() if isinstance(each, dict) else each)]
    return bool(level)


def model(noun: type[Resource], verb: str) -> type[pydantic.BaseModel]:
    """The pydantic model of a body: made from the declaration, once."""
    key = (noun.kind, verb)
    if key not in _models:
        fields: dict[str, Any] = {}
        for name, f in {**noun.fields, **noun.passing}.items():
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


def placed(noun: type[Resource], item: Any, within: Mapping[str, str]) -> Any:
    """An item of a body with what its path says: which it may repeat, and not contradict."""
    for name, above in within.items():
        wire = noun.fields[name].wire
        if isinstance(item, dict) and item.setdefault(wire, above) != above:
            raise BadRequest(f"A {noun.word} with the {wire} {item[wire]} is none of {above}.")
    return item


def validate(noun: type[Resource], verb: str, body: Any, context: Context) -> dict[str, Any]:
    """The attributes given in a body, checked and by their own names; a 400 in a sentence otherwise."""
    if not isinstance(body, dict):
        raise BadRequest(f"'{noun.kind}' must be an object.")
    by_wire = {f.wire: f for f in (*noun.fields.values(), *noun.passing.values())}
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
