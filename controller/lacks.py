"""Wires that hosts lack, and something there needs: what needs them is DOWN, and the log says so, once for each host and wire."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from controller.gateways import HELD, carriers
from controller.picture import Picture
from controller.segments import wired
from controller.statuses import Subject
from unryu.logs import log


class Lack(NamedTuple):
    host: str
    """Empty: no host has that wire, so none can be the gateway that is needed."""
    physical_network: str


class Lacks:
    """Told of each whose status may have moved: so it looks at those alone, however many there are."""

    def __init__(self, picture: Callable[[], Picture]) -> None:
        self._picture = picture
        self._noted: dict[Subject, Lack] = {}
        self._needed = Counter[Lack]()

    def note(self, subject: Subject, record: Any) -> bool:
        """Whether it lacks a wire where it is. (`None`: it is no more, or another controller's.)"""
        lack, before = self.of(record) if record else None, self._noted.pop(subject, None)
        if lack:
            self._noted[subject] = lack
            self._needed[lack] += 1
            if self._needed[lack] == 1:
                log.warning("a host lacks a wire; what needs it there is DOWN until it is added" if lack.host else
                            "no host has a wire that routers leave by; it is to be added to one", needed_by=" ".join(subject),
                            **lack._asdict())
        if before:
            self._needed[before] -= 1
            if not self._needed[before]:
                del self._needed[before]
                log.info("a wire is there, or not needed any more", **before._asdict())
        return bool(lack)

    def of(self, record: Any) -> Lack | None:
        """Of a port where its guest is, or of a router's where that leaves or speaks; of a floating IP where it is translated."""
        picture = self._picture()
        if record.kind == "port":
            network_id, guest, routers = record.network_id, record, {"port_id": record.id}
        else:
            network_id, guest = record.floating_network_id, picture.get("port", record.port_id)
            routers = {"router_id": record.router_id, "network_id": network_id}
        network = picture.get("network", network_id)
        if network is None or not wired(network):
            return None
        if guest and guest.binding_host_id:
            hosts = [guest.binding_host_id]
        else:
            hosts = [row.host for kind in HELD for row in picture.where(kind, **routers)] if guest in (None, record) else []
        for host in hosts[:1]:
            if lacking(picture, host, network.physical_network) if host else not carriers(picture, network):
                return Lack(host, network.physical_network)
        return None


def lacking(picture: Picture, host: str, physical_network: str) -> bool:
    return any(physical_network not in agent.ofports.get("br-ex", {}) for agent in picture.where("agent", host=host))
