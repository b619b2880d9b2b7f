"""Random clouds: tenants with the same addresses, their routers, ways out and rules. Only said here; building.py makes it, and
model.py knows what it means."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.groups.rules import Rule, Words, random_rules
from tests.probes import TCP, UDP

TENANTS = ("demo", "alt", "admin")
INTERNET, TRANSIT = "internet", "transit"
PORTS = (81, 83, 443)  # (80 is the website's)
KINDS = ("vxlan", "vxlan", "geneve", "gre", "vlan")
PREFIXES = {4: ("10.70.0.0/16", "10.70.1.0/24", "10.70.2.11/32", "203.0.113.0/24", "0.0.0.0/0"),
            6: ("fd70::/16", "fd70:1::/64", "fd70:2::11/128", "2001:db8::/32")}
OFFICE = ["10.70.3.10/32", "10.70.1.10/31", "203.0.113.0/25", "fd70:1::10/126", "198.51.100.80/32"]
OPEN: list[Rule] = [{"direction": direction, "ethertype": f"IPv{version}"}
                    for direction in ("ingress", "egress") for version in (4, 6)]
DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass
class Network:
    name: str
    tenant: str
    kind: str
    mtu: int
    """0: what is usual for its kind, until it is built."""
    cidrs: dict[int, str]
    id: str = ""
    subnets: dict[int, str] = field(default_factory=dict)


@dataclass
class Guest:
    name: str
    tenant: str
    network: str
    host: str
    addresses: dict[int, str]
    groups: list[str] = field(default_factory=list)
    port: str = ""
    namespace: str = ""


@dataclass
class Router:
    name: str
    tenant: str
    networks: list[str]
    outside: bool
    snat: bool
    transit: int
    """Its number on the network that routers share; 0: it is not there."""
    routes: list[tuple[str, str]] = field(default_factory=list)
    id: str = ""
    own: dict[int, str] = field(default_factory=dict)
    """Its addresses outside."""

    def on_transit(self, version: int) -> str:
        return {4: f"10.79.0.{self.transit}", 6: f"fd79::{self.transit}"}[version]


class Forwarded(NamedTuple):
    protocol: int
    outer: int
    guest: str
    inner: int
    count: int


@dataclass
class Floating:
    router: str
    guest: str
    """Empty: its ports lead to several."""
    ports: list[Forwarded]
    id: str = ""
    address: str = ""


@dataclass
class Topology:
    words: dict[str, Words]
    networks: dict[str, Network] = field(default_factory=dict)
    guests: dict[str, Guest] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    floats: list[Floating] = field(default_factory=list)
    abroad: dict[str, str] = field(default_factory=dict)
    """Prefix → the router by which who is outside sends what is for it."""
    rules: dict[str, list[Rule]] = field(default_factory=dict)

    def __str__(self) -> str:
        """For who would build it by hand."""
        lines = [f"network {n.name}: {n.kind}, MTU {n.mtu}, {', '.join(n.cidrs.values())}" for n in self.networks.values()]
        lines += [f"guest {g.name} on {g.host}: {g.network}, {', '.join(g.addresses.values())}, groups {g.groups}"
                  for g in self.guests.values()]
        lines += [f"router {r.name}: {', '.join(r.networks)}{f', {r.on_transit(4)}' if r.transit else ''}; outside "
                  f"{', '.join(r.own.values()) or 'nothing'}{' with SNAT' if r.snat and r.outside else ''}; routes {r.routes}"
                  for r in self.routers.values()]
        lines += [f"floating {f.address} on {f.router}: {f.guest or f.ports}" for f in self.floats]
        lines += [f"outside {prefix} via {router}" for prefix, router in self.abroad.items()]
        lines += [f"group {group}: {rules}" for group, rules in self.rules.items()]
        return "\n".join(lines)


def ground(choose: random.Random, hosts: int, words: dict[str, Words]) -> Topology:
    """Networks and guests."""
    made = Topology(words)
    for tenant in TENANTS:
        for number in choose.sample(range(1, 5), choose.randint(1, 3)):
            cidrs = {4: f"10.70.{number}.0/24", 6: f"fd70:{number}::/64"}
            if choose.random() < 0.2:
                del cidrs[6]
            name = f"{tenant}-{number}"
            made.networks[name] = Network(name, tenant, choose.choice(KINDS), choose.choice((0, 0, 0, 1400, 1300)), cidrs)
            for end in choose.sample(range(10, 13), choose.randint(1, 2)):
                guest = f"{tenant}{number}{end}"
                addresses = {4: f"10.70.{number}.{end}", 6: f"fd70:{number}::{end}"}
                made.guests[guest] = Guest(guest, tenant, name, f"h{choose.randint(1, hosts)}",
                                           {version: addresses[version] for version in cidrs})
    made.networks[TRANSIT] = Network(TRANSIT, "admin", choose.choice(KINDS), 0, {4: "10.79.0.0/24", 6: "fd79::/64"})
    return made


def join(choose: random.Random, made: Topology) -> None:
    """All that is between the networks, and what may pass, anew."""
    made.routers = {router.name: router for router in _routers(choose, made)}
    for router in made.routers.values():
        router.routes = list(_routes(choose, made, router))
    made.abroad = {}
    for router in made.routers.values():
        behind = [r for r in made.routers.values() if router.transit and any(
            hop == router.on_transit(4) and prefix == DEFAULT[4] for prefix, hop in r.routes)]
        for network in (made.networks[name] for each in (router, *behind) for name in each.networks):
            for version, cidr in network.cidrs.items():
                if router.outside and (version == 6 or not router.snat):
                    made.abroad.setdefault(cidr, router.name)
    made.floats = [floating for router in made.routers.values() if router.outside for floating in _floats(choose, made, router)]
    made.rules = {}
    for words in made.words.values():
        first, *others = words.groups
        made.rules |= {first: OPEN} | {group: random_rules(choose, words) for group in others}
    for guest in made.guests.values():
        groups = made.words[guest.tenant].groups
        guest.groups = list(groups[:1]) if choose.random() < 0.6 else choose.sample(groups, choose.randint(0, 2))


def _routers(choose: random.Random, made: Topology) -> Iterator[Router]:
    places = iter(range(1, 20))
    for tenant in TENANTS:
        mine = [network.name for network in made.networks.values() if network.tenant == tenant and network.name != TRANSIT]
        shares: list[list[str]] = [[], []]
        for network in mine:
            if choose.random() < 0.9:
                shares[choose.random() < 0.4].append(network)
        for number, networks in enumerate(filter(None, shares)):
            yield Router(f"{tenant}-r{number}", tenant, networks, outside=choose.random() < 0.75, snat=choose.random() < 0.65,
                         transit=next(places) if choose.random() < 0.6 else 0)


def _routes(choose: random.Random, made: Topology, router: Router) -> Iterator[tuple[str, str]]:
    """To what is behind others on the shared network; and, of who has no way out, by one that has."""
    others = [other for other in made.routers.values() if other is not router and other.transit]
    choose.shuffle(others)
    taken = {cidr for name in router.networks for cidr in made.networks[name].cidrs.values()}
    for other in others if router.transit else ():
        for network in (made.networks[name] for name in other.networks):
            if choose.random() < 0.7 and not taken & set(network.cidrs.values()):
                taken |= set(network.cidrs.values())
                yield from ((cidr, other.on_transit(version)) for version, cidr in network.cidrs.items())
    leading = [other for other in others if other.outside]
    if router.transit and not router.outside and leading and choose.random() < 0.6:
        yield from ((prefix, leading[0].on_transit(version)) for version, prefix in DEFAULT.items())


def _floats(choose: random.Random, made: Topology, router: Router) -> Iterator[Floating]:
    inside = [guest.name for guest in made.guests.values() if guest.network in router.networks]
    whole = [guest for guest in inside if choose.random() < 0.45]
    yield from (Floating(router.name, guest, []) for guest in whole)
    shared = [guest for guest in inside if guest not in whole]
    if shared and choose.random() < 0.7:
        one, other, third = (choose.choice(shared) for _ in range(3))
        low, middle, high = PORTS
        yield Floating(router.name, "", [Forwarded(TCP, 8080, one, low, 1), Forwarded(UDP, 8443, other, high, 1),
                                         Forwarded(choose.choice((TCP, UDP)), 9080, third, middle - 1, 4)])
