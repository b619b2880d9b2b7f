"""What features give, by the plain definition: nothing remembered, nothing shared."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from controller.derive.standing import Entry, Key, Unit
from controller.derive.words import Answer, Feature, Here, Net
from controller.flow import Flow, Meter, cookie
from controller.picture import Picture


def recompute(picture: Picture, features: Iterable[Feature]) -> dict[str, dict[str, dict[Key, Entry]]]:
    """Everything from nothing, by the plain definition: the yardstick of the engine's memory."""
    net = Net(picture)
    claims: dict[tuple[str, str, Key], dict[Unit, Entry]] = defaultdict(dict)
    for feature in features:
        for record in picture.all(feature.kind):
            for host in feature.at(record, net):
                for wanted in feature.derive(record, net, Here(host, net)):
                    claims[host, wanted[0], wanted.key][Unit(feature.name, record.id, host)] = _entry(feature, wanted)
    found: dict[str, dict[str, dict[Key, Entry]]] = defaultdict(lambda: defaultdict(dict))
    for (host, bridge, key), units in claims.items():
        found[host][bridge][key] = units[min(units)]
    return found


def _entry(feature: Feature, wanted: Flow | Meter | Answer) -> Entry:
    return (cookie(feature.name, wanted) if isinstance(wanted, Flow) else 0), wanted


def claims_of(feature: Feature, derived: Iterable[Flow | Meter | Answer], before: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """`before`: what it gave the last time. Most of that is the same again, and so is its cookie."""
    held = dict(zip(before[::2], before[1::2], strict=True))
    claims: list[Any] = []
    for wanted in derived:
        key = wanted.key
        entry = held.get(key)
        claims += key, entry if entry and entry[1] == wanted else _entry(feature, wanted)
    if len({entry[1][:4] for entry in claims[1::2]}) < len(claims) // 2:
        raise ValueError(f"{feature.name} claims one (table, priority, match) twice")
    return tuple(claims)
