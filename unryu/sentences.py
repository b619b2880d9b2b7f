"""What is said of any noun, in one form: that it is not there, that others hold it."""

from typing import Any

from unryu.errors import Conflict, NotFound
from unryu.resource import Resource, nouns


def class_name(kind: str) -> str:
    return nouns[kind].__name__


def not_found(kind: str, id: str | None) -> NotFound:
    return NotFound(f"{class_name(kind)} {id} could not be found.", f"{class_name(kind)}NotFound")


def in_use(record: Resource, holders: list[Any]) -> Conflict:
    names = ", ".join(f"{h.kind} {h.id}" for h in holders[:5])
    names += f" and {len(holders) - 5} more" if len(holders) > 5 else ""
    return Conflict(f"{class_name(record.kind)} {record.id} is in use by {names}.", f"{class_name(record.kind)}InUse")
