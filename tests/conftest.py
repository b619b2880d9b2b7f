"""What all tests may ask for."""

import os
from collections.abc import Iterator

import pytest

from tests.clouds import RunningCloud


@pytest.fixture(scope="session")
def cloud() -> Iterator[RunningCloud]:
    """One cloud for all who leave it as they found it; who breaks things raises a cloud of its own."""
    with RunningCloud(hosts=int(os.environ.get("UNRYU_HOSTS", "2"))) as running:
        yield running
