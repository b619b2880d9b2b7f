"""Tunnel neighbours resolved ahead, so that no guest's first packet waits for a VTEP's MAC, or is lost for it.

ovs-vswitchd learns the MACs of tunnel ends from the ARP answers and announcements that pass its bridge. So we ask
before any guest sends, and say our own; it listens (docs/decisions/0006-tunnel-neighbours.md).
"""

import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import AddressValueError, IPv4Address

from ovsagent import links
from ovsagent.ovsdb import Tables, members

log = logging.getLogger("underlay")

LOOK = 1.0          # seconds from one look at the device to the next
GAP = 0.02          # seconds from one question to the next
# An answer within 10 s of another like it passes through a flow of the datapath, and the switch learns nothing from it.
# So whom it did not hear at first, we ask again after more than that; then slowly, far within the 15 minutes that it
# remembers, and two a second at most, since everybody on the segment hears each question.
SECOND = 12.0
ROUND, SLOWEST_GAP = 120.0, 0.5


def question(mac: str, source: str, target: str) -> bytes:
    """The ARP frame that asks everybody for `target`. Who asks for its own address announces it."""
    sender = bytes.fromhex(mac.replace(":", ""))
    asker, asked = sender + socket.inet_aton(source), bytes(6) + socket.inet_aton(target)
    return b"\xff" * 6 + sender + bytes.fromhex("0806 0001 0800 06 04 0001") + asker + asked


def beside(device: str, have: Tables) -> list[str]:
    """The NICs of the bridge that the device is a port of."""
    for bridge in have["Bridge"].values():
        ports = (have["Port"][port] for port in members(bridge["ports"]))
        rows = [have["Interface"][uuid] for port in ports for uuid in members(port["interfaces"])]
        if device in {row["name"] for row in rows}:
            return sorted(row["name"] for row in rows if row["type"] in ("", "system") and row["name"] != device)
    return []


def is_ipv4(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(IPv4Address(value))
    except AddressValueError:
        return False


class Turns:
    """Who is asked when: newcomers at once and a second time, then each in its round."""

    def __init__(self) -> None:
        self.due: dict[str, tuple[float, int]] = {}     # when next, and how often until now

    def meet(self, targets: Iterable[str], now: float) -> None:
        """These from now on, newcomers in this order, and nobody else."""
        self.due = {target: self.due.get(target, (now, 0)) for target in targets}

    def take(self, now: float) -> str | None:
        """Whose turn it is."""
        target = min(self.due, key=lambda one: self.due[one][0], default=None)
        if target is None or self.due[target][0] > now:
            return None
        asked = self.due[target][1] + 1
        slowly = max(ROUND, SLOWEST_GAP * len(self.due)) * random.uniform(0.75, 1)
        self.due[target] = now + (SECOND if asked == 1 else slowly), asked
        return target


class Unresolved(Exception):
    """Whom we could not ask, and why: a sentence for the log."""


class Underlay:
    """One thread, level-triggered: the device that carries our address may come, go and change under it."""

    def __init__(self, address: str, tables: Callable[[], Tables]) -> None:
        self.address, self.tables = address, tables
        self.asked = 0
        self._peers: tuple[str, ...] = ()
        self._turns = Turns()
        # At the last look: the device with our address and the NICs beside it; who the others were.
        self._wires: list[links.Link | None] = []
        self._met: tuple[str, ...] = ()
        self._said: set[str] = set()
        self._woken = threading.Event()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)      # 0: it hears nothing
        self._thread = threading.Thread(target=self._run, name="underlay", daemon=True)

    def start(self) -> None:
        """Once, however often it is called."""
        if self._thread.ident is None:
            self._thread.start()

    def know(self, peers: Iterable[object]) -> None:
        """The tunnel addresses of all other hosts."""
        known = tuple(str(peer) for peer in peers if is_ipv4(peer))
        if known != self._peers:
            self._peers = known
            self._woken.set()

    def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                wire = self._look()
                target = self._turns.take(time.monotonic())
                if target:
                    self._ask(wire, target)
            except (Unresolved, OSError) as error:
                if str(error) not in self._said:
                    self._said.add(str(error))
                    log.warning("a tunnel end is not resolved ahead; trying on", extra={"reason": error})
                target = None
            self._woken.wait(GAP if target else LOOK)

    def _look(self) -> links.Link:
        """The device that carries our address; what is new since the last look decides who is asked."""
        wire, peers = links.carrying(self.address), self._peers
        if wire is None or not wire.up:
            self._wires = []
            raise Unresolved(f"no device that is up carries {self.address}")
        nics = beside(wire.name, self.tables())
        wires = [wire, *map(links.find, nics)]
        if (wires, peers) == (self._wires, self._met):
            return wire
        if wires != self._wires:
            self._turns = Turns()       # another device or life of the switch, a cable put back: nothing is resolved
        self._turns.due.pop(self.address, None)         # newcomers may not have heard us
        self._turns.meet((self.address, *peers), time.monotonic())
        self._wires, self._met = wires, peers
        self._said.clear()
        for nic in nics:
            links.deafen(nic)
        return wire

    def _ask(self, wire: links.Link, target: str) -> None:
        """The target itself or, where it is not on our segment, the router on the way."""
        self.asked += 1
        try:
            device, hop = (wire.number, target) if target == self.address else links.next_hop(target)
            if device != wire.number:
                raise Unresolved(f"{target} is not reached through {wire.name}, which carries {self.address}")
            self._socket.sendto(question(wire.mac, self.address, hop), (wire.name, 0))
        except OSError as error:
            raise Unresolved(f"{target}: {error.strerror}") from error
