"""Gateways: which host each router leaves by or speaks from on a wire, and which would be the next. Rows say it; all that is
asked of a host follows.

A host holds what it has for as long as its switches are connected and its wire is there, and gets nothing back that it lost:
to come and go, sessions would move each time. Among controllers the router's own decides; who slept meanwhile finds another
generation in the row, and lets it be. With no controller alive nothing moves.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from time import monotonic
from typing import Any

from controller.picture import Picture
from controller.segments import TYPES, wired
from unryu.db import Database
from unryu.errors import Fault
from unryu.logs import log

PATIENCE = 1.0  # seconds that the switches of a host may be away: a vswitchd that is started again takes less
GRACE = 5.0  # of ours, after our start: until then nobody may have come back yet
AGAIN = 0.5  # seconds until a transaction that failed is tried again
HELD = "router_gateway", "router_interface"
"""Rows of the ports of routers that one host has: of those of the second kind, the ones on wires."""


def weight(router: str, host: str) -> bytes:
    """By which routers spread over hosts, and few move when one comes or goes."""
    return blake2b(f"{router}\0{host}".encode(), digest_size=8).digest()


def placed(picture: Picture) -> Iterator[Any]:
    """The rows of ports that one host has: ways out, and interfaces on wires. (Others are everywhere, and not looked at.)"""
    yield from picture.all("router_gateway")
    for network_type in (name for name, of in TYPES.items() if of.wired):
        for network in picture.where("network", network_type=network_type):
            yield from picture.where("router_interface", network_id=network.id)


def carriers(picture: Picture, network: Any) -> set[str]:
    """The hosts that can reach this network."""
    return {agent.host for agent in picture.all("agent") if not wired(network)
            or network.physical_network in agent.ofports.get("br-ex", {})}


def choice(row: Any, standing: set[str], connected: set[str]) -> tuple[str, str]:
    """Host and successor: as they are where they can be. `standing` may keep what they hold, `connected` take another's."""
    def first(among: set[str]) -> str:
        return max(among, key=lambda host: weight(row.router_id, host), default="")

    if row.host in standing:
        host = row.host
    else:
        host = (row.successor if row.successor in connected else first(connected)) or row.host
    others = connected - {host}
    return host, row.successor if row.successor in others else first(others)


class Gateways(threading.Thread):
    """Told by the loop's thread; its own only writes."""

    def __init__(self, database: Database, mine: Callable[[str], bool], again: Callable[[], None]) -> None:
        """`mine`: whether we decide for this router; `again`: has `look` called once more, from any thread."""
        super().__init__(name="gateways", daemon=True)
        self.database = database
        self._mine, self._again = mine, again
        self._connected: set[str] = set()
        self._left: dict[str, float] = {}
        """When the switches of a host went away."""
        self._began = monotonic()
        self._wanted: dict[tuple[str, str], tuple[int, str, str, bool]] = {}
        self._condition = threading.Condition()
        self._stopping = False
        self._timer: threading.Timer | None = None

    # told by the loop

    def came(self, host: str) -> None:
        self._connected.add(host)
        self._left.pop(host, None)

    def went(self, host: str, since: float | None = None) -> None:
        """`since`: of one that fell silent, when that was."""
        self._connected.discard(host)
        self._left[host] = monotonic() if since is None else since

    def look(self, picture: Picture, rows: Iterable[Any]) -> None:
        """Decide where these should be."""
        reach: dict[str, set[str]] = {}
        until = monotonic() - PATIENCE
        excused = {agent.host: self._left.get(agent.host, self._began + GRACE) for agent in picture.all("agent")}
        patient = {host for host, since in excused.items() if since > until} - self._connected
        for row in rows:
            network = picture.get("network", row.network_id)
            if network is None or row.kind == "router_interface" and not wired(network) or not self._mine(row.router_id):
                continue
            if network.id not in reach:
                reach[network.id] = carriers(picture, network)
            able = reach[network.id]
            wanted = choice(row, able & (self._connected | patient), able & self._connected)
            if wanted != (row.host, row.successor):
                self._write(row, *wanted)
            if row.host in patient:
                self._later(excused[row.host] - until)

    def emptied(self, host: str, rows: Iterable[Any]) -> None:
        """Its switch has begun anew, and knows no connection: to guests that is as if their gateway had moved there."""
        for row in rows:
            if row.host == host and row.kind == "router_gateway":
                self._write(row, host, row.successor, anew=True)

    def _later(self, seconds: float) -> None:
        if not (self._timer and self._timer.is_alive()):
            self._timer = threading.Timer(seconds, self._again)
            self._timer.daemon = True
            self._timer.start()

    def _write(self, row: Any, host: str, successor: str, anew: bool = False) -> None:
        if host != row.host:
            log.info("another host has a router's port", router=row.router_id, port=row.port_id, host=host or "none",
                     before=row.host or "none")
        subject = row.kind, row.id
        with self._condition:
            *_, anew_before = self._wanted.get(subject, (False,))  # not yet written, and true for all that
            self._wanted[subject] = row.generation, host, successor, anew or anew_before
            self._condition.notify()

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self.is_alive():
            self.join(5)

    # its own thread

    def run(self) -> None:
        said = False
        while True:
            with self._condition:
                while not self._wanted and not self._stopping:
                    self._condition.wait()
                if self._stopping:
                    return
                wanted, self._wanted = self._wanted, {}
            try:
                self._store(wanted)
                said = False
            except Fault as error:
                if not said:
                    log.warning("which hosts have routers' ports is not written; trying until it is", error=error.sentence)
                    said = True
                with self._condition:
                    self._wanted = {**wanted, **self._wanted}
                    self._condition.wait(AGAIN)

    def _store(self, wanted: dict[tuple[str, str], tuple[int, str, str, bool]]) -> None:
        with self.database.transaction() as tx:
            for subject, (generation, host, successor, anew) in wanted.items():
                row = tx.lock(*subject)
                if row and row.generation == generation:  # else another has decided since
                    tx.update(row, host=host, successor=successor, generation=generation + (anew or host != row.host))
