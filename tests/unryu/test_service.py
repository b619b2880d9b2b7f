"""The API service's life: ready, measured, and a stop that answers who is waiting."""

import http.client
import json
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from werkzeug.test import Client

from identity.bootstrap import bootstrap
from tests.api import RunningApi
from unryu.db import Database, upgrade
from unryu.service import Rooms


def test_rooms_answer_for_themselves(database: Database) -> None:
    client = Client(Rooms(database))
    assert client.get("/healthz").data == b"ok\n" and client.get("/readyz").status_code == 200
    assert client.get("/").json == {"services": []} and client.get("/nothing/at/all").status_code == 404
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE revision")
    assert client.get("/readyz").status_code == 503 and client.get("/healthz").status_code == 200


@pytest.mark.system
def test_a_life(url: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRYU_DATABASE_URL", url)
    upgrade()
    bootstrap()
    database = Database()
    with RunningApi(state, url) as api:
        began = time.monotonic()
        assert api.get("/healthz") == "ok\n" and api.get("/readyz") == "ready\n"
        assert json.loads(api.get("/")) == {"services": ["identity", "network"]}
        token = login(api)
        for _ in range(20):
            ask(api, token, "GET", "/identity/v3/users")
        lines = api.get("/metrics").splitlines()  # of all workers
        [requests] = [line for line in lines if 'endpoint="list_user"' in line and line.startswith("unryu_requests_total")]
        assert requests.endswith(" 20.0") and 'status="200"' in requests
        assert any(line.startswith("unryu_request_seconds_bucket") for line in lines)

        # A request that waits for its turn to write, while the service is told to end.
        answers: list[int] = []
        with database.transaction() as tx:
            tx.connection.exec_driver_sql("UPDATE revision SET number = number")  # PostgreSQL: the row all writers need
            caller = threading.Thread(target=lambda: answers.append(
                ask(api, token, "POST", "/identity/v3/projects", {"project": {"name": "late"}})))
            caller.start()
            time.sleep(2)
            assert answers == []
            began = time.monotonic()
            api.process.terminate()
            time.sleep(0.5)
        caller.join(60)
        assert answers == [201] and api.process.wait(60) == 0 and time.monotonic() - began < 20
        assert "Traceback" not in api.log()
    with database.reading() as tx:
        assert len(tx.where("project", name="late")) == 1
    database.close()


def login(api: RunningApi) -> str:
    user = {"name": "admin", "domain": {"id": "default"}, "password": (api.state / "secrets/admin-password").read_text().strip()}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    request = urllib.request.Request(f"{api.url}/identity/v3/auth/tokens", json.dumps(body).encode(), method="POST",
                                     headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        token: str = answer.headers["X-Subject-Token"]
        return token


def ask(api: RunningApi, token: str, method: str, path: str, body: object = None) -> int:
    connection = http.client.HTTPConnection(api.address, timeout=60)
    connection.request(method, path, json.dumps(body) if body else None, {"X-Auth-Token": token})
    status = connection.getresponse().status
    connection.close()
    return status
