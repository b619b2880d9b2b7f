"""A database of each kind for every test of the ground floor, with the library's tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import Client

from tests.unryu.library import LIBRARY, application, create_tables, known
from unryu.auth import Tokens
from unryu.db import Database
from unryu.resource import nouns
from unryu.service import load_nouns


@pytest.fixture(autouse=True, scope="session")
def _catalogue() -> None:
    load_nouns()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNRYU_STATE", str(tmp_path))
    return tmp_path


@pytest.fixture
def database(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    for kind, noun in LIBRARY.items():
        monkeypatch.setitem(nouns, kind, noun)
    database = Database(url)
    create_tables(database)
    yield database
    database.close()


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(known)


@pytest.fixture
def client(database: Database, tokens: Tokens) -> Client:
    return Client(application(database, tokens))
