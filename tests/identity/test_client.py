"""The unmodified `openstack` command against the service as it really runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import RunningApi

pytestmark = pytest.mark.system


@pytest.fixture
def api(state: Path) -> Iterator[RunningApi]:
    with RunningApi(state) as running:
        yield running


def test_the_openstack_client(api: RunningApi) -> None:
    def said(*words: str, user: str = "admin") -> Any:
        return json.loads(api.openstack(*words, "-f", "json", user=user))

    def names(*words: str, user: str = "admin") -> set[str]:
        return {row["Name"] for row in said(*words, user=user)}

    assert set(said("token", "issue")) == {"expires", "id", "project_id", "user_id"}
    assert names("catalog", "list", user="demo") == {"identity", "network"}
    assert names("project", "list") == names("user", "list") == {"admin", "demo", "alt"}
    assert names("project", "list", user="demo") == {"demo"}
    assert names("role", "list") == {"admin", "member", "reader"} and names("domain", "list") == {"Default"}
    assert {row["Service Type"] for row in said("endpoint", "list")} == {"identity", "network"}

    assert "403" in api.openstack("role", "list", user="demo", check=False)
    assert "Traceback" not in api.log() and '"level": "error"' not in api.log()
