"""Faults: flows that switches refuse, features that fail. Each is told to the operator once, as text with whose it is; and whose
it is is in ERROR for as long. What differs on a switch is mended, and only told."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from controller.derive import Change, Unit
from controller.drift import SENTENCES, Difference
from controller.flow import Flow, Meter, text
from controller.gateways import HELD
from controller.picture import Picture
from controller.pipeline import TABLES
from controller.statuses import KINDS, Subject
from unryu.logs import log

if TYPE_CHECKING:
    from controller.loop import Loop


class Faults:
    """Used by the loop's thread; others may count what is refused."""

    def __init__(self, loop: "Loop") -> None:
        self.loop = loop
        self.refused: dict[tuple[str, str, object], list[Unit]] = {}
        """Host, bridge, key of a flow → whose it is."""
        self._failed: dict[Unit, str] = {}
        """What features failed with, as the log has it."""
        self._blamed: set[Subject] | None = None
        """Asked for each who waits: where a feature fails for thousands, it is made once for all of them."""

    def blamed(self, subject: Subject) -> bool:
        if self._blamed is None:
            self._blamed = set(self._subjects(unit for each in (*self.refused.values(), self._failed) for unit in each))
        return subject in self._blamed

    def refuse(self, host: str, bridge: str, refused: Sequence[tuple[Flow | Meter, str]]) -> None:
        blamed: list[Unit] = []
        for flow, error in refused:
            owners = self.refused[host, bridge, flow.key] = self.loop.engine.owners(host, bridge, flow)
            log.error("a switch refused a flow", host=host, bridge=bridge, flow=text(flow, TABLES), error=error,
                      owners=[f"{u.feature} of {u.id}" for u in owners])
            blamed += owners
        self._consider(blamed)

    def changed(self, host: str, bridge: str, change: Change) -> None:
        """There is another flow now, or none. (Whose it is is in question anyway: `failed` comes next.)"""
        for _, flow in (*change.add, *change.delete):
            self.refused.pop((host, bridge, flow.key), None)

    def told(self, host: str) -> None:
        """Its switches are told all anew: they may take what they refused, or refuse it again."""
        spots = [spot for spot in self.refused if spot[0] == host]
        self._consider([unit for spot in spots for unit in self.refused.pop(spot)])

    def share(self, mine: Callable[[str], bool]) -> None:
        self.refused = {spot: units for spot, units in self.refused.items() if mine(spot[0])}

    def failed(self) -> None:
        """Each fault of a feature once: when it comes, and when it is another one."""
        before, self._failed = self._failed, {unit: repr(error) for unit, error in self.loop.engine.failed.items()}
        for unit, error in self._failed.items():
            if before.get(unit) != error:
                log.error("a feature failed; its resource has none of its flows", feature=unit.feature, id=unit.id,
                          host=unit.host, error=error)
        self._consider(before.keys() ^ self._failed.keys())

    def differed(self, host: str, bridge: str, differ: Sequence[Difference]) -> None:
        for kind, (cookie, flow), held in differ:
            facts = {} if held is None else {"held": text(held, TABLES)}
            log.warning(SENTENCES[kind], host=host, bridge=bridge, flow=text(flow, TABLES), cookie=f"{cookie:#018x}",
                        owners=[f"{u.feature} of {u.id}" for u in self.loop.engine.owners(host, bridge, flow)], **facts)

    def _consider(self, units: Iterable[Unit]) -> None:
        self._blamed = None
        self.loop.confirmations.consider(set(self._subjects(units)))

    def _subjects(self, units: Iterable[Unit]) -> Iterator[Subject]:
        for unit in units:
            if feature := self.loop.engine.features.get(unit.feature):
                yield from telling(self.loop.picture, feature.kind, unit.id)


def telling(picture: Picture, kind: str, id: str) -> Iterator[Subject]:
    """Whose status tells of a record: its own, or that of what it is a part of. (Of a router its ports tell.)"""
    record = picture.get(kind, id)
    if record is None:
        return
    if kind in KINDS:
        yield kind, id
    elif kind == "port_forwarding":
        yield "floatingip", record.floatingip_id
    elif kind in HELD:
        yield "port", record.port_id
    elif kind == "router":
        yield from (("port", row.port_id) for each in HELD for row in picture.where(each, router_id=id))
