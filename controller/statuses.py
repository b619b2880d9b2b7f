"""Statuses on their way back to the top: written in batches, so that the loop never waits for the database's writers."""

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from unryu.db import Database
from unryu.errors import Fault
from unryu.logs import log

BATCH = 500  # statuses in one transaction: what else wants to write waits no longer than for these
AGAIN = 0.5  # seconds
KINDS = ("port", "floatingip")
"""Whose status is what switches have confirmed."""

Subject = tuple[str, str]
"""Its kind, its id."""


def ports_of(source: Any, floating: Any) -> list[Any]:
    """The ports that a floating IP leads to; `source` is a picture or a transaction."""
    forwarded = [] if floating.port_id else source.where("port_forwarding", floatingip_id=floating.id)
    ids = [floating.port_id] if floating.port_id else sorted({f.internal_port_id for f in forwarded})
    return [port for port in (source.get("port", id) for id in ids) if port is not None]


def host_of(source: Any, record: Any) -> str:
    """The host whose controller says what status it has: that of the port, or of the first."""
    ports = ports_of(source, record) if record.kind == "floatingip" else [record]
    return next((port.binding_host_id for port in ports), "")


class Statuses(threading.Thread):
    def __init__(self, database: Database, good: Callable[[], bool], mine: Callable[[str], bool]) -> None:
        """`good`: whether we may speak at all, now; `mine`: whether of what is on this host."""
        super().__init__(name="statuses", daemon=True)
        self.database = database
        self.good, self.mine = good, mine
        self._latest: dict[Subject, str] = {}
        self._condition = threading.Condition()
        self._stopping = False

    def set(self, subject: Subject, status: str) -> None:
        with self._condition:
            self._latest[subject] = status
            self._condition.notify()

    def forget(self, subject: Subject) -> None:
        with self._condition:
            self._latest.pop(subject, None)

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self.join(5)

    def run(self) -> None:
        said = False
        while True:
            with self._condition:
                while not (self._latest and self.good()) and not self._stopping:
                    self._condition.wait(AGAIN if self._latest else None)
                batch = dict(itertools.islice(self._latest.items(), BATCH))
                for subject in batch:
                    del self._latest[subject]
            if not batch or not self.good():
                return
            try:
                with self.database.transaction() as tx:
                    ids = defaultdict[str, list[str]](list)
                    for kind, id in batch:
                        ids[kind].append(id)
                    for record in (record for kind, each in ids.items() for record in tx.where(kind, id=each)):
                        # By its row of this moment: who it was given to meanwhile says what it is.
                        status = batch[record.kind, record.id]
                        if record.status != status and self.mine(host_of(tx, record)):
                            tx.update(record, status=status)
                said = False
            except Fault as error:
                if not said:
                    log.warning("statuses are not written; trying until they are", error=error.sentence)
                    said = True
                with self._condition:
                    self._latest = {**batch, **self._latest}
                    if self._stopping:
                        return
                    self._condition.wait(AGAIN)
