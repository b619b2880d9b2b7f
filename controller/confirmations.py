"""Status: true, or not yet said. What each host must have confirmed for a port or a floating IP to be ACTIVE, and who waits
for it."""

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from controller.derive import hosts_reaching, vif_of
from controller.gateways import HELD
from controller.lacks import Lacks
from controller.peers import Question
from controller.statuses import KINDS, Subject, host_of, ports_of
from unryu import journal

if TYPE_CHECKING:
    from controller.loop import Loop


class Needs(NamedTuple):
    """What a host must have confirmed."""

    revision: int
    """Whatever was changed there until this one: so its owner is asked, where it is another's."""
    flows: int
    book: int
    """The newest changes of these, where it is ours."""


class Confirmations:
    """Used by the loop's thread alone."""

    def __init__(self, loop: "Loop") -> None:
        self.loop = loop
        self.waiting: dict[Subject, dict[str, Needs]] = {}
        """Whose status → host → what it must have confirmed."""
        self._by_host: dict[str, dict[Subject, None]] = defaultdict(dict)
        """Who waits for a host: of fifty thousand who wait, only they are looked at when it has spoken."""
        self._questions: list[Question] = []
        self._lacks = Lacks(lambda: loop.picture)

    def concerned(self, entries: Iterable[journal.Entry]) -> Iterable[Subject]:
        """Those whose status a change may move."""
        where, found = self.loop.picture.where, dict[Subject, None]()
        for entry in entries:
            image = entry.after or entry.before or {}
            if entry.kind == "port":
                found |= self._with_port(entry.id)
            elif entry.kind == "vif":
                found |= self._with_port(image["port_id"])
            elif entry.kind == "floatingip":
                found["floatingip", entry.id] = None
            elif entry.kind == "port_forwarding":
                found["floatingip", image["floatingip_id"]] = None
            elif entry.kind in ("router", *HELD):
                router_id = image.get("router_id", entry.id)
                found |= {("floatingip", f.id): None for f in where("floatingip", router_id=router_id)}
                found |= {("port", row.port_id): None for kind in HELD for row in where(kind, router_id=router_id)}
            elif entry.kind == "agent":
                found |= dict.fromkeys(self.on(image["host"]))
                for row in (row for kind in HELD for row in where(kind, host=image["host"])):
                    found |= self._with_port(row.port_id) | {("floatingip", f.id): None for f in where(
                        "floatingip", router_id=row.router_id, port_id=None)}
            elif entry.kind == "network":
                for port in where("port", network_id=entry.id):
                    found |= self._with_port(port.id)
        return found

    def all(self) -> Iterable[Subject]:
        return [(kind, record.id) for kind in KINDS for record in self.loop.picture.all(kind)]

    def on(self, host: str) -> Iterable[Subject]:
        """Those whose status a host may have to confirm."""
        return [subject for p in self.loop.picture.where("port", binding_host_id=host) for subject in self._with_port(p.id)]

    def _with_port(self, port_id: str) -> dict[Subject, None]:
        """A port, and the floating IPs that lead to it."""
        where = self.loop.picture.where
        floating = [*(f.id for f in where("floatingip", port_id=port_id)),
                    *(f.floatingip_id for f in where("port_forwarding", internal_port_id=port_id))]
        return {("port", port_id): None, **{("floatingip", id): None for id in floating}}

    def consider(self, subjects: Iterable[Subject]) -> None:
        begun = []
        for subject in subjects:
            record = self.loop.picture.get(*subject)
            self._forget(subject)
            if record is None or self._without(record) or not self.loop.shares.mine(host_of(self.loop.picture, record)):
                self._lacks.note(subject, None)
                self.loop.statuses.forget(subject)
                continue
            hosts = self._hosts_of_floating(record) if record.kind == "floatingip" else self._hosts_of_port(record)
            if self._lacks.note(subject, record) or hosts is None:
                self.loop.statuses.set(subject, "DOWN")
            else:
                self.waiting[subject] = {host: self._needs(host) for host in hosts}
                for host in hosts:
                    self._by_host[host][subject] = None
                begun.append(subject)
        self._settle(begun)

    def _forget(self, subject: Subject) -> None:
        for host in self.waiting.pop(subject, ()):
            del self._by_host[host][subject]

    def _hosts_of_port(self, port: Any) -> frozenset[str] | None:
        """All that must know it; None while it is down."""
        network = self.loop.picture.get("network", port.network_id)
        if not (port.admin_state_up and network.admin_state_up):
            return None
        if port.binding_host_id:
            plugged = vif_of(self.loop.net, port.binding_host_id, port.id)
            return hosts_reaching(self.loop.net, port.network_id) if plugged else None
        rows = (row for kind in HELD for row in self.loop.picture.where(kind, port_id=port.id))
        return next((self._hosts_of_router(row) for row in rows), None)

    def _without(self, record: Any) -> bool:
        """What is only a floating IP's address has no status of its own."""
        return bool(record.kind == "port" and not record.binding_host_id
                    and self.loop.picture.where("floatingip", floating_port_id=record.id))

    def _hosts_of_router(self, row: Any) -> frozenset[str] | None:
        """Of one of its ports: where it has to be known, of its way out the host that it leaves from."""
        if not self.loop.picture.get("router", row.router_id).admin_state_up:
            return None
        if row.kind == "router_interface":
            return hosts_reaching(self.loop.net, row.network_id)
        return frozenset({row.host}) if row.host else None

    def _hosts_of_floating(self, floating: Any) -> frozenset[str] | None:
        """Those of the ports that it leads to, where they are up, and their router, too. Which host speaks for an address that
        several share is the gateway's."""
        router = self.loop.picture.get("router", floating.router_id)
        up = [port for port in ports_of(self.loop.picture, floating) if self._hosts_of_port(port) and not self._lacks.of(port)]
        hosts = frozenset(port.binding_host_id for port in up)
        if router is None or not router.admin_state_up or not hosts:
            return None
        gateways = () if floating.port_id else self.loop.picture.where("router_gateway", router_id=router.id)
        return hosts | {gateway.host for gateway in gateways if gateway.host}

    def _needs(self, host: str) -> Needs:
        pusher, courier = self.loop.pushers.get(host), self.loop.couriers.get(host)
        return Needs(self.loop.picture.revision, pusher.sent if pusher else 0, courier.sent if courier else 0)

    def settle(self, host: str | None = None) -> None:
        """Something was confirmed, by this host or by we do not know whom."""
        self._settle(list(self.waiting if host is None else self._by_host[host]))

    def _settle(self, subjects: Iterable[Subject]) -> None:
        """ACTIVE is who is confirmed on its own host, by its agent too, and on every live host that must know it: the dead
        hold nobody up."""
        for subject in subjects:
            needs = self.waiting.get(subject)
            if needs is None:  # it was named twice
                continue
            own = host_of(self.loop.picture, self.loop.picture.get(*subject))
            confirmed = [self._confirmed(host, of, own=host == own) for host, of in needs.items()]
            if all(confirmed):  # asked of all, for each that is another's begins to be asked by it
                self._forget(subject)
                self.loop.statuses.set(subject, "ERROR" if self.loop.faults.blamed(subject) else "ACTIVE")
        for question in list(self._questions):
            question.done = [host for host, needs in question.needs.items() if self._confirmed(host, needs, own=False)]
            if question.done or question.answered.is_set():
                question.answered.set()
                self._questions.remove(question)

    def ask(self, question: Question) -> None:
        if max(question.hosts.values(), default=0) > self.loop.picture.revision:
            self.loop.look()
        question.needs = {host: self._needs(host) for host, revision in question.hosts.items()
                          if self.loop.shares.mine(host) and revision <= self.loop.picture.revision}
        self._questions.append(question)
        self._settle(())

    def _confirmed(self, host: str, needs: Needs, own: bool) -> bool:
        pusher, courier = self.loop.pushers.get(host), self.loop.couriers.get(host)
        if own and courier and courier.realised < needs.book:
            return False
        if pusher is None or not pusher.live:
            return not own
        if not self.loop.shares.mine(host):
            return self.loop.peers.confirmed(host, needs.revision)
        return pusher.realised >= max(needs.flows, 1)
