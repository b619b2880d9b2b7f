"""A small OVSDB client (RFC 7047): one unix socket, the tables we watch as snapshots, transactions of plain operations.

Values have one normal form: a set of one is its member, other sets are tuples, maps are dicts, references are `Uuid`.
It connects again for ever, and every connection starts from a whole new snapshot.
"""

import itertools
import json
import logging
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger("ovsdb")

Row = dict[str, Any]
Operation = dict[str, Any]
T = TypeVar("T")

DATABASE = "Open_vSwitch"
RETRY = (0.05, 1.0)     # seconds from one attempt to connect to the next: at first, and at most


class Uuid(str):
    """The identity of a row."""

    __slots__ = ()


class New(str):
    """The name of a row within the transaction that inserts it."""

    __slots__ = ()


class Lost(Exception):
    """The server is not there, or did not answer."""


class Refused(Exception):
    """The server refused a transaction: nothing of it was done."""


@dataclass(frozen=True)
class Tables:
    """One state of the tables that we watch. Never changed: an update makes the next one."""

    rows: Mapping[str, Mapping[Uuid, Row]] = field(default_factory=dict)

    def __getitem__(self, table: str) -> Mapping[Uuid, Row]:
        return self.rows.get(table, {})

    @cached_property
    def bridges(self) -> dict[str, Uuid]:
        return {row["name"]: uuid for uuid, row in self["Bridge"].items()}

    @cached_property
    def ports(self) -> dict[str, Uuid]:
        return {row["name"]: uuid for uuid, row in self["Port"].items()}

    @cached_property
    def interfaces(self) -> dict[str, Uuid]:
        return {row["name"]: uuid for uuid, row in self["Interface"].items()}

    @cached_property
    def vifs(self) -> dict[int, str]:
        """The port ids by ofport, of those that have one."""
        rows = (row for row in self["Interface"].values() if "iface-id" in row["external_ids"])
        return {row["ofport"]: row["external_ids"]["iface-id"] for row in rows if row["ofport"] not in ((), -1)}

    def after(self, updates: Mapping[str, Any]) -> "Tables":
        rows = dict(self.rows)
        for table, changes in updates.items():
            rows[table] = changed = dict(self[table])
            for uuid, change in changes.items():
                if "new" in change:
                    changed[Uuid(uuid)] = {column: decoded(value) for column, value in change["new"].items()}
                else:
                    changed.pop(Uuid(uuid), None)
        return Tables(rows)


class Client:
    def __init__(self, path: Path, watch: Mapping[str, tuple[str, ...]], on_change: Callable[[], None]) -> None:
        """`on_change` is called from the client's own thread after every change, and when the connection is lost."""
        self.path, self.watch, self.on_change = path, watch, on_change
        self.tables = Tables()
        self.connected = False
        self.connections = 0
        self.transactions = 0
        self._socket: socket.socket | None = None
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._numbers = itertools.count(1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ovsdb", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._socket:
            self._socket.close()

    def transact(self, *operations: Operation, timeout: float = 5) -> list[Any]:
        """All of it or nothing; each operation's result."""
        self.transactions += 1
        answer = self._call("transact", [DATABASE, *operations], timeout)
        if answer.get("error"):
            raise Refused(str(answer["error"]))
        for result in answer["result"]:
            if result and "error" in result:
                raise Refused(": ".join(filter(None, (result["error"], result.get("details")))))
        return list(answer["result"])

    def wait(self, look: Callable[[Tables], T | None], timeout: float) -> T | None:
        """What `look` finds, as soon as it finds something; None after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: look(self.tables), timeout)

    def _call(self, method: str, params: list[Any], timeout: float) -> dict[str, Any]:
        number = next(self._numbers)
        answers = self._waiting[number] = queue.SimpleQueue()
        try:
            self._send({"method": method, "params": params, "id": number})
            answer = answers.get(timeout=timeout)
        except queue.Empty:
            raise Lost(f"ovsdb-server at {self.path} did not answer for {timeout:g} s") from None
        finally:
            del self._waiting[number]
        if answer is None:
            raise Lost(f"ovsdb-server at {self.path} went away")
        return answer

    def _send(self, message: dict[str, Any]) -> None:
        connection = self._socket
        if connection is None:
            raise Lost(f"ovsdb-server at {self.path} is away")
        try:
            with self._sending:
                connection.sendall(json.dumps(message).encode())
        except OSError as error:
            raise Lost(f"ovsdb-server at {self.path}: {error}") from error

    def _run(self) -> None:
        pause, said = RETRY[0], False
        while not self._stopping.is_set():
            try:
                for message in self._session():
                    self._take(message)
                    pause, said = RETRY[0], False
                reason = "it closed the connection"
            except (OSError, ValueError, Lost) as error:
                reason = str(error)
            self._forget()
            if not said and not self._stopping.is_set():
                log.warning("ovsdb-server is away; trying again until it is back", extra={"reason": reason})
                said = True
            self._stopping.wait(pause)
            pause = min(2 * pause, RETRY[1])

    def _session(self) -> Iterator[dict[str, Any]]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            self._socket = connection
            columns = {table: {"columns": columns} for table, columns in self.watch.items()}
            self._send({"method": "monitor", "params": [DATABASE, None, columns], "id": "monitor"})
            yield from _messages(connection)

    def _take(self, message: dict[str, Any]) -> None:
        match message.get("method"), message.get("id"):
            case "echo", number:
                self._send({"id": number, "result": message["params"], "error": None})
            case "update", _:
                self._became(self.tables.after(message["params"][1]))
            case None, "monitor":
                if message.get("error"):
                    raise ValueError(f"ovsdb-server refuses to be watched: {message['error']}")
                self.connections += 1
                self.connected = True
                log.info("connected", extra={"path": self.path})
                self._became(Tables().after(message["result"]))
            case None, number if number in self._waiting:
                self._waiting[number].put(message)

    def _became(self, tables: Tables) -> None:
        with self._changed:
            self.tables = tables
            self._changed.notify_all()
        self.on_change()

    def _forget(self) -> None:
        self._socket = None
        for answers in list(self._waiting.values()):
            answers.put(None)
        if self.connected:
            self.connected = False
            self.on_change()


def _messages(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """JSON objects follow each other without a separator."""
    decode = json.JSONDecoder().raw_decode
    text = b""
    while piece := connection.recv(1 << 18):
        text += piece
        if not text.endswith(b"}"):         # a long snapshot would be parsed again with every piece of it
            continue
        rest = text.decode()
        while rest:
            try:
                message, end = decode(rest)
            except json.JSONDecodeError:
                break
            yield message
            rest = rest[end:]
        text = rest.encode()


def decoded(value: Any) -> Any:
    match value:
        case ["set", [member]]:
            return decoded(member)
        case ["set", members]:
            return tuple(sorted(map(decoded, members)))
        case ["map", pairs]:
            return {key: decoded(item) for key, item in pairs}
        case ["uuid", name]:
            return Uuid(name)
    return value


def encoded(value: Any) -> Any:
    match value:
        case tuple():
            return ["set", [encoded(member) for member in value]]
        case dict():
            return ["map", [[key, encoded(item)] for key, item in value.items()]]
        case Uuid():
            return ["uuid", value]
        case New():
            return ["named-uuid", value]
    return value


def members(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


# Operations (RFC 7047, section 5.2).

def insert(table: str, row: Row, name: New) -> Operation:
    return {"op": "insert", "table": table, "uuid-name": name, "row": {key: encoded(item) for key, item in row.items()}}


def update(table: str, uuid: Uuid, row: Row) -> Operation:
    return {"op": "update", "table": table, "where": [["_uuid", "==", encoded(uuid)]],
            "row": {key: encoded(item) for key, item in row.items()}}


def mutate(table: str, where: Row, *mutations: tuple[str, str, Any]) -> Operation:
    return {"op": "mutate", "table": table, "where": [[key, "==", encoded(item)] for key, item in where.items()],
            "mutations": [[column, verb, encoded(value)] for column, verb, value in mutations]}
