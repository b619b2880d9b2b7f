"""The routers' door: what only software can say for a router here, in under the number of a network as VLAN tag, and out.

Flows route. What comes here is what they cannot send on, and a label says why (calls.py): who sent it is told by ICMP, or, where
it only waits for a next hop's MAC, that is asked for. An ICMP error goes back to the MAC that the packet came from; one about
a next hop that is silent goes to the router itself, which sends it on as any other.
"""

import threading
import time
from ipaddress import ip_interface
from typing import Any

from ovsagent.answers import nat
from ovsagent.answers.book import Book, forgiving
from ovsagent.answers.calls import EXPIRED, LEAST_MTU, NEXT_HOP, NO_ROUTE, NOT_SERVED, PIECE, TRANSLATE, Call, Toll
from ovsagent.answers.device import LOOK, Device, Meter
from ovsagent.answers.icmp import Error, echo, error, may_be_cut, pieces, recipient, sender
from ovsagent.answers.next_hops import Asker, Counts, Hop, NextHops, answers
from ovsagent.answers.packet import IPV4, IPV6, ethernet, mac
from ovsagent.answers.pieces import Pieces
from ovsagent.bridges import ROUTERS

LONGEST = 65_600
REASONS = {EXPIRED: Error.EXPIRED, NO_ROUTE: Error.NO_ROUTE, NOT_SERVED: Error.NO_PORT}
RATE, BURST = 100.0, 100.0  # errors a second of which one payer may be the cause for long, and at once
ALL = 5000.0                # all of them together
NOBODY = bytes.fromhex("020000000001")  # who sends what this host itself says to a router


class Interface:
    """Of a router, on a network: an entry of the book."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.network = int(entry["network"])
        self.mac = mac(entry["mac"])
        self.addresses = [ip_interface(text) for text in entry["addresses"]]
        self.next_hops = [ip_interface(text).ip.packed for text in entry["next_hops"]]
        self.asker = mac(entry.get("asker", ""))

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
        self.toll = Toll()
        self.spoken = Meter(RATE, BURST, 0)
        self.all_spoken = Meter(ALL, ALL, 0)
        self.next_hops = NextHops(self.device.send, self._given_up, counts)
        self.answered: dict[str, int] = {"errors": 0, "pieces": 0, "translated": 0, "forwarded": 0}
        self.refused = 0
        self.translating = Meter(RATE, BURST, 0)
        self._interfaces: dict[tuple[int, bytes], Interface] = {}
        self._translations = nat.Translations()
        self._pieces = Pieces()
        self._named: set[Hop] = set()
        self._changes = -1
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self.run, name="routers", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        deaf = b""
        while not self._stopping.is_set():
            if not self.device.there():
                self._stopping.wait(LOOK / 5)
                continue
            now = time.monotonic()
            for meter in (self.toll, self.spoken, self.all_spoken, self.translating):
                meter.release(now)
            for frame, number in self.device.hear(self.next_hops.pause(now)):
                if self.toll.pass_(frame, number, time.monotonic()):
                    self.heard(frame, number, time.monotonic())
                else:
                    self.refused += 1   # as far as the kernel lets us see them
            if (muted := self.toll.filter()) != deaf:
                self.device.ignore(deaf := muted)
            self._read()
            self.next_hops.tick(time.monotonic())

    def heard(self, frame: bytes, number: int, now: float) -> None:
        if answer := answers(frame):
            self.next_hops.answered(Hop(number, answer[0]), answer[1], now)
            return
        call = Call.of(frame)
        if call is None:
            return
        if call.reason == NEXT_HOP:
            self._want(call, number, now)
        elif call.reason == TRANSLATE:
            self._translate(call.packet, number)
        elif call.reason == PIECE:
            self._forward(call, number, now)
        elif interface := self._of(number, call.to):
            if call.reason >= LEAST_MTU:
                self._too_large(interface, call)
            elif call.reason == NOT_SERVED and (turned := echo(call.packet)):
                self._turn(interface, call, turned)
            elif call.reason in REASONS:
                self._say(REASONS[call.reason], interface, call, call.by, interface.mac)

    def _of(self, number: int, hardware: bytes) -> Interface | None:
        """Whose MAC this is."""
        self._read()
        return self._interfaces.get((number, hardware))

    def _read(self) -> None:
        if self._changes == self.book.changes:
            return
        self._changes = self.book.changes
        self._interfaces, self._translations, self._named = {}, nat.Translations(), set()
        here = set()    # who is announced from this host, or is this host itself
        for (kind, _, _), entry in self.book.answers.items():
            with forgiving(entry):
                if kind == "router":
                    interface = Interface(entry)
                    self._interfaces[interface.network, interface.mac] = interface
                    self._named |= {Hop(interface.network, each) for each in interface.next_hops}
                    here.add((interface.network, interface.asker))
                elif kind == "announce":
                    here.add((int(entry["network"]), mac(entry["mac"])))
                elif kind in ("floating", "forwarding"):
                    self._translations.add(nat.Floating.of(entry))
        self.next_hops.keep(here)

    def _translate(self, packet: bytes, number: int) -> None:
        """An error to or from a floating IP goes through its router once more, under addresses that nobody translates."""
        self._read()
        found, inward = self._translations.end(number, packet)
        quoted = nat.about(packet)
        if not found or not quoted:
            return  # sent to its MAC, about somebody else
        one = nat.meant(found, quoted[9], nat.ports(quoted)[not inward], inward)
        if one is None or one.label and not inward:     # not forwarded, or conntrack knows
            if not inward:
                self.device.send(ethernet(found[0].outward, NOBODY, IPV4, packet), number)
            return
        said = nat.translated(packet, one, inward)
        # Each has its own share. What stays as it is would come back, and again, for as long as it has hops left.
        if said != packet and self.translating.pass_(number << 32 | int.from_bytes(one.address, "big"), time.monotonic()):
            self.answered["translated"] += 1
            self.device.send(ethernet(one.inward if inward else one.outward, NOBODY, IPV4, said), one.inside)

    def _forward(self, call: Call, number: int, now: float) -> None:
        """Pieces to and from forwarded ports: like errors; or, where conntrack remembers, they go on where they were going, and
        who sends them says for which forwarding they are."""
        self._read()
        found, inward = self._translations.end(number, call.packet)
        said, ready = self._pieces.together(number, call.packet, call.payer, now) if found else ((0, 0), [])
        one = nat.meant(found, call.packet[9], said[inward], inward)
        for piece in ready:
            if one is None or not one.protocol:      # its own by now: book and flows change one after the other
                if not inward:
                    self.device.send(ethernet(found[0].outward, NOBODY, IPV4, piece), number)
            elif refusal := inward and self._refusal(piece, one.mtu):
                if interface := self._of(number, call.to):
                    self._say(refusal, interface, call._replace(packet=piece), call.by, interface.mac, one.mtu)
            else:
                self.answered["forwarded"] += 1
                to, on = (one.inward if inward else one.outward), one.inside
                if not one.label:
                    piece = nat.readdressed(piece, one, inward, nat.DESTINATION if inward else nat.SOURCE)
                elif inward:
                    to, on = one.mac, one.outside
                for part in pieces(piece, one.mtu):
                    self.device.send(ethernet(to, one.label or NOBODY, IPV4, part), on)

    @staticmethod
    def _refusal(piece: bytes, mtu: int) -> Error | None:
        """What its sender is told, before it is translated: he must know it again."""
        if piece[8] < 2:
            return Error.EXPIRED
        return Error.TOO_LARGE if len(piece) > mtu and not may_be_cut(piece) else None

    def _want(self, call: Call, number: int, now: float) -> None:
        interface, address = self._of(number, call.by), call.to[2:]
        if len(sender(call.packet)) == 16:  # only the end of it fits into a MAC
            known = [recipient(call.packet), *(interface.next_hops if interface else ())]
            address = next((each for each in known if len(each) == 16 and each[-6:] == call.to), b"")
        if not address or interface and interface.everybodys(address):
            return
        asker = Asker(call.by, interface and interface.address(address) or sender(call.packet))
        if interface and interface.asker:
            # In nobody's name: the router's address under this host's MAC is nothing that who is asked should learn.
            asker = Asker(interface.asker, b"")
        hop = Hop(number, address)
        self.next_hops.want(hop, asker, call, now, named=hop in self._named)

    def _too_large(self, interface: Interface, call: Call) -> None:
        fits = len(call.packet) <= call.reason
        if not fits and not may_be_cut(call.packet):
            self._say(Error.TOO_LARGE, interface, call, call.by, interface.mac, call.reason)
        elif self._may_speak(call):
            for piece in [call.packet] if fits else pieces(call.packet, call.reason):   # all of which go one way, and fit
                self.answered["pieces"] += 1
                self.device.send(ethernet(interface.mac, call.by, IPV4, piece), interface.network)

    def _turn(self, interface: Interface, call: Call, turned: bytes) -> None:
        if self._may_speak(call):
            self.answered["pieces"] += 1
            self.device.send(ethernet(call.by, interface.mac, call.kind, turned), interface.network)

    def _given_up(self, number: int, call: Call) -> None:
        if interface := self._of(number, call.by):
            self._say(Error.NO_HOST, interface, call, interface.mac, NOBODY)

    def _say(self, what: Error, interface: Interface, call: Call, to: bytes, by: bytes, mtu: int = 0) -> None:
        packet = call.packet
        source = interface.address(sender(packet))
        if source is None or interface.everybodys(recipient(packet)) or interface.everybodys(sender(packet)):
            return
        said = error(what, packet, source, mtu)
        if said and self._may_speak(call):
            self.answered["errors"] += 1
            kind = IPV4 if len(source) == 4 else IPV6
            self.device.send(ethernet(to, by, kind, said), interface.network)

    def _may_speak(self, call: Call) -> bool:
        now = time.monotonic()
        allowed = self.spoken.pass_(call.payer, now) and self.all_spoken.pass_(0, now)
        self.refused += not allowed
        return allowed
