"""What people read of an OpenAPI document of ours: a page of Markdown, or of HTML made from it.

`python -m unryu.rest.reference` writes docs/api from what the services serve; a test fails when that is stale.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

Schema = dict[str, Any]

PAGES = Path(__file__).parents[2] / "docs" / "api"
FRAME = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color-scheme: light dark }}
table {{ border-collapse: collapse; margin: 1em 0 }}
th, td {{ text-align: left; vertical-align: top; padding: .25em 1em .25em 0; border-bottom: 1px solid #8884 }}
code {{ font-size: 90% }}
</style>
{body}
"""


def html(document: Schema) -> str:
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown(document))
    return FRAME.format(title=document["info"]["title"], body=body)


def markdown(document: Schema) -> str:
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Schema) -> Iterator[str]:
    root = document["servers"][0]["url"].rstrip("/")
    schemas, refusals = document["components"]["schemas"], document["components"]["responses"]
    calls = [(f"{method.upper()} {root}{path}", call)
             for path, item in document["paths"].items() for method, call in item.items()]
    [example] = {json.dumps(_example(refusal["content"]["application/json"]["schema"])) for refusal in refusals.values()}
    yield f"# {document['info']['title']}\n"
    yield f"{document['info']['description']} What is refused is so in a sentence: `{example}`.\n"
    yield from _calls([call for call in calls if "tags" not in call[1]])
    for tag in document["tags"]:
        yield f"\n## {tag['name']}\n\n{tag['description']}\n"
        yield from _attributes(tag["name"], schemas)
        yield from _calls([call for call in calls if tag["name"] in call[1].get("tags", ())])
    yield "\n## What is within\n\n| name | |\n|---|---|"
    nouns = {tag["name"] + verb for tag in document["tags"] for verb in ("", "_create", "_update")}
    for name, schema in schemas.items():
        if name not in nouns:
            parts = [f"`{key}`: {_type(value)}" for key, value in schema.get("properties", {}).items()]
            yield f"| {name} | {'; '.join(parts)} |"


def _attributes(noun: str, schemas: Schema) -> Iterator[str]:
    shown, create, update = (schemas.get(noun + verb, {}) for verb in ("", "_create", "_update"))
    yield "| attribute | type | in create | in update | |\n|---|---|---|---|---|"
    for name, schema in {**shown.get("properties", {}), **create.get("properties", {})}.items():
        given = create.get("properties", {}).get(name)
        in_create = "-"
        if given is not None:
            default = f"`{json.dumps(given['default'])}`" if "default" in given else "yes"
            in_create = "required" if name in create.get("required", ()) else default
        in_update = "yes" if name in update.get("properties", {}) else "-"
        note = (given or {}).get("description", schema.get("description", ""))
        yield f"| `{name}` | {_type(schema)} | {in_create} | {in_update} | {note} |"
    yield ""


def _calls(calls: list[tuple[str, Schema]]) -> Iterator[str]:
    yield "| call | | answers |\n|---|---|---|"
    for line, call in calls:
        yield f"| `{line}` | {call['summary']} | {' '.join(call['responses'])} |"
    for line, call in calls:
        arguments = [p["name"] for p in call.get("parameters", ()) if p["in"] == "query"]
        if arguments:
            yield f"\n`{line}` takes {', '.join(f'`{name}`' for name in arguments)}."


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    bounds = [f"{schema[word]}" for word in ("minimum", "maximum") if word in schema]
    if bounds:
        return f"{kind}, {' to '.join(bounds)}"
    return f"{kind}, up to {schema['maxLength']}" if "maxLength" in schema else str(kind)


def _example(schema: Schema) -> Any:
    """A value as the schema of a refusal has it."""
    if schema.get("type") == "object":
        return {key: _example(value) for key, value in schema["properties"].items()}
    return 400 if schema["type"] == "integer" else "..."


def pages() -> Iterator[tuple[Path, str]]:
    """Every page and what it should say: the services that are installed are asked for their documents."""
    from werkzeug.test import Client

    from unryu.auth import Tokens
    from unryu.db import Database
    from unryu.service import Rooms, load_nouns

    load_nouns()
    database = Database()
    rooms = Rooms(database)
    for point in sorted(entry_points(group="unryu.apis")):
        rooms.add(point.name, point.load()(database, Tokens(lambda token: None)))
        answer = Client(rooms).get(f"/{point.name}/openapi.json")
        if answer.status_code == 200:
            yield PAGES / f"{point.name}.md", markdown(answer.get_json())


def main() -> None:
    PAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as state:
        os.environ["UNRYU_STATE"] = state  # or this would touch the cloud that runs here
        for page, text in pages():
            page.write_text(text)


if __name__ == "__main__":
    main()
