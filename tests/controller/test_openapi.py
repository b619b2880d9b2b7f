"""The OpenAPI document: valid, complete, served, and the pages in docs/api made of it; and what HTTP alone may refuse."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from werkzeug.test import Client

import identity.api
from controller.api import application
from tests.inprocess import ADMIN, DEMO, fresh_database, tokens
from unryu.resource import nouns
from unryu.rest import reference

Json = dict[str, Any]
LINE = {"X-Auth-Token": DEMO}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    database = fresh_database(tmp_path)
    yield Client(application(database, tokens()))
    database.close()


@pytest.fixture
def document(client: Client) -> Json:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200 and answer.json
    return answer.json


def refused(answer: Any, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert words in answer.json["NeutronError"]["message"], answer.text


@pytest.mark.parametrize("application", [application, identity.api.application])
def test_a_document_is_valid_and_has_every_route(application: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRYU_STATE", str(tmp_path))
    app = application(fresh_database(tmp_path), tokens())
    document = Client(app).get("/openapi.json").json
    assert document and document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()
    rules = app.url_map.iter_rules()
    routes = {(re.sub(r"<(\w+)>", r"{\1}", r.rule), m.lower()) for r in rules for m in r.methods - {"HEAD", "OPTIONS"}}
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert routes == described, "say what they do: unryu/rest/described.py"


def test_it_says_what_a_noun_declares(document: Json) -> None:
    schemas, paths = document["components"]["schemas"], document["paths"]
    served = {noun.kind for noun in nouns.values() if noun.service == "network" and noun.path}
    assert served <= set(schemas) and served == {tag["name"] for tag in document["tags"]}
    assert "number" not in schemas["network"]["properties"], "internal"
    assert schemas["network_create"]["properties"]["mtu"] == {
        "type": "integer", "minimum": 0, "maximum": 65535, "default": 0}
    assert schemas["port_create"]["required"] == ["network_id"] and "network_id" not in schemas["port_update"]["properties"]
    assert {"tenant_id", "project_id"} <= set(schemas["port"]["properties"])
    listed = {p["name"] for p in paths["/v2.0/ports"]["get"]["parameters"]}
    assert {"fixed_ips", "limit", "marker", "sort_key", "sort_dir", "page_reverse", "fields", "tags", "not-tags-any",
            "tenant_id", "binding:host_id"} <= listed
    assert " ".join(paths["/v2.0/ports/{id}"]["put"]["responses"]) == "200 400 401 403 404 409 412 413 415 503"
    refusal = document["components"]["responses"]["NotFound"]["content"]["application/json"]["schema"]
    assert refusal["required"] == ["NeutronError"]


def test_the_pages_are_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRYU_STATE", str(tmp_path))
    for page, text in reference.pages():
        assert page.exists() and page.read_text() == text, "write it anew: python -m unryu.rest.reference"


def test_a_page_for_people(client: Client) -> None:
    page = client.get("/reference")
    assert page.content_type == "text/html; charset=utf-8"
    assert "<h2>network</h2>" in page.text and "src=" not in page.text and "http" not in page.text


def post(client: Client, path: str, data: Any, **more: Any) -> Any:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return client.post(f"/v2.0{path}", data=body, headers=LINE, **more)


def test_methods_that_a_path_has_not(client: Client) -> None:
    for method, path, allowed in (("PUT", "/networks", "GET, HEAD, OPTIONS, POST"), ("POST", "/extensions", "GET, HEAD, OPTIONS"),
                                  ("TRACE", "/networks/x", "DELETE, GET, HEAD, OPTIONS, PUT")):
        answer = client.open(f"/v2.0{path}", method=method, headers=LINE)
        refused(answer, 405, f"{method} cannot be done here")
        assert answer.headers["Allow"] == allowed
    assert client.options("/v2.0/networks").headers["Allow"]
    head = client.head("/v2.0/networks", headers=LINE)
    assert head.status_code == 200 and head.data == b"" and client.head("/v2.0/networks/x", headers=LINE).status_code == 404


def test_bodies_of_another_type_or_too_deep_or_too_many(client: Client) -> None:
    network = {"network": {"name": "blue"}}
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        refused(post(client, "/networks", network, content_type=kind), 415, "must be application/json")
    create = b'{"transaction": {"operations": [{"op": "create", "kind": "network", "body": %s}]}}'
    for deep in (b"[" * n + b"]" * n for n in (40, 400, 40_000)):
        refused(post(client, "/networks", b'{"network": {"name": %s}}' % deep), 400, "nested too deeply")
        refused(post(client, "/transactions", create % deep), 400, "nested too deeply")
    refused(post(client, "/networks", {"networks": [{}] * 10_000}), 413, "10000 networks in one call are more than 1000")
    refused(post(client, "/networks", json.dumps(network).encode("utf-16")), 400, "not JSON")
    refused(post(client, "/networks", b'{"network": {"mtu": 1e999}}'), 400, "mtu")
    refused(post(client, "/networks", b'{"network": {"mtu": ' + b"9" * 5000 + b"}}"), 400, "JSON")
    assert client.get("/v2.0/networks", headers=LINE).json == {"networks": []}
    made = post(client, "/networks", {"network": {"name": "blå 🦆"}}, content_type="application/json; charset=utf-8").json
    assert made["network"]["name"] == "blå 🦆"


def test_arguments_without_end(client: Client) -> None:
    for query, words in (
        ("name=%00", "NUL"), ("tags=" + "a," * 3000, "more than 100 tags"), ("sort_key=name&" * 700, "there twice"),
        ("limit=-5", "limit is a number"), ("limit=" + "9" * 4000, "limit is a number"), ("mtu=" + "9" * 4000, "mtu is a number"),
        ("mtu=%C2%B2", "mtu is a number"), ("limit=%C2%B2", "limit is a number"), ("marker=gone", "marker gone is no network"),
    ):
        refused(client.get(f"/v2.0/networks?{query}", headers=LINE), 400, words)
    assert client.get("/v2.0/networks?" + "name=x&" * 1100, headers=LINE).status_code == 200
    for path in ("/v2.0/networks/a%00b", "/v2.0/networks/x/tags/%00", "/v2.0/networks//tags", "/v2.0/none/" + "x" * 4000):
        refused(client.get(path, headers=LINE), 404, "N" if "%00" in path else "not found")


def test_the_same_thing_deleted_by_many_at_once(client: Client) -> None:
    id = post(client, "/networks", {"network": {}}).json["network"]["id"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.delete(f"/v2.0/networks/{id}", headers={"X-Auth-Token": ADMIN}), range(8)))
    assert sorted(a.status_code for a in answers) == [204] + [404] * 7
    assert all("could not be found" in a.json["NeutronError"]["message"] for a in answers if a.status_code == 404)
