"""Transactions: creates, updates and deletes of several nouns in one call; all of them or none, one revision.

    {"transaction": {"operations": [
        {"op": "create", "kind": "network", "as": "blue", "body": {"name": "blue"}},
        {"op": "create", "kind": "subnet", "body": {"network_id": "$blue", "ip_version": 4, "cidr": "10.0.0.0/24"}},
        {"op": "delete", "kind": "port", "id": "0f6c…"}]}}

What an operation creates `as` a name is `$name` in those after it, wherever a string stands; a text that begins with a
dollar sign is written with two.
"""

from typing import TYPE_CHECKING, Any

from unryu.errors import BadRequest, Fault
from unryu.resource import Resource
from unryu.rest.body import MOST, validate
from unryu.rest.described import Plain, Several, described
from unryu.rest.write import create, delete, update

if TYPE_CHECKING:
    from unryu.db import Tx
    from unryu.rest.api import Api

KEYS = {"create": {"op", "kind", "as", "body"}, "update": {"op", "kind", "id", "body"}, "delete": {"op", "kind", "id"}}


def routes(api: "Api") -> None:
    nouns = {noun.kind: noun for noun in api.served}
    done = {"op": str, "kind": str, "id": str}
    result = (done, *({**done, noun.kind: noun} for noun in api.served))

    @described(f"Run up to {MOST} creates, updates and deletes: all of them or none.",
               body={"transaction": {"operations": Several(tuple(_drawn(op, api.served) for op in KEYS))}},
               answers={200: {"transaction": {"revision": int, "operations": [result]}}}, faults=(412,))
    def transaction() -> Any:
        context = api.context
        operations = _operations(api.body())
        names: dict[str, str] = {}
        results = []
        with api.database.transaction(context, many=True) as tx:
            for number, operation in enumerate(operations, 1):
                try:
                    results.append(_run(api, tx, nouns, operation, names))
                except Fault as fault:
                    fault.sentence = f"Operation {number}: {fault.sentence}"
                    raise
        return {"transaction": {"revision": tx.revision, "operations": results}}

    api.app.add_url_rule(f"{api.dialect.prefix}/transactions", "transaction", transaction, methods=["POST"])


def _drawn(op: str, served: list[type[Resource]]) -> Plain:
    """An operation, for the document."""
    words = {"op": {"const": op}, "kind": {"enum": [noun.kind for noun in served if op in noun.verbs]}, "id": {"type": "string"},
             "as": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
             "body": {"type": "object", "description": "As in a call that does it to one."}}
    return Plain({"type": "object", "additionalProperties": False, "required": sorted({"op", "kind", "id"} & KEYS[op]),
                  "properties": {word: schema for word, schema in words.items() if word in KEYS[op]}})


def _operations(body: dict[str, Any]) -> list[Any]:
    operations = body["transaction"].get("operations") if isinstance(body.get("transaction"), dict) else None
    if set(body) != {"transaction"} or not isinstance(operations, list) or set(body["transaction"]) != {"operations"}:
        raise BadRequest("The body must be an object with the one key 'transaction', which has a list of 'operations'.")
    if not 0 < len(operations) <= MOST:
        raise BadRequest(f"A transaction has 1 to {MOST} operations, not {len(operations)}.")
    return operations


def _run(api: "Api", tx: "Tx", nouns: dict[str, type[Resource]], operation: Any, names: dict[str, str]) -> dict[str, Any]:
    op, kind = (operation.get("op"), operation.get("kind")) if isinstance(operation, dict) else (None, None)
    if not isinstance(op, str) or op not in KEYS:
        raise BadRequest(f"it needs an 'op' that is one of {', '.join(KEYS)}.")
    noun = nouns.get(kind) if isinstance(kind, str) else None
    if noun is None or op not in noun.verbs:
        raise BadRequest(f"{op} is nothing that can be done with a {kind!r}.")
    unknown = set(operation) - KEYS[op]
    if unknown:
        raise BadRequest(f"{op} has no {sorted(unknown)[0]!r}; it has {', '.join(sorted(KEYS[op]))}.")
    api.policy.check(api.context, op, noun.kind)
    body = _named(operation.get("body", {}), names)
    said: dict[str, Any] = {"op": op, "kind": noun.kind}
    if op == "create":
        [record] = create(tx, noun, [validate(noun, op, api.rename(body), api.context)], api.context)
        if "as" in operation:
            _remember(names, operation["as"], record.id)
    else:
        id = _named(operation.get("id"), names)
        if not isinstance(id, str):
            raise BadRequest(f"{op} needs the 'id' of a {noun.kind}.")
        if op == "delete":
            delete(tx, noun, id, api.context)
            return {**said, "id": id}
        record = update(tx, noun, id, validate(noun, op, api.rename(body), api.context), api.context)
    return {**said, "id": record.id, noun.kind: api.views(tx, noun, [record])[0]}


def _remember(names: dict[str, str], name: Any, id: str) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise BadRequest(f"{name!r} is no name: letters, digits and _ only, not beginning with a digit.")
    if name in names:
        raise BadRequest(f"the name {name} is there already.")
    names[name] = id


def _named(value: Any, names: dict[str, str]) -> Any:
    """The value with every `$name` replaced by the id of what has that name."""
    if isinstance(value, dict):
        return {key: _named(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    if value.startswith("$$"):
        return value[1:]
    if value[1:] not in names:
        raise BadRequest(f"nothing before it was created as {value[1:]!r}.")
    return names[value[1:]]
