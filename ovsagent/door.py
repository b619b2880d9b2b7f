"""The agent's own door: VIFs come and go over HTTPS, for the lab and for compute; health and figures for who asks."""

import json
import logging
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol

from ovsagent.answers.book import Book, Outgrown, Stale, Wrong
from ovsagent.ovsdb import Lost, Refused
from ovsagent.vif import Problem
from unryu import tls

log = logging.getLogger("door")

BODY = 64 * 1024        # bytes that a request may hold
BOOK = 64 << 20         # bytes of a book: 10,000 ports are 5 MB
IDLE = 60.0             # seconds a caller may keep a connection without a word

_PORT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ADDRESS = re.compile(r"[0-9a-f.:\[\]]+:[1-9][0-9]{0,4}")
_LENGTH = re.compile(r"[0-9]{1,12}")
_IFNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")


class Plugging(Protocol):
    def plug(self, port_id: str, mac: str, mtu: int, netns: str, ifname: str) -> tuple[int, str]: ...
    def recognise(self, port_id: str) -> tuple[int, str]: ...
    def unplug(self, port_id: str) -> None: ...


@dataclass
class Door:
    """What a request may ask for; `health` and `figures` are answered to anybody. A host trusts the authority of services only,
    so whoever has a name is one."""

    vifs: Plugging
    listing: Callable[[], dict[str, Any]]
    health: Callable[[], dict[str, Any]]
    figures: Callable[[], dict[str, float]]
    book: Book
    dial: Callable[[str], None]
    plugs: list[float] = field(default_factory=lambda: [0, 0.0])       # how many, and their seconds

    def answer(self, verb: str, path: str, caller: str, body: bytes) -> tuple[int, Any]:
        match verb, *path.strip("/").split("/"):
            case "GET", "health":
                health = self.health()
                return (200 if health["ready"] else 503), health
            case "GET", "metrics":
                figures = self.figures() | {"plugs_total": self.plugs[0], "plug_seconds_total": self.plugs[1]}
                return 200, "".join(f"unryu_agent_{name} {value:g}\n" for name, value in figures.items())
            case "GET", "book":
                self._admit(caller)
                return 200, {"revision": self.book.revision, "answers": [[*k, e] for k, e in self.book.answers.items()]}
            case "PUT" | "PATCH", "book":
                self._admit(caller, tls.CONTROLLER)
                return 200, self._write(verb, _object(body))
            case "POST", "dial":
                self._admit(caller, tls.CONTROLLER)
                self.dial(_matching("controller", _ADDRESS, _object(body).get("controller")))
                return 204, None
            case "GET", "vifs":
                self._admit(caller)
                return 200, {"vifs": self.listing()}
            case "PUT", "vifs", port_id:
                self._admit(caller)
                return 200, self._plug(_matching("the port id", _PORT_ID, port_id), _object(body))
            case "DELETE", "vifs", port_id:
                self._admit(caller)
                self.vifs.unplug(_matching("the port id", _PORT_ID, port_id))
                return 204, None
        raise Problem(404, f"there is no {verb} {path} here")

    def _admit(self, caller: str, *only: str) -> None:
        if not caller or only and caller not in only:
            wanted = " or ".join(only) or "a service of this cloud"
            raise Problem(401, f"this needs a certificate of {wanted}, not of {caller or 'nobody'}")

    def _write(self, verb: str, content: dict[str, Any]) -> dict[str, Any]:
        try:
            (self.book.replace if verb == "PUT" else self.book.amend)(content)
        except Wrong as error:
            raise Problem(400, str(error)) from None
        except Outgrown as error:
            raise Problem(412, str(error)) from None
        except Stale as error:
            raise Problem(409, str(error)) from None
        return {"revision": self.book.revision}

    def _plug(self, port_id: str, wish: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        if unknown := wish.keys() - {"mac_address", "mtu", "kind", "netns", "ifname"}:
            raise Problem(400, f"a VIF has no {', '.join(sorted(unknown))}")
        match wish.get("kind", "veth"):
            case "tap":
                ofport, device = self.vifs.recognise(port_id)
            case "veth":
                mtu = wish.get("mtu")
                if type(mtu) is not int or not 68 <= mtu <= 65535:
                    raise Problem(400, f"mtu is a number from 68 to 65535, not {mtu!r}")
                mac = _matching("mac_address", _MAC, wish.get("mac_address"))
                netns = _matching("netns", _NAMESPACE, wish.get("netns"))
                ifname = _matching("ifname", _IFNAME, wish.get("ifname", "eth0"))
                ofport, device = self.vifs.plug(port_id, mac, mtu, netns, ifname)
            case other:
                raise Problem(400, f"kind is veth or tap, not {other!r}")
        self.plugs[0] += 1
        self.plugs[1] += time.monotonic() - began
        return {"ofport": ofport, "device": device}


def _matching(name: str, pattern: re.Pattern[str], value: object) -> str:
    text = value.lower() if isinstance(value, str) and pattern in (_PORT_ID, _MAC) else value
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise Problem(400, f"{name} cannot be {value!r}")
    return text


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Problem(400, f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise Problem(400, "the body must be a JSON object")
    return value


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE
    wbufsize = -1                       # headers and body leave together, at the flush after each request
    disable_nagle_algorithm = True
    connection: ssl.SSLSocket
    server: "_Server"

    def do_GET(self) -> None:
        try:
            status, content = self.server.door.answer(
                self.command, self.path, tls.name(self.connection), self._body())
        except Problem as problem:
            if problem.status == 401:
                self.server.refusals.refuse(self.client_address[0], str(problem))
            status, content = problem.status, {"error": str(problem)}
        except (Lost, Refused) as error:
            status, content = 503, {"error": str(error)}
        self._reply(status, content)

    do_PUT = do_DELETE = do_POST = do_PATCH = do_GET

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not _LENGTH.fullmatch(length):
            self.close_connection = True
            raise Problem(400, "a body needs a Content-Length")
        most = BOOK if self.path == "/book" and tls.name(self.connection) == tls.CONTROLLER else BODY
        if int(length) > most:
            self.close_connection = True
            raise Problem(413, f"a body may hold {most} bytes")
        return self.rfile.read(int(length))

    def _reply(self, status: int, content: Any) -> None:
        kind, text = "application/json", "" if content is None else json.dumps(content)
        if isinstance(content, str):
            kind, text = "text/plain; version=0.0.4", content
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format % args)


class _Server(tls.Server):
    door: Door


def serve(door: Door, listen: str, identity: tls.Identity) -> tls.Server:
    """Bound and ready; the caller decides which thread runs `serve_forever`."""
    address, _, port = listen.rpartition(":")
    server = _Server((address, int(port)), _Handler, identity, "this host")
    server.door = door
    return server
