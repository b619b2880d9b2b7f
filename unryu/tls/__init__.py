"""Who is at the other end: mutual TLS between the cloud's own processes, names checked
(docs/decisions/0014-names-in-certificates.md).

A certificate names a part of the cloud, `controller`, `lab` or `host/h1`, never a machine's address: addresses change, and
whoever may take an address must not become its owner. Two authorities sign: `services` and `hosts`. A host trusts the first only,
so that no host's certificate ever passes for a controller's, not even before Open vSwitch, which checks no names.

Nothing but the standard library here: the agent's process, on every host, holds this in memory. What signs is in `authority`.
"""

import http.client
import logging
import socket
import ssl
import sys
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger("tls")

SCHEME = "unryu:"
CONTROLLER, LAB = "controller", "lab"
HANDSHAKE = 5.0  # seconds for who connects and does not say who it is
_REMEMBERED = 1000  # addresses whose refusals were said


def of_host(host: str) -> str:
    """The name in a host's certificate."""
    return f"host/{host}"


class Stranger(OSError):
    """It has a good certificate, of somebody else."""


class Identity:
    """Certificate and key of this process, and whose certificates it takes. The files are looked at again at every new
    connection: whoever renews them needs to tell nobody, and a connection that stands is not touched."""

    def __init__(self, path: Path | None, *authorities: Path) -> None:
        """Without a path we show nothing: who joins has nothing yet."""
        self.path = path
        self.authorities = authorities
        self._made: dict[str, tuple[tuple[int, ...], ssl.SSLContext]] = {}

    @property
    def client(self) -> ssl.SSLContext:
        return self._context("client", ssl.PROTOCOL_TLS_CLIENT, ssl.CERT_REQUIRED)

    @property
    def server(self) -> ssl.SSLContext:
        """Lets in who shows a certificate of our authorities."""
        return self._context("server", ssl.PROTOCOL_TLS_SERVER, ssl.CERT_REQUIRED)

    @property
    def open_server(self) -> ssl.SSLContext:
        """Lets in whoever shows none at all, too; what it may then do is the door's to say."""
        return self._context("open", ssl.PROTOCOL_TLS_SERVER, ssl.CERT_OPTIONAL)

    def _context(self, kind: str, protocol: ssl._SSLMethod, verify: ssl.VerifyMode) -> ssl.SSLContext:
        now = tuple(file.stat().st_mtime_ns for file in (self.path, *self.authorities) if file)
        made = self._made.get(kind)
        if made is None or made[0] != now:
            made = now, context(protocol, verify, self.authorities)
            if self.path:
                made[1].load_cert_chain(self.path)
            self._made[kind] = made  # whole, since another thread may take it at once
        return made[1]


def context(protocol: ssl._SSLMethod, verify: ssl.VerifyMode, authorities: Iterable[Path]) -> ssl.SSLContext:
    made = ssl.SSLContext(protocol)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.check_hostname = False  # names are ours: `name` reads them
    made.verify_mode = verify
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        made.num_tickets = 0  # nobody resumes; and who waits for bytes to come must not wake for a ticket
    for file in authorities:
        made.load_verify_locations(file)
    return made


class Peer(NamedTuple):
    """Who is at the other end."""

    name: str
    """Empty where it showed no certificate."""
    issued: int
    """When its certificate was signed, in milliseconds since 1970: our serial numbers begin with that (`authority`)."""


def peer(sock: ssl.SSLSocket) -> Peer:
    said: Any = sock.getpeercert() or {}
    names = [value.removeprefix(SCHEME) for _, value in said.get("subjectAltName", ()) if value.startswith(SCHEME)]
    return Peer(names[0] if names else "", int(said.get("serialNumber", "0"), 16) >> 64)


def name(sock: ssl.SSLSocket) -> str:
    return peer(sock).name


def validity(identity: Path) -> tuple[float, float]:
    """From when until when, as its first line says: the standard library reads no certificate but a peer's."""
    words = identity.open().readline().split()
    return float(words[-2]), float(words[-1])


def ageing(identity: Path) -> float:
    """Seconds until two thirds of its life are over; negative after that."""
    since, until = validity(identity)
    return since + (until - since) * 2 / 3 - time.time()


def why(error: OSError) -> str:
    """The few words in an error of OpenSSL that a person can use."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error) or type(error).__name__


class Line(http.client.HTTPSConnection):
    """HTTPS to a part of the cloud, at whatever address it is said to be."""

    def __init__(self, netloc: str, identity: Identity, peer: str, timeout: float) -> None:
        super().__init__(netloc, timeout=timeout, context=identity.client)
        self.identity = identity
        self.peer = peer

    def connect(self) -> None:
        self._context = self.identity.client  # a line that is made anew shows what we are now
        super().connect()
        if (found := name(self.sock)) != self.peer:
            self.close()
            raise Stranger(f"at {self.host}:{self.port} is {found or 'nobody we know'}, not {self.peer}")


class Refusals:
    """Who was not let in: counted always, said once an address until it is let in again."""

    def __init__(self, door: str) -> None:
        self.door = door
        self.count = 0
        self._said: set[str] = set()

    def refuse(self, address: str, reason: str) -> None:
        self.count += 1
        if address not in self._said and len(self._said) < _REMEMBERED:
            self._said.add(address)
            log.warning("%s is refused at the door of %s, for as long as it tries: %s", address, self.door, reason)

    def admit(self, address: str) -> None:
        self._said.discard(address)


def _hear_out(sock: ssl.SSLSocket) -> None:
    """Before we close: what a caller is still sending, after a refusal, would come back as a reset and take our answer along."""
    try:
        sock.settimeout(1.0)
        sock.shutdown(socket.SHUT_WR)
        for _ in range(64):
            if not sock.recv(65536):
                return
    except OSError:
        return


class Server(ThreadingHTTPServer):
    """HTTP under TLS. The handshake is made by the caller's own thread, so that nobody waits for who is silent."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, listen: tuple[str, int], handler: type[BaseHTTPRequestHandler], identity: Identity, door: str) -> None:
        self.identity = identity
        self.refusals = Refusals(door)
        super().__init__(listen, handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(HANDSHAKE)
        try:
            secured = self.identity.open_server.wrap_socket(request, server_side=True)
        except OSError as error:
            self.refusals.refuse(client_address[0], why(error))
            return
        with secured:
            super().finish_request(secured, client_address)
            _hear_out(secured)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError | ssl.SSLError):  # a caller that went away is no news
            log.error("a request at the door of %s failed; its caller %s is cut off", self.refusals.door, client_address[0],
                      exc_info=True)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket) and request.fileno() >= 0:  # else it is closed, as its wrapper
            super().shutdown_request(request)
