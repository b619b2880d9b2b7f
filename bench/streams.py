"""Streams that one end alone speaks in, and streams that are answered: which of them go on after a fault, and when."""

import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import NamedTuple

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
