"""The loop: journal → picture → derive → push → realised. One thread owns picture and engine; two per host push: flows
to its switches, and to its agent the book of what it answers guests.

It is level-triggered: whatever wakes it, it looks at what is there. Nothing but its pushers call `push`.

Several controllers share the hosts (controller/leases.py): each knows and derives all, and pushes to its own. So whoever takes
a host over has everything at hand.
"""

import gc
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from prometheus_client import Gauge

from controller.book import Courier
from controller.confirmations import Confirmations
from controller.derive import BOOK, Changes, Engine, Feature, Net
from controller.drift import Cookies, Difference, following, left_alone
from controller.faults import Faults
from controller.gateways import HELD, Gateways, placed
from controller.leases import NOBODYS, Alone, Shares, Tenure
from controller.openflow.connection import Connection
from controller.peers import Peers, Question
from controller.picture import Picture
from controller.pipeline import BRIDGES
from controller.pusher import Pusher
from controller.reach import Reach
from controller.statuses import Statuses
from unryu import journal, tls
from unryu.db import Database
from unryu.errors import Unavailable
from unryu.logs import log

revision_wanted = Gauge("unryu_revision_wanted", "Newest revision derived")


class Loop:
    def __init__(self, database: Database, features: Iterable[Feature], identity: tls.Identity | None = None,
                 look_again: float = 600.0, keep: Sequence[Cookies] = (), lease: Tenure | None = None) -> None:
        """Without an identity no agent would take a book: none is brought. Every `look_again` seconds each switch is read
        back, and each agent told all of its book. Flows with the cookies to `keep` are not ours to judge. The lease says
        which hosts are ours; without one, all."""
        self.database = database
        self.identity = identity
        self.look_again = look_again
        self.left_alone = left_alone(keep)
        self.features = list(features)
        self.inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.pushers: dict[str, Pusher] = {}
        self.couriers: dict[str, Courier] = {}
        self.lease = lease or Alone()
        self.shares = NOBODYS
        self.statuses = Statuses(database, lambda: self.lease.good(self.shares.generation), lambda host: self.shares.mine(host))
        self.confirmations = Confirmations(self)
        self.gateways = Gateways(database, lambda router: self.shares.mine(router) and self.lease.good(self.shares.generation),
                                 lambda: self.inbox.put(("placed", None)))
        self.peers = Peers(identity, lambda: self.inbox.put(("confirmed", None)))
        self.ready = False
        self._looked_at = 0
        """The last switch that was read again."""
        self._stopped = threading.Event()
        self._read_at = 0.0
        """When the journal was last read."""
        self._untold: dict[str, float] = {}
        """Hosts that have been claimed, and when: they are told what they should hold once the journal was read after that."""
        self.bridges: dict[int, tuple[str, str]] = {}
        self.faults = Faults(self)
        self._reach, self._judged = Reach(), 0.0
        self.feed = journal.Feed(database, since=0)
        self.told = 0
        """The revision of which pushers and couriers know all that it changed. (The picture is there before.)"""
        self.took: dict[str, float] = {}

    # Called from other threads: all only leave a word in the inbox.

    def known(self, dpid: int, peer: tls.Peer | None = None) -> str | None:
        """What speaks against a switch with this datapath id, and this name in its certificate; None before all is loaded."""
        if not self.took:
            return None
        host, _ = self.bridges.get(dpid, ("", ""))
        if not host:
            return "no host has reported a bridge with this datapath id"
        if peer and peer.name != tls.of_host(host):
            return f"it is {host}'s, and the certificate is of {peer.name}"
        return f"its certificate is older than {host}" if peer and peer.issued < self._admitted.get(host, 0) else ""

    def up(self, connection: Connection) -> None:
        self.inbox.put(("up", connection))

    def down(self, connection: Connection) -> None:
        self.inbox.put(("down", connection))

    def stop(self) -> None:
        self.inbox.put(("stop", None))

    def confirmed(self, hosts: dict[str, int], patience: float) -> list[str]:
        """Those of these hosts that are ours and have come to the revision; until then, as long as there is none, a while."""
        question = Question(hosts)
        self.inbox.put(("asked", question))
        question.answered.wait(patience)
        question.answered.set()  # nobody hears it any more
        return question.done

    # The loop's own thread.

    def run(self) -> None:
        listener = threading.Thread(target=self._listen, daemon=True, name="journal")
        listener.start()
        threading.Thread(target=self._remind, daemon=True, name="drift").start()
        self.statuses.start()
        self.gateways.start()
        # Not before all is derived: from here on we are somebody whom hosts are given to.
        self.lease.start(lambda shares: self.inbox.put(("shared", shares)))
        self.ready = True
        self.inbox.put(("look", None))
        later: threading.Timer | None = None
        while True:
            word, about = self.inbox.get()
            if word == "stop":
                break
            try:
                self._hear(word, about)
            except Unavailable:
                # The database has said so, once. What is installed stays; the next look reads everything since.
                if not (later and later.is_alive()):
                    later = threading.Timer(1.0, self.inbox.put, [("look", None)])
                    later.start()
        for pusher in self.pushers.values():
            pusher.stop()
        for courier in self.couriers.values():
            courier.stop()
        self.peers.stop()
        self.statuses.stop()
        self.gateways.stop()
        self.lease.stop()
        self._stopped.set()
        self.feed.wake()
        listener.join()
        self.feed.close()

    def _hear(self, word: str, about: Any) -> None:
        if word == "look":
            self.look()
            self._tell()
            self._judge_reach()
        elif word == "up":
            self._connected(about)
        elif word == "down":
            host, bridge = self.bridges.get(about.dpid, ("", ""))
            if host in self.pushers:
                self.pushers[host].disconnected(bridge, about)
                log.warning("a switch is gone", host=host, bridge=bridge)
                self.confirmations.settle(host)
                if bridge == "br-int" and not self.pushers[host].switches[bridge].connection:
                    self.gateways.went(host, about.silent_since)
                    self._place()
        elif word == "shared":
            self._share(about)
        elif word == "claimed":
            self._claimed(*about)
        elif word == "confirmed":
            self.confirmations.settle(about)
        elif word == "asked":
            self.confirmations.ask(about)
        elif word == "refused":
            self.faults.refuse(*about)
        elif word == "differed":
            self._differed(*about)
        elif word == "drift":
            self._look_again()
        elif word == "placed":
            self._place()

    def _place(self) -> None:
        self.gateways.look(self.picture, placed(self.picture))

    def _listen(self) -> None:
        while not self._stopped.is_set():
            self.feed.wait(5.0)
            self.inbox.put(("look", None))

    def _remind(self) -> None:
        while not self._stopped.wait(max(0.02, self.look_again / max(1, len(self.bridges)))):
            self.inbox.put(("drift", None))

    def _look_again(self) -> None:
        """One switch after the other, and with each host's br-int what its agent answers."""
        dpid = following(self.bridges, self._looked_at)
        if dpid is None:
            return
        self._looked_at = dpid
        host, bridge = self.bridges[dpid]
        if host in self.pushers and self.shares.mine(host):
            self.pushers[host].look(bridge, self.engine.wanted[host][bridge])
        if host in self.couriers and bridge == "br-int":
            self.couriers[host].again()

    def load(self) -> None:
        """All rows, and what follows from them: before anything else, and when the journal does not tell what happened."""
        began = monotonic()
        with _uncollected():
            with self.database.reading() as tx:
                self.picture = Picture.of(tx)
            drawn = monotonic()
            self.engine = Engine(self.picture, self.features)
        self.feed.revision = self.told = self.picture.revision
        self.net = Net(self.picture)
        self._know()
        revision_wanted.set(self.picture.revision)
        self.faults.failed()
        self.took = {"rows_s": round(drawn - began, 3), "derive_s": round(monotonic() - drawn, 3)}

    def look(self) -> None:
        began = monotonic()
        try:
            entries = self.feed.read()
            self._read_at = began
        except journal.Trimmed:
            log.warning("the journal was trimmed under us: reading all rows")
            self.load()
            self._read_at = began
            for host, pusher in self.pushers.items():
                pusher.tell(self.engine.wanted[host], self.picture.revision, again=True)
            for host, courier in self.couriers.items():
                courier.renew(courier.door, self.engine.wanted[host][BOOK], self.picture.revision)
            self.confirmations.consider(self.confirmations.all())
            return
        if not entries:
            return
        touched = self.picture.apply(entries)
        changes = self.engine.update(touched)
        if ("all", "agent") in touched:
            self._know()
            self._place()
        elif any(("all", kind) in touched for kind in HELD):
            self.gateways.look(self.picture, filter(None, (self.picture.get(e.kind, e.id) for e in entries if e.kind in HELD)))
        self._dispatch(changes)
        self.told = self.picture.revision
        revision_wanted.set(self.picture.revision)
        self.faults.failed()
        # A heartbeat moves nothing: of a thousand hosts, two hundred come each second.
        self.confirmations.consider(self.confirmations.concerned(
            e for e in entries if e.kind != "agent" or ("get", "agent", e.id) in touched))

    def _dispatch(self, changes: Changes) -> None:
        for host, bridges in changes.items():
            for bridge, change in bridges.items():
                self.faults.changed(host, bridge, change)
            book = bridges.pop(BOOK, None)
            if book and host in self.couriers:
                self.couriers[host].change(self.picture.revision, book)
            if bridges and host in self.pushers:
                self.pushers[host].change(self.picture.revision, bridges)

    def _know(self) -> None:
        """Which datapaths are bridges of ours, and where books are taken: the agents have said."""
        self.bridges = {int(dpid, 16): (agent.host, bridge) for agent in self.picture.all("agent")
                         for bridge, dpid in agent.datapaths.items() if bridge in BRIDGES}
        for host in self.pushers.keys() - {host for host, _ in self.bridges.values()}:  # removed: it may hold what it has
            pusher = self.pushers.pop(host)
            pusher.stop()
            for switch in pusher.switches.values():
                if switch.connection:
                    switch.connection.close(f"{host} is no host of ours any more")
        self._admitted = {agent.host: agent.admitted for agent in self.picture.all("agent") if agent.admitted}
        if self.identity is None:
            return
        doors = {agent.host: agent.door for agent in self.picture.all("agent") if agent.door and self.shares.mine(agent.host)}
        for host in self.couriers.keys() - doors.keys():
            self.couriers.pop(host).stop()
        for host, door in doors.items():
            book, revision = self.engine.wanted[host][BOOK], self.picture.revision
            if host not in self.couriers:
                self.couriers[host] = Courier(host, door, self.identity, book, revision,
                                              lambda h: self.inbox.put(("confirmed", h)), self.lease)
                self.couriers[host].start()
            elif self.couriers[host].door != door:
                self.couriers[host].renew(door, book, revision)
            self.couriers[host].generation = self.shares.generation

    def _connected(self, connection: Connection) -> None:
        if connection.dpid not in self.bridges:
            connection.close("its host is no longer ours")
            return
        host, bridge = self.bridges[connection.dpid]
        if host not in self.pushers:
            self.pushers[host] = Pusher(
                host, self.lease, lambda h, at: self.inbox.put(("claimed", (h, at))), lambda h: self.inbox.put(("confirmed", h)),
                lambda h, b, refused: self.inbox.put(("refused", (h, b, refused))),
                lambda h, b, differ: self.inbox.put(("differed", (h, b, differ))), self.left_alone)
            self._give(host)
            self.pushers[host].start()
        log.info("a switch is there", host=host, bridge=bridge)
        self.pushers[host].connected(bridge, connection)
        if bridge == "br-int":
            self.gateways.came(host)
            self._place()

    # Whose hosts.

    def _share(self, shares: Shares) -> None:
        before, self.shares = self.shares, shares
        self.peers.share(shares)
        for host in self.pushers:
            self._give(host)
        if shares.anew:  # whoever had them meanwhile has written to their books
            for courier in self.couriers.values():
                courier.stop()
            self.couriers.clear()
        self._know()
        self.faults.share(shares.mine)
        ours = [h for h in ("", *(agent.host for agent in self.picture.all("agent"))) if shares.mine(h)]
        new = [h for h in ours if shares.anew or not before.mine(h)]
        log.info("our hosts", number=len(ours), new=len(new))
        moved = [subject for h in new for subject in self.confirmations.on(h)]
        self.confirmations.consider([*self.confirmations.waiting, *moved])
        self._place()

    def _judge_reach(self) -> None:
        """Of hosts that are ours by the others' leave, those that we cannot reach are for who can."""
        if len(self.shares.members) > 1 and monotonic() >= self._judged + 1.0:
            self._judged = monotonic()
            hosts = {host for host, _ in self.bridges.values()}
            there = {host for host in hosts if (p := self.pushers.get(host)) and p.live}
            self.lease.reach(self._reach.judge({h for h in hosts if self.shares.mine(h)}, there, hosts, monotonic()))

    def _give(self, host: str) -> None:
        if self.shares.members:
            self.pushers[host].own(self.shares.mine(host), self.shares.owner(host).generation, self.shares.anew)

    def _claimed(self, host: str, at: float) -> None:
        """Its switches take changes from us only, since that moment: what was written until then is in the journal."""
        self._untold[host] = at
        if self._read_at < at:
            self.look()
        self._tell()

    def _tell(self) -> None:
        for host in [host for host, at in self._untold.items() if at <= self._read_at]:
            del self._untold[host]
            if pusher := self.pushers.get(host):  # else it was removed meanwhile
                self.faults.told(host)
                pusher.tell(self.engine.wanted[host], self.picture.revision)

    def _differed(self, host: str, bridge: str, differ: Sequence[Difference]) -> None:
        """What was found on a switch; nothing, where it has begun anew."""
        if bridge == "br-int" and not differ:
            self.gateways.emptied(host, placed(self.picture))
        self.faults.differed(host, bridge, differ)


@contextmanager
def _uncollected() -> Iterator[None]:
    """What is made here stays for long: to look again and again for garbage in it would take longer than to make it."""
    gc.unfreeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
