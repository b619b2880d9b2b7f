"""PostgreSQL, with a limit on its silence: one that is frozen keeps its connections, answers TCP, and would be waited for for
ever. What TCP itself can notice is said in `journal.patience`."""

from functools import partial
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus

SILENCE = 15.0  # seconds for the answer to one statement, locks included


class Patient(psycopg.Connection[Any]):
    """It is given up where the server stays silent: nobody knows what became of what was asked."""

    patience = SILENCE

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval=interval, timeout=timeout or self.patience)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def limit(engine: sa.Engine, seconds: float) -> None:
    """From its next connection on."""
    sa.event.listen(engine, "do_connect", partial(_connect, seconds))


def _connect(seconds: float, dialect: Any, record: Any, words: Any, named: Any) -> Patient:
    connection = Patient.connect(*words, **named)
    connection.patience = seconds
    return connection
