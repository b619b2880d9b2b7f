"""What tests of the network API ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.bootstrap import load_features
from tests.controller.switched import DPIDS
from tests.inprocess import Api, fresh_database
from tests.ovs import OvsHost
from unryu.db import Database, upgrade


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    """Of each kind, without rows."""
    if url.startswith("sqlite"):
        database = fresh_database(tmp_path)
    else:
        upgrade(url)
        database = Database(url)
    yield database
    database.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    database = fresh_database(tmp_path)
    yield Api(database)
    database.close()


@pytest.fixture
def network(api: Api) -> str:
    return str(api.make("network", name="blue")["id"])


@pytest.fixture
def group(api: Api) -> str:
    return str(api.make("security_group", name="web")["id"])


@pytest.fixture(scope="session")
def ovs() -> Iterator[tuple[OvsHost, str]]:
    """The bridges of two hosts on one Open vSwitch, and the address of a controller for them."""
    load_features()
    with OvsHost("switched") as host:
        for name in (f"{h}-{b}" for h, b in DPIDS):
            host.add_bridge(name)
        yield host, host.management()
