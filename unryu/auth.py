"""From a token to a context, and from a context to "may it?".

Identity is asked once per new token; the answer is remembered until a journal entry of the identity service touches
one of the ids in it. Policy is oslo.policy's, decided once per request; `policy.yaml` in the state folder overrides.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from unryu import journal
from unryu.config import state_dir
from unryu.errors import Forbidden, Unauthorized, Unavailable
from unryu.resource import Resource, nouns

REMEMBERED = 10_000
"""Answers of identity, and decisions of the policy, that a process keeps."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """Who asks, for which project (or domain, or the system), with which roles. `Policy.context` makes it."""

    user_id: str = ""
    project_id: str | None = None
    domain_id: str | None = None
    roles: frozenset[str] = frozenset()
    is_admin: bool = False
    """The administrator of the whole cloud, by the rule `context_is_admin`; the role alone says nothing."""
    itself: bool = False
    """The cloud acts, on behalf of whoever asks."""
    request_id: str = ""
    token: dict[str, Any] = field(default_factory=dict, repr=False)
    """The token as identity describes it."""

    def owns(self, record: Resource) -> bool:
        mine, whose = record.owner
        if self.is_admin or mine not in record.fields:
            return True
        own = getattr(self, whose)
        return own is not None and getattr(record, mine) == own  # without a project nothing is ours, not even nobody's

    def elevated(self) -> "Context":
        """For what follows from a call: a tenant's router gets a port on a network that is not the tenant's."""
        return replace(self, is_admin=True, itself=True)


Ask = Callable[[str], dict[str, Any] | None]
"""token → the `token` object of `GET /v3/auth/tokens`, or None where identity does not know it."""


class Tokens:
    """Remembers what identity said of each token."""

    def __init__(self, ask: Ask, service: str = "identity", clock: Callable[[], float] = time.time) -> None:
        self.ask = ask
        self.service = service
        self.clock = clock
        self._known: dict[bytes, tuple[float, frozenset[str], dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._generation = 0

    def describe(self, token: str) -> dict[str, Any]:
        """The token object; 401 in a sentence where there is none."""
        key = hashlib.sha256(token.encode()).digest()  # a token is a secret: not even our memory holds it
        known = self._known.get(key)
        if known and known[0] > self.clock():
            return known[2]
        generation = self._generation
        answer = self.ask(token)
        if answer is None:
            raise Unauthorized("The token is unknown, revoked or expired. Ask for a new one.")
        expires = datetime.fromisoformat(answer["expires_at"]).timestamp()
        with self._lock:
            if generation == self._generation:  # else something was revoked while we asked
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[key] = (expires, frozenset(_ids(answer)), answer)
        return answer

    def forget(self, entries: Iterable[journal.Entry]) -> None:
        touched: set[str] = set()
        for entry in entries:
            noun = nouns.get(entry.kind)
            if noun is not None and noun.service == self.service:
                touched.add(entry.id)
                for image in (entry.before, entry.after):
                    touched.update(v for v in (image or {}).values() if isinstance(v, str) and v)
        if touched:
            with self._lock:
                self._generation += 1
                self._known = {k: v for k, v in self._known.items() if not v[1] & touched}

    def forget_all(self) -> None:
        with self._lock:
            self._generation += 1
            self._known = {}

    def follow(self, database: Any, stop: threading.Event) -> None:
        """Run in a thread: forget what the journal touches."""
        feed = journal.Feed(database, -1, self.service)
        while not stop.is_set():
            try:
                if feed.revision < 0:
                    with database.reading() as tx:
                        feed.revision = journal.head(tx.connection)
                feed.wait(1.0)
                self.forget(feed.read())
            except journal.Trimmed:
                feed.revision = -1
                self.forget_all()
            except Unavailable:
                self.forget_all()  # what we cannot check we do not trust
                stop.wait(1.0)
        feed.close()


def _ids(answer: Any) -> Iterable[str]:
    """Every id said anywhere in a token's description; the system's is `all`."""
    if isinstance(answer, dict):
        for key, value in answer.items():
            if key in ("id", "audit_ids", "system"):
                yield from [value] if isinstance(value, str) else value
            elif key != "catalog":
                yield from _ids(value)
    elif isinstance(answer, list):
        for item in answer:
            yield from _ids(item)


ROLES = {
    # The two words are Keystone's; an identity service without an admin project says neither, and means any.
    "context_is_admin": "role:admin and (system_scope:all or is_admin_project:True)",
    "admin": "rule:context_is_admin",
    "member": "role:member or role:admin",
    "reader": "role:reader or role:member or role:admin",
    "anyone": "@",
}
"""Names for `roles=` of a noun, and rules for `policy.yaml`."""
DEFAULT_ROLE = {"list": "reader", "show": "reader", "create": "member", "update": "member", "delete": "member"}


class Policy:
    """Rules `create_network`, `list_port`, …: the role that a verb on a noun needs, from the declarations."""

    def __init__(self, served: Iterable[type[Resource]]) -> None:
        from oslo_config import cfg
        from oslo_policy import policy

        conf = cfg.ConfigOpts()
        conf([], project="unryu", default_config_files=[], default_config_dirs=[])
        self._file = state_dir() / "policy.yaml"
        self._enforcer = policy.Enforcer(conf, policy_file=str(self._file), use_conf=True)
        self._decided: tuple[int, dict[Any, bool]] = (0, {})
        for name, check in ROLES.items():
            self._enforcer.register_default(policy.RuleDefault(name, check))
        self._of_projects = {noun.kind for noun in served if "project_id" in noun.fields}
        for noun in served:
            for verb in noun.verbs:
                role = noun.roles.get(verb, DEFAULT_ROLE[verb])
                self._enforcer.register_default(policy.RuleDefault(f"{verb}_{noun.kind}", f"rule:{role}"))
        self._enforcer.load_rules()

    def context(self, tokens: Tokens, token: str | None, request_id: str) -> Context:
        if not token:
            raise Unauthorized("This call needs a token in the header X-Auth-Token.")
        return self.read(tokens.describe(token), request_id)

    def read(self, about: dict[str, Any], request_id: str = "") -> Context:
        """What a token's description means here."""
        context = Context(
            user_id=about["user"]["id"], project_id=about.get("project", {}).get("id"),
            domain_id=about.get("domain", {}).get("id"), roles=frozenset(r["name"] for r in about.get("roles", ())),
            request_id=request_id, token=about,
        )
        return replace(context, is_admin=self.allows(context, "context_is_admin"))

    def allows(self, context: Context, rule: str) -> bool:
        """Decided once for a rule and a bearer, until the file changes."""
        about = context.token
        credentials = {
            "roles": context.roles, "user_id": context.user_id, "project_id": context.project_id,
            "domain_id": context.domain_id, "system_scope": "all" if about.get("system") else None,
            "is_admin_project": "project" in about and about.get("is_admin_project", True),
        }
        written = self._file.stat().st_mtime_ns if self._file.exists() else 0
        then, decided = self._decided
        if then != written or len(decided) >= REMEMBERED:
            decided = {}
            self._decided = written, decided
        key = (rule, *credentials.values())
        if key not in decided:
            decided[key] = bool(self._enforcer.enforce(rule, {}, {**credentials, "roles": list(context.roles)}))
        return decided[key]

    def check(self, context: Context, verb: str, kind: str) -> None:
        rule = f"{verb}_{kind}"
        if kind in self._of_projects and context.project_id is None and not context.is_admin:
            raise Forbidden(f"{rule} needs a token of a project.")
        if not self.allows(context, rule):
            roles = ", ".join(sorted(context.roles)) or "none"
            raise Forbidden(f"Your roles in this project ({roles}) do not allow {rule}.")
