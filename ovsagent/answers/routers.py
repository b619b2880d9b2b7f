"""The routers' door: what only software can say for a router here, in under the number of a network as VLAN tag, and out.

Flows route. What comes here is what they cannot send on, and why stands in the upper bytes of the destination MAC: who sent it is
told by ICMP, or, where it only waits for a next hop's MAC, that is asked for. An ICMP error goes back to the MAC that the
packet came from; one about a next hop that is silent goes to the router itself, which sends it on as any other.
"""

import logging
import threading
import time
from ipaddress import ip_interface
from typing import Any

from ovsagent.answers import nat
from ovsagent.answers.book import Book
from ovsagent.answers.desk import MISWRITTEN
from ovsagent.answers.device import LOOK, Device, Meter
from ovsagent.answers.icmp import Error, echo, error, may_be_cut, pieces, recipient, sender, whole
from ovsagent.answers.next_hops import Asker, Counts, Hop, NextHops, answers
from ovsagent.answers.packet import IPV4, IPV6, ethernet, mac
from ovsagent.bridges import ROUTERS

log = logging.getLogger("routers")

LONGEST = 65_600
# The pipeline's words (controller/pipeline.py); a number that can be an MTU is the one that the packet would not fit.
EXPIRED, NO_ROUTE, NOT_SERVED, NEXT_HOP, TRANSLATE = 1, 2, 3, 4, 5
LEAST_MTU = 68
REASONS = {EXPIRED: Error.EXPIRED, NO_ROUTE: Error.NO_ROUTE, NOT_SERVED: Error.NO_PORT}
RATE, BURST = 100.0, 100.0      # errors a second that a router may say on one network for long, and at once
ALL, ALL_BURST = 1000.0, 1000.0     # all of them together, as Linux has it
FLOOD, FLOOD_BURST, MUTED = 2000.0, 2000.0, 0.2     # frames of a network: one that sends more is not heard for a moment
NOBODY = bytes.fromhex("020000000001")  # who sends what this host itself says to a router


class Interface:
    """Of a router, on a network: an entry of the book."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.network = int(entry["network"])
        self.mac = mac(entry["mac"])
        self.addresses = [ip_interface(text) for text in entry["addresses"]]
        self.next_hops = [ip_interface(text).ip.packed for text in entry["next_hops"]]

    def address(self, towards: bytes) -> bytes | None:
        """Under which it speaks: the one of the subnet of whom it speaks to, or else any of that version."""
        mine = [a for a in self.addresses if len(a.packed) == len(towards)]
        near = [a for a in mine if _within(towards, a)]
        return (near or mine)[0].packed if mine else None

    def everybodys(self, address: bytes) -> bool:
        """Is it the broadcast address of a subnet?"""
        return any(a.network.broadcast_address.packed == address for a in self.addresses if a.version == 4)


def _within(address: bytes, interface: Any) -> bool:
    shift = interface.max_prefixlen - interface.network.prefixlen
    return int.from_bytes(address, "big") >> shift == int(interface) >> shift


class Routers:
    def __init__(self, book: Book, counts: Counts = dict) -> None:
        """`counts`: how often the switch used each next hop."""
        self.book = book
        self.device = Device(ROUTERS, LONGEST)
        self.meter = Meter(FLOOD, FLOOD_BURST, MUTED)
        self.spoken = Meter(RATE, BURST, 0)
        self.all_spoken = Meter(ALL, ALL_BURST, 0)
        self.next_hops = NextHops(self.device.send, self._given_up, counts)
        self.answered: dict[str, int] = {"errors": 0, "pieces": 0, "translated": 0}
        self.refused = 0
        self.translating = Meter(RATE, BURST, 0)
        self._interfaces: dict[tuple[int, bytes], Interface] = {}
        self._floating: dict[tuple[int, bytes], nat.Floating] = {}
        self._named: set[Hop] = set()
        self._changes = -1
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self.run, name="routers", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            if not self.device.there():
                self._stopping.wait(LOOK / 5)
                continue
            now = time.monotonic()
            muted = len(self.meter.muted)
            released = self.meter.release(now)
            for frame, number in self.device.hear(self.next_hops.pause(now)):
                if self.meter.pass_(number, time.monotonic()):
                    self.heard(frame, number, time.monotonic())
            if released or len(self.meter.muted) != muted:
                self.device.ignore(sorted(self.meter.muted))
            self.next_hops.tick(time.monotonic())

    def heard(self, frame: bytes, number: int, now: float) -> None:
        if answer := answers(frame):
            self.next_hops.answered(Hop(number, answer[0]), answer[1], now)
            return
        packet = whole(frame[14:]) if int.from_bytes(frame[12:14], "big") in (IPV4, IPV6) else None
        reason = int.from_bytes(frame[:2], "big")
        if packet is None:
            return
        if reason == NEXT_HOP:
            self._want(frame, packet, number, now)
        elif reason == TRANSLATE:
            self._translate(packet, number)
        elif interface := self._of(number, frame[2:6]):
            if reason >= LEAST_MTU:
                self._too_large(interface, frame, packet, reason)
            elif reason == NOT_SERVED and (turned := echo(packet)):
                self._turn(interface, frame, turned)
            elif reason in REASONS:
                self._say(REASONS[reason], interface, packet, frame[6:12], interface.mac)

    def _of(self, number: int, hardware: bytes) -> Interface | None:
        """Whose MAC this is, or, of four bytes, is the end of."""
        self._read()
        return self._interfaces.get((number, hardware[-4:]))

    def _read(self) -> None:
        if self._changes == self.book.changes:
            return
        self._changes = self.book.changes
        self._interfaces, self._floating, self._named = {}, {}, set()
        for (kind, _, _), entry in self.book.answers.items():
            try:
                if kind == "router":
                    interface = Interface(entry)
                    self._interfaces[interface.network, interface.mac[-4:]] = interface
                    self._named |= {Hop(interface.network, each) for each in interface.next_hops}
                elif kind == "floating":
                    one = nat.Floating.of(entry)
                    self._floating |= {(one.outside, one.address): one, (one.inside, one.fixed): one}
            except MISWRITTEN as error:
                log.warning("an entry of the book says nothing of use", extra={"entry": entry, "reason": repr(error)})

    def _translate(self, packet: bytes, number: int) -> None:
        """An error to or from a floating IP goes through its router once more, under addresses that nobody translates."""
        self._read()
        found, inward = self._floating.get((number, recipient(packet))), True
        if found is None or number != found.outside:
            found, inward = self._floating.get((number, sender(packet))), False
        if found is None or inward != (number == found.outside):
            return  # sent to its MAC, about somebody else
        said = nat.translated(packet, found, inward)
        # Each has its own share. What stays as it is would come back, and again, for as long as it has hops left.
        if said != packet and self.translating.pass_(number << 32 | int.from_bytes(found.address, "big"), time.monotonic()):
            self.answered["translated"] += 1
            self.device.send(ethernet(found.mac, NOBODY, IPV4, said), found.inside)

    def _want(self, frame: bytes, packet: bytes, number: int, now: float) -> None:
        interface, end = self._of(number, frame[6:12]), frame[2:6]
        address: bytes | None = end
        if len(sender(packet)) == 16:   # only the end of it fits into a MAC
            known = [recipient(packet), *(interface.next_hops if interface else ())]
            address = next((each for each in known if len(each) == 16 and each[-4:] == end), None)
        if address is None or interface and interface.everybodys(address):
            return
        own = interface.address(address) if interface else None
        hop = Hop(number, address)
        self.next_hops.want(hop, Asker(frame[6:12], own or sender(packet)), frame, now, named=hop in self._named)

    def _too_large(self, interface: Interface, frame: bytes, packet: bytes, mtu: int) -> None:
        if not may_be_cut(packet):
            self._say(Error.TOO_LARGE, interface, packet, frame[6:12], interface.mac, mtu)
        elif self._may_speak(interface):
            for piece in pieces(packet, mtu):   # which go the way of the whole, and fit
                self.answered["pieces"] += 1
                self.device.send(ethernet(interface.mac, frame[6:12], IPV4, piece), interface.network)

    def _turn(self, interface: Interface, frame: bytes, turned: bytes) -> None:
        if self._may_speak(interface):
            self.answered["pieces"] += 1
            self.device.send(ethernet(frame[6:12], interface.mac, int.from_bytes(frame[12:14], "big"), turned), interface.network)

    def _given_up(self, number: int, frame: bytes) -> None:
        interface, packet = self._of(number, frame[6:12]), whole(frame[14:])
        if interface and packet:
            self._say(Error.NO_HOST, interface, packet, interface.mac, NOBODY)

    def _say(self, what: Error, interface: Interface, packet: bytes, to: bytes, by: bytes, mtu: int = 0) -> None:
        source = interface.address(sender(packet))
        if source is None or interface.everybodys(recipient(packet)) or interface.everybodys(sender(packet)):
            return
        said = error(what, packet, source, mtu)
        if said and self._may_speak(interface):
            self.answered["errors"] += 1
            kind = IPV4 if len(source) == 4 else IPV6
            self.device.send(ethernet(to, by, kind, said), interface.network)

    def _may_speak(self, interface: Interface) -> bool:
        now = time.monotonic()
        own = interface.network << 32 | int.from_bytes(interface.mac[-4:], "big")
        allowed = self.spoken.pass_(own, now) and self.all_spoken.pass_(0, now)
        self.refused += not allowed
        return allowed
