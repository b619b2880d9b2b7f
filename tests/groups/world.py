"""Three tenants with the same addresses, four guests each, on all hosts; and what they say to each other."""

import random
from dataclasses import dataclass, field
from typing import Any

from tests.clouds import RunningCloud
from tests.groups.rules import Words

TENANTS = ("demo", "alt", "admin")


@dataclass
class Guest:
    tenant: str
    name: str
    port: str
    namespace: str
    addresses: dict[int, str]
    groups: list[str] = field(default_factory=list)


@dataclass
class Tenant:
    network: Any
    """Of the SDK."""
    words: Words


@dataclass
class World:
    cloud: RunningCloud
    tenants: dict[str, Tenant]
    guests: list[Guest]
    rules: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Group → rules, as they were sent."""

    def scatter(self, choose: random.Random) -> None:
        """Every guest to some host, as if it had always been there."""
        for guest in self.guests:
            self.cloud.unplug(guest.name)
            self.cloud.plug(guest.port, f"h{choose.randint(1, self.cloud.hosts)}", guest.name, "--static")

    def settle(self) -> None:
        """Until both hosts hold what was last said."""
        assert self.cloud.settled()

    def say(self, tenant: str, group: str, rules: list[dict[str, Any]]) -> None:
        self.rules[group] = rules
        path = f"/security-groups/{group}/rules"
        answer = self.tenants[tenant].network.put(path, json={"security_group_rules": rules})
        assert answer.status_code == 200, answer.text

    def join(self, guest: Guest, groups: list[str]) -> None:
        guest.groups = groups
        self.tenants[guest.tenant].network.update_port(guest.port, security_group_ids=groups)
