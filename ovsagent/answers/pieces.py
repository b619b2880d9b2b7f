"""Pieces of datagrams: which ports they are of, the first of them says for all."""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from ovsagent.answers.nat import ports

MOST = 256          # datagrams that are remembered, 24 MB at worst; of whom most of them are, the oldest makes room
HELD = 64           # pieces of one that wait for the first
SECONDS = 5.0       # for which a datagram is remembered: then its number may be another's


@dataclass
class Datagram:
    payer: int
    since: float
    ports: tuple[int, int] | None = None
    waiting: list[bytes] = field(default_factory=list)


class Pieces:
    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Datagram] = OrderedDict()

    def together(self, number: int, packet: bytes, payer: int, now: float) -> tuple[tuple[int, int], list[bytes]]:
        """The ports, and all the pieces that may go on now: this one, and those that came before the first. None, as long as that
        has not come. `payer`: at whose expense they wait."""
        key = number.to_bytes(2, "big") + packet[4:6] + packet[9:10] + packet[12:20]
        held = self._known.get(key)
        if held is None or now - held.since > SECONDS:
            held = self._known[key] = Datagram(payer, now)
            self._known.move_to_end(key)
            if len(self._known) > MOST:
                most = Counter(each.payer for each in self._known.values()).most_common(1)[0][0]
                del self._known[next(key for key, each in self._known.items() if each.payer == most)]
        if not int.from_bytes(packet[6:8], "big") & 0x1FFF:
            held.ports, held.since = ports(packet), now
        if held.ports is None:
            if len(held.waiting) < HELD:
                held.waiting.append(packet)
            return (0, 0), []
        ready, held.waiting = [packet, *held.waiting], []
        return held.ports, ready
