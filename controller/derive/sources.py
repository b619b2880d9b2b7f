"""What the engine's memory is made of. There are millions of these in a large cloud, so each is as small as it can be."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from controller.picture import counted

FEW = 12  # up to here a list is smaller than a set, and as quick

Crowd = Any
"""None, one, or a list or a set of many: most crowds are of one, for whom a set would be ten times as large."""


def joined(crowd: Crowd, one: Any) -> Crowd:
    if crowd is None or crowd is one:
        return one
    if type(crowd) is set:
        crowd.add(one)
    elif type(crowd) is not list:
        return [crowd, one]
    elif one not in crowd:
        crowd.append(one)
        if len(crowd) > FEW:
            return set(crowd)
    return crowd


def left(crowd: Crowd, one: Any) -> Crowd:
    if crowd is one:
        return None
    if type(crowd) is set:
        crowd.discard(one)
        return crowd or None
    if type(crowd) is list and one in crowd:
        crowd.remove(one)
        return crowd[0] if len(crowd) == 1 else crowd
    return crowd


def everyone(crowd: Crowd) -> Iterable[Any]:
    return () if crowd is None else tuple(crowd) if type(crowd) in (list, set) else (crowd,)


class Source:
    """A cell of the picture, and who read it."""

    __slots__ = ("name", "readers")

    def __init__(self, name: tuple[Any, ...]) -> None:
        self.name = name
        self.readers: Crowd = None


class Memo(Source):
    """A question under `@remembered`, its answer, what that was made of, and the places that ask it of their hosts."""

    __slots__ = ("value", "reads", "askers")

    name: tuple[Callable[..., Any], tuple[Any, ...]]

    def __init__(self, name: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        super().__init__(name)
        self.value: Any = None
        self.reads: tuple[Source, ...] = ()
        self.askers: Crowd = None

    def __str__(self) -> str:
        return f"{self.name[0].__name__}{self.name[1]}"

    def answer(self) -> Any:
        if type(self.value) is Raised:
            raise self.value.error
        return self.value

    def unheard(self) -> bool:
        return self.readers is None and self.askers is None


class Giver:
    """A record in an index of what is derived: what it gave, and what that was made of."""

    __slots__ = ("index", "id", "reads", "given")

    def __init__(self, index: "Index", id: str) -> None:
        self.index = index
        self.id = id
        self.reads: tuple[Source, ...] = ()
        self.given: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.index.question.__name__} of {self.id}"


class Index:
    """What stands under each key, and how often: there as long as somebody asks for one of its keys."""

    def __init__(self, question: Any) -> None:
        self.question = question
        self.givers: dict[str, Giver] = {}
        self.heard = 0
        """How many of its keys are sources."""
        self._counts: dict[Any, dict[Any, int]] = {}

    def giver(self, id: str) -> Giver:
        if id not in self.givers:
            self.givers[id] = Giver(self, id)
        return self.givers[id]

    def under(self, key: Any) -> frozenset[Any]:
        return frozenset(self._counts.get(key, ()))

    def give(self, giver: Giver, given: tuple[Any, ...]) -> Iterator[Any]:
        """The keys under which there is another value now, or one no more."""
        for change, pairs, others in ((-1, giver.given, given), (1, given, giver.given)):
            for key, value in pairs:
                if (key, value) not in others and counted(self._counts, key, value, change):
                    yield key
        giver.given = given


class Raised:
    """The error in the place of an answer: whoever asks meets it, and is asked again when what led to it has moved."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Place:
    """A feature's record: on which hosts it matters, and the shapes that it has there."""

    __slots__ = ("feature", "id", "reads", "hosts", "_shared", "_own")

    def __init__(self, feature: str, id: str) -> None:
        self.feature = feature
        self.id = id
        self.reads: tuple[Source, ...] = ()
        self.hosts: frozenset[str] = NOWHERE
        self._shared: tuple[Shape, ...] = ()
        self._own: dict[str, Shape] | None = None
        """Those that asked for the name of their host: of these there may be as many as hosts."""

    def __str__(self) -> str:
        return f"{self.feature} of {self.id}"

    def every_shape(self) -> "Iterator[Shape]":
        yield from self._shared
        yield from (self._own or {}).values()

    def shapes_for(self, host: str) -> "Iterator[Shape]":
        if self._own and host in self._own:
            yield self._own[host]
        yield from self._shared

    def add(self, shape: "Shape") -> None:
        if shape.alone:
            self._own = self._own or {}
            self._own[shape.alone] = shape
        else:
            self._shared = (*self._shared, shape)

    def drop(self, shape: "Shape") -> None:
        if not shape.alone:
            self._shared = tuple(s for s in self._shared if s is not shape)
        elif self._own and self._own.get(shape.alone) is shape:
            del self._own[shape.alone]
            self._own = self._own or None


NOWHERE: frozenset[str] = frozenset()


class Shape:
    """What a feature gives for a record on every host that answers alike what it asked of its host."""

    __slots__ = ("place", "path", "alone", "hosts", "reads", "claims", "error")

    def __init__(self, place: Place, path: tuple[tuple[Memo, Any], ...], alone: str) -> None:
        self.place = place
        self.path = path
        """What was asked of the host (as asked of the first one that came), and the answers."""
        self.alone = alone
        """The only host it is for, where its name was asked for."""
        self.hosts = 0
        self.reads: tuple[Source, ...] = ()
        self.claims: tuple[Any, ...] = ()
        """Key, entry, key, entry, …"""
        self.error: Exception | None = None

    def __str__(self) -> str:
        answers = ", ".join(f"{memo.name[0].__name__}{memo.name[1][1:]}={answer}" for memo, answer in self.path)
        return f"{self.place} at {self.alone or 'any host'} where {answers}"

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        return zip(self.claims[::2], self.claims[1::2], strict=True)


Reader = Memo | Giver | Place | Shape
