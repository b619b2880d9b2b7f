"""A client of each kind, and what the nouns of most tests stand on."""

import multiprocessing
import multiprocessing.pool
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients import command
from tests.clients.command import Client
from tests.clouds import RunningCloud


@pytest.fixture(scope="module")
def pool() -> Iterator[multiprocessing.pool.Pool]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([command.__name__])
    with context.Pool(1, maxtasksperchild=1) as pool:
        yield pool


@pytest.fixture
def openstack(cloud: RunningCloud, pool: multiprocessing.pool.Pool) -> Client:
    return Client(cloud, pool)


@pytest.fixture
def admin(openstack: Client) -> Client:
    return openstack.as_user("admin")


@pytest.fixture
def name() -> str:
    return f"c-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def sdk(cloud: RunningCloud) -> Any:
    return cloud.connect()


@pytest.fixture
def root(cloud: RunningCloud) -> Any:
    return cloud.connect("admin")


@pytest.fixture
def network(sdk: Any, name: str) -> Iterator[Any]:
    made = sdk.network.create_network(name=name)
    yield made
    for port in sdk.network.ports(network_id=made.id):
        sdk.network.delete_port(port)
    sdk.network.delete_network(made)  # its subnets go with it


@pytest.fixture
def subnet(sdk: Any, network: Any) -> Any:
    return sdk.network.create_subnet(network_id=network.id, name=network.name, ip_version=4, cidr="10.7.0.0/24")
