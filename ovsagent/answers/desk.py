"""The host's door itself: questions in from br-int, answers out, each with the number of its guest's port as VLAN tag.

One thread. What a guest may ask is metered before it is read: a port that asks too often is muted for a moment, in the
kernel's filter of the socket, so that a flood of its costs the others nothing.
"""

import ctypes
import errno
import logging
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from ovsagent import links
from ovsagent.answers import dhcp4, dhcp6, ra
from ovsagent.answers.book import Book
from ovsagent.answers.packet import ICMPV6, UDP, Datagram, parse
from ovsagent.bridges import DOOR, NONE
from ovsagent.ovsdb import Tables

log = logging.getLogger("desk")

RATE, BURST = 10.0, 30.0    # questions a second that a port may ask for long, and at once
MUTED = 1.0                 # seconds for which a port is not heard that asks more
MOST_MUTED = 250            # a jump in the kernel's filter language is a byte
LOOK = 0.5                  # seconds from one look at the device to the next
BATCH = 64                  # questions read before advertisements are thought of again
LONGEST = 2048              # bytes of a question
SOL_PACKET, AUXDATA, VLAN_VALID = 263, 8, 0x10
SO_ATTACH_FILTER, ETH_P_ALL, TPID = 26, 3, 0x8100
PACKET_OUTGOING = 4
VLAN_TAG = 0xFFFFF000 + 44  # SKF_AD_OFF + SKF_AD_VLAN_TAG

# What an entry of another version's controller can do to us: its guest waits, nobody else does.
MISWRITTEN = (LookupError, TypeError, ValueError, struct.error)

Reply = Callable[[Datagram, dict[str, Any]], bytes | None]


def clerk(question: Datagram) -> tuple[str, Reply] | None:
    """Who answers: the kind of the entry, and how."""
    if question.protocol == UDP:
        return {67: ("dhcp4", dhcp4.reply), 547: ("dhcp6", dhcp6.reply)}.get(question.ports[1])
    return ("ra", ra.reply) if question.protocol == ICMPV6 and question.ports == (ra.SOLICITATION, 0) else None


def tag(ofport: int) -> int:
    """The port's number as a TCI: 12 bits of VID, 3 of priority; between them is OpenFlow's "there is a tag"."""
    return ofport & 0xFFF | ofport >> 12 << 13


def untag(tci: int) -> int:
    return tci & 0xFFF | tci >> 13 << 12


def tagged(frame: bytes, ofport: int) -> bytes:
    return frame[:12] + struct.pack(">HH", TPID, tag(ofport)) + frame[12:]


class Meter:
    """A bucket a port: who has emptied it is muted."""

    def __init__(self) -> None:
        self.buckets: dict[int, tuple[float, float]] = {}      # what is left, and when that was
        self.muted: dict[int, float] = {}                      # until when

    def pass_(self, ofport: int, now: float) -> bool:
        left, then = self.buckets.get(ofport, (BURST, now))
        left = min(BURST, left + (now - then) * RATE)
        self.buckets[ofport] = left - (left >= 1), now
        if left >= 1:
            return True
        self.muted[ofport] = now + MUTED
        return False

    def release(self, now: float) -> bool:
        """Hear again whose time is over; whether that is anybody."""
        over = [ofport for ofport, until in self.muted.items() if until <= now]
        for ofport in over:
            del self.muted[ofport]
        if len(self.buckets) > 4096:
            self.buckets = {o: b for o, b in self.buckets.items() if now - b[1] < BURST / RATE}
        return bool(over)


def deaf_to(ofports: list[int]) -> bytes:
    """A filter program (classic BPF): nothing of these ports, all of the others."""
    program = [(0x20, 0, 0, VLAN_TAG)]                                      # ld vlan_tci
    program += [(0x54, 0, 0, 0xEFFF)]                                       # and: without the bit between
    program += [(0x15, len(ofports) - n, 0, tag(o)) for n, o in enumerate(ofports)]     # jeq: to the last line
    program += [(0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)]                  # ret all, ret none
    return b"".join(struct.pack("=HBBI", *line) for line in program)


def attach(listener: socket.socket, program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))     # held until the kernel has copied it
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)))


class Desk:
    def __init__(self, book: Book, tables: Callable[[], Tables]) -> None:
        self.book = book
        self.tables = tables
        self.meter = Meter()
        self.answered: dict[str, int] = {"dhcp4": 0, "dhcp6": 0, "ra": 0}
        self.refused = 0        # over the meter, as far as the kernel let us see them
        self.unanswered = 0
        self._socket: socket.socket | None = None
        self._number = 0        # of the device, as the socket knows it
        self._seen: tuple[Tables | None, dict[int, str]] = None, {}
        self._advertised: dict[str, tuple[float, dict[str, Any]]] = {}      # port → when next, and what it was
        self._changes = -1
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self.run, name="desk", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        looked = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= looked + LOOK:
                looked = now
                self._attend()
            if self._socket is None:
                looked = 0.0
                self._stopping.wait(LOOK / 5)
                continue
            if self.meter.muted and self.meter.release(now):
                self._filter()
            try:
                if select.select([self._socket], [], [], self._pause(now))[0]:
                    self._hear(self._socket)
                self._advertise(self._socket, time.monotonic())
            except OSError as error:
                log.warning("the door is gone; looking for it", extra={"reason": error})
                self._close()

    def _attend(self) -> None:
        """Stand at the device that is there now: a restarted vswitchd makes another one."""
        link = links.find(DOOR)
        if link and link.number == self._number and link.up:
            return
        self._close()
        if link is None:
            return
        try:
            links.deafen(DOOR)
            links.open_up(DOOR)
            door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            door.setsockopt(SOL_PACKET, AUXDATA, 1)
            door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            door.bind((DOOR, ETH_P_ALL))
            door.setblocking(False)
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENXIO):
                raise
            return
        self._socket, self._number = door, link.number
        self._filter()
        log.info("open", extra={"device": link.number})

    def _close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket, self._number = None, 0

    def _hear(self, door: socket.socket) -> None:
        ports, muted = self._ports(), len(self.meter.muted)
        self._read(door, ports)
        if len(self.meter.muted) != muted:
            self._filter()

    def _read(self, door: socket.socket, ports: dict[int, str]) -> None:
        for _ in range(BATCH):
            try:
                frame, extra, _, source = door.recvmsg(LONGEST, socket.CMSG_SPACE(20))
            except BlockingIOError:
                return
            if source[2] == PACKET_OUTGOING or not extra:
                continue
            status, tci = struct.unpack_from("=I12xH", extra[0][2])
            if not status & VLAN_VALID:
                continue
            ofport = untag(tci)
            if ofport in self.meter.muted or not self.meter.pass_(ofport, time.monotonic()):
                self.refused += 1
            elif answer := self._answer(frame, ports.get(ofport, "")):
                self._send(door, tagged(answer, ofport))

    def _send(self, door: socket.socket, frame: bytes) -> None:
        """A switch that takes nothing now loses an answer, as any network may: the guest asks again."""
        try:
            door.send(frame)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                raise

    def _answer(self, frame: bytes, port: str) -> bytes | None:
        question = parse(frame)
        who = clerk(question) if question else None
        entry = self.book.get(who[0], port) if who else None
        try:
            answer = who[1](question, entry) if question and who and entry else None
        except MISWRITTEN as error:
            log.warning("an entry of the book says nothing of use", extra={"entry": entry, "reason": repr(error)})
            answer = None
        if who and answer:
            self.answered[who[0]] += 1
        else:
            self.unanswered += 1
        return answer

    def _ports(self) -> dict[int, str]:
        """The port ids by ofport, as the switch has them now."""
        tables = self.tables()
        if tables is not self._seen[0]:
            rows = [r for r in tables["Interface"].values() if "iface-id" in r["external_ids"] and r["ofport"] not in NONE]
            self._seen = tables, {row["ofport"]: row["external_ids"]["iface-id"] for row in rows}
        return self._seen[1]

    def _filter(self) -> None:
        if self._socket is None:
            return
        attach(self._socket, deaf_to(sorted(self.meter.muted)[:MOST_MUTED]))

    # Advertisements that nobody asked for: at once where there is something new to say, then in their intervals.

    def _pause(self, now: float) -> float:
        return max(0.0, min([LOOK, *(due - now for due, _ in self._advertised.values())]))

    def _advertise(self, door: socket.socket, now: float) -> None:
        if self._changes != self.book.changes:
            self._changes, answers = self.book.changes, self.book.answers
            due = {port: (now, entry) for (kind, port, _), entry in answers.items() if kind == "ra"}
            self._advertised = {port: self._advertised[port] if self._advertised.get(port, (0, None))[1] == new[1] else new
                                for port, new in due.items()}
        ofports: dict[str, int] | None = None
        for port, (due_at, entry) in self._advertised.items():
            if due_at > now:
                continue
            ofports = ofports or {port: ofport for ofport, port in self._ports().items()}
            if port in ofports:
                try:
                    self._send(door, tagged(ra.advertisement(entry), ofports[port]))
                    self.answered["ra"] += 1
                except MISWRITTEN as error:
                    log.warning("an entry of the book says nothing of use", extra={"entry": entry, "reason": repr(error)})
            self._advertised[port] = now + (random.uniform(*ra.INTERVAL) if port in ofports else LOOK), entry
