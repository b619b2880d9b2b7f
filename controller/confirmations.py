"""Port status: true, or not yet said. What each host must have confirmed for a port to be ACTIVE, and who waits for it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from controller.derive import hosts_of_network, vif_of
from controller.peers import Question
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
        self.waiting: dict[str, dict[str, Needs]] = {}
        """Port → host → what it must have confirmed."""
        self._questions: list[Question] = []

    def concerned(self, entries: Iterable[journal.Entry]) -> Iterable[str]:
        """The ports whose status a change may move."""
        ports: dict[str, None] = {}
        for entry in entries:
            image = entry.after or entry.before or {}
            if entry.kind == "port":
                ports[entry.id] = None
            elif entry.kind == "vif":
                ports[image["port_id"]] = None
            elif entry.kind == "network":
                ports |= {p.id: None for p in self.loop.picture.where("port", network_id=entry.id)}
            elif entry.kind == "agent":
                ports |= {p.id: None for p in self.loop.picture.where("port", binding_host_id=image["host"])}
        return ports

    def consider(self, ports: Iterable[str]) -> None:
        for port_id in ports:
            port = self.loop.picture.get("port", port_id)
            self.waiting.pop(port_id, None)
            if port is None or not self.loop.shares.mine(port.binding_host_id):
                self.loop.statuses.forget(port_id)
                continue
            network = self.loop.picture.get("network", port.network_id)
            if not (port.admin_state_up and network.admin_state_up and vif_of(self.loop.net, port.binding_host_id, port_id)):
                self.loop.statuses.set(port_id, "DOWN")
                continue
            hosts = hosts_of_network(self.loop.net, port.network_id)
            self.waiting[port_id] = {h: self._needs(h) for h in hosts}
        self.settle()

    def _needs(self, host: str) -> Needs:
        pusher, courier = self.loop.pushers.get(host), self.loop.couriers.get(host)
        return Needs(self.loop.picture.revision, pusher.sent if pusher else 0, courier.sent if courier else 0)

    def settle(self) -> None:
        """ACTIVE is who is confirmed on its own host, by its agent too, and on every live host of its network: the dead
        hold nobody up."""
        for port_id, needs in list(self.waiting.items()):
            port = self.loop.picture.get("port", port_id)
            confirmed = [self._confirmed(host, of, own=host == port.binding_host_id) for host, of in needs.items()]
            if all(confirmed):  # asked of all, for each that is another's begins to be asked by it
                del self.waiting[port_id]
                self.loop.statuses.set(port_id, "ERROR" if self.loop.blamed(port_id) else "ACTIVE")
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
        self.settle()

    def _confirmed(self, host: str, needs: Needs, own: bool) -> bool:
        pusher, courier = self.loop.pushers.get(host), self.loop.couriers.get(host)
        if own and courier and courier.realised < needs.book:
            return False
        if pusher is None or not pusher.live:
            return not own
        if not self.loop.shares.mine(host):
            return self.loop.peers.confirmed(host, needs.revision)
        return pusher.realised >= max(needs.flows, 1)
