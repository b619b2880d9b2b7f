"""Races: eight writers at the real API on both databases, its workers killed at random; and then every invariant.

UNRYU_RACES: how many calls each round makes (`make test`: a sample; the full count is 2,000).
"""

import http.client
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from identity.bootstrap import bootstrap
from tests.api import RunningApi
from unryu import journal
from unryu.db import Database, allocations, upgrade
from unryu.resource import nouns

WRITERS = 8
CALLS = int(os.environ.get("UNRYU_RACES", "240"))
HELD = 12  # ports of one writer at most: all of them leave room in the subnets, so that every 409 is a false one

pytestmark = pytest.mark.system
Json = dict[str, Any]


class Writer:
    """One client with a connection of its own, and what it was told."""

    def __init__(self, api: RunningApi, token: str, name: str, network: str = "", shared: str = "") -> None:
        self.address = api.address
        self.headers = {"X-Auth-Token": token, "Content-Type": "application/json"}
        self.name, self.network, self.shared = name, network, shared
        self.line: http.client.HTTPConnection | None = None
        self.held: set[str] = set()
        self.deleted: set[str] = set()
        self.unsure: set[str] = set()
        """Ports whose delete was never answered."""
        self.renamed = self.answered = self.unanswered = 0

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and body; 0 where the connection was lost, and with it the answer."""
        try:
            if self.line is None:
                self.line = http.client.HTTPConnection(self.address, timeout=60)
            self.line.request(method, f"/network/v2.0{path}", json.dumps(body) if body else None, self.headers)
            answer = self.line.getresponse()
            said = answer.read()
            self.answered += 1
            return answer.status, json.loads(said) if said else None
        except (ConnectionError, http.client.HTTPException):
            self.line = None
            time.sleep(0.05)
            return 0, None

    def make(self, kind: str, **values: Any) -> str:
        status, said = self.ask("POST", f"/{kind}s", {kind: values})
        assert status == 201, said
        id: str = said[kind]["id"]
        return id

    def run(self, calls: int) -> None:
        for _ in range(calls):
            choice = random.random()
            if choice < 0.1:
                self._rename()
            elif self.held and (choice < 0.5 or len(self.held) == HELD):
                self._delete()
            else:
                self._create()

    def _create(self) -> None:
        status, said = self.ask("POST", "/ports", {"port": {"network_id": self.network, "name": self.name}})
        assert status in (0, 201), said
        if status:
            self.held.add(said["port"]["id"])

    def _delete(self) -> None:
        id = random.choice(sorted(self.held))
        status, said = self.ask("DELETE", f"/ports/{id}")
        assert status in (0, 204), said
        self.held.remove(id)
        (self.deleted if status else self.unsure).add(id)

    def _rename(self) -> None:
        """All writers change one port."""
        status, said = self.ask("PUT", f"/ports/{self.shared}", {"port": {"name": random.randbytes(8).hex()}})
        assert status in (0, 200), said
        self.renamed += bool(status)
        self.unanswered += not status


@pytest.fixture(autouse=True)
def prepared(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRYU_STATE", str(tmp_path))
    monkeypatch.setenv("UNRYU_DATABASE_URL", url)
    upgrade()
    bootstrap()


def token(api: RunningApi) -> str:
    domain = {"domain": {"id": "default"}, "name": "demo"}
    password = (api.state / "secrets" / "demo-password").read_text().strip()
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": {**domain, "password": password}}},
                     "scope": {"project": domain}}}
    line = http.client.HTTPConnection(api.address, timeout=60)
    line.request("POST", "/identity/v3/auth/tokens", json.dumps(body))
    answer = line.getresponse()
    answer.read()
    line.close()
    said = answer.getheader("X-Subject-Token")
    assert said
    return said


def test_races(url: str, tmp_path: Path) -> None:
    database = Database(url)
    with RunningApi(tmp_path, url) as api:
        mine = token(api)
        first = Writer(api, mine, "first")
        network = first.make("network")
        first.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/25")
        first.make("subnet", network_id=network, ip_version=6, cidr="fd00::/64")
        shared = first.make("port", network_id=network)
        writers = [Writer(api, mine, f"writer-{n}", network, shared) for n in range(WRITERS)]

        at_once(*(lambda w=writer: w.run(CALLS // WRITERS) for writer in writers))
        assert not any(writer.unsure or writer.unanswered for writer in writers)
        check(database, writers)

        ended = threading.Event()
        killed: list[int] = []
        killer = threading.Thread(target=kill_workers, args=(api, writers, ended, killed))
        killer.start()
        try:
            at_once(*(lambda w=writer: w.run(CALLS // WRITERS) for writer in writers))
        finally:
            ended.set()
            killer.join()
        assert killed
        check(database, writers)

        # The last addresses: as many as there are, whoever asks; no fewer for all that was killed.
        last = Writer(api, mine, "last")
        narrow = last.make("network")
        last.make("subnet", network_id=narrow, ip_version=4, cidr="10.1.0.0/28")
        body = {"port": {"network_id": narrow}}
        fresh = [Writer(api, mine, "fresh") for _ in range(WRITERS)]  # others' connections went with the workers
        told = at_once(*(lambda w=writer: [w.ask("POST", "/ports", body) for _ in range(3)] for writer in fresh))
        statuses = sorted(status for answers in told for status, _ in answers)
        assert statuses == [201] * 13 + [409] * (3 * WRITERS - 13)
        check(database, [])
    database.close()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [done.result() for done in [pool.submit(call) for call in calls]]


def kill_workers(api: RunningApi, writers: list[Writer], ended: threading.Event, killed: list[int]) -> None:
    """Now and then one of the two, in the middle of whatever it does; not before as many have been answered since as ask at once.
    (Where workers need seconds to begin, nobody would be answered any more.)"""
    before = 0
    while not ended.wait(random.uniform(0.1, 0.5)):
        children = Path(f"/proc/{api.process.pid}/task/{api.process.pid}/children").read_text().split()
        if len(children) > 1 and (answered := sum(writer.answered for writer in writers)) >= before + WRITERS:
            before = answered
            killed.append(int(random.choice(children)))
            os.kill(killed[-1], signal.SIGKILL)


def check(database: Database, writers: list[Writer]) -> None:
    with database.reading() as tx:
        ports = {port.id: port for port in tx.where("port")}
        rows = {(kind, record.id): record for kind in ("network", "subnet", "port") for record in tx.where(kind)}
        given = {(pool.removeprefix("subnet:"), value): owner
                 for pool, value, owner in tx.connection.execute(allocations.select()) if pool.startswith("subnet:")}
        entries = tx.connection.execute(journal.table.select().order_by(*journal.table.primary_key)).all()
        head = journal.head(tx.connection)

    # What was acknowledged is so.
    for writer in writers:
        assert writer.held <= set(ports) and not writer.deleted & set(ports)
        assert all(ports[id].name == writer.name for id in writer.held)
    if writers:
        done, unanswered = (sum(getattr(w, name) for w in writers) for name in ("renamed", "unanswered"))
        assert done <= ports[writers[0].shared].revision_number <= done + unanswered

    # No address twice, none lost; no MAC twice.
    addresses = [(ip["subnet_id"], ip["ip_address"], port.id) for port in ports.values() for ip in port.fixed_ips]
    assert len(addresses) == len(given) and {(subnet, ip): id for subnet, ip, id in addresses} == given
    assert len({(port.network_id, port.mac_address) for port in ports.values()}) == len(ports)

    # The journal: every revision, once and in order; played again, it gives the rows.
    assert sorted({entry.revision for entry in entries}) == list(range(entries[0].revision, head + 1))
    played: dict[tuple[str, str], Json] = {}
    for entry in entries:
        key = (entry.kind, entry.id)
        if key[0] in ("network", "subnet", "port"):
            assert played.get(key) == (json.loads(entry.before) if entry.before else None), key
            if entry.after:
                played[key] = json.loads(entry.after)
            else:
                del played[key]
    assert {key: nouns[key[0]].from_row(image) for key, image in played.items()} == rows
