"""Structured logs: one JSON object a line on stderr, for services; the one place that configures them."""

import logging
import sys
from typing import Any

import structlog

log = structlog.get_logger()

# Without local variables: they hold passwords and tokens.
_tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def setup(name: str) -> None:
    """Call once at the start of a process. `name` is the service that speaks (`api`, `controller`)."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    structlog.configure(
        processors=[*shared, _tracebacks, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
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
