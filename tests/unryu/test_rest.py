"""The verbs over the library's nouns, good and bad input, on both databases."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from tests.unryu.library import Shelf
from unryu.errors import Deadlock

WHO = ("ann:blue:member", "bob:red:member", "eve:blue:reader", "root:ops:admin")
ANN, BOB, READER, ADMIN = ({"X-Auth-Token": token} for token in WHO)


def make(client: Client, noun: str = "shelf", headers: dict[str, str] = ANN, **words: Any) -> dict[str, Any]:
    path = {"shelf": "/v1/shelves", "book": "/v1/books"}[noun]
    answer = client.post(path, json={noun: words}, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json[noun]
    return made


def refused(answer: TestResponse, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json is not None and all(w in answer.json["message"] for w in words), answer.text


def names(answer: TestResponse) -> list[str]:
    assert answer.status_code == 200 and answer.json is not None, answer.text
    [items] = [v for k, v in answer.json.items() if isinstance(v, list)]
    return [i["name"] for i in items]


def at_once(*calls: Callable[[], TestResponse]) -> list[int]:
    """The status codes of calls made in parallel."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [answer.status_code for answer in [f.result() for f in [pool.submit(c) for c in calls]]]


def count(client: Client) -> int:
    return len(names(client.get("/v1/shelves", headers=ADMIN))) + len(names(client.get("/v1/books", headers=ADMIN)))


def test_a_call_that_ends_in_a_deadlock_begins_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [Deadlock("Crossed.")] * 2

    def before_create(self: Shelf, *_: Any) -> Shelf:
        if ends:
            raise ends.pop()
        return self

    monkeypatch.setattr(Shelf, "before_create", before_create)
    make(client, name="a")
    ends += [Deadlock("Crossed.")] * 10
    refused(client.post("/v1/shelves", json={"shelf": {"name": "b"}}, headers=ANN), 503, "Crossed")
    ends.clear()
    assert names(client.get("/v1/shelves", headers=ANN)) == ["a"]


def test_a_declaration_is_its_wire(client: Client) -> None:
    shelf = make(client, name="a", description="top")
    assert shelf == {
        "id": shelf["id"], "project_id": "blue", "tenant_id": "blue", "name": "a", "description": "top", "shared": False,
        "room": None, "tags": [], "revision_number": 0, "created_at": shelf["created_at"], "updated_at": shelf["created_at"],
    }
    book = make(client, "book", shelf_id=shelf["id"], pin="sesame", **{"text:language": "de"})
    assert book["text:language"] == "de" and book["state"] == "NEW" and book["pages"] == 100
    assert not {"pin", "price", "language"} & set(book)  # secret; hidden; otherwise named
    shown = client.get(f"/v1/books/{book['id']}", headers=ADMIN)
    assert shown.json is not None and shown.json["book"]["price"] == 0 and "pin" not in shown.json["book"]
    changed = client.put(f"/v1/books/{book['id']}", json={"book": {"pages": 3, "name": "x"}}, headers=ANN)
    assert changed.json is not None
    assert (changed.json["book"]["pages"], changed.json["book"]["revision_number"]) == (3, 1)
    assert client.delete(f"/v1/books/{book['id']}", headers=ANN).status_code == 204
    refused(client.get(f"/v1/books/{book['id']}", headers=ANN), 404, "Book", "could not be found")


@pytest.mark.parametrize(("words", "sentence"), [
    ({"colour": "red"}, "Unrecognized attribute 'colour' of a book."),
    ({"pin_": 1}, "Unrecognized attribute"),
    ({"state": "LENT"}, "Attribute 'state' of a book cannot be given in create."),
    ({"id": "mine"}, "Attribute 'id'"),
    ({"revision_number": 7}, "cannot be given"),
    ({"language": "en"}, "Unrecognized attribute 'language'"),
    ({"pages": "many"}, "Invalid input for pages: input should be a valid integer"),
    ({"pages": None}, "Invalid input for pages"),
    ({"pages": 9999}, "Invalid input for pages: 9999 is not between 1 and 5000."),
    ({"pages": 10**30}, "Invalid input for pages"),
    ({"text:language": "fr"}, "'fr' is none of en, de"),
    ({"name": 7}, "Invalid input for name: input should be a valid string"),
    ({"name": "x" * 256}, "longer than 255"),
    ({"name": "a\0b"}, "NUL"),
    ({"name": "\ud800"}, "Invalid input for name"),
    ({"words": ["\udfff"]}, "Invalid input for words"),
    ({"words": "one"}, "Invalid input for words"),
    ({"words": [{}]}, "Invalid input for words.0"),
    ({"shelf_id": None}, "Invalid input for shelf_id"),
    ({"pin": {"a": "secret-word"}}, "Invalid input for pin"),
])
def test_bad_attributes_are_400_and_change_nothing(client: Client, words: dict[str, Any], sentence: str) -> None:
    shelf = make(client, name="a")
    before = count(client)
    answer = client.post("/v1/books", data=json.dumps({"book": {"shelf_id": shelf["id"], **words}}), headers=ANN)
    refused(answer, 400, sentence)
    assert "secret-word" not in answer.text and count(client) == before
    book = make(client, "book", shelf_id=shelf["id"])
    refused(client.put(f"/v1/books/{book['id']}", data=json.dumps({"book": words}), headers=ANN), 400)


def test_numbers_that_no_database_holds_are_400(client: Client) -> None:
    for number in (2**63, -(2**63) - 1, 10**30):
        refused(client.post("/v1/shelves", json={"shelf": {"room": number}}, headers=ANN), 400, "room")
    assert make(client, room=2**63 - 1)["room"] == 2**63 - 1


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b"7", b'"shelf"', b"{}", b'{"shelf": []}', b'{"shelf": null}', b'{"book": {}}', b"\xff\xfe",
    b'{"shelf": {}, "more": 1}', b'{"shelves": []}', b'{"shelves": {}}', b'{"shelves": [1]}', b'{"shelf": {"room": NaN}}',
    b'{"shelf": {"room": 1e999}}', b'{"shelf": {"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", b"[" * 100_000,
])
def test_bad_bodies_are_400(client: Client, body: bytes) -> None:
    refused(client.post("/v1/shelves", data=body, headers=ANN), 400)
    assert count(client) == 0


def test_a_large_body_is_413(client: Client) -> None:
    body = json.dumps({"shelf": {"name": "x" * 4_000_000}})
    refused(client.post("/v1/shelves", data=body, headers=ANN), 413, "larger than")


@pytest.mark.parametrize("path", ["/v1/books/nobody", "/v1/books/%ff", "/v1/nothing", "/v2/books",
                                  f"/v1/books/{'x' * 5000}", "/v1/books/a'; DROP TABLE book; --"])
def test_what_is_not_there_is_404(client: Client, path: str) -> None:
    for verb in (client.get, client.delete):
        refused(verb(path, headers=ANN), 404)
    refused(client.put(path, json={"book": {}}, headers=ANN), 404)


def test_an_id_that_no_database_holds_is_the_callers_fault(client: Client) -> None:
    for path in ("/v1/books/%00", "/v1/shelves?marker=%00"):
        assert client.get(path, headers=ANN).status_code in (400, 404)


def test_a_wrong_method_is_405_in_the_envelope(client: Client) -> None:
    refused(client.patch("/v1/books/x", headers=ANN), 405)


def test_who_may_what(client: Client) -> None:
    refused(client.get("/v1/shelves"), 401, "X-Auth-Token")
    refused(client.get("/v1/shelves", headers={"X-Auth-Token": "junk"}), 401, "unknown")
    assert "Keystone uri=" in client.get("/v1/shelves").headers["WWW-Authenticate"]
    refused(client.post("/v1/shelves", json={"shelf": {}}, headers=READER), 403, "reader", "create_shelf")
    refused(client.post("/v1/shelves", json={"shelf": {"shared": True}}, headers=ANN), 403, "shared")
    refused(client.post("/v1/shelves", json={"shelf": {"project_id": "red"}}, headers=ANN), 403, "project_id")
    assert make(client, project_id="blue")["project_id"] == make(client, tenant_id="blue")["project_id"] == "blue"
    assert make(client, headers=ADMIN, tenant_id="red")["project_id"] == "red"


def test_a_strangers_thing_is_not_there(client: Client) -> None:
    shelf, book = make(client), None
    book = make(client, "book", shelf_id=shelf["id"])
    for path, body in ((f"/v1/shelves/{shelf['id']}", {"shelf": {"name": "z"}}), (f"/v1/books/{book['id']}", {"book": {}})):
        refused(client.get(path, headers=BOB), 404)
        refused(client.put(path, json=body, headers=BOB), 404)
        refused(client.delete(path, headers=BOB), 404)
    refused(client.post("/v1/books", json={"book": {"shelf_id": shelf["id"]}}, headers=BOB), 404, "Shelf")
    assert names(client.get("/v1/shelves", headers=BOB)) == []
    refused(client.get(f"/v1/shelves?marker={shelf['id']}", headers=BOB), 400)


def test_a_shared_thing_is_seen_but_not_changed_by_others(client: Client) -> None:
    shelf = make(client, headers=ADMIN, project_id="blue", shared=True, name="s")
    book = make(client, "book", shelf_id=shelf["id"], name="b")
    assert names(client.get("/v1/shelves", headers=BOB)) == ["s"]
    assert names(client.get("/v1/books", headers=BOB)) == ["b"]  # who sees the shelf sees its books
    assert client.get(f"/v1/books/{book['id']}", headers=BOB).status_code == 200
    refused(client.put(f"/v1/shelves/{shelf['id']}", json={"shelf": {"name": "z"}}, headers=BOB), 403, "another project")
    refused(client.delete(f"/v1/books/{book['id']}", headers=BOB), 403, "another project")
    refused(client.post("/v1/books", json={"book": {"shelf_id": shelf["id"]}}, headers=BOB), 403, "another project")


def test_conflicts(client: Client) -> None:
    shelf = make(client)
    make(client, "book", shelf_id=shelf["id"])
    refused(client.delete(f"/v1/shelves/{shelf['id']}", headers=ANN), 409, "in use by book")
    answer = client.post("/v1/books", json={"book": {"shelf_id": shelf["id"], "name": "forbidden"}}, headers=ANN)
    refused(answer, 409, "not kept here")
    assert answer.json is not None and answer.json["type"] == "BookForbidden"


def test_many_at_once_are_all_or_none(client: Client) -> None:
    shelf = make(client)
    books: list[dict[str, Any]] = [{"shelf_id": shelf["id"], "name": n} for n in "abc"]
    answer = client.post("/v1/books", json={"books": books}, headers=ANN)
    assert answer.status_code == 201 and answer.json is not None
    assert [b["name"] for b in answer.json["books"]] == ["a", "b", "c"]
    for bad in ({"pages": 0}, {"name": "forbidden"}, {"shelf_id": "nowhere"}):
        answer = client.post("/v1/books", json={"books": [books[0], {**books[1], **bad}]}, headers=ANN)
        assert answer.status_code in (400, 404, 409)
    assert len(names(client.get("/v1/books", headers=ANN))) == 3


def test_filters_fields_and_order(client: Client) -> None:
    for name, room, description in (("a", 1, "x"), ("b", 2, ""), ("c", 2, "x"), ("d", None, "x")):
        make(client, name=name, room=room, description=description)

    def listed(query: str, headers: dict[str, str] = ANN) -> list[str]:
        return names(client.get(f"/v1/shelves?{query}&sort_key=name", headers=headers))

    assert listed("name=a&name=c") == ["a", "c"]
    assert listed("room=2") == ["b", "c"] and listed("room=2&description=x") == ["c"]
    assert listed("shared=false") == list("abcd") and listed("shared=True") == []
    assert listed("tenant_id=blue") == list("abcd") and listed("project_id=red") == []
    assert listed("tenant_id=blue", ADMIN) == list("abcd")
    order = "sort_key=room&sort_key=name&sort_dir=desc&sort_dir=asc"
    assert names(client.get(f"/v1/shelves?{order}", headers=ANN)) == ["b", "c", "a", "d"]
    answer = client.get("/v1/shelves?fields=id&fields=name&name=a", headers=ANN)
    assert answer.json is not None and set(answer.json["shelves"][0]) == {"id", "name"}
    one = answer.json["shelves"][0]["id"]
    assert client.get(f"/v1/shelves/{one}?fields=room", headers=ANN).json == {"shelf": {"room": 1}}


@pytest.mark.parametrize("query", [
    "colour=red", "pin=x", "room=one", "room=99999999999999999999", "shared=perhaps", "limit=-1", "limit=x",
    "limit=9999999999", "sort_key=colour", "sort_key=name&sort_dir=up", "sort_dir=asc", "marker=nobody", "name=%00",
    "page_reverse=perhaps", "room=", "sort_key=words",
])
def test_bad_queries_are_400(client: Client, query: str) -> None:
    refused(client.get(f"/v1/{'books' if 'pin' in query or 'words' in query else 'shelves'}?{query}", headers=ANN), 400)


def test_what_is_hidden_cannot_be_asked_for(client: Client) -> None:
    """A filter or an order over a hidden attribute would tell it."""
    make(client, "book", headers=ADMIN, shelf_id=make(client)["id"], project_id="blue", price=7)
    assert len(names(client.get("/v1/books?price=7", headers=ADMIN))) == 1
    for query in ("price=7", "sort_key=price"):
        refused(client.get(f"/v1/books?{query}", headers=ANN), 400, "price")


def test_pages_forward_and_backward(client: Client) -> None:
    for number in range(7):
        make(client, name=f"s{number}", room=number % 2)
    make(client, name="none", room=None)
    query = "/v1/shelves?limit=3&sort_key=room&sort_dir=desc"
    whole = names(client.get("/v1/shelves?sort_key=room&sort_dir=desc", headers=ANN))
    assert len(whole) == 8
    seen, url = [], query
    while url:
        answer = client.get(url, headers=ANN)
        seen += names(answer)
        assert answer.json is not None and len(answer.json["shelves"]) <= 3
        url = answer.json.get("next", "").replace("http://localhost", "")
    assert seen == whole
    last = client.get("/v1/shelves?sort_key=room&sort_dir=desc", headers=ANN).json
    assert last is not None
    for n in (3, 5):
        marker = last["shelves"][n]["id"]
        back = client.get(f"{query}&page_reverse=true&marker={marker}", headers=ANN)
        assert names(back) == whole[max(0, n - 3):n]
    assert len(names(client.get("/v1/shelves?limit=0", headers=ANN))) == 8  # no limit
    exact = client.get("/v1/shelves?limit=8", headers=ANN).json
    assert exact is not None and "next" not in exact


def test_if_match(client: Client) -> None:
    shelf = make(client)
    path = f"/v1/shelves/{shelf['id']}"
    changed = client.put(path, json={"shelf": {"name": "b"}}, headers={**ANN, "If-Match": "revision_number=0"})
    assert changed.status_code == 200
    for late in ("revision_number=0", '"revision_number=0"', "nonsense"):
        refused(client.put(path, json={"shelf": {"name": "c"}}, headers={**ANN, "If-Match": late}), 412, "revision_number=1")
        refused(client.delete(path, headers={**ANN, "If-Match": late}), 412)
    assert client.delete(path, headers={**ANN, "If-Match": "revision_number=1"}).status_code == 204


def test_one_of_many_deletes_wins(client: Client) -> None:
    path = f"/v1/shelves/{make(client)['id']}"
    answers = at_once(*[lambda: client.delete(path, headers=ANN)] * 8)
    assert sorted(answers) == [204] + [404] * 7


def test_parallel_updates_are_each_counted(client: Client) -> None:
    path = f"/v1/shelves/{make(client)['id']}"
    at_once(*(lambda n=n: client.put(path, json={"shelf": {"name": str(n)}}, headers=ANN) for n in range(8)))
    shown = client.get(path, headers=ANN).json
    assert shown is not None and shown["shelf"]["revision_number"] == 8


def test_a_child_made_while_its_parent_goes(client: Client) -> None:
    """Either the book is on the shelf, or the shelf is gone: never a crash."""
    for _ in range(5):
        shelf = make(client)["id"]
        answers = at_once(
            lambda s=shelf: client.post("/v1/books", json={"book": {"shelf_id": s}}, headers=ANN),
            lambda s=shelf: client.delete(f"/v1/shelves/{s}", headers=ANN),
        )
        assert sorted(answers) in ([201, 409], [204, 404], [204, 409])


def test_request_ids(client: Client) -> None:
    given = "req-" + "1" * 8 + "-1111-1111-1111-" + "1" * 12

    def answered(id: str) -> str:
        return client.get("/v1/shelves", headers={**ANN, "X-Openstack-Request-Id": id}).headers["X-Openstack-Request-Id"]

    assert answered(given) == given
    own = [answered(bad) for bad in ("", "x", "req-" + "é" * 36, "req-'" + "1" * 35)]
    assert all(o.startswith("req-") and len(o) == 40 and o.isascii() for o in own) and len(set(own)) == 4


def test_what_stands_below_another_is_a_part_of_it(client: Client) -> None:
    """Its path says of what; its own word is the key of its bodies; a change of it is one of the whole."""
    shelf = make(client, name="a")
    one, other = (make(client, "book", shelf_id=shelf["id"], name=name) for name in "ab")
    notes = f"/v1/books/{one['id']}/notes"
    made = client.post(notes, json={"note": {"page": 3}}, headers=ANN)
    assert made.status_code == 201 and made.json is not None, made.text
    note = made.json["note"]
    assert (note["book_id"], note["page"], note["project_id"]) == (one["id"], 3, "blue")
    assert client.post(notes, json={"notes": [{"page": 4, "book_id": one["id"]}, {"page": 5}]}, headers=ANN).status_code == 201
    refused(client.post(notes, json={"note": {"page": 3, "book_id": other["id"]}}, headers=ANN), 400, "none of", one["id"])
    refused(client.post(notes, json={"book_note": {"page": 3}}, headers=ANN), 400, "'note'")
    for headers, status in ((BOB, 404), (READER, 403)):
        assert client.post(notes, json={"note": {"page": 3}}, headers=headers).status_code == status
    listed = client.get(f"{notes}?sort_key=page", headers=ANN).json
    assert listed is not None and [n["page"] for n in listed["notes"]] == [3, 4, 5]
    elsewhere = f"/v1/books/{other['id']}/notes"
    assert client.get(elsewhere, headers=ANN).json == {"notes": []}
    refused(client.get(notes, headers=BOB), 404, "Book", one["id"])
    before = client.get(f"/v1/books/{one['id']}", headers=ANN).json
    changed = client.put(f"{notes}/{note['id']}", json={"note": {"page": 9}}, headers=ANN)
    assert changed.json is not None and changed.json["note"]["page"] == 9, changed.text
    after = client.get(f"/v1/books/{one['id']}", headers=ANN).json
    assert before and after and after["book"]["revision_number"] == before["book"]["revision_number"] + 1
    for call in (client.get, client.delete):
        refused(call(f"{elsewhere}/{note['id']}", headers=ANN), 404, "Note", note["id"])
    refused(client.put(f"{elsewhere}/{note['id']}", json={"note": {"page": 1}}, headers=ANN), 404, "Note")
    assert client.delete(f"{notes}/{note['id']}", headers=ANN).status_code == 204
    assert client.delete(f"/v1/books/{one['id']}", headers=ANN).status_code == 204


def test_what_is_only_passing_is_acted_on_and_not_kept(client: Client) -> None:
    shelf = make(client, name="a")
    book = make(client, "book", shelf_id=shelf["id"], pages=100)
    for left in (90, 80):
        changed = client.put(f"/v1/books/{book['id']}", json={"book": {"torn": 10}}, headers=ANN).json
        assert changed is not None and changed["book"]["pages"] == left and "torn" not in changed["book"]


def test_a_reference_that_is_cleared_when_what_it_points_to_goes(client: Client) -> None:
    shelf = make(client, name="a")
    second = make(client, "book", shelf_id=shelf["id"])
    first = make(client, "book", shelf_id=shelf["id"], sequel_id=second["id"])
    assert client.delete(f"/v1/books/{second['id']}", headers=ANN).status_code == 204
    left = client.get(f"/v1/books/{first['id']}", headers=ANN).json
    assert left is not None and left["book"]["sequel_id"] is None and left["book"]["revision_number"] == 1
