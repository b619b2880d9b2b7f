"""One thread per host brings its switches to what is wanted: all of it read back at first, then each change, and slowly
for ever all of it again (docs/decisions/0018-drift-and-faults.md)."""

import threading
from collections import Counter as Counted
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Gauge

from controller.derive import Change, Entry
from controller.drift import SHOWN, Difference, LeftAlone, difference
from controller.flow import Flow
from controller.openflow.app import Connection, ConnectionLost, NoAnswer
from controller.openflow.push import PushFailed, Refused, push
from controller.openflow.readback import NotRead, read
from unryu.logs import log

# The bridge that receives first, the one that sends last: a packet let out finds its way in.
ORDER = ("br-ex", "br-tun", "br-int")

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
    to_read: dict[Any, Entry] | None = None
    """What it should hold with all that was asked of it, when it must be read back."""
    refused: set[Flow] = field(default_factory=set)
    """Wanted, and not taken: no drift."""
    add: dict[Any, Entry] = field(default_factory=dict)
    delete: dict[Any, Entry] = field(default_factory=dict)
    in_sync: bool = False

    def want(self, change: Change) -> None:
        for entry in change.add:
            self.add[entry[1].key] = entry
            self.delete.pop((entry[0], entry[1].key), None)
        for entry in change.delete:
            if self.add.get(entry[1].key) == entry:
                del self.add[entry[1].key]
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

    def __init__(self, host: str, confirmed: Callable[[str, int], None],
                 refused: Callable[[str, str, list[Refused]], None],
                 differed: Callable[[str, str, list[Difference]], None], left_alone: LeftAlone) -> None:
        super().__init__(name=f"push {host}", daemon=True)
        self.host = host
        self.sent = self.realised = 0
        self.switches = {bridge: Switch(host, bridge) for bridge in ORDER}
        self._confirmed = confirmed
        self._refused = refused
        self._differed = differed
        self._left_alone = left_alone
        self._condition = threading.Condition()
        self._stopping = False

    @property
    def live(self) -> bool:
        return all(s.connection is not None for s in self.switches.values())

    # told by the loop

    def connected(self, bridge: str, connection: Connection, wanted: dict[Any, Entry], revision: int) -> None:
        with self._condition:
            switch = self.switches[bridge]
            switch.connection, switch.to_read, switch.in_sync = connection, dict(wanted), False
            switch.add, switch.delete, switch.refused = {}, {}, set()
            self.realised = 0  # what it confirmed before it left, it may have lost
            self.sent = max(self.sent, revision)
            self._condition.notify()

    def disconnected(self, bridge: str, connection: Connection) -> None:
        with self._condition:
            switch = self.switches[bridge]
            if switch.connection is connection:
                switch.connection, switch.in_sync = None, False

    def change(self, revision: int, changes: dict[str, Change]) -> None:
        with self._condition:
            for bridge, change in changes.items():
                if self.switches[bridge].connection:  # else it will be read back as a whole
                    self.switches[bridge].want(change)
            self.sent = revision
            self._condition.notify()

    def look(self, bridge: str, wanted: dict[Any, Entry]) -> None:
        """Read a switch again that should hold this, with what has been asked of it so far."""
        with self._condition:
            switch = self.switches[bridge]
            if switch.connection and switch.in_sync and switch.to_read is None:
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
                    self._condition.wait()
                if self._stopping:
                    return
                revision = self.sent
            done = [self._bring(self.switches[bridge]) for bridge in ORDER]
            if all(done):
                self.realised = revision
                revision_realised.labels(self.host).set(revision)
                self._confirmed(self.host, revision)

    def _pending(self) -> bool:
        return self.live and (self.realised < self.sent or any(
            not s.in_sync or s.to_read is not None for s in self.switches.values()))

    def _bring(self, switch: Switch) -> bool:
        """Whether the switch now holds all that was wanted when we began."""
        with self._condition:
            connection, wanted, switch.to_read = switch.connection, switch.to_read, None
            asked = switch.take()
            if not switch.in_sync:
                asked = Change()  # the reading will tell
        if connection is None:
            return False
        try:
            # Nobody but this thread changes the switch. So when what was asked before is in, and nothing else until it has
            # been read, no flow in flight is taken for drift.
            self._push(switch, connection, asked)
            if wanted is not None:
                self._push(switch, connection, self._read(switch, connection, wanted))
        except (ConnectionLost, NoAnswer, NotRead, PushFailed) as error:
            log.warning("push failed; the switch is dropped and read back when it returns", host=self.host,
                        bridge=switch.bridge, error=str(error))
            self.disconnected(switch.bridge, connection)
            connection.close(str(error))
            return False
        with self._condition:
            if switch.connection is connection:
                switch.in_sync = True
            return switch.connection is connection

    def _push(self, switch: Switch, connection: Connection, change: Change) -> None:
        if change.add or change.delete:
            refused = push(connection, change.add, change.delete)
            flows_pushed.labels(self.host, switch.bridge).inc(len(change.add) + len(change.delete))
            if refused:
                switch.refused |= {flow for flow, _ in refused}
                self._refused(self.host, switch.bridge, refused)

    def _read(self, switch: Switch, connection: Connection, wanted: dict[Any, Entry]) -> Change:
        """Ask what is there; gives what mends it."""
        have = [(i.cookie, i.flow) for i in read(connection, switch.bridge) if not self._left_alone(i)]
        differ = list(difference(have, [entry for entry in wanted.values() if entry[1] not in switch.refused]))
        kinds = Counted(d.kind for d in differ)
        for kind, number in kinds.items():
            flows_mended.labels(self.host, switch.bridge, kind).inc(number)
        if have and differ:  # an empty switch lacks everything: no news in any one of them
            self._differed(self.host, switch.bridge, differ[:SHOWN])
        if differ or not switch.in_sync:
            log.info("read back", host=self.host, bridge=switch.bridge, held=len(have), wanted=len(wanted), differ=len(differ),
                     **kinds)
        return Change(add=[d.entry for d in differ if d.kind != "stranger"],
                      delete=[d.entry for d in differ if d.kind == "stranger"])
