"""Quotas: how many a project may have, over the API, and kept when many write at once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.inprocess import ADMIN, ALT, READER, Api
from unryu.db import Database


def test_limits_as_they_are_and_as_they_are_set(api: Api) -> None:
    default = api("GET", "/quotas/demo/default").json["quota"]
    assert (default["network"], default["subnet"], default["port"], default["rbac_policy"]) == (100, 100, 500, 10)
    assert default["subnetpool"] == -1 and default == api("GET", "/quotas/demo", token=READER).json["quota"]
    changed = api("PUT", "/quotas/demo", {"quota": {"network": 2, "port": "-1", "check_limit": True}}, ADMIN)
    assert changed.status_code == 200 and changed.json["quota"] == {**default, "network": 2, "port": -1}
    assert api("GET", "/quotas/demo").json == changed.json and api("GET", "/quotas/demo/default").json["quota"] == default
    assert api("GET", "/quotas", token=ADMIN).json == {"quotas": [
        {**changed.json["quota"], "project_id": "demo", "tenant_id": "demo"}]}
    for name in "ab":
        api.make("network", name=name)
    fault = api.refused(409, "Quota exceeded for resources: ['network']", "POST", "/networks", {"network": {}})
    assert fault["type"] == "OverQuota"
    for path in ("details", "details.json"):
        details = api("GET", f"/quotas/demo/{path}").json["quota"]
        assert details["network"] == {"limit": 2, "used": 2, "reserved": 0} and details["port"]["limit"] == -1
    api.make("network", ALT)  # who has the default
    assert api("DELETE", "/quotas/demo", token=ADMIN).status_code == 204
    assert api("GET", "/quotas/demo").json["quota"] == default
    assert api.refused(404, "no quotas of its own", "DELETE", "/quotas/demo", token=ADMIN)["type"] == "TenantQuotaNotFound"


def test_a_limit_below_what_is_in_use(api: Api) -> None:
    for name in "ab":
        api.make("network", name=name)
    api.refused(400, "already used 2", "PUT", "/quotas/demo", {"quota": {"network": 1}}, token=ADMIN)
    assert api("PUT", "/quotas/demo", {"quota": {"network": 1, "force": True}}, ADMIN).json["quota"]["network"] == 1
    api.refused(409, "Quota exceeded", "POST", "/networks", {"network": {}})


def test_many_in_one_call_are_counted_together(api: Api) -> None:
    api("PUT", "/quotas/demo", {"quota": {"network": 3}}, ADMIN)
    api.refused(409, "Quota exceeded", "POST", "/networks", {"networks": [{}] * 4})
    assert api("POST", "/networks", {"networks": [{}] * 3}).status_code == 201


@pytest.mark.parametrize(("status", "words", "body"), [
    (400, "Unrecognized attribute 'colour'", {"quota": {"colour": 1}}), (400, "from 0", {"quota": {"network": -2}}),
    (400, "from 0", {"quota": {"network": 2**31}}), (400, "from 0", {"quota": {"network": True}}),
    (400, "from 0", {"quota": {"network": 1.5}}), (400, "from 0", {"quota": {"network": "many"}}),
    (400, "from 0", {"quota": {"network": None}}), (400, "one key 'quota'", {"quotas": {}}),
    (400, "one key 'quota'", {"quota": []}), (400, "'id'", {"quota": {"id": "x"}}),
])
def test_a_bad_quota(api: Api, status: int, words: str, body: Any) -> None:
    api.refused(status, words, "PUT", "/quotas/demo", body, token=ADMIN)


def test_who_may(api: Api) -> None:
    for method, path, body in (("GET", "/quotas/demo", None), ("GET", "/quotas/demo/default", None),
                               ("GET", "/quotas/demo/details", None), ("GET", "/quotas", None), ("DELETE", "/quotas/alt", None),
                               ("PUT", "/quotas/alt", {"quota": {"network": -1}})):
        api.refused(403, "Only an administrator", method, path, body, token=ALT)
    api.refused(401, "needs a token", "GET", "/quotas/demo", token=None)


def test_writers_at_once_have_no_more_than_the_limit(database: Database) -> None:
    api = Api(database)
    api("PUT", "/quotas/demo", {"quota": {"network": 7}}, ADMIN)
    with ThreadPoolExecutor(8) as writers:
        answers = list(writers.map(lambda _: api("POST", "/networks", {"network": {}}).status_code, range(16)))
    assert sorted(answers) == [201] * 7 + [409] * 9
