"""Drift: what a switch holds that is not what was pushed; whose flows are not ours to judge; which switch is looked at next."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from controller.derive import Entry
from controller.flow import Flow, Meter
from controller.flow.words import LEARNED, REMEMBERED, cookie, feature_number
from controller.openflow.wire import Installed
from controller.pipeline import LEARNED_TABLES, METERS

SHOWN = 10
"""Differences of one reading that are logged as text; the others are counted."""
SENTENCES = {
    "missing": "a switch lacks a flow: it is put back",
    "changed": "a switch holds a flow that somebody changed: it is put right",
    "stranger": "a switch holds a flow that nobody wants: it is removed",
}


class Difference(NamedTuple):
    kind: str
    """missing, changed or stranger"""
    entry: Entry
    """What is wanted; of a stranger, what it is."""
    held: Flow | Meter | None = None
    """What was found in its place."""


def difference(have: Iterable[Entry], want: Iterable[Entry]) -> Iterator[Difference]:
    # A changed flow may have kept its cookie (mod-flows does that): it must be replaced, never deleted after its place was
    # taken by the right one, so there is one difference for a place and not an add and a delete.
    held = {entry[1].key: entry for entry in have}
    for entry in want:
        found = held.pop(entry[1].key, None)
        if found is None:
            yield Difference("missing", entry)
        elif found != entry:
            yield Difference("changed", entry, found[1])
    for entry in held.values():
        yield Difference("stranger", entry)


class Cookies(NamedTuple):
    """A range of cookies: those that equal the value where the mask has ones."""

    value: int
    mask: int

    def __contains__(self, cookie: object) -> bool:
        return isinstance(cookie, int) and not (cookie ^ self.value) & self.mask


def kept_cookies(said: Sequence[str], features: Iterable[str]) -> list[Cookies]:
    """The ranges that an administrator keeps for himself, such as 0xad00000000000000/0xff00000000000000."""
    ranges = []
    for words in said:
        if not (found := re.fullmatch(r"0x([0-9a-f]{1,16})/0x([0-9a-f]{1,16})", words.strip().lower())):
            raise ValueError(f"keep_cookies: {words!r} is no range of cookies; say it as 0xad00000000000000/0xff00000000000000.")
        kept = Cookies(int(found[1], 16), int(found[2], 16))
        for feature in (*features, LEARNED):  # its number is the upper 16 bits; of the lower 48 a feature may have any
            if not (feature_number(feature) << 48 ^ kept.value) & kept.mask & 0xFFFF << 48:
                raise ValueError(f"keep_cookies: {words} holds cookies of the feature {feature} "
                                 f"({feature_number(feature):#06x}…): keep another range.")
        ranges.append(kept)
    return ranges


LeftAlone = Callable[[Installed], bool]


def left_alone(kept: Sequence[Cookies]) -> LeftAlone:
    """Whether a flow, or a meter, on one of our switches is somebody else's to judge. The one place that says so."""

    def judge(installed: Installed) -> bool:
        flow = installed.flow
        if isinstance(flow, Meter):
            return flow.number not in METERS
        learned = (flow.bridge, flow.table) in LEARNED_TABLES and (
            installed.cookie == cookie(LEARNED, flow) or installed.cookie >> 16 == REMEMBERED >> 16)
        return learned or any(installed.cookie in cookies for cookies in kept)

    return judge


def following(places: Iterable[int], last: int) -> int | None:
    """The next of these after the last, around and around: whoever comes and goes, nobody is left out."""
    order = sorted(places)
    return next((place for place in order if place > last), order[0] if order else None)
