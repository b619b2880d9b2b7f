"""The book on disk: what was taken is there again, whatever happened to the files."""

from pathlib import Path
from typing import Any

import pytest

from ovsagent.answers import book as module
from ovsagent.answers.book import Book, Stale


def said(revision: int, since: int | None = None, **answers: Any) -> dict[str, Any]:
    """A book, or what differs since a revision: an answer for each port; None: no more."""
    listed = [["dhcp4", port, "", entry] for port, entry in answers.items()]
    return {"revision": revision, "answers": listed} | ({} if since is None else {"since": since})


def ports(book: Book) -> dict[str, Any]:
    return {port: entry for (_, port, _), entry in book.answers.items()}


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """A whole one of revision 1, and news until revision 4."""
    book = Book(tmp_path / "book.json")
    book.replace(said(1, a={"n": 1}, b={"n": 1}))
    book.amend(said(2, 1, c={"n": 2}))
    book.amend(said(3, 2, a=None))
    book.amend(said(4, 3, b={"n": 4}))
    return book


NOW = {"b": {"n": 4}, "c": {"n": 2}}


def test_it_is_there_again(book: Book) -> None:
    again = Book(book.path)
    assert (again.revision, ports(again)) == (4, NOW) and again.changes
    again.amend(said(5, 4, d={"n": 5}))
    assert not book.news.exists(), "after a start it is written anew: the last line may be cut off"
    assert ports(Book(book.path)) == {**NOW, "d": {"n": 5}}


def test_a_change_is_as_much_to_write_in_a_large_book(book: Book) -> None:
    book.replace(said(10, **{f"p{n}": {"n": n} for n in range(1000)}))
    written = book.path.stat()
    book.amend(said(11, 10, p7={"n": 0}))
    assert book.path.stat().st_mtime_ns == written.st_mtime_ns and book.news.stat().st_size < written.st_size / 100
    assert ports(Book(book.path))["p7"] == {"n": 0}


def test_much_news_is_a_new_book(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEWS", book.news.stat().st_size + 1)
    book.amend(said(5, 4, d={"n": 5}))
    assert not book.news.exists() and ports(Book(book.path)) == {**NOW, "d": {"n": 5}}


def test_of_news_that_are_cut_off_the_rest_is_heard(book: Book) -> None:
    book.news.write_bytes(book.news.read_bytes()[:-9])
    again = Book(book.path)
    assert again.revision == 3 and ports(again) == {"b": {"n": 1}, "c": {"n": 2}}
    with pytest.raises(Stale):
        again.amend(said(5, 4, d={"n": 5}))  # so the controller brings all of it
    again.replace(said(5, d={"n": 5}))
    assert ports(Book(book.path)) == {"d": {"n": 5}}


def test_news_of_an_earlier_book_are_not_heeded(book: Book) -> None:
    """It died between the new book and the end of the old news."""
    news = book.news.read_bytes()
    book.replace(said(4, b={"n": 4}, c={"n": 2}))
    book.replace(said(7, e={"n": 7}))
    book.news.write_bytes(news)
    assert ports(Book(book.path)) == {"e": {"n": 7}}


def test_files_that_somebody_took_are_written_again(book: Book) -> None:
    book.path.unlink()
    book.amend(said(5, 4, d={"n": 5}))
    assert ports(Book(book.path)) == {**NOW, "d": {"n": 5}}
    book.path.write_text("{")
    book.replace(said(5, **NOW, d={"n": 5}))
    assert ports(Book(book.path)) == {**NOW, "d": {"n": 5}}
