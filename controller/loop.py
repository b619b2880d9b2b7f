"""The loop: journal → picture → derive → push → realised. One thread owns picture and engine; two per host push: flows
to its switches, and to its agent the book of what it answers guests.

It is level-triggered: whatever wakes it, it looks at what is there. Nothing but this module calls `push`.
"""

import itertools
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Gauge

from controller.book import Courier
from controller.derive import BOOK, Change, Changes, Engine, Entry, Feature, Net, Unit, hosts_of_network, vif_of
from controller.flow import text
from controller.openflow.app import Connection, ConnectionLost, NoAnswer
from controller.openflow.push import PushFailed, Refused, push
from controller.openflow.readback import NotRead, read
from controller.picture import Picture
from controller.pipeline import BRIDGES, TABLES
from unryu import journal
from unryu.db import Database
from unryu.errors import Fault, Unavailable
from unryu.logs import log

# The bridge that receives first, the one that sends last: a packet let out finds its way in.
ORDER = ("br-ex", "br-tun", "br-int")

flows_pushed = Counter("unryu_flows_pushed_total", "Flows added or deleted on switches", ("host", "bridge"))
flows_mended = Counter("unryu_flows_mended_total", "Flows that differed when a switch was read back", ("host", "bridge"))
revision_wanted = Gauge("unryu_revision_wanted", "Newest revision derived")
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


BATCH = 500  # statuses in one transaction: what else wants to write waits no longer than for these


class Loop:
    def __init__(self, database: Database, features: Iterable[Feature], secret: str = "") -> None:
        """`secret` is what agents want to see of who brings them their books."""
        self.database = database
        self.secret = secret
        self.features = list(features)
        self.inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.pushers: dict[str, Pusher] = {}
        self.couriers: dict[str, Courier] = {}
        self.statuses = Statuses(database)
        self.ready = False
        self._stopped = threading.Event()
        self._waiting: dict[str, dict[str, tuple[int, int]]] = {}
        """Port → host → revisions of flows and book that the host must have confirmed for the port to be ACTIVE."""
        self._bridges: dict[int, tuple[str, str]] = {}
        self._errors: dict[tuple[str, str, Any], list[Unit]] = {}
        self.feed = journal.Feed(database, since=0)
        self._load()

    # Called from other threads: all only leave a word in the inbox.

    def known(self, dpid: int) -> bool:
        return dpid in self._bridges

    def up(self, connection: Connection) -> None:
        self.inbox.put(("up", connection))

    def down(self, connection: Connection) -> None:
        self.inbox.put(("down", connection))

    def stop(self) -> None:
        self.inbox.put(("stop", None))

    def switches(self) -> list[dict[str, Any]]:
        """Every bridge of every host: connected or not, the revision wanted and the one confirmed."""
        return [
            {"host": host, "bridge": bridge, "dpid": f"{dpid:016x}",
             "connected": bool((p := self.pushers.get(host)) and p.switches[bridge].connection),
             "wanted": self.picture.revision,
             "realised": self._realised(host)}
            for dpid, (host, bridge) in sorted(self._bridges.items(), key=lambda item: item[1])
        ]

    def _realised(self, host: str) -> int:
        """A host that no change since has concerned is where everybody is."""
        pusher, courier = self.pushers.get(host), self.couriers.get(host)
        if not pusher or not pusher.realised:
            return 0
        late = [each.realised for each in (pusher, courier) if each and each.realised < each.sent]
        return min(late, default=self.picture.revision)

    # The loop's own thread.

    def run(self) -> None:
        listener = threading.Thread(target=self._listen, daemon=True, name="journal")
        listener.start()
        self.statuses.start()
        self._consider(p.id for p in self.picture.all("port"))
        self.ready = True
        self.inbox.put(("look", None))
        while True:
            word, about = self.inbox.get()
            if word == "stop":
                break
            try:
                self._hear(word, about)
            except Unavailable as error:
                # What is installed stays; the next look reads everything since.
                log.error("the database does not answer; looking again in a second", error=error.sentence)
                threading.Timer(1.0, self.inbox.put, [("look", None)]).start()
        for pusher in self.pushers.values():
            pusher.stop()
        for courier in self.couriers.values():
            courier.stop()
        self.statuses.stop()
        self._stopped.set()
        self.feed.wake()
        listener.join()
        self.feed.close()

    def _hear(self, word: str, about: Any) -> None:
        if word == "look":
            self._look()
        elif word == "up":
            self._connected(about)
        elif word == "down":
            host, bridge = self._bridges.get(about.dpid, ("", ""))
            if host in self.pushers:
                self.pushers[host].disconnected(bridge, about)
                log.warning("a switch is gone", host=host, bridge=bridge)
                self._settle()
        elif word == "confirmed":
            self._settle()
        elif word == "refused":
            self._blame(*about)

    def _listen(self) -> None:
        while not self._stopped.is_set():
            self.feed.wait(5.0)
            self.inbox.put(("look", None))

    def _load(self) -> None:
        with self.database.reading() as tx:
            self.picture = Picture.of(tx)
        self.feed.revision = self.picture.revision
        self.engine = Engine(self.picture, self.features)
        self._net = Net(self.picture)
        self._know()
        revision_wanted.set(self.picture.revision)

    def _look(self) -> None:
        try:
            entries = self.feed.read()
        except journal.Trimmed:
            log.warning("the journal was trimmed under us: reading all rows")
            self._load()
            for host, pusher in self.pushers.items():
                for bridge, switch in pusher.switches.items():
                    if switch.connection:
                        pusher.connected(bridge, switch.connection, self.engine.wanted[host][bridge], self.picture.revision)
            for host, courier in self.couriers.items():
                courier.renew(courier.door, self.engine.wanted[host][BOOK], self.picture.revision)
            self._consider(p.id for p in self.picture.all("port"))
            return
        if not entries:
            return
        touched = self.picture.apply(entries)
        changes = self.engine.update(touched)
        self._know()
        self._dispatch(changes)
        revision_wanted.set(self.picture.revision)
        self._consider(self._concerned(entries))
        for unit, error in self.engine.failed.items():
            log.error("a feature failed; its resource has none of its flows", feature=unit.feature, id=unit.id,
                      host=unit.host, error=repr(error))

    def _dispatch(self, changes: Changes) -> None:
        for host, bridges in changes.items():
            for bridge, change in bridges.items():
                for _, flow in (*change.add, *change.delete):
                    self._errors.pop((host, bridge, flow.key), None)  # another flow now, or none
            book = bridges.pop(BOOK, None)
            if book and host in self.couriers:
                self.couriers[host].change(self.picture.revision, book)
            if bridges and host in self.pushers:
                self.pushers[host].change(self.picture.revision, bridges)

    def _know(self) -> None:
        """Which datapaths are bridges of ours, and where books are taken: the agents have said."""
        self._bridges = {int(dpid, 16): (agent.host, bridge) for agent in self.picture.all("agent")
                         for bridge, dpid in agent.datapaths.items() if bridge in BRIDGES}
        doors = {agent.host: agent.door for agent in self.picture.all("agent") if agent.door and self.secret}
        for host in self.couriers.keys() - doors.keys():
            self.couriers.pop(host).stop()
        for host, door in doors.items():
            book, revision = self.engine.wanted[host][BOOK], self.picture.revision
            if host not in self.couriers:
                self.couriers[host] = Courier(host, door, self.secret, book, revision,
                                              lambda h: self.inbox.put(("confirmed", h)))
                self.couriers[host].start()
            elif self.couriers[host].door != door:
                self.couriers[host].renew(door, book, revision)

    def _connected(self, connection: Connection) -> None:
        if connection.dpid not in self._bridges:
            connection.close("its host is no longer ours")
            return
        host, bridge = self._bridges[connection.dpid]
        if host not in self.pushers:
            self.pushers[host] = Pusher(
                host, lambda h, revision: self.inbox.put(("confirmed", h)),
                lambda h, b, refused: self.inbox.put(("refused", (h, b, refused))))
            self.pushers[host].start()
        log.info("a switch is there", host=host, bridge=bridge)
        self.pushers[host].connected(bridge, connection, self.engine.wanted[host][bridge], self.picture.revision)

    # Port status: true, or not yet said.

    def _concerned(self, entries: Iterable[journal.Entry]) -> Iterable[str]:
        """The ports whose status a change may move."""
        ports: dict[str, None] = {}
        for entry in entries:
            image = entry.after or entry.before or {}
            if entry.kind == "port":
                ports[entry.id] = None
            elif entry.kind == "vif":
                ports[image["port_id"]] = None
            elif entry.kind == "network":
                ports |= {p.id: None for p in self.picture.where("port", network_id=entry.id)}
            elif entry.kind == "agent":
                ports |= {p.id: None for p in self.picture.where("port", binding_host_id=image["host"])}
        return ports

    def _consider(self, ports: Iterable[str]) -> None:
        for port_id in ports:
            port = self.picture.get("port", port_id)
            self._waiting.pop(port_id, None)
            if port is None:
                continue
            network = self.picture.get("network", port.network_id)
            if not (port.admin_state_up and network.admin_state_up and vif_of(self._net, port.binding_host_id, port_id)):
                self.statuses.set(port_id, "DOWN")
                continue
            hosts = hosts_of_network(self._net, port.network_id)
            self._waiting[port_id] = {h: (self.pushers[h].sent if h in self.pushers else 0,
                                          self.couriers[h].sent if h in self.couriers else 0) for h in hosts}
        self._settle()

    def _settle(self) -> None:
        """ACTIVE is who is confirmed on its own host, by its agent too, and on every live host of its network: the dead
        hold nobody up."""
        for port_id, needs in list(self._waiting.items()):
            port = self.picture.get("port", port_id)
            if all(self._confirmed(host, *revisions, own=host == port.binding_host_id) for host, revisions in needs.items()):
                del self._waiting[port_id]
                self.statuses.set(port_id, "ERROR" if self._blamed(port_id) else "ACTIVE")

    def _confirmed(self, host: str, revision: int, answers: int, own: bool) -> bool:
        pusher, courier = self.pushers.get(host), self.couriers.get(host)
        if own and courier and courier.realised < answers:
            return False
        if pusher is None or not pusher.live:
            return not own
        return pusher.realised >= max(revision, 1)

    def _blame(self, host: str, bridge: str, refused: list[Refused]) -> None:
        """A flow that a switch does not take: say it as text, with whose it is."""
        for flow, error in refused:
            owners = self.engine.owners(host, bridge, flow)
            self._errors[host, bridge, flow.key] = owners
            log.error("a switch refused a flow", host=host, bridge=bridge, flow=text(flow, TABLES), error=error,
                      owners=[f"{u.feature} of {u.id}" for u in owners])
            self._consider(u.id for u in owners if self.picture.get("port", u.id))

    def _blamed(self, port_id: str) -> bool:
        return any(unit.id == port_id for units in self._errors.values() for unit in units) or any(
            unit.id == port_id for unit in self.engine.failed)


class Statuses(threading.Thread):
    """Writes port statuses in batches, so that the loop never waits for the database's writers."""

    def __init__(self, database: Database) -> None:
        super().__init__(name="statuses", daemon=True)
        self.database = database
        self._latest: dict[str, str] = {}
        self._condition = threading.Condition()
        self._stopping = False

    def set(self, port_id: str, status: str) -> None:
        with self._condition:
            self._latest[port_id] = status
            self._condition.notify()

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self.join(5)

    def run(self) -> None:
        while True:
            with self._condition:
                while not self._latest and not self._stopping:
                    self._condition.wait()
                batch = dict(itertools.islice(self._latest.items(), BATCH))
                for port_id in batch:
                    del self._latest[port_id]
            if not batch:
                return
            try:
                with self.database.transaction() as tx:
                    for port in tx.where("port", id=list(batch)):
                        if port.status != batch[port.id]:
                            tx.update(port, status=batch[port.id])
            except Fault as error:
                log.warning("statuses not written; trying again", error=error.sentence)
                with self._condition:
                    self._latest = {**batch, **self._latest}
                    if self._stopping:
                        return
                    self._condition.wait(0.5)
