"""What was read, and by whom: cells of the picture, memos made of them, and what is gathered over records."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from controller.derive.sources import Giver, Index, Memo, Place, Raised, Reader, Shape, Source, everyone, joined, left
from controller.derive.standing import Key, Unit
from controller.derive.words import Gathered, Net
from controller.picture import Cell, Picture


class Cells:
    def __init__(self, picture: Picture, failed: dict[Unit, Exception], work: Counter[str]) -> None:
        """`failed` and `work` are the engine's: a fault in what is gathered is a feature's, too."""
        self.picture = picture
        self.net = Net(picture, self)
        """The picture as features see it: what they read is noted here."""
        self.failed, self.work = failed, work
        self.dirty_places: dict[Place, None] = {}
        self.dirty_shapes: dict[Shape, None] = {}
        """They read what is no longer true."""
        self.idle: list[Source] = []
        """Perhaps nobody reads these any more. Not before the end of a change, since who is being derived may hold them."""
        self.moved: dict[Memo, Any] = {}
        """What memos that places ask of their hosts said before."""
        self._sources: dict[Cell, Source] = {}
        self._memos: dict[tuple[Callable[..., Any], Key], Memo] = {}
        self._indexes: dict[Gathered, Index] = {}
        self._noting: list[dict[Source, None]] = []
        self._dirty_memos: dict[Memo, None] = {}
        self._dirty_givers: dict[Giver, None] = {}

    def touch(self, cell: Cell) -> None:
        """It changed in the picture."""
        if source := self._sources.get(cell):
            self._touch(source)
        if cell[0] == "get":
            for index in self._indexes.values():
                if index.question.kind == cell[1]:
                    self._dirty_givers[index.giver(cell[2])] = None

    def settle(self) -> None:
        """Ask again what moved, until all stands still; who read that is dirty then."""
        while self._dirty_givers or self._dirty_memos:
            if self._dirty_givers:  # before all who ask what was gathered, or they would be asked twice
                self._give(self._dirty_givers.popitem()[0])
                continue
            memo = next(iter(self._dirty_memos))
            if memo.unheard():
                self.idle.append(memo)
                self.forget_idle()
            else:
                self._refresh(memo)

    def evaluate(self, compute: Callable[[], Any]) -> tuple[Any, dict[Source, None]]:
        """What it gives, or the error it raised, and what it read: until the error, that is."""
        self._noting.append({})
        try:
            value = compute()
        except Exception as error:  # noqa: BLE001 - a feature's fault is its resource's, and nobody else's
            value = Raised(error)
        return value, self._noting.pop()

    def read(self, reader: Reader, reads: dict[Source, None]) -> None:
        before, reader.reads = dict.fromkeys(reader.reads), tuple(reads)
        for source in reads:
            if source not in before:
                source.readers = joined(source.readers, reader)
        for source in before:
            if source not in reads:
                self._unread(source, reader)

    def forget_idle(self) -> None:
        while self.idle:
            source = self.idle.pop()
            if not isinstance(source, Memo):
                if source.readers is None and source.name in self._sources:
                    del self._sources[source.name]
                    if source.name[0] == "gathered":
                        self._unheard(self._indexes[source.name[1]])
            elif source.unheard() and source.name in self._memos:
                del self._memos[source.name]
                self._dirty_memos.pop(source, None)
                self.read(source, {})

    def memory(self) -> dict[str, Any]:
        """All that is remembered, in words that compare."""
        return {
            "memos": {m.name: m.value for m in self._memos.values()},
            "given": {str(g): g.given for index in self._indexes.values() for g in index.givers.values()},
            "readers": {s.name: {str(reader) for reader in everyone(s.readers)}
                        for s in (*self._sources.values(), *self._memos.values())},
            "askers": {m.name: {str(place) for place in everyone(m.askers)} for m in self._memos.values()},
        }

    # Asked by features, while they are derived.

    def note(self, cell: Cell) -> None:
        if self._noting:
            source = self._sources.get(cell)
            if source is None:
                source = self._sources[cell] = Source(cell)
            self._noting[-1][source] = None

    def recall(self, function: Callable[..., Any], arguments: Key) -> Any:
        memo = self.memo(function, arguments)
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

    def memo(self, function: Callable[..., Any], arguments: Key) -> Memo:
        memo = self._memos.get((function, arguments))
        if memo is None:
            memo = Memo((function, arguments))
            self._recompute(memo)
            self._memos[memo.name] = memo
            self.idle.append(memo)
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
            self.moved.setdefault(memo, before)

    def _recompute(self, memo: Memo) -> None:
        function, arguments = memo.name
        self.work["memos"] += 1
        memo.value, reads = self.evaluate(lambda: function(self.net, *arguments))
        self.read(memo, reads)

    def _give(self, giver: Giver) -> None:
        """What a record stands for in an index, anew."""
        self.work["givers"] += 1
        question = giver.index.question
        record, unit = self.picture.get(question.kind, giver.id), Unit(question.__name__, giver.id, "")
        given, reads = self.evaluate(lambda: tuple(question.function(self.net, record)) if record is not None else ())
        self.failed.pop(unit, None)
        if isinstance(given, Raised):
            self.failed[unit], given = given.error, ()
        self.read(giver, reads)
        for key in giver.index.give(giver, given):
            if source := self._sources.get(("gathered", question, key)):
                self._touch(source)
        if record is None:
            del giver.index.givers[giver.id]

    def _unread(self, source: Source, reader: Reader) -> None:
        source.readers = left(source.readers, reader)
        if source.readers is None:
            self.idle.append(source)

    def _unheard(self, index: Index) -> None:
        """One of its keys is asked for no more."""
        index.heard -= 1
        if not index.heard:
            del self._indexes[index.question]
            for giver in index.givers.values():
                self._dirty_givers.pop(giver, None)
                self.failed.pop(Unit(index.question.__name__, giver.id, ""), None)
                self.read(giver, {})

    def _touch(self, source: Source) -> None:
        for reader in everyone(source.readers):
            if isinstance(reader, Memo):
                self._dirty_memos[reader] = None
            elif isinstance(reader, Giver):
                self._dirty_givers[reader] = None
            elif isinstance(reader, Place):
                self.dirty_places[reader] = None
            else:
                self.dirty_shapes[reader] = None
