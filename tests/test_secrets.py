"""What must be told to nobody is told to nobody: not by logs, the journal, process lists, environments, faults, or file modes."""

import contextlib
import json
import secrets
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.clouds import RunningCloud
from topology import processes
from topology.cloud import Cloud

pytestmark = pytest.mark.system


def post(url: str, body: Any, **headers: str) -> tuple[int, str, dict[str, str]]:
    words = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(url, json.dumps(body).encode(), words, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def login(cloud: Cloud, password: str) -> tuple[int, str, dict[str, str]]:
    user = {"name": "admin", "domain": {"id": "default"}, "password": password}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    return post(f"{cloud.auth_url}/auth/tokens", {"auth": {
        "identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}})


def everything_said(cloud: Cloud) -> dict[str, bytes]:
    """By where it stands."""
    said = {str(path): path.read_bytes() for path in (cloud.state / "log").iterdir()}
    for process in processes.find(cloud):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                said[f"{name} of {process.process}"] = Path(f"/proc/{process.pid}/{name}").read_bytes()
    engine = sa.create_engine(f"sqlite:///{cloud.state}/unryu.db")
    with engine.connect() as connection:
        said["the journal"] = repr(connection.exec_driver_sql("SELECT * FROM journal").all()).encode()
    engine.dispose()
    return said


def test_no_secret_is_said_anywhere(cloud: RunningCloud) -> None:
    here = Cloud(cloud.state)
    wrong, right, fresh = (f"{word}-{secrets.token_hex(8)}" for word in ("wrong", "right", "fresh"))
    faults = []
    status, text, _ = login(here, wrong)
    faults.append(text)
    assert status == 401
    status, _, headers = login(here, here.password("admin"))
    token = next(value for name, value in headers.items() if name.lower() == "x-subject-token")
    bad = token[:-4] + "AAAA"
    for url, body in ((f"{here.url}/network/v2.0/networks", {"network": {"name": "x"}}),
                      (f"{here.auth_url}/users", {"user": {"name": "ada", "password": right}})):
        status, text, _ = post(url, body, X_Auth_Token=bad)
        faults.append(text)
        assert status == 401
    status, text, _ = post(f"{here.auth_url}/users", {"user": {"name": "ada", "password": right}}, X_Auth_Token=token)
    faults.append(text)
    assert status == 201
    user = json.loads(text)["user"]["id"]
    faults.append(post(f"{here.auth_url}/users/{user}/password",
                       {"user": {"original_password": wrong, "password": fresh}}, X_Auth_Token=token)[1])
    faults.append(post(f"{here.auth_url}/users", {"user": {"name": "ada", "password": [right]}}, X_Auth_Token=token)[1])
    join = cloud.unryu("host", "token").strip().partition(".")[2]
    cloud.openstack("user", "delete", user, project="admin")

    files = [path for path in (here.state / "secrets").rglob("*") if path.is_file()]
    files += [path for host in here.hosts() for path in host.tls.iterdir()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    told = {wrong, right, fresh, token, bad, join}
    for path in files:
        text = path.read_text()
        if "CERTIFICATE" not in text or "PRIVATE KEY" in text:
            key = text.partition("-----BEGIN PRIVATE KEY-----\n")[2].partition("\n")[0]  # a line of it is enough to know it by
            told.add(key or text.strip())
    assert len(told) >= 6 + 3 + 1 + 6, "passwords, the key of tokens, keys of authorities, services and hosts"
    for place, said in {**everything_said(here), "a fault": "\n".join(faults).encode()}.items():
        for secret in told:
            assert secret.encode() not in said, f"{place} says {secret[:4]}…"
