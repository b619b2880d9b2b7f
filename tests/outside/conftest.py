"""One cloud of three hosts for all that is about the way out."""

from collections.abc import Iterator

import pytest

from tests.clouds import RunningCloud
from tests.outside.world import World, built


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with RunningCloud(hosts=3) as cloud:
        yield built(cloud)
