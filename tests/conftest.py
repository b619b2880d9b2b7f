"""What all tests may ask for."""

from collections.abc import Iterator

import pytest

from tests.clouds import RunningCloud


@pytest.fixture(scope="session")
def cloud() -> Iterator[RunningCloud]:
    """One cloud of two hosts for all who leave it as they found it; who breaks things raises a cloud of its own."""
    with RunningCloud(hosts=2) as running:
        yield running
