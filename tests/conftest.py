"""What all tests may ask for."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.clouds import RunningCloud
from tests.postgres import Postgres

# A machine may have other work: no example is too slow. The same ones each time: who looks for others asks for many.
hypothesis.settings.register_profile("patient", deadline=None, derandomize=True, database=None,
                                     suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where no system test is wanted, what holds nothing else is not even imported: what such tests need (the OpenStack client,
    schemathesis) takes as long to import as a hundred of the others to run."""
    if config.option.markexpr != "not system":
        return None
    files = list(collection_path.rglob("test_*.py")) if collection_path.is_dir() else [collection_path]
    return all("\npytestmark = pytest.mark.system\n" in file.read_text() for file in files) or None


@pytest.fixture(scope="session")
def cloud() -> Iterator[RunningCloud]:
    """One cloud of two hosts for all who leave it as they found it; who breaks things raises a cloud of its own."""
    with RunningCloud(hosts=2) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """For all who want a database in it; who stops it starts one of his own."""
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.system)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of an empty database, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/unryu.db"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url
