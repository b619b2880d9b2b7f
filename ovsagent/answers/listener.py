"""Stands at the metadata address: each guest of this host is told of its own port.

Which one asks, the address says that it came to: the switch writes it (the controller's features/metadata.py), and no guest can.
One thread. A guest has so many connections, bytes, seconds and questions, and beyond them it is its own connections that end.
"""

import errno
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from pathlib import Path

from ovsagent import links
from ovsagent.answers import metadata
from ovsagent.answers.book import Book, forgiving
from ovsagent.answers.device import LOOK, Meter, attach, deaf_to
from ovsagent.bridges import METADATA
from ovsagent.ovsdb import Tables

log = logging.getLogger("metadata")

# As flows write them.
GUESTS, HERE, GUESTS6, HERE6 = "240.0.0.0/5", "248.0.0.0/12", "fe80::/64", "fe80:0:0:0:a9fe::/80"
PORT, MAC = 16254, "fa:16:3f:ff:ff:fe"
NUMBER = 0x7FFF             # of the guest's port, in the address that it came to

RATE, BURST = 100.0, 400.0  # connections and questions a second that a guest may have for long, and at once
MUTED = 1.0                 # seconds for which one is not heard that wants more
EACH, MOST = 16, 512        # connections of a guest, and in all
PATIENCE = 10.0             # seconds for a question to come whole, and its answer to be taken
BATCH = 64                  # connections taken before those that are there are thought of again
FAMILIES = {socket.AF_INET: (ip_network(GUESTS), ip_network(HERE)), socket.AF_INET6: (ip_network(GUESTS6), ip_network(HERE6))}
DESTINATION = {socket.AF_INET: 0xFFF00000 + 16, socket.AF_INET6: 0xFFF00000 + 36}      # SKF_NET_OFF: its last 32 bits


class Line:
    """A connection."""

    __slots__ = ("socket", "ofport", "until", "inbox", "outbox", "last")

    def __init__(self, connection: socket.socket, ofport: int, until: float) -> None:
        self.socket, self.ofport, self.until = connection, ofport, until
        self.inbox = self.outbox = b""
        self.last = False       # nothing follows what is in the outbox


class Listener:
    def __init__(self, book: Book, tables: Callable[[], Tables]) -> None:
        self.book = book
        self.tables = tables
        self.meter = Meter(RATE, BURST, MUTED)
        self.answered = 0
        self.refused = 0
        self._doors: list[socket.socket] = []
        self._number = 0        # of the device that they are at
        self._said = ""         # why there are none, in the log
        self._lines: dict[Line, None] = {}      # the oldest first
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self.run, name="metadata", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        looked = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= looked + LOOK:
                looked = now
                self._attend()
                for line in [line for line in self._lines if line.until <= now]:
                    self._end(line)
            if self.meter.muted and self.meter.release(now):
                self._filter()
            for key, _ in self._selector.select(LOOK if self._doors else LOOK / 5):
                if isinstance(key.data, socket.socket):
                    self._welcome(key.data)
                elif key.data in self._lines:       # it may have ended since
                    self._serve(key.data)
        self._close()

    # The device.

    def _attend(self) -> None:
        """Stand at the device that is there now: a restarted vswitchd makes another one."""
        link = links.find(METADATA)
        if link and link.number == self._number and link.up:
            return
        self._close()
        if link is None:
            return
        try:
            links.settle(link.number, METADATA, mac=MAC)
            for family, (guests, here) in FAMILIES.items():
                if family == socket.AF_INET or Path("/proc/sys/net/ipv6").exists():
                    links.route(here, link.number, local=True)
                    links.route(guests, link.number)
                    self._open(family)
        except OSError as error:    # it has just gone; or the port is somebody else's, who listens on all devices
            self._close()
            if str(error) != self._said:
                self._said = str(error)
                log.warning("guests get no metadata; trying again until they do", extra={"reason": error})
            return
        self._number, self._said = link.number, ""
        self._filter()
        log.info("open", extra={"device": link.number})

    def _open(self, family: socket.AddressFamily) -> None:
        """Bound to the device: whoever reaches this host otherwise finds nobody at that port, whatever address he says he has."""
        door = socket.socket(family)
        door.setblocking(False)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, METADATA.encode())
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        door.bind(("", PORT))
        door.listen(MOST)
        self._selector.register(door, selectors.EVENT_READ, door)
        self._doors.append(door)

    def _filter(self) -> None:
        """Whom the meter has muted, the kernel drops: it does not fill the row of those who wait to be welcomed."""
        for door in self._doors:
            attach(door, deaf_to(sorted(self.meter.muted), DESTINATION[door.family], NUMBER))

    def _close(self) -> None:
        for line in list(self._lines):
            self._end(line)
        for door in self._doors:
            self._selector.unregister(door)
            door.close()
        self._doors, self._number = [], 0

    # Guests.

    def _welcome(self, door: socket.socket) -> None:
        muted = len(self.meter.muted)
        for _ in range(BATCH):
            try:
                connection, caller = door.accept()
            except OSError as error:    # nobody more; or one who has left
                if error.errno in (errno.EMFILE, errno.ENFILE) and self._lines:     # else we would turn in a circle
                    self._end(next(iter(self._lines)))
                break
            now = time.monotonic()
            ofport = int(ip_address(connection.getsockname()[0].partition("%")[0])) & NUMBER
            if not is_guest(caller[0]) or ofport in self.meter.muted or not self.meter.pass_(ofport, now):
                self.refused += 1
                connection.close()
                continue
            its = [line for line in self._lines if line.ofport == ofport]
            if len(its) >= EACH or len(self._lines) >= MOST:
                self._end(its[0] if len(its) >= EACH else next(iter(self._lines)))
            connection.setblocking(False)
            line = Line(connection, ofport, now + PATIENCE)
            self._lines[line] = None
            self._selector.register(connection, selectors.EVENT_READ, line)
        if len(self.meter.muted) != muted:
            self._filter()

    def _serve(self, line: Line) -> None:
        try:
            self._write(line)
            if line.outbox:
                return None
            piece = line.socket.recv(metadata.HEAD)
            if not piece:
                return self._end(line)
            if not line.last:
                line.inbox += piece
                self._answer(line)
        except BlockingIOError:
            return None
        except OSError:         # it has hung up
            self._end(line)

    def _answer(self, line: Line) -> None:
        """What it asked, until it has to take some first."""
        while not line.outbox and not line.last and metadata.END in line.inbox:
            head, _, line.inbox = line.inbox.partition(metadata.END)
            line.outbox, line.last = self._reply(head, line.ofport)
            line.until = time.monotonic() + PATIENCE
            self._write(line)
        if not line.outbox and not line.last and len(line.inbox) > metadata.HEAD:
            line.outbox, line.last = metadata.refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), True
            self._write(line)

    def _reply(self, head: bytes, ofport: int) -> tuple[bytes, bool]:
        """And whether it is the last one."""
        if not self.meter.pass_(ofport, time.monotonic()):
            self._filter()
            self.refused += 1
            return metadata.refusal(HTTPStatus.TOO_MANY_REQUESTS, "Retry-After: 1"), True
        entry = self.book.get("metadata", self.tables().vifs.get(ofport, ""))
        answer, lasting = metadata.refusal(HTTPStatus.SERVICE_UNAVAILABLE), False
        with forgiving(entry):
            answer, lasting = metadata.reply(head, entry["files"] if entry else None)
        self.answered += 1
        return answer, not lasting

    def _write(self, line: Line) -> None:
        """As much as it takes. After the last word it may still speak, unheard, until it hangs up: to close before that would
        take back what it has not read."""
        if not line.outbox:
            return
        with suppress(BlockingIOError):
            line.outbox = line.outbox[line.socket.send(line.outbox):]
        if line.last and not line.outbox:
            line.socket.shutdown(socket.SHUT_WR)
        self._selector.modify(line.socket, selectors.EVENT_WRITE if line.outbox else selectors.EVENT_READ, line)

    def _end(self, line: Line) -> None:
        del self._lines[line]
        self._selector.unregister(line.socket)
        line.socket.close()


def is_guest(address: str) -> bool:
    """Not somebody on this host, who comes to our addresses from one of its own."""
    caller = ip_address(address.partition("%")[0])
    return any(caller in guests and caller not in here for guests, here in FAMILIES.values())
