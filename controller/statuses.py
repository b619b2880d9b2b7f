"""Port statuses on their way back to the top: written in batches, so that the loop never waits for the database's writers."""

import itertools
import threading
from collections.abc import Callable

from unryu.db import Database
from unryu.errors import Fault
from unryu.logs import log

BATCH = 500  # statuses in one transaction: what else wants to write waits no longer than for these
AGAIN = 0.5  # seconds


class Statuses(threading.Thread):
    def __init__(self, database: Database, good: Callable[[], bool], mine: Callable[[str], bool]) -> None:
        """`good`: whether we may speak at all, now; `mine`: whether of the ports of this host."""
        super().__init__(name="statuses", daemon=True)
        self.database = database
        self.good, self.mine = good, mine
        self._latest: dict[str, str] = {}
        self._condition = threading.Condition()
        self._stopping = False

    def set(self, port_id: str, status: str) -> None:
        with self._condition:
            self._latest[port_id] = status
            self._condition.notify()

    def forget(self, port_id: str) -> None:
        with self._condition:
            self._latest.pop(port_id, None)

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
                for port_id in batch:
                    del self._latest[port_id]
            if not batch or not self.good():
                return
            try:
                with self.database.transaction() as tx:
                    for port in tx.where("port", id=list(batch)):
                        # By its row of this moment: who it was given to meanwhile says what it is.
                        if port.status != batch[port.id] and self.mine(port.binding_host_id):
                            tx.update(port, status=batch[port.id])
                said = False
            except Fault as error:
                if not said:
                    log.warning("statuses of ports are not written; trying until they are", error=error.sentence)
                    said = True
                with self._condition:
                    self._latest = {**batch, **self._latest}
                    if self._stopping:
                        return
                    self._condition.wait(AGAIN)
