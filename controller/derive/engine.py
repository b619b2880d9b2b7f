"""The engine: what every feature gives for every record on every host, remembered with what was read.

A change is carried out in three steps. Memos whose sources moved are asked again until they stand still. Then it is
settled which records and which of their shapes are no longer true. Then each place of those is derived anew, host by
host. What a step needs to know of how things stood is noted before the step begins.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from controller.derive.plain import claims_of
from controller.derive.sources import NOWHERE, Giver, Index, Memo, Place, Raised, Reader, Shape, Source, everyone, joined, left
from controller.derive.standing import Changes, Entry, Key, Standing, Unit
from controller.derive.words import Feature, Gathered, Here, Net, remembered
from controller.flow import Flow
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
        self._net = Net(picture, self)
        self._by_kind: dict[str, list[Feature]] = defaultdict(list)
        for feature in self.features.values():
            self._by_kind[feature.kind].append(feature)
        self._sources: dict[Cell, Source] = {}
        self._memos: dict[tuple[Callable[..., Any], Key], Memo] = {}
        self._indexes: dict[Gathered, Index] = {}
        self._places: dict[str, dict[str, Place]] = {name: {} for name in self.features}
        self._makers: dict[Any, Any] = {}
        """Cookie (of answers: key) → the shapes that give such an entry."""
        self._noting: list[dict[Source, None]] = []
        self._dirty_memos: dict[Memo, None] = {}
        self._dirty_givers: dict[Giver, None] = {}
        self._dirty_places: dict[Place, None] = {}
        self._dirty_shapes: dict[Shape, None] = {}
        self._idle: list[Source] = []
        """Perhaps nobody reads these any more. Not before the end of a change, since who is being derived may hold them."""
        self._moved: dict[Memo, Any] = {}
        """What memos that places ask of their hosts said before."""
        self._pending: dict[Place, dict[str, Shape]] = {}
        """Hosts that have to find their shape anew, and what they hold until then."""
        for feature in self.features.values():
            for record in picture.all(feature.kind):
                self._settle_place(self._place(feature.name, record.id))
        self._forget_idle()

    def update(self, touched: Iterable[Cell]) -> Changes:
        """The picture moved: derive what that touches; gives what differs per host and bridge."""
        self._standing.begin()
        for cell in touched:
            if source := self._sources.get(cell):
                self._touch(source)
            if cell[0] == "get":
                for index in self._indexes.values():
                    if index.question.kind == cell[1]:
                        self._dirty_givers[index.giver(cell[2])] = None
                for feature in self._by_kind.get(cell[1], ()):
                    place = self._place(feature.name, cell[2])
                    self._dirty_places[place] = None
                    self._dirty_shapes.update(dict.fromkeys(place.every_shape()))
        self._run()
        return self._standing.changes()

    def owners(self, host: str, bridge: str, flow: Flow) -> list[Unit]:
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
            "memos": {m.name: m.value for m in self._memos.values()},
            "given": {str(g): g.given for index in self._indexes.values() for g in index.givers.values()},
            "places": {(name, id): p.hosts for name, places in self._places.items() for id, p in places.items()},
            "shapes": {(str(s), s.hosts): s.claims for s in shapes},
            "readers": {s.name: {str(reader) for reader in everyone(s.readers)}
                        for s in (*self._sources.values(), *self._memos.values())},
            "askers": {m.name: {str(place) for place in everyone(m.askers)} for m in self._memos.values()},
            "makers": {mark: {str(shape) for shape in everyone(shapes)} for mark, shapes in self._makers.items()},
        }

    # Asked by features, while they are derived.

    def note(self, cell: Cell) -> None:
        if self._noting:
            source = self._sources.get(cell)
            if source is None:
                source = self._sources[cell] = Source(cell)
            self._noting[-1][source] = None

    def recall(self, function: Callable[..., Any], arguments: Key) -> Any:
        memo = self._memo(function, arguments)
        if self._noting:
            self._noting[-1][memo] = None
        return memo.answer()

    def gather(self, question: Gathered, key: Key) -> frozenset[Any]:
        if (index := self._indexes.get(question)) is None:
            index = self._indexes[question] = Index(question)
            for record in self.picture.all(question.kind):
                self._give(index.giver(record.id))
        cell = ("gathered", question, key)
        index.heard += cell not in self._sources
        self.note(cell)
        found = index.under(key)
        self.work["gathered"] += len(found)
        return found

    def asked_of_host(self, question: remembered, arguments: Key) -> Memo:
        return self._memo(question.function, arguments)

    def _memo(self, function: Callable[..., Any], arguments: Key) -> Memo:
        memo = self._memos.get((function, arguments))
        if memo is None:
            memo = Memo((function, arguments))
            self._recompute(memo)
            self._memos[memo.name] = memo
            self._idle.append(memo)
        elif memo in self._dirty_memos:
            self._refresh(memo)
        return memo

    # Memos.

    def _refresh(self, memo: Memo) -> None:
        del self._dirty_memos[memo]
        before = memo.value
        self._recompute(memo)
        if memo.value == before:
            return
        self._touch(memo)
        if memo.askers is not None:
            self._moved.setdefault(memo, before)

    def _recompute(self, memo: Memo) -> None:
        function, arguments = memo.name
        self.work["memos"] += 1
        memo.value, reads = self._evaluate(lambda: function(self._net, *arguments))
        self._read(memo, reads)

    def _give(self, giver: Giver) -> None:
        """What a record stands for in an index, anew."""
        self.work["givers"] += 1
        question = giver.index.question
        record, unit = self.picture.get(question.kind, giver.id), Unit(question.__name__, giver.id, "")
        given, reads = self._evaluate(lambda: tuple(question.function(self._net, record)) if record is not None else ())
        self.failed.pop(unit, None)
        if isinstance(given, Raised):
            self.failed[unit], given = given.error, ()
        self._read(giver, reads)
        for key in giver.index.give(giver, given):
            if source := self._sources.get(("gathered", question, key)):
                self._touch(source)
        if record is None:
            del giver.index.givers[giver.id]

    def _evaluate(self, compute: Callable[[], Any]) -> tuple[Any, dict[Source, None]]:
        """What it gives, or the error it raised, and what it read: until the error, that is."""
        self._noting.append({})
        try:
            value = compute()
        except Exception as error:  # noqa: BLE001 - a feature's fault is its resource's, and nobody else's
            value = Raised(error)
        return value, self._noting.pop()

    def _read(self, reader: Reader, reads: dict[Source, None]) -> None:
        before, reader.reads = dict.fromkeys(reader.reads), tuple(reads)
        for source in reads:
            if source not in before:
                source.readers = joined(source.readers, reader)
        for source in before:
            if source not in reads:
                self._unread(source, reader)

    def _unread(self, source: Source, reader: Reader) -> None:
        source.readers = left(source.readers, reader)
        if source.readers is None:
            self._idle.append(source)

    def _forget_idle(self) -> None:
        while self._idle:
            source = self._idle.pop()
            if not isinstance(source, Memo):
                if source.readers is None and source.name in self._sources:
                    del self._sources[source.name]
                    if source.name[0] == "gathered":
                        self._unheard(self._indexes[source.name[1]])
            elif source.unheard() and source.name in self._memos:
                del self._memos[source.name]
                self._dirty_memos.pop(source, None)
                self._read(source, {})

    def _unheard(self, index: Index) -> None:
        """One of its keys is asked for no more."""
        index.heard -= 1
        if not index.heard:
            del self._indexes[index.question]
            for giver in index.givers.values():
                self._dirty_givers.pop(giver, None)
                self.failed.pop(Unit(index.question.__name__, giver.id, ""), None)
                self._read(giver, {})

    def _touch(self, source: Source) -> None:
        for reader in everyone(source.readers):
            if isinstance(reader, Memo):
                self._dirty_memos[reader] = None
            elif isinstance(reader, Giver):
                self._dirty_givers[reader] = None
            elif isinstance(reader, Place):
                self._dirty_places[reader] = None
            else:
                self._dirty_shapes[reader] = None

    # The steps of a change.

    def _run(self) -> None:
        while self._dirty_givers or self._dirty_memos:
            if self._dirty_givers:  # before all who ask what was gathered, or they would be asked twice
                self._give(self._dirty_givers.popitem()[0])
                continue
            memo = next(iter(self._dirty_memos))
            if memo.unheard():
                self._idle.append(memo)
                self._forget_idle()
            else:
                self._refresh(memo)
        for memo in self._moved:
            host = memo.name[1][0]
            for place in everyone(memo.askers):
                if shape := self._find(place, host, self._moved):
                    self._pending.setdefault(place, {})[host] = shape
        for shape in self._dirty_shapes:
            for host in self._hosts(shape):
                self._pending.setdefault(shape.place, {})[host] = shape
        for shape in self._dirty_shapes:
            shape.place.drop(shape)  # it stands until its hosts have moved, but nobody joins it
        self._moved.clear()
        self._dirty_shapes.clear()
        while self._dirty_places:
            self._settle_place(self._dirty_places.popitem()[0])
        while self._pending:
            place, hosts = next(iter(self._pending.items()))
            for host, shape in list(hosts.items()):
                self._move(place, host, shape, self._find(place, host) or self._derive(place, host, shape))
        self._forget_idle()

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
            hosts, reads = self._evaluate(lambda: frozenset(feature.at(record, self._net)))
            if isinstance(hosts, Raised):
                self.failed[Unit(place.feature, place.id, "")] = hosts.error
            else:
                after = hosts or NOWHERE
        self._read(place, reads)
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
        memo = self._memo(asked.name[0], (host, *asked.name[1][1:]))
        return moved[memo] if moved and memo in moved else memo.value

    def _held(self, place: Place, host: str) -> Shape | None:
        """The shape that a host has, which may no longer fit."""
        return self._pending.get(place, {}).get(host) or self._find(place, host)

    def _hosts(self, shape: Shape) -> Iterable[str]:
        if shape.alone:
            return (shape.alone,)
        if shape.hosts == len(shape.place.hosts):
            return shape.place.hosts
        return [h for h in shape.place.hosts if self._find(shape.place, h, self._moved) is shape]

    def _derive(self, place: Place, host: str, old: Shape | None) -> Shape:
        feature = self.features[place.feature]
        record = self.picture.get(feature.kind, place.id)
        here = _Asking(host, self._net, self)
        self.work["shapes"] += 1
        claims, reads = self._evaluate(lambda: claims_of(
            feature, feature.derive(record, self._net, here), old.claims if old is not None else ()))
        shape = Shape(place, tuple(here.asked.items()), host if here.named else "")
        if isinstance(claims, Raised):
            shape.error, claims = claims.error, ()
        shape.claims = old.claims if old is not None and old.claims == claims else claims
        for key, (number, _) in shape.pairs():
            self._makers[number or key] = joined(self._makers.get(number or key), shape)
        place.add(shape)
        self._read(shape, reads)
        return shape

    def _move(self, place: Place, host: str, old: Shape | None, new: Shape | None) -> None:
        """From one shape to another, with all that the host holds of it. (None: it had, or will have, none.)"""
        self.work["moves"] += 1
        self._standing.claim(Unit(place.feature, place.id, host), old.claims if old else (), new.claims if new else ())
        kept = set()
        if new is not None:
            new.hosts += 1
            for asked, _ in new.path:
                memo = self._memo(asked.name[0], (host, *asked.name[1][1:]))
                memo.askers = joined(memo.askers, place)
                kept.add(memo)
            if new.error:
                self.failed[Unit(place.feature, place.id, host)] = new.error
        if old is not None:
            old.hosts -= 1
            for asked, _ in old.path:
                memo = self._memo(asked.name[0], (host, *asked.name[1][1:]))
                if memo not in kept:
                    memo.askers = left(memo.askers, place)
                    self._idle.append(memo)
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
        self._read(shape, {})
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

    def __init__(self, host: str, net: Net, engine: Engine) -> None:
        super().__init__(host, net)
        self._engine = engine
        self.asked: dict[Memo, Any] = {}
        self.named = False

    @property
    def id(self) -> str:
        self.named = True
        return self._host

    def ask(self, question: remembered, *about: Any) -> Any:
        if self.named:  # no other host can share this: a source as any other
            return super().ask(question, *about)
        memo = self._engine.asked_of_host(question, (self._host, *about))
        self.asked[memo] = memo.value
        return memo.answer()
