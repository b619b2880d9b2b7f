"""Streams that one end alone speaks in, and streams that are answered: which of them go on after a fault, and when. Sessions that
shall not go on: when they end."""

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from ovsagent.links import inside

KINDS = "upload", "download", "echo"
PACE = 0.1      # seconds from one word of a stream to the next
WORD = bytes(100)


class Ends(NamedTuple):
    kind: str
    near: socket.socket
    far: socket.socket

    @property
    def speaks(self) -> socket.socket:
        return self.far if self.kind == "download" else self.near

    @property
    def hears(self) -> socket.socket:
        return self.far if self.kind == "upload" else self.near


class Streams(threading.Thread):
    """Begun by somebody inside to somebody outside, so many of each kind, for as long as the block runs."""

    def __init__(self, near: str, far: str, address: str, number: int, port: int = 5010) -> None:
        """`near` and `far` are namespaces; under `address` and `port` the far one is reached."""
        super().__init__(daemon=True)
        with inside(far):
            listener = socket.create_server(("", port), backlog=len(KINDS) * number)
        self.all = []
        for kind in KINDS * number:
            with inside(near):
                line = socket.create_connection((address, port), 10)
            self.all.append(Ends(kind, line, listener.accept()[0]))
        listener.close()
        self.heard: list[list[float]] = [[] for _ in self.all]
        """When each brought something."""
        self._over = threading.Event()

    def __enter__(self) -> "Streams":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        for ends in self.all:
            ends.near.close()
            ends.far.close()

    def run(self) -> None:
        selector = selectors.DefaultSelector()
        for number, ends in enumerate(self.all):
            for end in ends[1:]:
                end.setblocking(False)
                selector.register(end, selectors.EVENT_READ, (number, ends))
        due = time.monotonic()
        while not self._over.is_set():
            for key, _ in selector.select(max(0.0, due - time.monotonic())):
                self._hear(key.fileobj, *key.data)
            if time.monotonic() >= due:
                due += PACE
                for ends in self.all:
                    with suppress(OSError):     # its buffer is full, or it has come to an end
                        ends.speaks.send(WORD)

    def _hear(self, end: object, number: int, ends: Ends) -> None:
        assert isinstance(end, socket.socket)
        with suppress(OSError):
            said = end.recv(65536)
            if end is ends.hears and said:
                self.heard[number].append(time.monotonic())
            elif said and ends.kind == "echo":
                end.send(said)

    def went_on(self, since: float) -> dict[str, list[float]]:
        """By kind: after how many seconds each that goes on brought something again."""
        found: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for ends, heard in zip(self.all, self.heard, strict=True):
            found[ends.kind] += [at - since for at in heard if at > since][:1]
        return found


class Someone(Protocol):
    @property
    def namespace(self) -> str: ...


class Session:
    """Datagrams between two, every 5 ms, each of which is answered."""

    def __init__(self, near: Someone, far: Someone, address: str, port: int = 5011) -> None:
        self._lines = []
        for one in (near, far):
            with inside(one.namespace):
                self._lines.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._lines[1].bind(("", port))
        self._to = address, port
        self._last = 0.0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._ask, self._hear, self._answer)]

    def ended(self, end: Callable[[], object], patience: float = 10) -> float:
        """Milliseconds from when this has been done until the last answer."""
        for thread in self._threads:
            thread.start()
        while not self._last:
            time.sleep(0.01)
        end()
        done = time.monotonic()
        while time.monotonic() < max(done, self._last) + 1 and time.monotonic() < done + patience:
            time.sleep(0.05)
        self._over.set()
        for thread in self._threads:
            thread.join()
        for line in self._lines:
            line.close()
        return max(0.0, self._last - done) * 1000

    def _ask(self) -> None:
        while not self._over.wait(0.005):
            with suppress(OSError):     # no way any more
                self._lines[0].sendto(b"x", self._to)

    def _hear(self) -> None:
        while not self._over.is_set():
            if self._heard(self._lines[0]):
                self._last = time.monotonic()

    def _answer(self) -> None:
        first = None    # who comes as another one begins another session
        while not self._over.is_set():
            peer = self._heard(self._lines[1])
            first = first or peer
            if peer and peer == first:
                with suppress(OSError):
                    self._lines[1].sendto(b"x", peer)

    @staticmethod
    def _heard(line: socket.socket) -> tuple[str, int] | None:
        line.settimeout(0.1)
        try:
            peer: tuple[str, int] = line.recvfrom(10)[1]
            return peer
        except OSError:
            return None
