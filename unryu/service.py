"""Process life of the services: the API's workers, readiness, metrics, a clean stop."""

import gc
import json
import os
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any, ClassVar

from pydantic import Field as Setting
from sqlalchemy.exc import ProgrammingError

from unryu import logs
from unryu.auth import Tokens
from unryu.config import Settings, sections, state_dir
from unryu.db import Database
from unryu.errors import Unavailable
from unryu.logs import log

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ApiSettings(Settings):
    section: ClassVar[str] = "api"
    listen: str = Setting("127.0.0.1:8774", description="address:port that all APIs are served on, by path")
    workers: int = Setting(2, ge=1, description="worker processes")
    threads: int = Setting(8, ge=1, description="threads of a worker")
    certificate: str = Setting("", description="file with certificate and key, for HTTPS; empty: plain HTTP")
    authority: str = Setting("", description="file by which clients of this cloud know that certificate; empty: the system's")
    identity: str = Setting("", description="URL of the identity service where this process does not serve it itself")


def load_nouns() -> None:
    """Import every room's nouns: for tables, migrations, journal readers."""
    for point in entry_points(group="unryu.resources"):
        point.load()


def api_application(database: Database) -> "Rooms":
    """All rooms' APIs as one WSGI application, by path; identity is asked without a socket where it is one of them."""
    rooms = Rooms(database)
    settings = ApiSettings.read()
    tokens = Tokens(ask_over_http(settings.identity, settings.authority) if settings.identity else ask_in_process(rooms))
    for point in entry_points(group="unryu.apis"):
        rooms.add(point.name, point.load()(database, tokens))
    threading.Thread(target=tokens.follow, args=(database, threading.Event()), daemon=True, name="tokens").start()
    return rooms


class Rooms:
    """Hands a request to the room its path names; `/`, `/healthz`, `/readyz` and `/metrics` are answered here."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.apps: dict[str, WSGI] = {}

    def add(self, name: str, app: WSGI) -> None:
        self.apps[name] = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        name, slash, rest = environ.get("PATH_INFO", "/").lstrip("/").partition("/")
        app = self.apps.get(name)
        if app is not None:
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + "/" + name
            environ["PATH_INFO"] = slash + rest or "/"
            return app(environ, start_response)
        status, kind, body = self._own(name)
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    def _own(self, name: str) -> tuple[str, str, bytes]:
        if name == "":
            return "200 OK", "application/json", json.dumps({"services": sorted(self.apps)}).encode()
        if name == "healthz":
            return "200 OK", "text/plain", b"ok\n"
        if name == "readyz":
            try:
                with self.database.reading() as tx:
                    tx.connection.exec_driver_sql("SELECT number FROM revision")
            except (Unavailable, ProgrammingError) as error:  # the latter: PostgreSQL without our tables
                return "503 Service Unavailable", "text/plain", f"{str(error).splitlines()[0]}\n".encode()
            return "200 OK", "text/plain", b"ready\n"
        if name == "metrics":
            return "200 OK", "text/plain; version=0.0.4", _metrics()
        return "404 Not Found", "text/plain", f"No service is called {name!r} here.\n".encode()


def _metrics() -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest, multiprocess

    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)


def ask_in_process(rooms: Rooms) -> Callable[[str], dict[str, Any] | None]:
    """The same HTTP question, without a socket: so that no thread waits for another of the same pool."""
    from werkzeug.test import Client

    def ask(token: str) -> dict[str, Any] | None:
        answer = Client(rooms).get("/identity/v3/auth/tokens?nocatalog", headers=_both(token))
        return _token(answer.status_code, answer.get_data())

    return ask


def ask_over_http(url: str, authority: str = "") -> Callable[[str], dict[str, Any] | None]:
    trust = ssl.create_default_context(cafile=authority or None) if url.startswith("https:") else None

    def ask(token: str) -> dict[str, Any] | None:
        request = urllib.request.Request(f"{url}/v3/auth/tokens?nocatalog", headers=_both(token))
        try:
            with urllib.request.urlopen(request, timeout=5, context=trust) as answer:
                return _token(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            return _token(error.code, error.read())
        except OSError as error:
            raise Unavailable(f"The identity service does not answer: {error}.") from error

    return ask


def _both(token: str) -> dict[str, str]:
    """A token may always ask about itself: no account of our own is needed."""
    return {"X-Auth-Token": token, "X-Subject-Token": token}


def _token(status: int, body: bytes) -> dict[str, Any] | None:
    if status == 200:
        return json.loads(body)["token"]
    if status in (401, 403, 404):
        return None
    with suppress(ValueError, KeyError, TypeError):  # its own reason is of more use
        raise Unavailable(json.loads(body)["error"]["message"])
    raise Unavailable("The identity service could not say whose token this is.")


def serve_api() -> None:
    """gunicorn with threads; modules are imported before the fork, so that the workers share their memory."""
    shared = state_dir() / "run" / "metrics"
    shared.mkdir(parents=True, exist_ok=True)
    for old in shared.iterdir():
        old.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared)
    from gunicorn.app.base import BaseApplication

    logs.setup("api")
    load_nouns()
    for point in entry_points(group="unryu.apis"):
        point.load()
    for declared in sections.values():
        declared.read()  # what is wrong in any of them is said now, and not by the first call that asks
    settings = ApiSettings.read()

    class Server(BaseApplication):
        def load_config(self) -> None:
            for name, value in {
                "bind": settings.listen, "workers": settings.workers, "threads": settings.threads,
                "worker_class": "gthread", "graceful_timeout": 10, "keepalive": 30, "timeout": 120,
                "proc_name": "unryu-api", "pre_fork": _freeze, "child_exit": _child_exit,
                "control_socket_disable": True, "accesslog": None, "loglevel": "warning", "limit_request_line": 8190,
                "certfile": settings.certificate or None, "keyfile": settings.certificate or None,
            }.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> Rooms:
            # A thread that comes back from the database with a lock in its hands gets the interpreter soon, not after 5 ms.
            sys.setswitchinterval(0.0005)
            rooms = api_application(Database())
            log.info("worker ready", pid=os.getpid(), listen=settings.listen)
            return rooms

    Server().run()


def _freeze(server: Any, worker: Any) -> None:
    """What is there before the fork never goes: keep the collector from touching, and so copying, its pages."""
    gc.collect()
    gc.freeze()


def _child_exit(server: Any, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
