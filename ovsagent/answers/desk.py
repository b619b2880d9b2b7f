"""The host's door itself: questions in from br-int, answers out, each with the number of its guest's port as VLAN tag.

One thread. What a guest may ask is metered before it is read: a port that asks too often is muted for a moment, in the
kernel's filter of the socket, so that a flood of its costs the others nothing.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from ovsagent.answers import dhcp4, dhcp6, ra
from ovsagent.answers.book import Book, forgiving
from ovsagent.answers.device import LOOK, Device, Meter, deaf_to, tag
from ovsagent.answers.packet import ICMPV6, UDP, Datagram, parse
from ovsagent.bridges import DOOR
from ovsagent.ovsdb import Tables

RATE, BURST = 10.0, 30.0    # questions a second that a port may ask for long, and at once
MUTED = 1.0                 # seconds for which a port is not heard that asks more
LONGEST = 2048              # bytes of a question

Reply = Callable[[Datagram, dict[str, Any]], bytes | None]


def clerk(question: Datagram) -> tuple[str, Reply] | None:
    """Who answers: the kind of the entry, and how."""
    if question.protocol == UDP:
        return {67: ("dhcp4", dhcp4.reply), 547: ("dhcp6", dhcp6.reply)}.get(question.ports[1])
    return ("ra", ra.reply) if question.protocol == ICMPV6 and question.ports == (ra.SOLICITATION, 0) else None


class Desk:
    def __init__(self, book: Book, tables: Callable[[], Tables]) -> None:
        self.book = book
        self.tables = tables
        self.device = Device(DOOR, LONGEST)
        self.meter = Meter(RATE, BURST, MUTED)
        self.answered: dict[str, int] = {"dhcp4": 0, "dhcp6": 0, "ra": 0}
        self.refused = 0        # over the meter, as far as the kernel let us see them
        self.unanswered = 0
        self._advertised: dict[str, tuple[float, dict[str, Any]]] = {}      # port → when next, and what it was
        self._changes = -1
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self.run, name="desk", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            now = time.monotonic()
            if not self.device.there():
                self._stopping.wait(LOOK / 5)
                continue
            if self.meter.muted and self.meter.release(now):
                self._ignore()
            self._hear(now)
            self._advertise(time.monotonic())

    def _hear(self, now: float) -> None:
        ports, muted = self.tables().vifs, len(self.meter.muted)
        for frame, ofport in self.device.hear(self._pause(now)):
            if ofport in self.meter.muted or not self.meter.pass_(ofport, time.monotonic()):
                self.refused += 1
            elif answer := self._answer(frame, ports.get(ofport, "")):
                self.device.send(answer, ofport)
        if len(self.meter.muted) != muted:
            self._ignore()

    def _ignore(self) -> None:
        self.device.ignore(deaf_to([tag(ofport) for ofport in sorted(self.meter.muted)]))

    def _answer(self, frame: bytes, port: str) -> bytes | None:
        question = parse(frame)
        who = clerk(question) if question else None
        entry = self.book.get(who[0], port) if who else None
        answer = None
        with forgiving(entry):
            answer = who[1](question, entry) if question and who and entry else None
        if who and answer:
            self.answered[who[0]] += 1
        else:
            self.unanswered += 1
        return answer

    # Advertisements that nobody asked for: at once where there is something new to say, then in their intervals.

    def _pause(self, now: float) -> float:
        return max(0.0, min([LOOK, *(due - now for due, _ in self._advertised.values())]))

    def _advertise(self, now: float) -> None:
        if self._changes != self.book.changes:
            self._changes, answers = self.book.changes, self.book.answers
            due = {port: (now, entry) for (kind, port, _), entry in answers.items() if kind == "ra"}
            self._advertised = {port: self._advertised[port] if self._advertised.get(port, (0, None))[1] == new[1] else new
                                for port, new in due.items()}
        ofports: dict[str, int] | None = None
        for port, (due_at, entry) in self._advertised.items():
            if due_at > now:
                continue
            ofports = ofports or {port: ofport for ofport, port in self.tables().vifs.items()}
            if port in ofports:
                with forgiving(entry):
                    self.device.send(ra.advertisement(entry), ofports[port])
                    self.answered["ra"] += 1
            self._advertised[port] = now + (random.uniform(*ra.INTERVAL) if port in ofports else LOOK), entry
