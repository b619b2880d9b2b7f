"""schemathesis against our own OpenAPI documents: whatever is sent, the answer is one that the document declares.

`UNRYU_REQUESTS=5000` for each service and database (`make drill`); a sample by default.
"""

import os
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
import pytest
import schemathesis
import schemathesis.openapi
from hypothesis import strategies as st
from schemathesis.specs.openapi import checks

import controller.api
import identity.api
import identity.bootstrap
from tests.inprocess import ADMIN, ALT, DEMO, READER, tokens
from unryu.db import Database, upgrade
from unryu.service import load_nouns

pytestmark = pytest.mark.system

REQUESTS = int(os.environ.get("UNRYU_REQUESTS", "250"))
CHECKS = [
    schemathesis.checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_headers_conformance, checks.response_schema_conformance,
]


@pytest.fixture
def database(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """With the keys and the first users, as `unryu up` makes them."""
    monkeypatch.setenv("UNRYU_STATE", str(tmp_path))
    monkeypatch.setenv("UNRYU_DATABASE_URL", url)
    load_nouns()
    upgrade()
    identity.bootstrap.bootstrap()
    return Database()


NETS = [f"10.{n}.0.0/24" for n in range(9)] + [f"fd00:{n}::/64" for n in range(9)]
ADDRESSES = [f"10.0.0.{n}" for n in range(20)] + [f"fd00:1::{n}" for n in range(1, 20)]
LIKELY = {
    **dict.fromkeys(("cidr", "destination", "prefixes", "addresses", "remote_ip_prefix"), NETS), "ip_version": [4, 4, 6],
    **dict.fromkeys(("ip_address", "start", "end", "nexthop", "gateway_ip", "dns_nameservers"), ADDRESSES),
    **dict.fromkeys(("project_id", "tenant_id", "target_tenant"), ["demo", "alt"]),
    "router:external": [True, False], "protocol": ["tcp", "udp", "icmp"], "internal_ip_address": ADDRESSES,
    "mac_address": [f"fa:16:3e:00:00:{n:02x}" for n in range(20)], "binding:host_id": ["h1", "h2"],
}


class Known:
    """What bodies are likely to be taken with, beside the ids that the answers told: what is refused at once tries little."""

    def __init__(self) -> None:
        self.ids: dict[str, list[str]] = defaultdict(list)

    def learn(self, answer: Any) -> None:
        for key, value in answer.items() if isinstance(answer, dict) else ():
            if isinstance(value, dict) and isinstance(value.get("id"), str):
                self.ids[key].append(value["id"])
            elif isinstance(value, list):
                for item in value:
                    self.learn({key.removesuffix("s"): item})

    def put(self, random: Random, words: Any) -> None:
        """Likely values, mostly, into a body."""
        for key, value in list(words.items()) if isinstance(words, dict) else ():
            likely = LIKELY.get(key) or (self.ids[key[:-3].removeprefix("floating_").removeprefix("internal_")]
                                         if key.endswith("_id") else [])
            if likely and not isinstance(value, dict) and random.random() < 0.9:
                one = random.choice(likely)
                words[key] = [one] if isinstance(value, list) and not any(isinstance(v, dict) for v in value) else one
            for item in value if isinstance(value, list) else [value]:
                self.put(random, item)


@pytest.mark.parametrize("application", [controller.api.application, identity.api.application], ids=["network", "identity"])
def test_every_answer_is_a_declared_one(database: Database, application: Any) -> None:
    app = application(database, tokens())
    document = schemathesis.openapi.from_wsgi("/openapi.json", app)
    operations = [found.ok() for found in document.get_all_operations()]
    known = Known()
    statuses: Counter[int] = Counter()
    # Makers first, and more of them, so that the others find something.
    share = max(2, REQUESTS * 2 // (3 * len(operations)))
    for operation in sorted(operations, key=lambda o: (o.method != "post", o.method == "delete")):
        making = operation.method == "post"
        _try(operation, known, statuses, share * 10 if making else share)
    print(f"{statuses.total()} requests: {dict(sorted(statuses.items()))}")
    assert statuses.total() >= REQUESTS * 0.8


def _try(operation: Any, known: Known, statuses: Counter[int], requests: int) -> None:
    kind = (operation.tags or [""])[0]

    @hypothesis.settings(max_examples=requests, deadline=None, database=None, derandomize=True,
                         suppress_health_check=list(hypothesis.HealthCheck), phases=[hypothesis.Phase.generate])
    @hypothesis.given(data=st.data())
    def one(data: Any) -> None:
        random = Random(data.draw(st.integers(0, 2**32)))  # of what is known: hypothesis may not see that it grows
        mode = data.draw(st.sampled_from([schemathesis.GenerationMode.POSITIVE] * 3 + [schemathesis.GenerationMode.NEGATIVE]))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if known.ids[kind] and "id" in (case.path_parameters or {}) and random.random() < 0.8:
            case.path_parameters["id"] = random.choice(known.ids[kind])
        for name in case.path_parameters or {}:  # of what it is a part of
            if name.endswith("_id") and known.ids[name[:-3]] and random.random() < 0.8:
                case.path_parameters[name] = random.choice(known.ids[name[:-3]])
        known.put(random, case.body)
        token = random.choice([*[ADMIN] * 6, *[DEMO] * 4, ALT, READER, "nonsense"])
        answer = case.call(headers={"X-Auth-Token": token})
        statuses[answer.status_code] += 1
        assert "Traceback" not in answer.text
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code in (200, 201) and answer.headers["content-type"] == ["application/json"]:
            known.learn(answer.json())

    one()
