"""What is new on this host and nobody asks about: addresses are announced, and conntrack forgets who had them before.

Neighbours keep a MAC that they once heard, and wires the way to it. So an address that came here is told to its network at once,
and again, since nobody says that he heard; not when only this agent begins anew, its book being the one that it had.
"""

import heapq
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ovsagent.answers.book import Book, Entry, Key, forgiving
from ovsagent.answers.device import tagged
from ovsagent.answers.packet import ALL_MACS, ARP, ICMPV6, IPV6, address4, address6, ethernet, ip6, mac, multicast_mac
from ovsagent.bridges import ROUTERS

log = logging.getLogger("announcing")

WHEN = 0.0, 0.2, 1.0, 3.0   # seconds after it came
EVERYBODY = address6("ff02::1")
OVERRIDE, ROUTER = 0x20000000, 0x80000000   # RFC 4861, 4.4: it takes the place of what was heard before; a router's

WHOSE = {"floating": ("fixed", "address"), "forwarding": ("address",), "translator": ("",)}
"""Whose sessions end with an entry, by where it says the address: of a translator's zone all."""

Forget = Callable[[int, str], None]


class Announcer(threading.Thread):
    def __init__(self, book: Book, forget: Forget) -> None:
        """`forget`: have conntrack forget, in a zone, what it knows of an address; of all, where it is empty."""
        super().__init__(name="announcing", daemon=True)
        self.book = book
        self.forget = forget
        self.announced = 0
        self._known = dict(book.answers)
        self._due: list[tuple[float, Key]] = []
        self._news = threading.Event()
        book.on_change.append(self._news.set)

    def run(self) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as line:  # which hears nothing
            for key, entry in self._known.items():
                self._again(key, entry, time.monotonic())
            while True:
                self._news.wait(max(0.0, self._due[0][0] - time.monotonic()) if self._due else None)
                self._news.clear()
                self._look(time.monotonic())
                self._say(line, time.monotonic())

    def _look(self, now: float) -> None:
        """What is another than it was."""
        before, self._known = self._known, self.book.answers
        if before is self._known:
            return
        for key, entry in self._known.items():
            if key[0] == "announce" and before.get(key) != entry:
                with forgiving(entry):
                    for after in WHEN:
                        heapq.heappush(self._due, (now + after + entry.get("after", 0), key))
                self._again(key, entry, now)
        for key, entry in before.items():
            if key[0] in WHOSE and self._known.get(key) != entry:
                with forgiving(entry):
                    for name in WHOSE[key[0]]:
                        self.forget(int(entry["zone"]), str(entry[name]) if name else "")

    def _again(self, key: Key, entry: Entry, now: float) -> None:
        with forgiving(entry):
            if key[0] == "announce" and entry.get("every"):
                heapq.heappush(self._due, (now + entry["every"], key))

    def _say(self, line: socket.socket, now: float) -> None:
        said: dict[Key, None] = {}
        while self._due and self._due[0][0] <= now:
            said[heapq.heappop(self._due)[1]] = None
        for key in said:
            entry = self._known.get(key)
            if entry is None:
                continue
            try:
                with forgiving(entry):
                    for frame in announcements(entry):
                        line.sendto(tagged(frame, int(entry["network"])), (ROUTERS, 0))
                    self.announced += 1
            except OSError as error:
                log.warning("an address could not be announced", extra={"entry": entry, "reason": error})
            if entry.get("every") and not any(other == key for _, other in self._due):
                self._again(key, entry, now)


def announcements(entry: dict[str, Any]) -> Iterator[bytes]:
    """Of each address: by ARP as a request and as a reply, since some heed only one of them (RFC 5227, 3); by ND."""
    own = mac(entry["mac"])
    word = mac(entry["word"]) if "word" in entry else bytes(6)
    flags = OVERRIDE | (ROUTER if entry.get("router") else 0)   # who hears of a router that is none any more forgets its way
    # A word without an address of IPv4 to say it with is said with none, as probes are.
    wordless = not any(word) or any("." in text for text in entry["addresses"])
    for text in [*entry["addresses"], *([] if wordless else ["0.0.0.0"])]:
        if ":" in text:
            address = address6(text)
            body = struct.pack(">BBHI16sBB6s", 136, 0, 0, flags, address, 2, 1, own)
            yield ethernet(multicast_mac(EVERYBODY), own, IPV6, ip6(address, EVERYBODY, ICMPV6, body, 2))
            continue
        address = address4(text)
        for operation, target in ((1, word), (2, own)):
            body = struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, own, address, target, address)
            yield ethernet(ALL_MACS, own, ARP, body)
