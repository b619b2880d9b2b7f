"""A noun, said once: its declaration gives the table, the validator, the routes, the policy and the frozen record.

    class Network(Resource, kind="network", visible_if=("shared",)):
        admin_state_up: bool = field(True, put=True)
        mtu: int = field(1500, put=True, check=between(68, 65535))

An instance is the frozen record of one row. Behaviour is a method, only where the noun differs:
`before_create(self, tx, context)` and `before_update(self, tx, context, before)` give the record to store,
`before_delete(self, tx, context)` may refuse, `computed(tx, records, context)` adds what is not stored.
"""

import dataclasses
import re
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import sqlalchemy as sa

if typing.TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

metadata = sa.MetaData(naming_convention={
    "ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s", "pk": "pk_%(table_name)s",
})

nouns: dict[str, type["Resource"]] = {}
"""Every kind that was declared; filled by declarations, read by everybody."""


class Unset:
    """The value of an attribute that the caller left out, where leaving out differs from giving null."""

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Any = Unset()


@dataclasses.dataclass(frozen=True)
class Field:
    """One attribute of a noun. See `field()` for what each word means."""

    kind: str = ""
    name: str = ""
    type: Any = str
    default: Any = UNSET
    required: bool = False
    post: bool = True
    put: bool = False
    wire: str = ""
    ref: str | None = None
    own: bool = False
    shown: str = "shared"
    part: str = ""
    ondelete: str = "restrict"
    check: Callable[[Any], Any] | None = None
    observed: bool = False
    inert: bool = False
    secret: bool = False
    admin: bool = False
    hidden: bool = False
    internal: bool = False
    passing: bool = False
    chosen: bool = False
    unique: bool = False
    index: bool = False
    length: int = 255

    @cached_property
    def nullable(self) -> bool:
        return type(None) in typing.get_args(self.type)

    @cached_property
    def plain(self) -> Any:
        """The type without `None`."""
        if isinstance(self.type, types.UnionType) or typing.get_origin(self.type) is typing.Union:
            return next(a for a in typing.get_args(self.type) if a is not type(None))
        return self.type

    @cached_property
    def items(self) -> tuple[str, ...]:
        """The keys of the objects in a list of objects; of anything else there are none."""
        [item] = typing.get_args(self.plain) if typing.get_origin(self.plain) is list else [None]
        return tuple(typing.get_type_hints(item)) if isinstance(item, type) and hasattr(item, "__total__") else ()

    @cached_property
    def links(self) -> sa.Table | None:
        """A list of references, a second time: beside the row, where the database guards them and finds them by target."""
        if self.ref is None or typing.get_origin(self.plain) is not list:
            return None
        return sa.Table(
            f"{self.kind}_{self.name}", metadata,
            sa.Column("owner", sa.String(64), sa.ForeignKey(f"{self.kind}.id", ondelete="CASCADE"), primary_key=True),
            sa.Column("target", sa.String(64), sa.ForeignKey(f"{self.ref}.id"), primary_key=True, index=True),
        )

    @property
    def seen(self) -> bool:
        """Is it on the wire at all?"""
        return not (self.secret or self.internal)

    def column(self) -> sa.Column[Any]:
        one = self.ref is not None and self.links is None
        keys: list[Any] = [sa.ForeignKey(f"{self.ref}.id")] if one else []
        return sa.Column(
            self.name, _column_type(self), *keys, primary_key=self.name == "id", nullable=self.nullable,
            unique=self.unique or None, index=(self.index or one) and not self.unique or None,
        )


def _column_type(field: Field) -> Any:
    if field.plain is bool:
        return sa.Boolean()
    if field.plain is int:
        return sa.BigInteger()
    if field.plain is str:
        return sa.String(field.length) if field.length <= 255 else sa.Text()
    return sa.JSON()


def field(
    default: Any = UNSET, *, required: bool = False, post: bool = True, put: bool = False,
    wire: str = "", ref: str | None = None, own: bool = False, shown: str = "shared", part: str = "",
    ondelete: str = "restrict", check: Callable[[Any], Any] | None = None, observed: bool = False, inert: bool = False,
    secret: bool = False, admin: bool = False, hidden: bool = False, internal: bool = False, passing: bool = False,
    chosen: bool = False, unique: bool = False, index: bool = False, length: int = 255,
) -> Any:
    """Declare an attribute.

    `required` at creation; `post` and `put`: may be given when creating, changing. `wire`: its name on the wire where
    that is no identifier (`binding:host_id`). `ref`: the kind it points to (a foreign key; `ondelete` is `restrict`,
    `cascade`, or `clear`, where `cleared` says what is left; of a list, each item is one); `own`: the caller must own what
    it points to, not only see it; `shown`: as which of its `visible_if` others have to be shown it, to point to it. `part`: it
    is a part of what it points to, which shows it, counts its changes as its own, and has all its parts replaced under
    this word (`/security-groups/ID/rules`). `check`: takes the value, gives the
    one to keep or raises ValueError with a sentence. `observed`: a fact from below; never given by a person, bumps no
    revision number. `inert`: no flow depends on it, so a change of it wakes no derivation. `secret`: never in journal,
    log, fault or repr. `admin`: only an administrator may give it; `hidden`: only an administrator sees it;
    `internal`: nobody does. `passing`: given for `before_create` or `before_update` to act on, and never stored.
    `chosen`: where a body leaves it out, `before_create` finds UNSET, whatever the default, and chooses. `length` in characters.
    """
    return Field(
        default=default, required=required, post=post, put=put, wire=wire, ref=ref, own=own, shown=shown, part=part,
        ondelete=ondelete, check=check,
        observed=observed, inert=inert, secret=secret, admin=admin, hidden=hidden, internal=internal,
        passing=passing, chosen=chosen, unique=unique, index=index, length=length,
    )


class Resource:
    """The base of every noun, with the attributes that all share. `without=` in the class line drops some of them."""

    kind: ClassVar[str]
    fields: ClassVar[dict[str, Field]]
    passing: ClassVar[dict[str, Field]]
    """What is given and not stored."""
    table: ClassVar[sa.Table]
    service: ClassVar[str] = ""
    """The room that serves it: `network`, `identity`."""
    path: ClassVar[str] = ""
    """Below the API's version, `/security-group-rules`; `/floatingips/<floatingip_id>/port_forwardings` is below what that
    attribute refers to, of which it is a part. Empty: not on the wire."""
    within: ClassVar[str] = ""
    """The attribute in the path: no body need say it, and none may say otherwise."""
    word: ClassVar[str] = ""
    """What one is called on the wire, where that is not the kind: the key of its bodies."""
    plural: ClassVar[str] = ""
    owner: ClassVar[tuple[str, str]] = ("project_id", "project_id")
    """An attribute, and the word of the context that it equals where the caller owns it; without it all own it."""
    visible_if: ClassVar[tuple[str, ...]] = ()
    """Boolean attributes that show it to every project."""
    visible_with: ClassVar[str | None] = None
    """A reference: who sees that noun sees this one (a subnet with its network)."""
    visible_by: ClassVar[str | None] = None
    """The kind whose records (object_type, object_id, action, target_project_id) show it to other projects. What it is then in
    their eyes, of `visible_if`, is said by the action: `access_as_shared`."""
    quota: ClassVar[int | None] = None
    """How many a project may have unless its own quota says otherwise; -1: any number; None: not counted."""
    verbs: ClassVar[frozenset[str]] = frozenset(("list", "show", "create", "update", "delete"))
    roles: ClassVar[Mapping[str, str]] = {}
    """Role that a verb needs, where it is not reader (list, show) or member (create, update, delete)."""
    unique_together: ClassVar[tuple[tuple[str, ...], ...]] = ()
    adds: ClassVar[Mapping[str, Any]] = {}
    """What `computed` gives, for the document: name on the wire → type, or an example (rest/described.py)."""
    identity: ClassVar[tuple[str, ...]] = ()
    """What tells one from another, beside the id: a second one that is equal there is a 409 that names the first."""
    actions: ClassVar[Mapping[str, "Action"]] = {}
    default_if: ClassVar[str | None] = None
    """A boolean attribute of the one that every project has from the start; `Tx.default` makes it when it is first needed."""

    _plain: ClassVar[dict[str, Any]]
    _fresh: ClassVar[dict[str, Any]]
    """Defaults: those that all records share, and those of which each has its own."""

    id: str = field("", post=False, length=64)
    project_id: str | None = field(None, admin=True, length=64)
    name: str = field("", put=True, inert=True)
    description: str = field("", put=True, inert=True, length=1024)
    tags: list[str] = field([], post=False)
    created_at: str = field("", post=False, inert=True, length=32)
    updated_at: str = field("", post=False, inert=True, length=32)
    revision_number: int = field(0, post=False, inert=True)

    def __init_subclass__(cls, kind: str, without: Iterable[str] = (), **words: Any) -> None:
        if kind in nouns:
            raise ValueError(f"the kind {kind} is declared twice: {nouns[kind].__module__} and {cls.__module__}")
        for word, value in words.items():
            if word not in Resource.__annotations__:
                raise TypeError(f"{cls.__name__}: no such word in a noun's class line: {word}")
            setattr(cls, word, value)
        cls.kind = kind
        cls.service = cls.service or cls.__module__.split(".")[0]
        cls.word = cls.word or kind
        cls.plural = cls.plural or plural(cls.word)
        cls.path = "" if words.get("path") is None and "path" in words else cls.path or "/" + cls.plural.replace("_", "-")
        cls.within = "".join(re.findall(r"<(\w+)>", cls.path))
        hints = typing.get_type_hints(cls)
        declared = {**_shared(without), **{n: v for n, v in vars(cls).items() if isinstance(v, Field)}}
        attributes = {
            name: dataclasses.replace(f, kind=kind, name=name, type=hints[name], wire=f.wire or name)
            for name, f in declared.items()
        }
        cls.fields = {name: f for name, f in attributes.items() if not f.passing}
        cls.passing = {name: f for name, f in attributes.items() if f.passing}
        cls.actions = {name: value for name, value in vars(cls).items() if isinstance(value, Action)}
        defaults = {name: attributes[name].default if name in attributes else None for name in (*_shared(()), *attributes)}
        cls._fresh = {name: default for name, default in defaults.items() if isinstance(default, list | dict)}
        cls._plain = {name: default for name, default in defaults.items() if name not in cls._fresh}
        for name, default in defaults.items():
            setattr(cls, name, default)
        cls.table = sa.Table(
            kind, metadata, *(f.column() for f in cls.fields.values()),
            *(sa.UniqueConstraint(*columns) for columns in (*cls.unique_together, cls.identity) if columns),
            # A page of a project's own is read in the order of ids, and is not all of them.
            *([sa.Index(None, "project_id", "id")] if "project_id" in cls.fields else ()),
        )
        nouns[kind] = cls

    # A frozen dataclass would be the same; to make two dozen of them, with their code as text, took as long as their tables.

    def __init__(self, **values: Any) -> None:
        made = self._plain | {name: default.copy() for name, default in self._fresh.items()} | values
        if len(made) > len(self._plain) + len(self._fresh):
            unknown = sorted(made.keys() - self._plain.keys() - self._fresh.keys())
            raise TypeError(f"a {self.kind} has no {', '.join(unknown)}")
        self.__dict__.update(made)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} of a record is not changed: `replace` makes another record")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            getattr(self, name) == getattr(other, name) for name in (*self.fields, *self.passing))

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name, f in (self.fields | self.passing).items() if not f.secret)
        return f"{type(self).__name__}({', '.join(shown)})"

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """The record of a row or of a journal image; unknown columns are left alone (an older image)."""
        return cls(**{name: row[name] for name in cls.fields if name in row})

    @classmethod
    def from_columns(cls, row: Iterable[Any]) -> Self:
        """The record of a row of its table, past the constructor: a list has thousands of them."""
        record = cls.__new__(cls)
        record.__dict__.update(zip(cls.fields, row, strict=True))
        return record

    def row(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.fields}

    def image(self) -> dict[str, Any]:
        """The row as the journal keeps it: without secrets."""
        return {name: getattr(self, name) for name, f in self.fields.items() if not f.secret}

    def replace(self, **changes: Any) -> Self:
        return type(self)(**{**self.row(), **{name: getattr(self, name) for name in self.passing}, **changes})

    def stored(self) -> Self:
        """Without what was only passing."""
        return self.from_row(self.row()) if self.passing else self

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        return self

    def after_create(self, tx: "Tx", context: "Context") -> None:
        return

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        return self

    def before_delete(self, tx: "Tx", context: "Context") -> None:
        return

    def cleared(self, name: str) -> Self:
        """What is left when that is gone which this attribute points to."""
        return self.replace(**{name: None})

    def after_delete(self, tx: "Tx", context: "Context") -> None:
        return

    @classmethod
    def seeds(cls) -> Iterable[Self]:
        """What is there from the start: the migration that makes the table writes them."""
        return ()

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        """What is computed when records are read: id → attributes by their names on the wire; a page in one go."""
        return {}


def _shared(without: Iterable[str]) -> dict[str, Field]:
    dropped = set(without)
    return {n: v for n, v in vars(Resource).items() if isinstance(v, Field) and n not in dropped}


def plural(kind: str) -> str:
    """`policy` → `policies`, `address` → `addresses`, `port` → `ports`."""
    if re.search(r"[^aeiou]y$", kind):
        return kind[:-1] + "ies"
    return kind + ("es" if re.search(r"(s|x|ch|sh)$", kind) else "s")


def new_id() -> str:
    return str(uuid.uuid4())


def pointing_at(kind: str) -> list[tuple[type[Resource], Field]]:
    """Every (noun, attribute) that refers to this kind: what a delete has to look at."""
    return [(noun, f) for noun in nouns.values() for f in noun.fields.values() if f.ref == kind]


def parts_of(kind: str) -> list[tuple[type[Resource], Field]]:
    """Every (noun, attribute) whose records are parts of those of this kind."""
    return [(noun, f) for noun, f in pointing_at(kind) if f.part]


@dataclasses.dataclass(frozen=True)
class Action:
    """What is done to one record beside the verbs: `PUT /address-groups/ID/add_addresses`. See `action()`."""

    summary: str
    method: Callable[..., Any]
    body: Any
    answer: Any


def action(summary: str, body: Any, answer: Any = None) -> Callable[[Callable[..., Any]], Any]:
    """Make a method an action of the noun, under its name. `body`: a TypedDict, what a call must send. `answer`: an
    example of what is answered (rest/described.py) where that is not the record.

    The method takes (self, tx, context, body) where the caller may change the record, and gives what is answered: a
    record of the noun, or an object.
    """
    return lambda method: Action(summary, method, body, answer)
