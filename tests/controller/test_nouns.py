"""What lists and calls of every noun take, tried on those of routers and QoS: bulk, order, pages, fields, tags, If-Match."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.inprocess import ADMIN, Api, Json
from unryu.resource import nouns

Many = Callable[[list[str]], list[Json]]


@pytest.fixture(params=["router", "floatingip", "qos_policy"])
def many(api: Api, request: pytest.FixtureRequest) -> Many:
    """Some of a kind in one call, one for each description."""
    noun, said = nouns[request.param], {}
    if noun.kind == "floatingip":
        out = api.make("network", ADMIN, **{"router:external": True})["id"]
        api.make("subnet", ADMIN, network_id=out, ip_version=4, cidr="203.0.113.0/24")
        said = {"floating_network_id": out}

    def make(descriptions: list[str]) -> list[Json]:
        answer = api("POST", noun.path, {noun.plural: [{**said, "description": one} for one in descriptions]}, ADMIN)
        assert answer.status_code == 201, answer.text
        return list(answer.json[noun.plural])

    vars(make)["noun"] = noun
    return make


def test_in_order_and_in_pages(api: Api, many: Many) -> None:
    noun = vars(many)["noun"]
    made = {one["description"]: one["id"] for one in many(["c", "a", "b"])}

    def listed(query: str) -> Any:
        answer = api("GET", f"{noun.path}?{query}", token=ADMIN)
        assert answer.status_code == 200, answer.text
        return answer.json

    assert [one["description"] for one in listed("sort_key=description&sort_dir=desc")[noun.plural]] == ["c", "b", "a"]
    first = listed("sort_key=description&limit=2")
    assert [one["description"] for one in first[noun.plural]] == ["a", "b"]
    following = first[f"{noun.plural}_links"][0]["href"].partition("?")[2]
    rest = listed(following)
    assert [one["description"] for one in rest[noun.plural]] == ["c"] and f"{noun.plural}_links" not in rest
    assert listed("description=b&fields=id")[noun.plural] == [{"id": made["b"]}]
    assert len(listed(f"id={made['a']}&id={made['c']}")[noun.plural]) == 2
    assert listed("description=")[noun.plural] == []
    api.refused(400, "sort_dir", "GET", f"{noun.path}?sort_key=id&sort_dir=up", token=ADMIN)
    api.refused(400, "cannot be filtered", "GET", f"{noun.path}?colour=red", token=ADMIN)


def test_all_of_a_call_or_nothing(api: Api, many: Many) -> None:
    noun = vars(many)["noun"]
    [one] = many(["a"])
    given = {word: one[word] for word in ("floating_network_id",) if word in one}
    body = {noun.plural: [given, {**given, "colour": "red"}]}
    api.refused(400, "Unrecognized attribute 'colour'", "POST", noun.path, body, ADMIN)
    assert len(api("GET", noun.path, token=ADMIN).json[noun.plural]) == 1


def test_tags_and_revisions(api: Api, many: Many) -> None:
    noun = vars(many)["noun"]
    red, blue = many(["red", "blue"])
    tagged = f"/{noun.plural}/{red['id']}/tags"
    assert api("PUT", tagged, {"tags": ["red", "warm"]}, ADMIN).json == {"tags": ["red", "warm"]}
    for query, found in (("tags=red,warm", [red]), ("tags-any=red,cold", [red]), ("not-tags=red", [blue])):
        assert [one["id"] for one in api("GET", f"{noun.path}?{query}", token=ADMIN).json[noun.plural]] == [found[0]["id"]]
    assert api("DELETE", f"{tagged}/red", token=ADMIN).status_code == 204
    assert api("GET", tagged, token=ADMIN).json == {"tags": ["warm"]}

    path = f"{noun.path}/{blue['id']}"
    change = "PUT", path, {noun.word: {"description": "green"}}, ADMIN
    stale = {"headers": {"If-Match": f"revision_number={blue['revision_number'] + 1}"}}
    assert api(*change, **stale).status_code == 412
    fresh = {"headers": {"If-Match": f"revision_number={blue['revision_number']}"}}
    after = api(*change, **fresh).json[noun.word]
    assert (after["description"], after["revision_number"]) == ("green", blue["revision_number"] + 1)
    assert after["created_at"] and after["updated_at"] >= after["created_at"]
    assert api("DELETE", path, token=ADMIN, **fresh).status_code == 412
    assert api("DELETE", path, token=ADMIN).status_code == 204
