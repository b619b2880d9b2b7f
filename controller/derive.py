"""The engine that remembers: features are pure functions of a record, the picture and a host, as cells of a spreadsheet.

    @derives("port", at=own_host)
    def delivery(port, net, here): yield flow(…)

Every read goes through `net` or `here` and is noted; when a revision touches a cell, only what read it runs again. A
function under `@remembered` is a cell too: when it gives the same as before, its readers are left alone. Nothing else
is invalidated by hand, and nobody writes an uninstall: what a unit no longer gives is gone.

Beside flows a unit may yield answers: what the host's own agent says to a guest that asks. They are kept as flows are.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from controller.flow import Flow, cookie
from controller.flow.words import feature_number
from controller.picture import Cell, Picture, question

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


Derivation = Callable[[Any, "Net", "Here"], Iterable[Flow | Answer]]
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
        for other in catalogue.values():
            if feature_number(other.name) == feature_number(name):
                raise ValueError(f"the features {other.name} and {name} have one number in cookies: rename one")
        catalogue[name] = Feature(name, kind, at, derive)
        return derive

    return declare


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """A question about the picture, asked by many and answered once: `function(net, *arguments)`."""

    @functools.wraps(function)
    def ask(net: "Net", *arguments: Any) -> Any:
        return net.recall(function, arguments)

    return ask


class Net:
    """The picture as a feature sees it: `get`, `where` and `values`. Without an engine nothing is noted or remembered."""

    def __init__(self, picture: Picture, engine: "Engine | None" = None) -> None:
        self._picture = picture
        self._engine = engine

    def get(self, kind: str, id: str | None) -> Any:
        if self._engine and id:
            self._engine.note(("get", kind, id))
        return self._picture.get(kind, id)

    def where(self, kind: str, **equal: Any) -> list[Any]:
        if self._engine:
            self._engine.note(("where", kind, *question(equal)))
        return self._picture.where(kind, **equal)

    def values(self, kind: str, *wanted: str, **equal: Any) -> frozenset[Any]:
        """What stands there, each once: felt only when there is another value, or one no more. So who asks which hosts
        have a port of the network is left alone by one more port on a host that has some."""
        if self._engine:
            self._engine.note(("values", kind, *question(equal), wanted))
        return self._picture.values(kind, *wanted, **equal)

    def all(self, kind: str) -> Iterable[Any]:
        """Every record: only for kinds of which there are few, since any change of any of them is felt."""
        if self._engine:
            self._engine.note(("all", kind))
        return self._picture.all(kind)

    def recall(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return self._engine.recall(function, arguments) if self._engine else function(self, *arguments)


class Here:
    """The host that a unit is for."""

    def __init__(self, host: str, net: Net) -> None:
        self.id = host
        self._net = net

    @property
    def agent(self) -> Any:
        return agent_of(self._net, self.id)

    def ofport(self, bridge: str, port: str) -> int:
        """Of a patch or tunnel port; 0 while the host has not said."""
        return self.agent.ofports.get(bridge, {}).get(port, 0)

    def vif(self, port_id: str) -> int:
        """The ofport of a port's interface here; 0 while there is none whose link is up."""
        return vif_of(self._net, self.id, port_id)


# Where records matter.


@remembered
def agent_of(net: Net, host: str) -> Any:
    return next(iter(net.where("agent", host=host)), None)


@remembered
def vif_of(net: Net, host: str, port_id: str) -> int:
    agent = agent_of(net, host)
    return next((v.ofport for v in net.where("vif", port_id=port_id)
                 if v.agent_id == agent.id and v.link == "up"), 0) if agent else 0


@remembered
def hosts_of_network(net: Net, network_id: str) -> frozenset[str]:
    """The hosts that a port of the network is bound to."""
    return _known(net, net.values("port", "binding_host_id", network_id=network_id))


def _known(net: Net, hosts: Iterable[str]) -> frozenset[str]:
    return frozenset(h for h in hosts if h and agent_of(net, h))


def itself(agent: Any, net: Net) -> Iterable[str]:
    return (agent.host,)


def own_host(port: Any, net: Net) -> Iterable[str]:
    return _known(net, (port.binding_host_id,))


def hosts_of_its_network(port: Any, net: Net) -> Iterable[str]:
    """Everywhere its neighbours are, once it has a host itself."""
    return hosts_of_network(net, port.network_id) if port.binding_host_id else ()


def other_hosts_of_its_network(port: Any, net: Net) -> Iterable[str]:
    return frozenset(hosts_of_its_network(port, net)) - {port.binding_host_id} if own_host(port, net) else ()


def its_hosts(network: Any, net: Net) -> Iterable[str]:
    return hosts_of_network(net, network.id)


# The engine.

Key = tuple[Any, ...]
Entry = tuple[int, Any]
"""(cookie, flow); of the book (0, answer)"""


@dataclass
class Change:
    """What differs on one bridge: an added flow of a held key replaces it."""

    add: list[Entry] = field(default_factory=list)
    delete: list[Entry] = field(default_factory=list)


class Unit(NamedTuple):
    """A feature's flows for one record on one host."""

    feature: str
    id: str
    host: str


class Place(NamedTuple):
    """On which hosts a feature wants a record."""

    feature: str
    id: str


class Memo(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


Node = Unit | Place | Memo
Changes = dict[str, dict[str, Change]]
"""host → bridge → change"""


class Engine:
    def __init__(self, picture: Picture, features: Iterable[Feature]) -> None:
        self.picture = picture
        self.features = {f.name: f for f in features}
        self.wanted: dict[str, dict[str, dict[Key, Entry]]] = defaultdict(lambda: defaultdict(dict))
        self.contested: dict[tuple[str, str, Key], dict[Unit, Entry]] = {}
        """Places that several units claim; the smallest unit's flow stands, whatever the order of events."""
        self.failed: dict[Unit, Exception] = {}
        """Units whose feature raised: a fault in the feature."""
        self._net = Net(picture, self)
        self._reads: dict[Node, dict[Cell | Memo, None]] = {}
        self._readers: dict[Cell | Memo, dict[Node, None]] = {}
        self._noting: list[dict[Cell | Memo, None]] = []
        self._memos: dict[Memo, Any] = {}
        self._places: dict[Place, frozenset[str]] = {}
        self._flows: dict[Unit, list[Entry]] = {}
        self._owner: dict[tuple[str, str, Key], Unit] = {}
        self._dirty_memos: dict[Memo, None] = {}
        self._dirty_places: dict[Place, None] = {}
        self._dirty_units: dict[Unit, None] = {}
        self._before: dict[tuple[str, str, Key], Entry | None] = {}
        for feature in self.features.values():
            for record in picture.all(feature.kind):
                self._dirty_places[Place(feature.name, record.id)] = None
        self._run()
        self._before.clear()

    def update(self, touched: Iterable[Cell]) -> Changes:
        """The picture moved: derive what that touches; gives what differs per host and bridge."""
        for cell in touched:
            self._touch(cell)
            if cell[0] == "get":
                for feature in self.features.values():
                    if feature.kind == cell[1]:
                        self._dirty_places[Place(feature.name, cell[2])] = None
        self._run()
        changes: Changes = defaultdict(lambda: defaultdict(Change))
        for (host, bridge, key), before in self._before.items():
            after = self.wanted[host][bridge].get(key)
            if after == before:
                continue
            if after is not None:
                changes[host][bridge].add.append(after)
            elif before is not None:
                changes[host][bridge].delete.append(before)
        self._before.clear()
        return changes

    def owners(self, host: str, bridge: str, flow: Flow) -> list[Unit]:
        """Whose flow it is: the way from a switch back to the resources."""
        place = (host, bridge, flow.key)
        return list(self.contested.get(place, ())) or [u for u in (self._owner.get(place),) if u]

    def note(self, cell: Cell | Memo) -> None:
        if self._noting:
            self._noting[-1][cell] = None

    def recall(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        memo = Memo(function, arguments)
        if memo not in self._memos or memo in self._dirty_memos:
            self._recompute(memo)
        self.note(memo)
        return self._memos[memo]

    # Running what is dirty: memos until they stand still, then places, then units.

    def _run(self) -> None:
        while True:
            if self._dirty_memos:
                self._recompute(next(iter(self._dirty_memos)))
            elif self._dirty_places:
                place, _ = self._dirty_places.popitem()
                self._place(place)
            elif self._dirty_units:
                unit, _ = self._dirty_units.popitem()
                self._derive(unit)
            else:
                return

    def _recompute(self, memo: Memo) -> None:
        self._dirty_memos.pop(memo, None)
        had, before = memo in self._memos, self._memos.get(memo)
        if had and memo not in self._readers:
            self._forget(memo)  # nobody asks any more
            return
        value = self._evaluate(memo, lambda: memo.function(self._net, *memo.arguments))
        self._memos[memo] = value
        if had and value != before:
            self._touch(memo)

    def _place(self, place: Place) -> None:
        feature = self.features[place.feature]
        record = self.picture.get(feature.kind, place.id)
        before = self._places.get(place, frozenset())
        if record is None:
            after: frozenset[str] = frozenset()
            self._forget(place)
        else:
            after = self._evaluate(place, lambda: frozenset(self._noted_at(feature, place.id, record)))
        if after:
            self._places[place] = after
        else:
            self._places.pop(place, None)
        for host in before - after:
            unit = Unit(place.feature, place.id, host)
            self._dirty_units.pop(unit, None)
            self.failed.pop(unit, None)
            self._forget(unit)
            self._claim(unit, [])
        for host in after - before:
            self._dirty_units[Unit(place.feature, place.id, host)] = None

    def _noted_at(self, feature: Feature, id: str, record: Any) -> Iterable[str]:
        self.note(("get", feature.kind, id))
        return feature.at(record, self._net)

    def _derive(self, unit: Unit) -> None:
        feature = self.features[unit.feature]

        def flows() -> list[Entry]:
            record = self._net.get(feature.kind, unit.id)
            if record is None:
                return []
            here = Here(unit.host, self._net)
            entries = [_entry(feature, f) for f in feature.derive(record, self._net, here)]
            if len({f[:4] for _, f in entries}) < len(entries):
                raise ValueError(f"{feature.name} claims one (table, priority, match) twice")
            return entries

        try:
            entries = self._evaluate(unit, flows)
            self.failed.pop(unit, None)
        except Exception as error:  # noqa: BLE001 - a feature's fault is its resource's, and nobody else's
            self.failed[unit] = error
            entries = []
        self._claim(unit, entries)

    def _evaluate(self, node: Node, compute: Callable[[], Any]) -> Any:
        self._noting.append({})
        try:
            value = compute()
        finally:
            reads = self._noting.pop()
        before = self._reads.get(node, {})
        self._reads[node] = reads
        for cell in reads:
            if cell not in before:
                self._readers.setdefault(cell, {})[node] = None
        for cell in before:
            if cell not in reads:
                self._unread(cell, node)
        return value

    def _forget(self, node: Node) -> None:
        for cell in self._reads.pop(node, ()):
            self._unread(cell, node)
        if isinstance(node, Memo):
            self._memos.pop(node, None)
            self._dirty_memos.pop(node, None)

    def _unread(self, cell: Cell | Memo, node: Node) -> None:
        readers = self._readers.get(cell, {})
        readers.pop(node, None)
        if not readers:
            self._readers.pop(cell, None)
            if isinstance(cell, Memo):
                self._forget(cell)

    def _touch(self, cell: Cell | Memo) -> None:
        for node in self._readers.get(cell, ()):
            if isinstance(node, Memo):
                self._dirty_memos[node] = None
            elif isinstance(node, Place):
                self._dirty_places[node] = None
            else:
                self._dirty_units[node] = None

    def _claim(self, unit: Unit, entries: list[Entry]) -> None:
        """Set what a unit wants, and who stands where several want one place."""
        before = self._flows.pop(unit, [])
        if entries:
            self._flows[unit] = entries
        kept = {f[:4] for _, f in entries}
        for _, old in before:
            if old[:4] not in kept:
                self._withdraw((unit.host, old[0], old.key), unit)
        for entry in entries:
            self._stake((unit.host, entry[1][0], entry[1].key), unit, entry)

    def _stake(self, place: tuple[str, str, Key], unit: Unit, entry: Entry) -> None:
        owner = self._owner.get(place)
        if owner is None or owner == unit and place not in self.contested:
            self._stand(place, unit, entry)
            return
        host, bridge, key = place
        claims = self.contested.setdefault(place, {owner: self.wanted[host][bridge][key]})
        claims[unit] = entry
        first = min(claims)
        self._stand(place, first, claims[first])

    def _withdraw(self, place: tuple[str, str, Key], unit: Unit) -> None:
        claims = self.contested.get(place)
        if claims is None:
            self._stand(place, None, None)
            return
        claims.pop(unit, None)
        first = min(claims)
        self._stand(place, first, claims[first])
        if len(claims) == 1:
            del self.contested[place]

    def _stand(self, place: tuple[str, str, Key], unit: Unit | None, entry: Entry | None) -> None:
        host, bridge, key = place
        flows = self.wanted[host][bridge]
        self._before.setdefault(place, flows.get(key))
        if unit is None or entry is None:
            flows.pop(key, None)
            self._owner.pop(place, None)
        else:
            flows[key] = entry
            self._owner[place] = unit


def recompute(picture: Picture, features: Iterable[Feature]) -> dict[str, dict[str, dict[Key, Entry]]]:
    """Everything from nothing, by the plain definition: the yardstick of the engine's memory."""
    net = Net(picture)
    claims: dict[tuple[str, str, Key], dict[Unit, Entry]] = defaultdict(dict)
    for feature, record, host in _units(picture, net, features):
        for f in feature.derive(record, net, Here(host, net)):
            claims[host, f[0], f.key][Unit(feature.name, record.id, host)] = _entry(feature, f)
    wanted: dict[str, dict[str, dict[Key, Entry]]] = defaultdict(lambda: defaultdict(dict))
    for (host, bridge, key), units in claims.items():
        wanted[host][bridge][key] = units[min(units)]
    return wanted


def _entry(feature: Feature, wanted: Flow | Answer) -> Entry:
    return (cookie(feature.name, wanted) if isinstance(wanted, Flow) else 0), wanted


def _units(picture: Picture, net: Net, features: Iterable[Feature]) -> Iterator[tuple[Feature, Any, str]]:
    for feature in features:
        for record in picture.all(feature.kind):
            for host in feature.at(record, net):
                yield feature, record, host
