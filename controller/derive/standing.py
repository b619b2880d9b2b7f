"""What stands on every bridge, and who: one flow a key, whoever else claims it."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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


Changes = dict[str, dict[str, Change]]
"""host → bridge → change"""
Spot = tuple[str, str, Key]
"""host, bridge, key"""


class Standing:
    def __init__(self, owner: Callable[[str, Key, Entry, Unit], Unit]) -> None:
        """`owner`: whose the entry is that stands uncontested, and not this unit's. Asked only where two claim a key, which
        is rare: to remember it for each would cost more than the flows."""
        self.wanted: dict[str, dict[str, dict[Key, Entry]]] = defaultdict(lambda: defaultdict(dict))
        self.contested: dict[Spot, dict[Unit, Entry]] = {}
        """Where several units claim one key; the smallest unit's flow stands, whatever the order of events."""
        self._owner = owner
        self._before: dict[Spot, Entry | None] | None = None

    def begin(self) -> None:
        self._before = {}

    def changes(self) -> Changes:
        """What differs since the beginning."""
        changes: Changes = defaultdict(lambda: defaultdict(Change))
        for (host, bridge, key), before in (self._before or {}).items():
            after = self.wanted[host][bridge].get(key)
            if after == before:
                continue
            if after is not None:
                changes[host][bridge].add.append(after)
            elif before is not None:
                changes[host][bridge].delete.append(before)
        self._before = None
        return changes

    def claim(self, unit: Unit, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
        if before is after:
            return
        held = {(entry[1][0], key): entry for key, entry in zip(before[::2], before[1::2], strict=True)}
        for key, entry in zip(after[::2], after[1::2], strict=True):
            mine = held.pop((entry[1][0], key), None)
            if mine != entry:
                self._stake((unit.host, entry[1][0], key), unit, entry, mine is not None)
        for bridge, key in held:
            self._withdraw((unit.host, bridge, key), unit)

    def _stake(self, spot: Spot, unit: Unit, entry: Entry, mine: bool) -> None:
        host, bridge, key = spot
        flows = self.wanted[host][bridge]
        standing = flows.get(key)
        claims = self.contested.get(spot)
        if claims is None:
            if standing is None or mine:
                if self._before is not None:
                    self._before.setdefault(spot, standing)
                flows[key] = entry
                return
            claims = self.contested[spot] = {self._owner(host, key, standing, unit): standing}
        claims[unit] = entry
        self._stand(spot, claims[min(claims)])

    def _withdraw(self, spot: Spot, unit: Unit) -> None:
        claims = self.contested.get(spot)
        if claims is None:
            self._stand(spot, None)
            return
        claims.pop(unit, None)
        self._stand(spot, claims[min(claims)])
        if len(claims) == 1:
            del self.contested[spot]

    def _stand(self, spot: Spot, entry: Entry | None) -> None:
        host, bridge, key = spot
        flows = self.wanted[host][bridge]
        if self._before is not None:
            self._before.setdefault(spot, flows.get(key))
        if entry is None:
            flows.pop(key, None)
        else:
            flows[key] = entry
