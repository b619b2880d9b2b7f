"""The Networking API as it runs, two gunicorn workers and real tokens: time and CPU of each call on both databases.

`python -m bench.api`, as root or as anybody who may start a PostgreSQL. CPU is that of the workers alone (utime + stime
in /proc), per request. Beside each figure stands its limit, measured in the same run: a route of the same workers that
does nothing, and the same rows read or written by plain SQL on the same database with the same durability.
"""

import http.client
import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table as Columns

Call = tuple[str, str, Any]
"""Method, path below /network/v2.0, body."""
TICK = os.sysconf("SC_CLK_TCK")
ROW = "x" * 1000  # bytes: what a port and its entry in the journal weigh


@dataclass(frozen=True)
class Figure:
    """What some calls took: milliseconds of the clock and of CPU for one, and how many there were in a second."""

    median: float
    p99: float
    per_second: float
    cpu: float = 0.0

    @classmethod
    def of(cls, seconds: Sequence[float], whole: float, cpu: float = 0.0) -> "Figure":
        slowest = sorted(seconds)[-1 - len(seconds) // 100]
        return cls(statistics.median(seconds) * 1000, slowest * 1000, len(seconds) / whole, cpu / len(seconds) * 1000)


def spread(work: Sequence[Any], at_once: int, opened: Callable[[], Callable[[Any], Any]]) -> tuple[list[float], float, list[Any]]:
    """Do each piece of work, so many at once: seconds of each, of the whole, and what came out."""
    seconds, results, rest, lock = [], [], iter(work), threading.Lock()

    def worker(do: Callable[[Any], Any]) -> None:
        while True:
            with lock:
                piece = next(rest, None)
            if piece is None:
                return
            began = time.perf_counter()
            result = do(piece)
            seconds.append(time.perf_counter() - began)
            results.append(result)

    lines = [opened() for _ in range(at_once)]
    with ThreadPoolExecutor(at_once) as pool:
        began = time.perf_counter()
        list(pool.map(worker, lines))
        return seconds, time.perf_counter() - began, results


class Api:
    """`unryu serve api` on a state folder of its own, its database prepared, and a tenant's hand on it."""

    def __init__(self, state: Path, url: str) -> None:
        from unryu.db import upgrade

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = probe.getsockname()
        os.environ |= {"UNRYU_STATE": str(state), "UNRYU_DATABASE_URL": url, "UNRYU_API_WORKERS": "2",
                       "UNRYU_API_LISTEN": "{}:{}".format(*self.address)}
        upgrade()
        for room in entry_points(group="unryu.bootstrap"):
            room.load()()
        self.log = state / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "unryu", "serve", "api"], stderr=log)
        self._await()
        self.admin, self.token = self._login(state, "admin"), self._login(state, "demo")

    def _await(self) -> None:
        deadline = time.monotonic() + 20
        while len(self.workers()) < 2 or self._raw("GET", "/readyz", {}, None)[0] != 200:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the API does not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _raw(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, Any]:
        line = http.client.HTTPConnection(*self.address)
        try:
            line.request(method, path, body, headers)
            answer = line.getresponse()
            return answer.status, (answer, answer.read())
        except ConnectionRefusedError:
            return 0, None
        finally:
            line.close()

    def _login(self, state: Path, user: str) -> dict[str, str]:
        domain = {"domain": {"id": "default"}, "name": user}
        password = (state / "secrets" / f"{user}-password").read_text().strip()
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": {**domain, "password": password}}},
                         "scope": {"project": domain}}}
        _, (answer, said) = self._raw("POST", "/identity/v3/auth/tokens", {}, json.dumps(body).encode())
        self.project_id = json.loads(said)["token"]["project"]["id"]
        return {"X-Auth-Token": answer.getheader("X-Subject-Token"), "Content-Type": "application/json"}

    def workers(self) -> list[int]:
        return [int(p) for p in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]

    def cpu(self) -> float:
        """Seconds that the workers have used."""
        ticks = [Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[11:13] for worker in self.workers()]
        return sum(int(t) for pair in ticks for t in pair) / TICK

    def opened(self) -> Callable[[Call], Any]:
        """A connection of its own that stays open, as clients' do."""
        line = http.client.HTTPConnection(*self.address)
        line.connect()

        def ask(call: Call) -> Any:
            method, path, body = call
            line.request(method, f"/network{path}", json.dumps(body) if body is not None else None, self.token)
            answer = line.getresponse()
            said = answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {said[:500]!r}")
            return said

        return ask

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        said = self.opened()((method, f"/v2.0{path}", body))
        return json.loads(said) if said else None

    def has(self, path: str) -> bool:
        return self._raw("GET", f"/network/v2.0{path}?limit=1", self.token, None)[0] == 200

    def unlimited(self, *kinds: str) -> None:
        """Quotas out of the way."""
        body = json.dumps({"quota": dict.fromkeys(kinds, -1)}).encode()
        self._raw("PUT", f"/network/v2.0/quotas/{self.project_id}", self.admin, body)

    def measure(self, calls: Sequence[Call], at_once: int = 1) -> tuple[Figure, list[Any]]:
        cpu = self.cpu()
        seconds, whole, said = spread(calls, at_once, self.opened)
        return Figure.of(seconds, whole, self.cpu() - cpu), [json.loads(s) if s else None for s in said]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


class Plain:
    """The same database without us: its own driver, one statement."""

    def __init__(self, url: str) -> None:
        self.url = url
        with self.connect() as connection:
            connection.execute("CREATE TABLE bench (id VARCHAR(36) PRIMARY KEY, row VARCHAR(2000))")
            connection.commit()

    def connect(self) -> Any:
        if self.url.startswith("sqlite"):
            connection = sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=30, check_same_thread=False)
            connection.execute("PRAGMA synchronous=FULL")
            return connection
        return psycopg.connect(self.url)

    def insert(self, count: int, at_once: int = 1) -> Figure:
        """One row and its commit."""
        mark = "?" if self.url.startswith("sqlite") else "%s"

        def opened() -> Callable[[str], None]:
            connection = self.connect()

            def insert(id: str) -> None:
                connection.execute(f"INSERT INTO bench VALUES ({mark}, {mark})", (id, ROW))
                connection.commit()

            return insert

        seconds, whole, _ = spread([f"{at_once}-{number}" for number in range(count)], at_once, opened)
        return Figure.of(seconds, whole)

    def read(self, count: int) -> Figure:
        """So many ports as JSON."""
        with self.connect() as connection:
            cursor = connection.execute(f"SELECT * FROM port LIMIT {count}")
            names = [column[0] for column in cursor.description]
            cursor.fetchall()
            seconds, whole, _ = spread(range(20), 1, lambda: lambda _: json.dumps(
                [dict(zip(names, row, strict=True)) for row in connection.execute(f"SELECT * FROM port LIMIT {count}")]))
        return Figure.of(seconds, whole)


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    """URL by name; PostgreSQL where Debian's package is installed, in a folder of its own, with its defaults."""
    urls = {"SQLite": f"sqlite:///{folder}/sqlite/unryu.db"}
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        yield urls
        return
    home = Path(tempfile.mkdtemp(prefix="unryu-bench-pg-"))
    shutil.chown(home, "postgres")

    def run(program: str, *words: str) -> None:
        subprocess.run([found[-1] / program, "-D", home / "data", *words], user="postgres" if os.getuid() == 0 else None,
                       cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    try:
        run("initdb", "-A", "trust", "-U", "postgres")
        run("pg_ctl", "-w", "-l", f"{home}/log", "-o", f"-k {home} -c listen_addresses=''", "start")
        try:
            yield urls | {"PostgreSQL": f"postgresql://postgres@/postgres?host={home}"}
        finally:
            run("pg_ctl", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home)


Row = tuple[str, Figure, Figure]
"""What was measured, its figure and its limit."""


def measured(api: Api, plain: Plain, scale: float) -> Iterator[Row]:
    """`scale`: 1 is the full count of calls, less is quicker and rougher."""
    def some(count: int) -> int:
        return max(8, int(count * scale))

    api.unlimited("port", "security_group_rule", "security_group", "network", "subnet")
    network = api.ask("POST", "/networks", {"network": {"name": "bench"}})["network"]["id"]
    api.ask("POST", "/subnets", {"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"}})
    one = {"network_id": network, "name": "web"}
    post: Call = ("POST", "/v2.0/ports", {"port": one})
    api.measure([post] * 30, at_once=8)  # warm: every thread of both workers

    calls: Sequence[Call] = [("GET", "/", None)] * some(400)
    nothing, nothing_8 = api.measure(calls)[0], api.measure(calls, 8)[0]
    yield "a route that does nothing", nothing, nothing
    yield "a route that does nothing, 8 at once", nothing_8, nothing_8
    commit, commit_8 = plain.insert(some(300)), plain.insert(some(300), 8)
    write = _sum(nothing, commit)

    figure, ports = api.measure([post] * some(300))
    yield "POST port", figure, write
    ids = [port["port"]["id"] for port in ports]
    figure, ports = api.measure([post] * some(600), 8)
    yield "POST port, 8 at once", figure, commit_8
    ids += [port["port"]["id"] for port in ports]
    calls = [("PUT", f"/v2.0/ports/{id}", {"port": {"name": "db"}}) for id in ids]
    yield "PUT port", api.measure(calls[:some(300)])[0], write
    yield "PUT port, 8 at once", api.measure(calls[some(300):], 8)[0], commit_8
    calls = [("GET", f"/v2.0/ports/{id}", None) for id in ids]
    yield "GET port", api.measure(calls[:some(300)])[0], nothing
    yield "GET port, 8 at once", api.measure(calls, 8)[0], nothing_8
    calls = [("DELETE", f"/v2.0/ports/{id}", None) for id in ids]
    yield "DELETE port", api.measure(calls[:some(300)])[0], write
    yield "DELETE port, 8 at once", api.measure(calls[some(300):], 8)[0], commit_8

    def bulk(count: int) -> Call:
        return "POST", "/v2.0/ports", {"ports": [one] * count}

    yield "POST 100 ports in bulk", api.measure([bulk(100)] * some(9))[0], write
    yield "POST 100 ports in bulk, 8 at once", api.measure([bulk(100)] * some(16), 8)[0], commit_8
    for count in (1_000, 10_000):
        held = [port["id"] for port in api.ask("GET", "/ports?fields=id")["ports"]]
        for id in held[count:]:
            api.ask("DELETE", f"/ports/{id}")
        for done in range(len(held), count, 500):
            api.ask("POST", "/ports", bulk(min(500, count - done))[2])
        rounds = 20 if count == 1_000 else 3
        read = _sum(nothing, plain.read(count))
        yield f"GET {count:,} ports", api.measure([("GET", "/v2.0/ports", None)] * rounds)[0], read
        if count == 1_000:
            yield f"GET {count:,} ports, 8 at once", api.measure([("GET", "/v2.0/ports", None)] * 24, 8)[0], nothing_8
        yield f"GET {count:,} ports, fields=id", api.measure([("GET", "/v2.0/ports?fields=id", None)] * rounds)[0], read
        yield f"GET 50 of {count:,} ports", api.measure([("GET", "/v2.0/ports?limit=50", None)] * 100)[0], nothing
    if api.has("/security-groups"):
        yield from _rules(api, write, commit_8)


def _rules(api: Api, write: Figure, commit_8: Figure) -> Iterator[Row]:
    def group() -> str:
        return api.ask("POST", "/security-groups", {"security_group": {"name": "bench"}})["security_group"]["id"]

    def rules(group: str) -> list[dict[str, Any]]:
        return [{"security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": port,
                 "port_range_max": port, "remote_ip_prefix": "192.0.2.0/24"} for port in range(1, 351)]

    calls: list[Call] = [("POST", "/v2.0/security-group-rules", {"security_group_rules": rules(group())}) for _ in range(5)]
    yield "POST 350 rules in one call", api.measure(calls)[0], write
    for name, at_once, limit in (("POST 350 rules one by one", 1, write), ("POST 350 rules one by one, 8 at once", 8, commit_8)):
        calls = [("POST", "/v2.0/security-group-rules", {"security_group_rule": rule}) for rule in rules(group())]
        yield name, api.measure(calls, at_once)[0], limit


def _sum(one: Figure, other: Figure) -> Figure:
    return Figure(one.median + other.median, one.p99 + other.p99, 1 / (1 / one.per_second + 1 / other.per_second))


def run(scale: float = 1.0) -> dict[str, Any]:
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="unryu-bench-") as folder, databases(Path(folder)) as urls:
        for database, url in urls.items():
            state = Path(folder, database.lower())
            state.mkdir()
            api = Api(state, url)
            try:
                results[database] = {what: _told(figure, limit) for what, figure, limit in measured(api, Plain(url), scale)}
            finally:
                api.close()
    return results


def _told(figure: Figure, limit: Figure) -> dict[str, float]:
    return {"ms": round(figure.median, 2), "p99": round(figure.p99, 2), "a second": round(figure.per_second, 1),
            "CPU ms": round(figure.cpu, 2), "limit": round(limit.per_second, 1),
            "times": round(limit.per_second / figure.per_second, 1)}


def show(result: dict[str, Any]) -> None:
    for database, figures in result.items():
        if not isinstance(figures, dict):
            continue
        table = Columns(title=f"Networking API on {database}, two workers; the limit in the same unit, a second")
        for heading in ("", *next(iter(figures.values()))):
            table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
        for what, values in figures.items():
            table.add_row(what, *(f"{value:,}" for value in values.values()))
        Console(width=120).print(table)


if __name__ == "__main__":
    show(run(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
