"""The engine: what every feature gives for every record on every host, remembered with what was read.

A change is carried out in three steps. Memos whose sources moved are asked again until they stand still. Then it is
settled which records and which of their shapes are no longer true. Then each place of those is derived anew, host by
host. What a step needs to know of how things stood is noted before the step begins.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from controller.derive.cells import Cells
from controller.derive.plain import claims_of
from controller.derive.sources import NOWHERE, Memo, Place, Raised, Shape, Source, everyone, joined, left
from controller.derive.standing import Changes, Entry, Key, Standing, Unit
from controller.derive.words import Feature, Here, remembered
from controller.flow import Flow, Meter
from controller.picture import Cell, Picture


class Engine:
    def __init__(self, picture: Picture, features: Iterable[Feature]) -> None:
        self.picture = picture
        self.features = {f.name: f for f in features}
        self._standing = Standing(self._owner)
        self.wanted = self._standing.wanted
        self.contested = self._standing.contested
        self.failed: dict[Unit, Exception] = {}
        """Units whose feature raised: a fault in the feature. Where it cannot even say on which hosts, the host is empty."""
        self.work: Counter[str] = Counter()
        """How many memos and givers were asked, values gathered, records placed, shapes derived, hosts moved to another."""
        self._cells = Cells(picture, self.failed, self.work)
        self._net = self._cells.net
        self._by_kind: dict[str, list[Feature]] = defaultdict(list)
        for feature in self.features.values():
            self._by_kind[feature.kind].append(feature)
        self._places: dict[str, dict[str, Place]] = {name: {} for name in self.features}
        self._makers: dict[Any, Any] = {}
        """Cookie (of answers: key) → the shapes that give such an entry."""
        self._pending: dict[Place, dict[str, Shape]] = {}
        """Hosts that have to find their shape anew, and what they hold until then."""
        for feature in self.features.values():
            for record in picture.all(feature.kind):
                self._settle_place(self._place(feature.name, record.id))
        self._cells.forget_idle()

    def update(self, touched: Iterable[Cell]) -> Changes:
        """The picture moved: derive what that touches; gives what differs per host and bridge."""
        self._standing.begin()
        for cell in touched:
            self._cells.touch(cell)
            if cell[0] == "get":
                for feature in self._by_kind.get(cell[1], ()):
                    place = self._place(feature.name, cell[2])
                    self._cells.dirty_places[place] = None
                    self._cells.dirty_shapes.update(dict.fromkeys(place.every_shape()))
        self._run()
        return self._standing.changes()

    def owners(self, host: str, bridge: str, flow: Flow | Meter) -> list[Unit]:
        """Whose flow it is: the way from a switch back to the resources."""
        spot = (host, bridge, flow.key)
        if spot in self.contested:
            return list(self.contested[spot])
        standing = self.wanted[host][bridge].get(flow.key)
        return [self._owner(host, flow.key, standing)] if standing else []

    def memory(self) -> dict[str, Any]:
        """All that is remembered, in words that compare: what is there shall depend on where we are, not on the way."""
        shapes = [s for places in self._places.values() for p in places.values() for s in p.every_shape()]
        return {
            **self._cells.memory(),
            "places": {(name, id): p.hosts for name, places in self._places.items() for id, p in places.items()},
            "shapes": {(str(s), s.hosts): s.claims for s in shapes},
            "makers": {mark: {str(shape) for shape in everyone(shapes)} for mark, shapes in self._makers.items()},
        }

    # The steps of a change.

    def _run(self) -> None:
        cells = self._cells
        cells.settle()
        for memo in cells.moved:
            host = memo.name[1][0]
            for place in everyone(memo.askers):
                if shape := self._find(place, host, cells.moved):
                    self._pending.setdefault(place, {})[host] = shape
        for shape in cells.dirty_shapes:
            for host in self._hosts(shape):
                self._pending.setdefault(shape.place, {})[host] = shape
        for shape in cells.dirty_shapes:
            shape.place.drop(shape)  # it stands until its hosts have moved, but nobody joins it
        cells.moved.clear()
        cells.dirty_shapes.clear()
        while cells.dirty_places:
            self._settle_place(cells.dirty_places.popitem()[0])
        while self._pending:
            place, hosts = next(iter(self._pending.items()))
            for host, shape in list(hosts.items()):
                self._move(place, host, shape, self._find(place, host) or self._derive(place, host, shape))
        cells.forget_idle()

    def _place(self, feature: str, id: str) -> Place:
        places = self._places[feature]
        if id not in places:
            places[id] = Place(feature, id)
        return places[id]

    def _settle_place(self, place: Place) -> None:
        """Where a record matters: what leaves a host goes, where it comes it is derived."""
        feature = self.features[place.feature]
        record = self.picture.get(feature.kind, place.id)
        before, after = place.hosts, NOWHERE
        reads: dict[Source, None] = {}
        self.failed.pop(Unit(place.feature, place.id, ""), None)
        if record is not None:
            self.work["places"] += 1
            hosts, reads = self._cells.evaluate(lambda: frozenset(feature.at(record, self._net)))
            if isinstance(hosts, Raised):
                self.failed[Unit(place.feature, place.id, "")] = hosts.error
            else:
                after = hosts or NOWHERE
        self._cells.read(place, reads)
        if after is not before:
            for host in before - after:
                self._move(place, host, self._held(place, host), None)
            place.hosts = after
            for host in after - before:
                self._move(place, host, None, self._find(place, host) or self._derive(place, host, None))
        if record is None:
            self._places[place.feature].pop(place.id, None)

    # Shapes: hosts that answer a place's questions alike share one.

    def _find(self, place: Place, host: str, moved: dict[Memo, Any] | None = None) -> Shape | None:
        """The shape that fits a host; with `moved`, that did before those memos moved."""
        for shape in place.shapes_for(host):
            if all(self._answer(memo, host, moved) == answer for memo, answer in shape.path):
                return shape
        return None

    def _answer(self, asked: Memo, host: str, moved: dict[Memo, Any] | None) -> Any:
        memo = self._cells.memo(asked.name[0], (host, *asked.name[1][1:]))
        return moved[memo] if moved and memo in moved else memo.value

    def _held(self, place: Place, host: str) -> Shape | None:
        """The shape that a host has, which may no longer fit."""
        return self._pending.get(place, {}).get(host) or self._find(place, host)

    def _hosts(self, shape: Shape) -> Iterable[str]:
        if shape.alone:
            return (shape.alone,)
        if shape.hosts == len(shape.place.hosts):
            return shape.place.hosts
        return [h for h in shape.place.hosts if self._find(shape.place, h, self._cells.moved) is shape]

    def _derive(self, place: Place, host: str, old: Shape | None) -> Shape:
        feature = self.features[place.feature]
        record = self.picture.get(feature.kind, place.id)
        here = _Asking(host, self._cells)
        self.work["shapes"] += 1
        claims, reads = self._cells.evaluate(lambda: claims_of(
            feature, feature.derive(record, self._net, here), old.claims if old is not None else ()))
        shape = Shape(place, tuple(here.asked.items()), host if here.named else "")
        if isinstance(claims, Raised):
            shape.error, claims = claims.error, ()
        shape.claims = old.claims if old is not None and old.claims == claims else claims
        for key, (number, _) in shape.pairs():
            self._makers[number or key] = joined(self._makers.get(number or key), shape)
        place.add(shape)
        self._cells.read(shape, reads)
        return shape

    def _move(self, place: Place, host: str, old: Shape | None, new: Shape | None) -> None:
        """From one shape to another, with all that the host holds of it. (None: it had, or will have, none.)"""
        self.work["moves"] += 1
        self._standing.claim(Unit(place.feature, place.id, host), old.claims if old else (), new.claims if new else ())
        kept = set()
        if new is not None:
            new.hosts += 1
            for asked, _ in new.path:
                memo = self._cells.memo(asked.name[0], (host, *asked.name[1][1:]))
                memo.askers = joined(memo.askers, place)
                kept.add(memo)
            if new.error:
                self.failed[Unit(place.feature, place.id, host)] = new.error
        if old is not None:
            old.hosts -= 1
            for asked, _ in old.path:
                memo = self._cells.memo(asked.name[0], (host, *asked.name[1][1:]))
                if memo not in kept:
                    memo.askers = left(memo.askers, place)
                    self._cells.idle.append(memo)
            if old.error and not (new and new.error):
                self.failed.pop(Unit(place.feature, place.id, host), None)
            if not old.hosts:
                self._bury(old)
        if pending := self._pending.get(place):
            pending.pop(host, None)
            if not pending:
                del self._pending[place]

    def _bury(self, shape: Shape) -> None:
        shape.place.drop(shape)
        self._cells.read(shape, {})
        for key, (number, _) in shape.pairs():
            mark = number or key
            rest = left(self._makers.get(mark), shape)
            if rest is None:
                self._makers.pop(mark, None)
            else:
                self._makers[mark] = rest

    def _owner(self, host: str, key: Key, entry: Entry, but: Unit | None = None) -> Unit:
        """Whose the entry is that stands uncontested: one of its makers'."""
        for shape in everyone(self._makers[entry[0] or key]):
            place = shape.place
            owner = Unit(place.feature, place.id, host)
            if owner != but and host in place.hosts and self._held(place, host) is shape:
                return owner
        raise LookupError(f"nobody's entry on {host}: {entry}")


class _Asking(Here):
    """The host a shape is derived for: what is asked of it decides which other hosts may share the shape."""

    def __init__(self, host: str, cells: Cells) -> None:
        super().__init__(host, cells.net)
        self._cells = cells
        self.asked: dict[Memo, Any] = {}
        self.named = False

    @property
    def id(self) -> str:
        self.named = True
        return self._host

    def ask(self, question: remembered, *about: Any) -> Any:
        if self.named:  # no other host can share this: a source as any other
            return super().ask(question, *about)
        memo = self._cells.memo(question.function, (self._host, *about))
        self.asked[memo] = memo.value
        return memo.answer()
