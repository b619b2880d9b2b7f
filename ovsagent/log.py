"""Log lines on stderr: time, level, who, a sentence, and its facts as key=value."""

import logging
import sys

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class KeyValue(logging.Formatter):
    default_time_format, default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {key}={_quoted(value)}" for key, value in vars(record).items() if key not in _STANDARD)
        return super().format(record) + facts


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if any(character in text for character in " \n\"'=") or not text else text


def setup(name: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValue(f"%(asctime)s %(levelname)s {name}.%(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
