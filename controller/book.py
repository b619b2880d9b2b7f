"""Carries the book of answers to the agent of each host: all of it at first and after any break, then what differs.

A host whose agent is away keeps no flow waiting: its book waits, alone, until it is back.
"""

import http.client
import json
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

from controller.derive import Answer, Change, Entry
from controller.leases import Alone, Tenure
from unryu import tls
from unryu.logs import log

TIMEOUT = 5.0  # seconds an agent may take for its answer
OUTGROWN = 412  # the agent has seen a greater generation
RETRY = (0.1, 2.0)  # seconds from one attempt to the next: at first, and at most


class Courier(threading.Thread):
    """One per host. It holds what the book should say, and which of it the agent has not yet taken."""

    def __init__(self, host: str, door: str, identity: tls.Identity, wanted: dict[Any, Entry], revision: int,
                 taken: Callable[[str], None], lease: Tenure | None = None) -> None:
        super().__init__(name=f"book {host}", daemon=True)
        self.host = host
        self.door = door
        self.sent = revision
        """Of the newest change of this host's book."""
        self.realised = 0
        self._identity = identity
        self.lease = lease or Alone()
        self.generation = 0
        """By which the host is ours: the agent refuses a book of a lesser one than it has seen."""
        self._taken = taken
        self._answers: dict[Any, Answer] = {key: entry[1] for key, entry in wanted.items()}
        self._changed: dict[Any, None] = {}
        self._whole = True
        """All of it must be said, not only what changed."""
        self._lock = threading.Lock()
        self._line: http.client.HTTPConnection | None = None
        self._ear, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        self._stopping = threading.Event()

    @property
    def done(self) -> bool:
        return self.realised >= self.sent

    # told by the loop

    def change(self, revision: int, change: Change) -> None:
        with self._lock:
            for _, answer in change.add:
                self._answers[answer.key] = answer
                self._changed[answer.key] = None
            for _, answer in change.delete:
                self._answers.pop(answer.key, None)
                self._changed[answer.key] = None
            self.sent = revision
        self._ring()

    def renew(self, door: str, wanted: dict[Any, Entry], revision: int) -> None:
        """The agent is elsewhere, or the loop has begun anew: all of it again."""
        with self._lock:
            self.door, self._answers = door, {key: entry[1] for key, entry in wanted.items()}
            self.sent, self.realised, self._whole = revision, 0, True
        self._ring()

    def again(self) -> None:
        """Say all of it once more: somebody may have been at the agent's book."""
        with self._lock:
            self._whole = True
        self._ring()

    def stop(self) -> None:
        self._stopping.set()
        self._ring()

    def _ring(self) -> None:
        try:
            self._bell.send(b"!")
        except BlockingIOError:
            return  # it is ringing already

    # its own thread

    def run(self) -> None:
        pause, said = RETRY[0], False
        while not self._stopping.is_set():
            try:
                if not self.lease.good(self.generation):
                    self._stopping.wait(RETRY[0])
                    continue
                self._bring()
                if said:
                    log.info("the agent takes answers again", host=self.host)
                pause, said = RETRY[0], False
                self._rest()
            except (OSError, http.client.HTTPException) as error:
                self._hang_up()
                if not said:
                    log.warning("the agent takes no answers; trying until it does", host=self.host, error=str(error))
                    said = True
                self._stopping.wait(pause)
                pause = min(2 * pause, RETRY[1])
        self._hang_up()

    def _bring(self) -> None:
        with self._lock:
            revision, whole, door = self.sent, self._whole, self.door
            if not whole and self.realised >= revision:
                return
            self._whole = False
            keys = list(self._answers if whole else self._changed)
            news = [[*key, answer.data if (answer := self._answers.get(key)) else None] for key in keys]
            since, self._changed = self.realised, {}
        body = {"generation": self.generation, "revision": revision, "answers": news} | ({} if whole else {"since": since})
        if self._line and f"{self._line.host}:{self._line.port}" != door:
            self._line.close()
            self._line = None
        if not self._request("PUT" if whole else "PATCH", door, body):
            self._hang_up()  # its book is another one: all of it, then
            self._bring()
            return
        with self._lock:
            if self.door == door:
                self.realised = revision
        self._taken(self.host)

    def _request(self, verb: str, door: str, body: dict[str, Any]) -> bool:
        """False where the agent's book is not what we thought."""
        if self._line is None:
            self._line = tls.Line(door, self._identity, tls.of_host(self.host), TIMEOUT)
        try:
            self._line.request(verb, "/book", json.dumps(body, separators=(",", ":")).encode(),
                               {"Content-Type": "application/json"})
            answer = self._line.getresponse()
            text = answer.read()
        except BaseException:
            self._hang_up()
            raise
        if verb == "PATCH" and answer.status == 409:
            return False
        if answer.status == OUTGROWN:
            self.lease.outgrown()
        if answer.status >= 300:
            raise http.client.HTTPException(f"{verb} /book: {answer.status} {text[:200].decode(errors='replace')}")
        return True

    def _rest(self) -> None:
        """Until there is news, or the agent goes away: whoever comes back is told all of it."""
        line = self._line.sock if self._line else None
        heard = select.select([self._ear, *filter(None, [line])], [], [])[0]
        if self._ear in heard:
            self._ear.recv(4096)
        if line in heard:
            self._hang_up()  # what it took it keeps on its disk: it is behind in nothing yet

    def _hang_up(self) -> None:
        """What was said may be lost: all of it again."""
        if self._line:
            self._line.close()
        self._line = None
        with self._lock:
            self._whole = True
