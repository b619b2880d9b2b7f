"""Structured logs: one JSON object a line on stderr, for services; the one place that configures them."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

import structlog

log = structlog.get_logger()

# Without local variables: they hold passwords and tokens.
_tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


class _Lenient:
    """A full disk loses our lines, never our work: whoever logs has something else to do."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with self._lost():
            self._file.write(text)

    def flush(self) -> None:
        with self._lost():
            self._file.flush()

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            from unryu.metrics import lines_lost  # not sooner: the API says first where its workers' counts are kept

            lines_lost.inc()


def setup(name: str) -> None:
    """Call once at the start of a process. `name` is the service that speaks (`api`, `controller`)."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    structlog.configure(
        processors=[*shared, _tracebacks, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Lenient(sys.stderr))),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=name)
    # Libraries that speak through `logging` (gunicorn, os-ken, alembic) come out in the same form.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    _tracebacks, structlog.processors.JSONRenderer()],
    ))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
