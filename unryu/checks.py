"""Checks of attributes, for `field(check=…)`: they take a value, and give the one to keep or raise ValueError with a sentence."""

from collections.abc import Callable
from typing import Any


def says(**schema: Any) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """What a check allows, in the words of JSON Schema: for the document."""
    def mark(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
        vars(check)["schema"] = schema
        return check

    return mark


def between(low: int, high: int) -> Callable[[Any], Any]:
    @says(minimum=low, maximum=high)
    def check(value: int | None) -> int | None:
        if value is not None and not low <= value <= high:
            raise ValueError(f"{value} is not between {low} and {high}")
        return value

    return check


def one_of(*values: str) -> Callable[[Any], Any]:
    @says(enum=list(values))
    def check(value: str | None) -> str | None:
        if value is not None and value not in values:
            raise ValueError(f"{value!r} is none of {', '.join(values)}")
        return value

    return check
