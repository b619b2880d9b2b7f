"""Which hosts' switches do not come to this controller: where several share the hosts, another may have them."""

from collections.abc import Set

PATIENCE = 10.0  # seconds: a switch that was restarted, or cut off for a moment, comes back to whom it knows


class Reach:
    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._unreached: set[str] = set()
        self._since: dict[str, float] = {}
        """Hosts that are away and were not, or the other way round: since when."""

    def judge(self, ours: Set[str], there: Set[str], known: Set[str], now: float) -> frozenset[str]:
        """The hosts to give up, of those known, while these are `ours` and the switches of those are `there`. What we gave up we
        want back when it has stayed as long as it was missed; at once where nobody else could take it."""
        moving = ((ours - there) - self._unreached) | ((there & self._unreached) - ours)
        since = {host: self._since.get(host, now) for host in moving}
        late = {host for host in moving if now - since[host] >= self.patience}
        self._since = {host: since[host] for host in moving - late}
        self._unreached = (self._unreached ^ late) & known - (ours & there)
        return frozenset(self._unreached)
