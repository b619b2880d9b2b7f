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

    api.openstack("domain", "create", "green")
    assert said("project", "create", "blue", "--description", "sky", "--tag", "x")["description"] == "sky"
    assert said("user", "create", "ada", "--password", "right", "--project", "blue", "--email", "a@b")["email"] == "a@b"
    api.openstack("role", "add", "--user", "ada", "--project", "blue", "member")
    given = {(row["Role"], row["User"], row["Project"]) for row in said("role", "assignment", "list", "--names")}
    assert ("member", "ada@Default", "blue@Default") in given
    assert names("user", "list", "--project", "blue") == {"ada"}

    (api.state / "secrets" / "ada-password").write_text("right")
    assert said("--os-project-name", "blue", "token", "issue", user="ada")["project_id"]
    api.openstack("user", "set", "ada", "--password", "new")
    assert "HTTP 401" in api.openstack("--os-project-name", "blue", "token", "issue", user="ada", check=False)
    assert "403" in api.openstack("role", "list", user="demo", check=False)

    api.openstack("role", "remove", "--user", "ada", "--project", "blue", "member")
    api.openstack("user", "delete", "ada")
    api.openstack("project", "delete", "blue")
    api.openstack("domain", "set", "--disable", "green")
    api.openstack("domain", "delete", "green")
    assert names("project", "list") == {"admin", "demo", "alt"}
    assert "Traceback" not in api.log() and '"level": "error"' not in api.log()
