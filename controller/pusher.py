"""One thread per host brings its switches to what is wanted: all of it read back at first, then each change, and slowly
for ever all of it again (docs/decisions/0018-drift-and-faults.md).

Where several controllers share the hosts it first becomes the switches' master, and writes only while the lease is good
(docs/decisions/0015-leases.md).
"""

import threading
from collections import Counter as Counted
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

from prometheus_client import Counter, Gauge

from controller.derive import Change, Entry
from controller.drift import SHOWN, Difference, LeftAlone, difference
from controller.flow import Flow, Meter
from controller.leases import Tenure
from controller.openflow.connection import Connection, ConnectionLost, NoAnswer
from controller.openflow.push import Deposed, PushFailed, Refused, push
from controller.openflow.readback import NotRead, read
from controller.openflow.roles import Outgrown, become_master, become_slave
from unryu.logs import log

# The bridge that receives first, the one that sends last: a packet let out finds its way in.
ORDER = ("br-ex", "br-tun", "br-int")
AGAIN = 0.1  # seconds until a lease that was not good is looked at again

flows_pushed = Counter("unryu_flows_pushed_total", "Flows added or deleted on switches", ("host", "bridge"))
flows_mended = Counter("unryu_flows_mended_total", "Flows that differed when a switch was read back",
                       ("host", "bridge", "kind"))
revision_realised = Gauge("unryu_revision_realised", "Newest revision confirmed", ("host",))


@dataclass
class Switch:
    """One bridge of a host, as seen by its pusher."""

    host: str
    bridge: str
    connection: Connection | None = None
    term: int = 0
    """Grows whenever it begins anew: what was done in an earlier one says nothing of this."""
    claimed: bool = False
    """It has taken us for its master."""
    told: bool = False
    """The loop has said, after that, what it should hold."""
    to_read: dict[Any, Entry] | None = None
    """What it should hold with all that was asked of it, when it must be read back."""
    refused: set[Flow | Meter] = field(default_factory=set)
    """Wanted, and not taken: no drift."""
    add: dict[Any, Entry] = field(default_factory=dict)
    delete: dict[Any, Entry] = field(default_factory=dict)
    in_sync: bool = False

    def begin(self) -> None:
        self.term += 1
        self.claimed = self.told = self.in_sync = False
        self.to_read, self.add, self.delete, self.refused = None, {}, {}, set()

    def want(self, change: Change) -> None:
        for entry in change.add:
            self.add[entry[1].key] = entry
            self.delete.pop((entry[0], entry[1].key), None)
        for entry in change.delete:
            # What is added and gone again before it is pushed is pushed all the same, and deleted in the same bundle: it takes
            # the place of what the switch holds there, which a delete by this cookie would miss, and leave for ever.
            self.delete[entry[0], entry[1].key] = entry
        if self.to_read is not None:
            self.to_read |= {entry[1].key: entry for entry in change.add}
            for entry in change.delete:
                self.to_read.pop(entry[1].key, None)

    def take(self) -> Change:
        """What was asked and is not yet pushed; nothing, from now on."""
        change = Change(add=list(self.add.values()), delete=list(self.delete.values()))
        self.add, self.delete = {}, {}
        return change


class Pusher(threading.Thread):
    """Brings the switches of one host to what is wanted; a slow one delays nobody else."""

    def __init__(self, host: str, lease: Tenure, claimed: Callable[[str, float], None], confirmed: Callable[[str], None],
                 refused: Callable[[str, str, list[Refused]], None],
                 differed: Callable[[str, str, list[Difference]], None], left_alone: LeftAlone) -> None:
        super().__init__(name=f"push {host}", daemon=True)
        self.host = host
        self.lease = lease
        self.mine = False
        self.generation = 0
        """By which the host is ours, or another's; 0: there is no other."""
        self.sent = self.realised = 0
        self.switches = {bridge: Switch(host, bridge) for bridge in ORDER}
        self._claimed = claimed
        self._confirmed = confirmed
        self._refused = refused
        self._differed = differed
        self._left_alone = left_alone
        self._condition = threading.Condition()
        self._stopping = False

    @property
    def live(self) -> bool:
        return all(s.connection is not None for s in self.switches.values())

    def waits(self, bridge: str) -> str:
        """For what, in words; nothing when it holds what is wanted."""
        away = [name for name, switch in self.switches.items() if switch.connection is None]
        if away:
            return "to connect" if bridge in away else f"{' and '.join(away)} to connect"
        if not self.switches[bridge].in_sync:
            return "to be read back"
        return f"flows of revision {self.sent}" if self.realised < self.sent else ""

    # told by the loop

    def own(self, mine: bool, generation: int, anew: bool = False) -> None:
        """The host is ours by this generation, or another's by his. `anew`: it may have been another's meanwhile."""
        with self._condition:
            if anew or mine != self.mine:
                for switch in self.switches.values():
                    switch.begin()
                self.realised = 0
            self.mine, self.generation = mine, generation
            for switch in self.switches.values():
                self._greet(switch)
            self._condition.notify()

    def connected(self, bridge: str, connection: Connection) -> None:
        with self._condition:
            switch = self.switches[bridge]
            switch.connection = connection
            switch.begin()
            self.realised = 0  # what it confirmed before it left, it may have lost
            self._greet(switch)
            self._condition.notify()

    def _greet(self, switch: Switch) -> None:
        if switch.connection and self.generation and not self.mine:
            with suppress(ConnectionLost):  # we shall hear of it
                become_slave(switch.connection, self.generation)

    def disconnected(self, bridge: str, connection: Connection) -> None:
        with self._condition:
            switch = self.switches[bridge]
            if switch.connection is connection:
                switch.connection = None
                switch.begin()

    def tell(self, wanted: Mapping[str, dict[Any, Entry]], revision: int, again: bool = False) -> None:
        """What the switches that we have claimed should hold; `again`: those too that know already."""
        with self._condition:
            for switch in self.switches.values():
                if switch.claimed and (again or not switch.told):
                    switch.told, switch.in_sync, switch.to_read = True, False, dict(wanted[switch.bridge])
                    switch.add, switch.delete, switch.refused = {}, {}, set()
            self.sent = max(self.sent, revision)
            self._condition.notify()

    def change(self, revision: int, changes: dict[str, Change]) -> None:
        with self._condition:
            for bridge, change in changes.items():
                if self.switches[bridge].told:  # else it will be read back as a whole
                    self.switches[bridge].want(change)
            self.sent = revision
            self._condition.notify()

    def look(self, bridge: str, wanted: dict[Any, Entry]) -> None:
        """Read a switch again that should hold this, with what has been asked of it so far."""
        with self._condition:
            switch = self.switches[bridge]
            if switch.in_sync and switch.to_read is None:
                switch.to_read = dict(wanted)
                self._condition.notify()

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()

    # its own thread

    def run(self) -> None:
        while True:
            with self._condition:
                while not self._stopping and not self._pending():
                    # A lease becomes good again without a word.
                    self._condition.wait(AGAIN if self.mine and not self._good() else None)
                if self._stopping:
                    return
                revision, terms = self.sent, self._terms()
            if not all(switch.claimed for switch in self.switches.values()):
                self._claim()
                continue
            done = [self._bring(self.switches[bridge]) for bridge in ORDER]
            with self._condition:
                if not all(done) or terms != self._terms():
                    continue
                self.realised = revision
            revision_realised.labels(self.host).set(revision)
            self._confirmed(self.host)

    def _terms(self) -> list[int]:
        return [switch.term for switch in self.switches.values()]

    def _good(self) -> bool:
        return self.mine and self.lease.good(self.generation)

    def _pending(self) -> bool:
        switches = self.switches.values()
        if not self.live or not self._good():
            return False
        if not all(s.claimed for s in switches):
            return True
        return all(s.told for s in switches) and (
            self.realised < self.sent or any(not s.in_sync or s.to_read is not None for s in switches))

    def _claim(self) -> None:
        """Become the master of those that do not know us yet. The loop then looks what was written until then: what another
        controller pushed in its last moment must not be taken back."""
        for switch in self.switches.values():
            with self._condition:
                connection, term, generation = switch.connection, switch.term, self.generation
                if connection is None or not self.mine:
                    return
            if switch.claimed:
                continue
            try:
                # A switch that was restarted has forgotten all generations: it is the database that knows whose it is now.
                if not self.lease.vouched(generation, since=connection.came):
                    sleep(AGAIN / 4)  # the loop will hear of it
                    return
                if generation:
                    become_master(connection, generation)
            except Outgrown as error:
                log.warning("taking a new generation", error=str(error))
                self.lease.outgrown()
                return
            except (ConnectionLost, NoAnswer) as error:
                self._drop(switch, connection, error)
                return
            with self._condition:
                switch.claimed = switch.term == term
        self._claimed(self.host, monotonic())

    def _bring(self, switch: Switch) -> bool:
        """Whether the switch now holds all that was wanted when we began."""
        with self._condition:
            connection, term = switch.connection, switch.term
            if connection is None or not switch.told or not self._good():
                return False
            wanted, switch.to_read = switch.to_read, None
            asked = switch.take()
            if not switch.in_sync:
                asked = Change()  # the reading will tell
        try:
            # Nobody but this thread changes the switch. So when what was asked before is in, and nothing else until it has
            # been read, no flow in flight is taken for drift.
            self._push(switch, connection, asked)
            if wanted is not None:
                mending = self._read(switch, connection, wanted)
                with self._condition:
                    if switch.term == term and not self._good():
                        switch.begin()
                    if switch.term != term:
                        return False
                self._push(switch, connection, mending)
        except Deposed as error:
            log.warning("a change was refused; nothing is written until we are the master again", error=str(error))
            with self._condition:
                if switch.term == term:
                    switch.begin()
            return False
        except (ConnectionLost, NoAnswer, NotRead, PushFailed) as error:
            self._drop(switch, connection, error)
            return False
        with self._condition:
            if switch.term == term and switch.to_read is None:
                switch.in_sync = True
            return switch.term == term

    def _drop(self, switch: Switch, connection: Connection, error: Exception) -> None:
        log.warning("push failed; the switch is dropped and read back when it returns", host=self.host,
                    bridge=switch.bridge, error=str(error))
        self.disconnected(switch.bridge, connection)
        connection.close(str(error))

    def _push(self, switch: Switch, connection: Connection, change: Change) -> None:
        if change.add or change.delete:
            refused = push(connection, change.add, change.delete)
            flows_pushed.labels(self.host, switch.bridge).inc(len(change.add) + len(change.delete))
            if refused:
                switch.refused |= {flow for flow, _ in refused}
                self._refused(self.host, switch.bridge, refused)

    def _read(self, switch: Switch, connection: Connection, wanted: dict[Any, Entry]) -> Change:
        """Ask what is there; gives what mends it."""
        began = monotonic()
        have = [(i.cookie, i.flow) for i in read(connection, switch.bridge) if not self._left_alone(i)]
        heard = monotonic()
        differ = list(difference(have, [entry for entry in wanted.values() if entry[1] not in switch.refused]))
        kinds = Counted(d.kind for d in differ)
        for kind, number in kinds.items():
            flows_mended.labels(self.host, switch.bridge, kind).inc(number)
        if differ:  # an empty switch lacks everything: no news in any one of them
            self._differed(self.host, switch.bridge, differ[:SHOWN] if have else [])
        if differ or not switch.in_sync:
            log.info("read back", host=self.host, bridge=switch.bridge, held=len(have), wanted=len(wanted), differ=len(differ),
                     read_s=round(heard - began, 3), compare_s=round(monotonic() - heard, 3), **kinds)
        return Change(add=[d.entry for d in differ if d.kind != "stranger"],
                      delete=[d.entry for d in differ if d.kind == "stranger"])
