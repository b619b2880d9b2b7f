"""Tags: words that people put on things; `/networks/ID/tags` and `/networks/ID/tags/WORD`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unryu.errors import BadRequest, NotFound
from unryu.resource import Resource
from unryu.rest.described import described
from unryu.scope import owned, seen
from unryu.sentences import class_name

if TYPE_CHECKING:
    from unryu.rest.api import Api

MOST, LONGEST = 50, 60  # tags of one thing, characters of one tag: as Neutron has them


def checked(tags: Any) -> list[str]:
    """Sorted, each once; a 400 in a sentence otherwise."""
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise BadRequest("Tags are a list of words.")
    if len(set(tags)) > MOST:
        raise BadRequest(f"{len(set(tags))} tags are more than {MOST}.")
    for tag in tags:
        if not 0 < len(tag) <= LONGEST or any(c in tag for c in "/,\0") or not tag.isprintable():
            raise BadRequest(f"A tag has 1 to {LONGEST} printable characters, and neither comma nor slash.")
    return sorted(set(tags))


def routes(api: "Api", noun: type[Resource]) -> None:
    """Add a noun's tag routes to its API."""

    def change(id: str, changed: Callable[[list[str]], list[str]]) -> list[str]:
        api.policy.check(api.context, "update", noun.kind)
        with api.database.transaction(api.context) as tx:
            record = owned(tx, noun.kind, id, api.context)
            return list(tx.update(record, tags=checked(changed(record.tags))).tags)

    def held(id: str) -> list[str]:
        api.policy.check(api.context, "show", noun.kind)
        with api.database.reading() as tx:
            return list(seen(tx, noun.kind, id, api.context).tags)

    def must_hold(id: str, tags: list[str], tag: str) -> None:
        if tag not in tags:
            raise NotFound(f"{class_name(noun.kind)} {id} has no tag {tag}.", "TagNotFound")

    one = noun.kind.replace("_", " ")
    words = {"tags": [str]}

    @described(f"Show a {one}'s tags.", answers={200: words})
    def show_all(id: str) -> Any:
        return {"tags": held(id)}

    @described(f"Give a {one} these tags, and no others.", body=words, answers={200: words})
    def replace(id: str) -> Any:
        body = api.body()
        if set(body) != {"tags"}:
            raise BadRequest("The body must be an object with the one key 'tags'.")
        wanted = checked(body["tags"])
        return {"tags": change(id, lambda tags: wanted)}

    @described(f"Put a tag on a {one}.", answers={201: None})
    def add(id: str, tag: str) -> Any:
        change(id, lambda tags: [*tags, tag])
        return "", 201

    @described(f"Ask whether a {one} has a tag.", answers={204: None})
    def show(id: str, tag: str) -> Any:
        must_hold(id, held(id), tag)
        return "", 204

    @described(f"Take a tag off a {one}.", answers={204: None})
    def remove(id: str, tag: str) -> Any:
        def without(tags: list[str]) -> list[str]:
            must_hold(id, tags, tag)
            return [t for t in tags if t != tag]

        change(id, without)
        return "", 204

    @described(f"Take all tags off a {one}.", answers={204: None})
    def clear(id: str) -> Any:
        change(id, lambda tags: [])
        return "", 204

    # As the reference has it: below the collection itself, wherever that is (`/qos/policies` has tags at `/policies/ID/tags`).
    path = f"{api.dialect.prefix}/{noun.path.rpartition('/')[2]}/<id>/tags"
    for rule, method, view in (
        (path, "GET", show_all), (path, "PUT", replace), (path, "DELETE", clear),
        (f"{path}/<tag>", "GET", show), (f"{path}/<tag>", "PUT", add), (f"{path}/<tag>", "DELETE", remove),
    ):
        api.app.add_url_rule(rule, f"{method.lower()}_{noun.kind}_{'tag' if '<tag>' in rule else 'tags'}", view,
                             methods=[method])
