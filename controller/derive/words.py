"""The words of features: pure functions of a record, the picture and a host, as cells of a spreadsheet."""

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from controller.flow import Flow, Meter
from controller.flow.words import LEARNED, feature_number
from controller.picture import Picture, question

if TYPE_CHECKING:
    from controller.derive.cells import Cells

BOOK = "book"
"""Where answers stand, as flows stand on a bridge."""


class Answer(NamedTuple):
    """What the agent of a host answers a port there. Shaped as a flow is: its place in four parts, then its content."""

    book: str
    kind: str
    port: str
    part: str  # where a port has several of a kind
    data: dict[str, Any]

    @property
    def key(self) -> tuple[str, str, str]:
        return self[1:4]


def answer(kind: str, port: str, part: str = "", **data: Any) -> Answer:
    """`data` is plain (strings, numbers, lists, dicts): it travels as JSON."""
    return Answer(BOOK, kind, port, part, data)


Derivation = Callable[[Any, "Net", "Here"], Iterable[Flow | Meter | Answer]]
Placement = Callable[[Any, "Net"], Iterable[str]]


class Feature(NamedTuple):
    name: str
    kind: str
    at: Placement
    derive: Derivation


catalogue: dict[str, Feature] = {}
"""Every derivation by name; filled by declarations."""


def derives(kind: str, at: Placement) -> Callable[[Derivation], Derivation]:
    """Declare what a record of this kind puts on the hosts that `at` gives. Its name is `module.function`."""

    def declare(derive: Derivation) -> Derivation:
        name = f"{derive.__module__.rpartition('.')[2]}.{derive.__name__}"
        for other in (*catalogue, LEARNED):  # what switches write by themselves has a number, too
            if feature_number(other) == feature_number(name):
                raise ValueError(f"the features {other} and {name} have one number in cookies: rename one")
        catalogue[name] = Feature(name, kind, at, derive)
        return derive

    return declare


class remembered:  # noqa: N801 - a decorator
    """A question about the picture, asked by many and answered once: `function(net, *arguments)`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, net: "Net", *arguments: Any) -> Any:
        return net.recall(self.function, arguments)


class Gathered:
    """An index of what is derived: `gathered(net, *key)` gives what the records of a kind stand for under this key, each
    once. As with `values` it is felt only when there is another value, or one no more; to ask costs what is found, and
    one more record runs the function for that record."""

    def __init__(self, kind: str, function: Callable[["Net", Any], Iterable[tuple[tuple[Any, ...], Any]]]) -> None:
        functools.update_wrapper(self, function)
        self.kind = kind
        self.function = function

    def __call__(self, net: "Net", *key: Any) -> frozenset[Any]:
        return net.gather(self, key)


def gathered(kind: str) -> Callable[[Callable[["Net", Any], Iterable[tuple[tuple[Any, ...], Any]]]], Gathered]:
    """Declare an index over the records of a kind: `function(net, record)` gives keys, and what stands under each."""
    return functools.partial(Gathered, kind)


class Net:
    """The picture as a feature sees it: `get`, `where` and `values`. Without an engine's cells nothing is noted or remembered."""

    def __init__(self, picture: Picture, cells: "Cells | None" = None) -> None:
        self._picture = picture
        self._cells = cells

    def get(self, kind: str, id: str | None) -> Any:
        if self._cells and id:
            self._cells.note(("get", kind, id))
        return self._picture.get(kind, id)

    def where(self, kind: str, **equal: Any) -> list[Any]:
        if self._cells:
            self._cells.note(("where", kind, *question(equal)))
        return self._picture.where(kind, **equal)

    def values(self, kind: str, *wanted: str, **equal: Any) -> frozenset[Any]:
        """What stands there, each once: felt only when there is another value, or one no more. So who asks which hosts
        have a port of the network is left alone by one more port on a host that has some."""
        if self._cells:
            self._cells.note(("values", kind, *question(equal), wanted))
        return self._picture.values(kind, *wanted, **equal)

    def all(self, kind: str) -> Iterable[Any]:
        """Every record: only for kinds of which there are few, since any change of any of them is felt."""
        if self._cells:
            self._cells.note(("all", kind))
        return self._picture.all(kind)

    def recall(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return self._cells.recall(function, arguments) if self._cells else function(self, *arguments)

    def gather(self, question: Gathered, key: tuple[Any, ...]) -> frozenset[Any]:
        if self._cells:
            return self._cells.gather(question, key)
        return frozenset(value for record in self._picture.all(question.kind)
                         for under, value in question.function(self, record) if under == key)


class Here:
    """The host that a unit is for. What a feature asks here, it must ask anew for every host: the less, the more hosts can
    share what it gives; `id` no two can share."""

    def __init__(self, host: str, net: Net) -> None:
        self._host = host
        self._net = net

    @property
    def id(self) -> str:
        return self._host

    @property
    def agent(self) -> Any:
        return agent_of(self._net, self.id)

    def ofport(self, bridge: str, port: str) -> int:
        """Of a patch or tunnel port; 0 while the host has not said."""
        number: int = self.ask(ofport_of, bridge, port)
        return number

    def vif(self, port_id: str) -> int:
        """The ofport of a port's interface here; 0 while there is none whose link is up."""
        number: int = self.ask(vif_of, port_id)
        return number

    def ask(self, question: remembered, *about: Any) -> Any:
        """A question about a host: its first argument is the host's name, its answer can be compared."""
        return question(self._net, self._host, *about)


@remembered
def agent_of(net: Net, host: str) -> Any:
    return next(iter(net.where("agent", host=host)), None)


@remembered
def ofport_of(net: Net, host: str, bridge: str, port: str) -> int:
    agent = agent_of(net, host)
    return agent.ofports.get(bridge, {}).get(port, 0) if agent else 0


@remembered
def vif_of(net: Net, host: str, port_id: str) -> int:
    agent = agent_of(net, host)
    return next((v.ofport for v in net.where("vif", port_id=port_id)
                 if v.agent_id == agent.id and v.link == "up"), 0) if agent else 0
