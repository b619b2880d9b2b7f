"""Structured logs: one JSON object a line on stderr, for services; the one place that configures them.

The standard library's `logging`, which libraries speak through anyway, with facts beside the sentence: a library for that took
longer to import than SQLAlchemy's engine.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any


class _Log:
    """`log.info("a new host", host="h1")`: a sentence, and facts that a program finds by name."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def info(self, event: str, **facts: Any) -> None:
        self._say(logging.INFO, event, **facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._say(logging.WARNING, event, **facts)

    def error(self, event: str, **facts: Any) -> None:
        self._say(logging.ERROR, event, **facts)

    def critical(self, event: str, **facts: Any) -> None:
        self._say(logging.CRITICAL, event, **facts)

    def _say(self, level: int, event: str, exc_info: BaseException | None = None, **facts: Any) -> None:
        self._logger.log(level, event, exc_info=exc_info, extra={"facts": facts})


log = _Log(logging.getLogger("unryu"))


class _Json(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        line = {**vars(record).get("facts", {"logger": record.name}), "event": record.getMessage(), "process": self.process,
                "level": record.levelname.lower(), "at": at}
        if record.exc_info:  # without local variables: they hold passwords and tokens
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)


class _Lenient(logging.StreamHandler[Any]):
    """A full disk loses our lines, never our work: whoever logs has something else to do."""

    def handleError(self, record: logging.LogRecord) -> None:
        from unryu.metrics import lines_lost  # not sooner: the API says first where its workers' counts are kept

        lines_lost.inc()


def setup(name: str) -> None:
    """Call once at the start of a process. `name` is the service that speaks (`api`, `controller`)."""
    handler = _Lenient(sys.stderr)
    handler.setFormatter(_Json(name))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("unryu").setLevel(logging.INFO)
