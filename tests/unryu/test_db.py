"""Transactions: rows and journal together or not at all, in an order that no reader can miss."""

import sqlite3
import threading
import time
from contextlib import closing

import pytest

from tests.unryu.library import Book, Loan, Shelf
from unryu import journal
from unryu.auth import Context
from unryu.db import Database, Taken
from unryu.errors import Conflict, Deadlock, NotFound, Unavailable
from unryu.journal import Feed

ANN = Context(user_id="ann", project_id="blue", request_id="req-1")


def shelf(database: Database, name: str = "a") -> Shelf:
    with database.transaction(ANN) as tx:
        return tx.insert(Shelf(name=name, project_id="blue"))


def head(database: Database) -> int:
    with database.reading() as tx:
        return journal.head(tx.connection)


def test_rows_and_journal_are_one_commit(database: Database) -> None:
    feed = Feed(database, 0)
    with database.transaction(ANN) as tx:
        one = tx.insert(Shelf(name="a", project_id="blue"))
        book = tx.insert(Book(name="b", project_id="blue", shelf_id=one.id))
        tx.update(book, pages=7)
    created, of_book, changed = feed.read()
    assert tx.revision == head(database) == 1
    assert {e.revision for e in (created, of_book, changed)} == {1}
    assert (created.kind, created.id, created.before) == ("shelf", one.id, None)
    assert created.after is not None and created.after["name"] == "a"
    assert changed.before is not None and changed.after is not None
    assert (changed.before["pages"], changed.after["pages"]) == (100, 7)
    assert (changed.before["revision_number"], changed.after["revision_number"]) == (0, 1)
    with database.reading() as tx:
        who = tx.connection.execute(journal.table.select()).mappings().first()
    assert who is not None and (who["user_id"], who["project_id"], who["request_id"]) == ("ann", "blue", "req-1")
    feed.close()


def test_an_error_inside_changes_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction(ANN) as tx:
        tx.insert(Shelf(name="a", project_id="blue"))
        tx.allocate("n", "x", lambda taken: "1")
        raise ZeroDivisionError
    with database.reading() as tx:
        assert tx.where("shelf") == [] and journal.head(tx.connection) == 0 and tx.taken("n") == set()


def test_what_changes_nothing_is_no_commit(database: Database) -> None:
    one = shelf(database)
    with database.transaction(ANN) as tx:
        assert tx.update(one, name="a") == one
    assert tx.revision == 0 and head(database) == 1


def test_what_is_only_passing_goes_with_the_change_that_it_was_said_with(database: Database) -> None:
    one = shelf(database)
    with database.transaction(ANN) as tx:
        book = tx.insert(Book(name="b", project_id="blue", shelf_id=one.id, torn=5))
        assert book.torn == tx.get("book", book.id).torn == 0
        book = tx.change(book, ANN, torn=5)
        assert (book.pages, book.torn) == (95, 0) and tx.change(book, ANN, name="c").pages == 95


def test_observed_facts_move_the_feed_but_no_revision_number(database: Database) -> None:
    one = shelf(database)
    with database.transaction(ANN) as tx:
        book = tx.insert(Book(name="b", project_id="blue", shelf_id=one.id))
    feed = Feed(database, head(database))
    with database.transaction() as tx:
        book = tx.update(book, state="LENT")
    with database.transaction() as tx:
        tx.update(book, seen_at="noon")  # inert, too: nobody waits for it
    [entry] = feed.read()
    assert entry.observed and book.revision_number == 0 and book.updated_at == book.created_at
    with database.transaction() as tx:
        assert tx.update(book, state="BACK", pages=8).revision_number == 1
    [entry] = feed.read()
    assert not entry.observed
    feed.close()


def test_secrets_are_not_in_the_journal(database: Database) -> None:
    one = shelf(database)
    with database.transaction(ANN) as tx:
        book = tx.insert(Book(name="b", project_id="blue", shelf_id=one.id, pin="sesame"))
        book = tx.update(book, pin="other-sesame")
        tx.delete(book)
    with database.reading() as tx:
        rows = tx.connection.execute(journal.table.select()).all()
    assert len(rows) == 4 and "sesame" not in str(rows) and "sesame" not in repr(book)


def test_a_delete_takes_what_hangs_on_it_and_names_what_holds_it(database: Database) -> None:
    one = shelf(database)
    with database.transaction(ANN) as tx:
        book = tx.insert(Book(name="b", project_id="blue", shelf_id=one.id))
        tx.insert(Loan(book_id=book.id))
        tx.allocate("n", book.id, lambda taken: "1")
    with pytest.raises(Conflict, match=f"Shelf {one.id} is in use by book {book.id}"), database.transaction(ANN) as tx:
        tx.delete(one)
    feed = Feed(database, head(database))
    with database.transaction(ANN) as tx:
        tx.delete(book)
        tx.delete(one)
        assert tx.taken("n") == set()
    assert [e.kind for e in feed.read()] == ["loan", "book", "shelf"]
    with pytest.raises(NotFound, match="Book .* could not be found"), database.reading() as tx:
        tx.need("book", book.id)
    feed.close()


def test_a_reference_to_nothing_is_a_conflict(database: Database) -> None:
    with pytest.raises(Conflict), database.transaction(ANN) as tx:
        tx.insert(Loan(book_id="nobody"))
    with pytest.raises(Conflict), database.transaction(ANN) as tx:
        tx.insert(Shelf(id="same"))
        tx.insert(Shelf(id="same"))


def test_a_reader_sees_one_instant(database: Database) -> None:
    shelf(database, "a")
    with database.reading() as tx:
        before = tx.where("shelf")
        shelf(database, "b")
        assert tx.where("shelf") == before and journal.head(tx.connection) == 1
    assert head(database) == 2


def test_revision_order_is_commit_order(database: Database) -> None:
    """A writer that began first and commits last: its revision comes last, and a reader in between misses nothing."""
    began, may_end = threading.Event(), threading.Event()

    def slow() -> None:
        with database.transaction(ANN) as tx:
            tx.insert(Shelf(id="slow"))
            began.set()
            may_end.wait(60)

    writer = threading.Thread(target=slow)
    feed = Feed(database, 0)
    writer.start()
    assert began.wait(10)
    other = threading.Thread(target=shelf, args=(database, "quick"))
    other.start()
    other.join(0.5 if database.sqlite else 20)
    if database.sqlite:  # one writer at a time: it waits its turn
        assert other.is_alive() and feed.read() == []
    else:
        assert not other.is_alive()
        assert [(e.revision, e.after and e.after["name"]) for e in feed.read()] == [(1, "quick")]
    may_end.set()
    writer.join()
    other.join()
    seen = [(e.revision, e.id == "slow") for e in feed.read()]
    assert seen == ([(1, True), (2, False)] if database.sqlite else [(2, True)])
    feed.close()


def test_who_waited_in_vain_has_waited_for_all(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    if not database.sqlite:
        pytest.skip("a server has many writers")
    monkeypatch.setattr("unryu.db.database.LOCK_TIMEOUT", 1.0)
    fresh = Database(database.url.render_as_string())
    took = []
    with closing(sqlite3.connect(str(database.url.database), isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        for name in "abc":
            began = time.monotonic()
            with pytest.raises(Unavailable, match="database is locked"):
                shelf(fresh, name)
            took.append(time.monotonic() - began)
        stranger.execute("ROLLBACK")
    assert took[0] > 0.9 and max(took[1:]) < took[0]
    assert shelf(fresh, "d").name == "d" and not fresh._silent
    fresh.close()


def test_a_commit_waits_for_the_numbered_one_before_it(database: Database) -> None:
    """Held between its number and its commit, a writer holds all others: none can be seen before it."""
    if database.sqlite:
        pytest.skip("there the whole transaction is in turn, as shown above")
    numbered, may_end = threading.Event(), threading.Event()
    bell = database.bell

    class Held:
        listen, rung = bell.listen, bell.rung

        def ring(self, connection: object, services: object) -> None:
            numbered.set()
            may_end.wait(10)

    held = Database(database.url.render_as_string(hide_password=False))
    held.bell = Held()
    first = threading.Thread(target=shelf, args=(held, "first"))
    first.start()
    assert numbered.wait(10)
    second = threading.Thread(target=shelf, args=(database, "second"))
    second.start()
    second.join(0.3)
    assert second.is_alive() and head(database) == 0
    may_end.set()
    first.join()
    second.join()
    feed = Feed(database, 0)
    assert [e.after and e.after["name"] for e in feed.read()] == ["first", "second"]
    feed.close()
    held.close()


def test_races_for_a_number_give_no_double(database: Database) -> None:
    got: list[str] = []

    def smallest(taken: Taken) -> str:
        used = taken(map(str, range(100)))
        return next(n for n in map(str, range(100)) if n not in used)

    def take(owner: str) -> None:
        for _ in range(5):
            with database.transaction(ANN) as tx:
                number = tx.allocate("numbers", owner, smallest)
                time.sleep(0.002)
            got.append(number)

    threads = [threading.Thread(target=take, args=(f"owner{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 40 and len(set(got)) == 40
    with database.reading() as tx:
        assert tx.taken("numbers") == set(got)


def test_a_lost_database_is_a_sentence(url: str) -> None:
    broken = Database(url.replace("/test", "/nowhere/test"))
    with pytest.raises(Unavailable, match="The database does not answer"), broken.reading() as tx:
        tx.get("shelf", "x")
    broken.close()


def test_of_two_that_wait_for_each_other_one_is_told(database: Database) -> None:
    if database.sqlite:
        pytest.skip("there is one writer")
    ids = [shelf(database, name).id for name in "ab"]
    both, ends = threading.Barrier(2), []

    def cross(first: str, second: str) -> None:
        try:
            with database.transaction(ANN) as tx:
                tx.lock("shelf", first)
                both.wait(10)
                tx.lock("shelf", second)
            ends.append("done")
        except Deadlock:
            ends.append("deadlock")

    threads = [threading.Thread(target=cross, args=order) for order in (ids, ids[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["deadlock", "done"]


def test_a_connection_that_the_server_closed_is_replaced(database: Database) -> None:
    if database.sqlite:
        pytest.skip("there is no connection to lose")
    shelf(database, "a")
    other = Database(database.url.render_as_string(hide_password=False))
    with other.engine.connect() as connection:
        theirs = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) {theirs}")
        while connection.exec_driver_sql(f"SELECT 1 {theirs}").all():
            connection.rollback()  # what a transaction has seen of them it sees for ever
            time.sleep(0.05)
    other.close()
    shelf(database, "b")
    assert head(database) == 2


def test_what_is_locked_or_written_is_not_read_again(database: Database) -> None:
    """And what others may change meanwhile is."""
    one = shelf(database)
    with database.transaction(ANN) as tx:
        assert tx.get("shelf", one.id).name == "a"
        if not database.sqlite:
            with database.transaction(ANN) as other:
                other.update(one, name="b")
        locked = tx.lock("shelf", one.id)
        assert locked.name == ("a" if database.sqlite else "b") and tx.get("shelf", one.id) is locked
        changed = tx.update(locked, room=7)
        assert tx.get("shelf", one.id) is changed and tx.where("shelf", room=7) == [changed]
        tx.delete(changed)
        assert tx.get("shelf", one.id) is None
