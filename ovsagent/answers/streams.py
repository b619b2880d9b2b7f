"""Streams that outlive their gateway: a guest that only listens is made to speak, so that the next gateway hears of its stream.

A gateway remembers connections, and they die with it. The next one takes a connection up as soon as its guest says something
(docs/decisions/0022-addresses-outside.md). But who downloads has acknowledged all that came, and says nothing; and what comes
from the far end is nobody's. So when a router's gateway has moved, each host asks its own conntrack which streams its guests have
beyond it, and shows each guest a segment of that stream which cannot be one: RFC 9293, 3.10.7.4 has it answer with what it
really has, to the far end. That passes the new gateway, both ends being said as they are.

The segment is never on a network: it leaves by the guest's port alone, past conntrack, which would count it.
"""

import logging
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import islice, zip_longest
from typing import NamedTuple

from ovsagent.answers.book import Book, Entry, Key, forgiving
from ovsagent.answers.device import tagged
from ovsagent.answers.packet import IPV4, TCP, address4, checksum, ethernet, ip4, mac
from ovsagent.bridges import DOOR
from ovsagent.ovsdb import Tables

log = logging.getLogger("streams")

ROUNDS = 0.2, 0.8, 2.0, 5.0, 12.0, 30.0     # seconds after we hear of it: busy hosts may hear, or say what they know, much later
NUMBERS = 0, 1 << 31            # of the segments, by turns: no window is so wide that both are in it
MOST = 4096                     # streams of a move, shared among guests
AT_ONCE, PAUSE = 20, 0.02       # 1,000 segments a second
SESSION = re.compile(r"tcp,orig=\(src=([0-9.]+),dst=([0-9.]+),sport=(\d+),dport=(\d+)\),.*state=(\w+)\)")
OVER = "SYN_SENT", "SYN_RECV", "CLOSING", "TIME_WAIT", "CLOSED"
ACK, HEADER = 0x10, 5 << 4

Sessions = Callable[[int], Iterable[str]]


class Stream(NamedTuple):
    """Of a guest here, begun by it."""

    ofport: int
    guest: bytes
    router: bytes   # MACs
    near: bytes
    far: bytes
    ports: tuple[int, int]


class Streams(threading.Thread):
    def __init__(self, book: Book, tables: Callable[[], Tables], sessions: Sessions) -> None:
        """`sessions`: what conntrack knows in a zone, a line each."""
        super().__init__(name="streams", daemon=True)
        self.book = book
        self.tables = tables
        self.sessions = sessions
        self.provoked = 0
        self._known = book.answers
        self._moved: dict[Key, tuple[float, int]] = {}
        """When we heard of it, and how often we have spoken since."""
        self._news = threading.Event()
        book.on_change.append(self._news.set)

    def run(self) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as line:  # which hears nothing
            while True:
                due = min((since + ROUNDS[spoken] for since, spoken in self._moved.values()), default=None)
                self._news.wait(None if due is None else max(0.0, due - time.monotonic()))
                self._news.clear()
                self._look(time.monotonic())
                self._say(line, time.monotonic())

    def _look(self, now: float) -> None:
        """Which ways out are by another host than they were."""
        before, self._known = self._known, self.book.answers
        for key, entry in self._known.items() if before is not self._known else ():
            had = before.get(key)
            if key[0] == "way out" and had and had.get("generation") != entry.get("generation"):
                self._moved[key] = now, 0

    def _beyond(self, entry: Entry) -> Iterator[Stream]:
        """A stream of each guest in turn, so that one who has thousands leaves room for the others'."""
        routers = {int(number): mac(hardware) for number, hardware in entry["inside"]}
        near = [IPv4Network(prefix) for prefix in entry["near"]]
        ofports = {port: ofport for ofport, port in self.tables().vifs.items()}
        guests = [(ofports[port], mac(guest["mac"]), routers[guest["network"]]) for (kind, port, part), guest in
                  self._known.items() if (kind, part) == ("announce", "") and port in ofports and guest["network"] in routers]
        each = (islice(self._of(guest, near), MOST) for guest in guests)
        return (stream for turn in zip_longest(*each) for stream in turn if stream)

    def _of(self, guest: tuple[int, bytes, bytes], near: list[IPv4Network]) -> Iterator[Stream]:
        for said in self.sessions(guest[0]):
            found = SESSION.match(said)
            if found and found[5] not in OVER and not any(IPv4Address(found[2]) in network for network in near):
                yield Stream(*guest, address4(found[1]), address4(found[2]), (int(found[3]), int(found[4])))

    def _say(self, line: socket.socket, now: float) -> None:
        for key, (since, spoken) in list(self._moved.items()):
            if now < since + ROUNDS[spoken]:
                continue
            del self._moved[key]
            entry = self._known.get(key)
            streams: list[Stream] = []
            with forgiving(entry):
                streams += islice(self._beyond(entry), MOST) if entry else ()
            if entry and spoken + 1 < len(ROUNDS):
                self._moved[key] = since, spoken + 1
            for place, stream in enumerate(streams):
                if place % AT_ONCE == AT_ONCE - 1:
                    time.sleep(PAUSE)
                try:
                    line.sendto(tagged(segment(stream, NUMBERS[spoken % 2]), stream.ofport), (DOOR, 0))
                    self.provoked += 1
                except OSError as error:
                    log.warning("a guest could not be made to speak", extra={"ofport": stream.ofport, "reason": error})
                    break
            if spoken == 0:
                log.info("a gateway has moved; its streams are asked for", extra={"gateway": key[1], "streams": len(streams)})


def segment(stream: Stream, number: int) -> bytes:
    """As if the far end had sent it. It acknowledges what nobody can have sent; with no word in it, it does nothing but ask."""
    ends = stream.far + stream.near
    header = struct.pack(">HHIIBBHHH", *reversed(stream.ports), number, number, HEADER, ACK, 0, 0, 0)
    summed = checksum(ends + struct.pack(">HH", TCP, len(header)) + header)
    return ethernet(stream.guest, stream.router, IPV4, ip4(stream.far, stream.near, TCP, header[:16] + summed + header[18:]))
