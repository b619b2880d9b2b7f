"""Next hops outside: asked for by ARP or neighbour discovery when a packet waits, and again while they are used.

What they answer the switch itself writes down, for a minute, and brings here, so that what waited is sent on.
"""

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ovsagent.answers.calls import Call
from ovsagent.answers.packet import ALL_MACS, ARP, ICMPV6, IPV4, IPV6, ethernet, ip6, link_local, multicast_mac

HELD, HELD_NAMED = 16, 256      # packets that wait for one next hop; of whom most of them are, the oldest makes room
WAITING = 512           # next hops that are waited for at once
KNOWN = 1024            # that are asked again before the switch forgets them
ASKS = 0.0, 1.0, 2.0    # seconds after which it is asked
PATIENCE = 3.0          # and after which nobody waits any more (RFC 1122, 2.3.2.1)
AGAIN = 25.0            # seconds; the switch forgets after 60, so one answer may be lost
LOOK = 120.0            # seconds from one look at what the switch counted to the next: nobody used what is as it was
UNSEEN = -1
SOLICITED = bytes.fromhex("ff0200000000000000000001ff")
SOURCE_LINK_LAYER = 1

Send = Callable[[bytes, int], None]
Counts = Callable[[], dict[tuple[int, bytes], int]]


class Hop(NamedTuple):
    """On a network, by its number."""

    network: int
    address: bytes


class Asker(NamedTuple):
    """In whose name it is asked: what a reply is sent to."""

    mac: bytes
    address: bytes
    """Empty: none, as of who only tries whether it is somebody's (RFC 5227)."""


@dataclass
class Wait:
    asker: Asker
    since: float
    named: bool
    asked: int = 0
    held: list[Call] = field(default_factory=list)


@dataclass
class Warm:
    asker: Asker
    due: float
    named: bool
    count: int = UNSEEN


class NextHops:
    def __init__(self, send: Send, give_up: Callable[[int, Call], None], counts: Counts) -> None:
        """`give_up`: what a packet that waited in vain comes to; `counts`: how often the switch used each, as it knows them."""
        self.send = send
        self.give_up = give_up
        self.counts = counts
        self.waiting: dict[Hop, Wait] = {}
        self.warm: dict[Hop, Warm] = {}
        self.asked = 0
        self.looked = 0.0

    def want(self, hop: Hop, asker: Asker, call: Call, now: float, named: bool = False) -> None:
        """It is for whoever has that address. One that is `named`, as gateways are, is waited for however many others are: they
        are few, and everybody's way out."""
        wait = self.waiting.get(hop)
        if wait is None:
            if len(self.waiting) >= WAITING and not named and not self._make_room(call.payer):
                return
            wait = self.waiting[hop] = Wait(asker, now, named)
        if len(wait.held) >= (HELD_NAMED if named else HELD):
            most = Counter(each.payer for each in wait.held).most_common(1)[0][0]
            del wait.held[next(n for n, each in enumerate(wait.held) if each.payer == most)]
        wait.held.append(call)
        self._ask(hop, wait, now)

    def _make_room(self, payer: int) -> bool:
        """Of who waits for most, the last one goes: a scan is not at the cost of others. (At whose expense it is, the packet
        says that was the first to wait.)"""
        payers = {hop: wait.held[0].payer for hop, wait in self.waiting.items() if not wait.named}
        each = Counter(payers.values())
        most, number = next(iter(each.most_common(1)), (payer, 0))
        if number <= each[payer] + 1:
            return False
        del self.waiting[next(hop for hop in reversed(payers) if payers[hop] == most)]
        return True

    def answered(self, hop: Hop, mac: bytes, now: float) -> None:
        if wait := self.waiting.pop(hop, None):
            if len(self.warm) >= KNOWN and (spare := next((h for h in self.warm if not self.warm[h].named), None)):
                del self.warm[spare]    # if it is in use, a packet of its will wait again; those that are named stay
            self.warm[hop] = Warm(wait.asker, now + AGAIN, wait.named)
            for call in wait.held:
                self.send(mac + call.frame[6:], hop.network)
        elif known := self.warm.get(hop):
            known.due = now + AGAIN

    def keep(self, askers: set[tuple[int, bytes]]) -> None:
        """Of what is warm only what these ask for, by network and MAC: to ask in the name of who has gone, or is on another host
        now, would tell neighbours that he is here."""
        self.warm = {hop: known for hop, known in self.warm.items() if (hop.network, known.asker.mac) in askers}

    def tick(self, now: float) -> None:
        for hop, wait in list(self.waiting.items()):
            self._ask(hop, wait, now)
            if now >= wait.since + PATIENCE:
                del self.waiting[hop]
                for call in wait.held:
                    self.give_up(hop.network, call)
        if self.warm and now >= self.looked + LOOK:
            self.looked = now
            self._forget_unused(self.counts())
        for hop, known in self.warm.items():
            if now >= known.due:
                known.due = now + AGAIN / 5     # until it answers
                self._question(hop, known.asker)

    def _forget_unused(self, counts: dict[tuple[int, bytes], int]) -> None:
        """A packet may wait for it again, as for a new one."""
        for hop, known in list(self.warm.items()):
            before, known.count = known.count, counts.get(hop, 0)
            if known.count == before:
                del self.warm[hop]

    def pause(self, now: float) -> float:
        """Seconds until something is due."""
        times = [wait.since + [*ASKS, PATIENCE][wait.asked] for wait in self.waiting.values()]
        times += [known.due for known in self.warm.values()]
        return max(0.0, min(times, default=now + 1) - now)

    def _ask(self, hop: Hop, wait: Wait, now: float) -> None:
        if wait.asked < len(ASKS) and now >= wait.since + ASKS[wait.asked]:
            wait.asked += 1
            self._question(hop, wait.asker)

    def _question(self, hop: Hop, asker: Asker) -> None:
        self.asked += 1
        self.send(question(hop.address, asker), hop.network)


def question(address: bytes, asker: Asker) -> bytes:
    if len(address) == 4:
        body = struct.pack(">HHBBH6s4s6s4s", 1, IPV4, 6, 4, 1, asker.mac, asker.address or bytes(4), bytes(6), address)
        return ethernet(ALL_MACS, asker.mac, ARP, body)
    group = SOLICITED + address[-3:]
    body = struct.pack(">BBHI16sBB6s", 135, 0, 0, 0, address, SOURCE_LINK_LAYER, 1, asker.mac)
    return ethernet(multicast_mac(group), asker.mac, IPV6, ip6(asker.address or link_local(asker.mac), group, ICMPV6, body, 2))


def answers(frame: bytes) -> tuple[bytes, bytes] | None:
    """Address and MAC, if it is a reply or an advertisement; and that of one host, not of a group (RFC 1812, 3.3.2)."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ARP and len(frame) >= 42 and frame[14:22] == bytes.fromhex("0001080006040002"):
        address, mac = frame[28:32], frame[22:28]
    elif kind == IPV6 and len(frame) >= 78 and frame[20] == ICMPV6 and frame[54] == 136:
        address, options = frame[62:78], frame[78:]
        mac = options[2:8] if options[:2] == b"\x02\x01" and len(options) >= 8 else frame[6:12]
    else:
        return None
    return None if mac[0] & 1 else (address, mac)
