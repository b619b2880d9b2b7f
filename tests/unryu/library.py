"""The nouns of a library that lends books: what the ground floor is tried with. The cloud's catalogue is without them."""

from typing import TYPE_CHECKING, Any, Self

import flask

from unryu.auth import Context, Tokens
from unryu.checks import between, one_of
from unryu.db import Database
from unryu.errors import Conflict, Fault
from unryu.resource import Resource, field, metadata, nouns
from unryu.rest import Api, Dialect

if TYPE_CHECKING:
    from unryu.db import Tx


class Shelf(Resource, kind="shelf", service="library", plural="shelves", visible_if=("shared",)):
    shared: bool = field(False, put=True, admin=True)
    room: int | None = field(None, put=True)


class Book(Resource, kind="book", service="library", visible_with="shelf_id", roles={"create": "member"}):
    shelf_id: str = field(ref="shelf", required=True, own=True, put=True)
    pages: int = field(100, put=True, check=between(1, 5000))
    language: str = field("en", put=True, check=one_of("en", "de"), wire="text:language")
    words: list[str] = field([], put=True)
    price: int = field(0, put=True, admin=True, hidden=True)
    state: str = field("NEW", observed=True)
    seen_at: str = field("", observed=True, inert=True)
    pin: str | None = field(None, put=True, secret=True)
    sequel_id: str | None = field(None, ref="book", put=True, ondelete="clear")
    torn: int = field(0, passing=True, put=True)

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        if self.name == "forbidden":
            raise Conflict("That book is not kept here.", "BookForbidden")
        return self

    def before_update(self, tx: "Tx", context: Context, before: Self) -> Self:
        return self.replace(pages=self.pages - self.torn)


class Loan(Resource, kind="loan", service="library", path=None, without=("name", "description")):
    book_id: str = field(ref="book", ondelete="cascade")
    number: int = field(0)


class Note(Resource, kind="book_note", service="library", word="note", path="/books/<book_id>/notes", visible_with="book_id",
           without=("name", "description")):
    book_id: str = field(ref="book", required=True, own=True, ondelete="cascade")
    page: int = field(required=True, put=True)


LIBRARY: dict[str, type[Resource]] = {kind: nouns.pop(kind) for kind in ("shelf", "book", "loan", "book_note")}
for _noun in LIBRARY.values():
    metadata.remove(_noun.table)


def create_tables(database: Database) -> None:
    """The journal's, the pools' and the library's."""
    from unryu import db, journal

    with database.engine.begin() as connection:
        for table in (journal.counter, journal.table, db.allocations, *(n.table for n in LIBRARY.values())):
            table.create(connection)
        connection.execute(journal.counter.insert().values(number=0))


def fault(error: Fault) -> dict[str, Any]:
    return {"type": error.code, "message": error.sentence}


def links(noun: type[Resource], page: str, following: str | None) -> dict[str, Any]:
    return {"next": following} if following else {}


def application(database: Database, tokens: Tokens) -> flask.Flask:
    dialect = Dialect(prefix="/v1", update="PUT", fault=fault, links=links, aliases={"tenant_id": "project_id"})
    return Api("library", dialect, database, tokens).app


def known(token: str) -> dict[str, Any] | None:
    """Identity for tests: the token `ann:blue:member` says who, where and as what."""
    user, _, rest = token.partition(":")
    project, _, role = rest.partition(":")
    if not role:
        return None
    return {"user": {"id": user}, "project": {"id": project}, "roles": [{"id": f"role-{role}", "name": role}],
            "audit_ids": [f"audit-{user}"], "expires_at": "2999-01-01T00:00:00.000000Z"}
