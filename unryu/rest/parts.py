"""Actions on one record, and all its parts replaced in one call: `PUT /security-groups/ID/rules`."""

from typing import TYPE_CHECKING, Any

import flask
import pydantic

from unryu.errors import BadRequest
from unryu.resource import Action, Field, Resource, nouns, parts_of
from unryu.rest.body import placed, validate
from unryu.rest.described import Given, described
from unryu.rest.write import check_match, replace
from unryu.scope import owned

if TYPE_CHECKING:
    from unryu.rest.api import Api


def routes(api: "Api", noun: type[Resource]) -> None:
    """Add a noun's actions, and those that replace its parts, to its API."""
    path = f"{api.dialect.prefix}{noun.path}/<id>"
    for name, action in noun.actions.items():
        api.app.add_url_rule(f"{path}/{name}", f"{name}_{noun.kind}", _acting(api, noun, action), methods=["PUT"])
    for _, part in parts_of(noun.kind):
        api.app.add_url_rule(f"{path}/{part.part}", f"replace_{part.kind}", _replacing(api, noun, part), methods=["PUT"])


def _acting(api: "Api", noun: type[Resource], action: Action) -> Any:
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(action.body)

    @described(action.summary, body=action.body, answers={200: action.answer or {noun.word: noun}}, guarded=True)
    def act(id: str) -> Any:
        context = api.context
        api.policy.check(context, "update", noun.kind)
        body = api.body()
        body = body[noun.word] if set(body) == {noun.word} else body  # the reference has it so, its clients do not
        try:
            given = adapter.validate_python(body)
        except pydantic.ValidationError as error:
            said = error.errors(include_url=False, include_input=False)[0]
            raise BadRequest(f"Invalid input for {'.'.join(map(str, said['loc'])) or noun.kind}: {said['msg']}.") from error
        with api.database.transaction(context) as tx:
            record = owned(tx, noun.kind, id, context)
            check_match(record, flask.request.headers.get("If-Match"))
            answer = action.method(record, tx, context, given)
            return {noun.word: api.views(tx, noun, [answer])[0]} if isinstance(answer, noun) else answer

    return act


def _replacing(api: "Api", noun: type[Resource], part: Field) -> Any:
    child = nouns[part.kind]

    @described(f"Replace all {child.plural} of a {noun.kind}: what stays keeps its id.", guarded=True,
               body={child.plural: [Given(child, "create")]}, answers={200: {child.plural: [child]}}, faults=(409,))
    def replace_all(id: str) -> Any:
        context = api.context
        for verb in ("create", "delete"):
            api.policy.check(context, verb, child.kind)
        body = api.body()
        items = body.get(child.plural)
        if set(body) != {child.plural} or not isinstance(items, list):
            raise BadRequest(f"The body must be an object with the one key '{child.plural}', a list.")
        given = []
        for item in items:
            given.append(validate(child, "create", placed(child, api.rename(item), {part.name: id}), context))
        with api.database.transaction(context) as tx:
            records = replace(tx, noun, id, part, given, context, flask.request.headers.get("If-Match"))
            return {child.plural: api.views(tx, child, records)}

    return replace_all
