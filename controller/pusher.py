"""One thread per host brings its switches to what is wanted: all of it read back at first, then each change."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Gauge

from controller.derive import Change, Entry
from controller.openflow.app import Connection, ConnectionLost, NoAnswer
from controller.openflow.push import PushFailed, Refused, push
from controller.openflow.readback import NotRead, read
from unryu.logs import log

# The bridge that receives first, the one that sends last: a packet let out finds its way in.
ORDER = ("br-ex", "br-tun", "br-int")

flows_pushed = Counter("unryu_flows_pushed_total", "Flows added or deleted on switches", ("host", "bridge"))
flows_mended = Counter("unryu_flows_mended_total", "Flows that differed when a switch was read back", ("host", "bridge"))
revision_realised = Gauge("unryu_revision_realised", "Newest revision confirmed", ("host",))


@dataclass
class Switch:
    """One bridge of a host, as seen by its pusher."""

    host: str
    bridge: str
    connection: Connection | None = None
    to_read: dict[Any, Entry] | None = None
    """What it should hold, when it must be read back first."""
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


class Pusher(threading.Thread):
    """Brings the switches of one host to what is wanted; a slow one delays nobody else."""

    def __init__(self, host: str, confirmed: Callable[[str, int], None],
                 refused: Callable[[str, str, list[Refused]], None]) -> None:
        super().__init__(name=f"push {host}", daemon=True)
        self.host = host
        self.sent = self.realised = 0
        self.switches = {bridge: Switch(host, bridge) for bridge in ORDER}
        self._confirmed = confirmed
        self._refused = refused
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
            switch.add, switch.delete = {}, {}
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
        return self.live and (self.realised < self.sent or any(not s.in_sync for s in self.switches.values()))

    def _bring(self, switch: Switch) -> bool:
        """Whether the switch now holds all that was wanted when we began."""
        with self._condition:
            connection, wanted = switch.connection, switch.to_read
        if connection is None:
            return False
        try:
            if wanted is not None:
                self._read(switch, connection, wanted)
            with self._condition:
                if switch.connection is not connection:
                    return False
                add, delete = list(switch.add.values()), list(switch.delete.values())
                switch.add, switch.delete = {}, {}
            if add or delete:
                refused = push(connection, add, delete)
                flows_pushed.labels(self.host, switch.bridge).inc(len(add) + len(delete))
                if refused:
                    self._refused(self.host, switch.bridge, refused)
            switch.in_sync = True
            return True
        except (ConnectionLost, NoAnswer, NotRead, PushFailed) as error:
            log.warning("push failed; the switch is dropped and read back when it returns", host=self.host,
                        bridge=switch.bridge, error=str(error))
            self.disconnected(switch.bridge, connection)
            connection.close(str(error))
            return False

    def _read(self, switch: Switch, connection: Connection, wanted: dict[Any, Entry]) -> None:
        """Ask what is there and turn the difference into a change, under what has come since."""
        have = {(i.cookie, i.flow) for i in read(connection, switch.bridge)}
        want = set(wanted.values())
        difference = Change(add=list(want - have), delete=list(have - want))
        with self._condition:
            if switch.connection is not connection:
                return
            since = Change(add=list(switch.add.values()), delete=list(switch.delete.values()))
            switch.add, switch.delete, switch.to_read = {}, {}, None
            switch.want(difference)
            switch.want(since)
        mended = len(difference.add) + len(difference.delete)
        flows_mended.labels(self.host, switch.bridge).inc(mended)
        log.info("read back", host=self.host, bridge=switch.bridge, held=len(have), wanted=len(want), differ=mended)
