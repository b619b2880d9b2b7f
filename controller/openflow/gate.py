"""Lets switches in: accepts, and makes the TLS handshake, in a thread of its own, so that a thousand hosts that come at once
cost those that are here nothing."""

import logging
import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from time import monotonic, sleep
from typing import Any

from unryu import tls
from unryu.metrics import refused

log = logging.getLogger(__name__)

SECONDS = 5.0  # for a handshake
MOST = 4096  # handshakes at once: who comes then waits in the listener's queue
Address = tuple[Any, ...]


class Gate(threading.Thread):
    """`passed` is called, from this thread, with the socket, its address, and whose certificate is at its other end.
    Without an identity of ours nobody is asked for one: on loopback, and in tests."""

    def __init__(self, listen: Iterable[tuple[str, int]], identity: tls.Identity | None,
                 passed: Callable[[socket.socket, Address, tls.Peer | None], None]) -> None:
        super().__init__(name="gate", daemon=True)
        self.refusals = tls.Refusals("the switches")
        refused.labels("switches").set_function(lambda: self.refusals.count)
        self.listeners: list[socket.socket] = []
        self._identity, self._passed = identity, passed
        self._selector = selectors.DefaultSelector()
        self._coming: dict[ssl.SSLSocket, tuple[float, Address]] = {}
        self._stopping = False
        for host, port in listen:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            # After an outage a thousand hosts come at once.
            listener = socket.create_server((host, port), family=family, backlog=1024)
            listener.setblocking(False)
            self.listeners.append(listener)
            self._selector.register(listener, selectors.EVENT_READ)

    def stop(self) -> None:
        self._stopping = True
        self.join()

    def run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select(0.1):
                if isinstance(key.fileobj, ssl.SSLSocket):
                    self._shake(key.fileobj)
                elif isinstance(key.fileobj, socket.socket):
                    self._accept(key.fileobj)
            now = monotonic()
            for sock in [sock for sock, (came, _) in self._coming.items() if now - came > SECONDS]:
                self._refuse(sock, f"no handshake within {SECONDS:g} s")
        for left in (*self.listeners, *self._coming):
            left.close()
        self._selector.close()

    def _accept(self, listener: socket.socket) -> None:
        if len(self._coming) >= MOST:
            sleep(0.01)
            return
        try:
            sock, address = listener.accept()
        except OSError as error:  # it left again, or we have no descriptors left
            log.warning("a switch could not be let in, it will come again: %s", error)
            sleep(0.05)
            return
        sock.setblocking(False)
        if self._identity is None:
            self._passed(sock, address, None)
            return
        try:
            secured = self._identity.server.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            sock.close()
            self.refusals.refuse(address[0], tls.why(error))
            return
        self._coming[secured] = monotonic(), address
        self._selector.register(secured, selectors.EVENT_READ)
        self._shake(secured)

    def _shake(self, sock: ssl.SSLSocket) -> None:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(sock, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._selector.modify(sock, selectors.EVENT_WRITE)
        except OSError as error:
            self._refuse(sock, tls.why(error))
        else:
            self._selector.unregister(sock)
            _, address = self._coming.pop(sock)
            self._passed(sock, address, tls.peer(sock))

    def _refuse(self, sock: ssl.SSLSocket, reason: str) -> None:
        self._selector.unregister(sock)
        _, address = self._coming.pop(sock)
        sock.close()
        self.refusals.refuse(address[0], reason)
