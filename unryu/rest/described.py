"""What a route of one's own says of itself, for the document (openapi.py). The verbs over nouns need not say it.

    @api.app.get("/v2.0/extensions")
    @described("List the extensions.", answers={200: {"extensions": [Extension]}})
    def list_extensions() -> Any: …

Bodies are drawn as examples: a dict is an object with just these keys, a list of one holds any number of that, a tuple
holds alternatives, a noun stands for its record, None for null, a value for its type, and a type for what pydantic
takes it for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from unryu.resource import Resource

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Call:
    """What the document says of a route."""

    summary: str
    answers: Mapping[int, Any]
    """Status → an example of what is said then; None: nothing."""
    body: Any = None
    query: Mapping[str, Any] | type[Resource] = field(default_factory=dict)
    """Argument → example; or a noun: whatever a list of it takes."""
    headers: tuple[str, ...] = ()
    """It cannot do without these."""
    faults: tuple[int, ...] = ()
    """Statuses of refusals, beside those that its shape implies."""
    public: bool = False
    """Needs no token."""
    guarded: bool = False
    """Takes If-Match."""


def described(summary: str, *, answers: Mapping[int, Any], **more: Any) -> Callable[[View], View]:
    """Say what a route does, in the words of `Call`. A route that says nothing fails a test."""
    def mark(view: View) -> View:
        vars(view)["call"] = Call(summary=summary, answers=answers, **more)
        return view

    return mark


@dataclass(frozen=True)
class Given:
    """In an example: what a caller gives of a noun in a verb."""

    noun: type[Resource]
    verb: str


@dataclass(frozen=True)
class Whole:
    """In an example: a record of which no `fields` were asked for, so that nothing is missing."""

    noun: type[Resource]


@dataclass(frozen=True)
class Page:
    """In an example: a page of the list of a noun."""

    noun: type[Resource]


@dataclass(frozen=True)
class Asked:
    """In an example: an object of which only those keys are there that `fields` asked for."""

    item: dict[str, Any]


@dataclass(frozen=True)
class Several:
    """In an example: a list of at least one of these, and no more than a call may have."""

    item: Any


@dataclass(frozen=True)
class Plain:
    """In an example: a schema as it is."""

    schema: Mapping[str, Any]
