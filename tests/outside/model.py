"""What a cloud's words mean: a packet goes from node to node as in any network, and as the API says that it is translated.

Written from what Neutron's API promises, without a thought of how it is done here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import NamedTuple

from tests.groups.rules import allows
from tests.outside.topologies import DEFAULT, INTERNET, TRANSIT, Floating, Guest, Topology
from tests.outside.world import ROUTER, ROUTER6, WEB, WEB6
from tests.probes import ICMP, ICMPV6, UDP, Packet, Probe
from topology.internet import MTU

EXPIRED, NO_ROUTE, NO_PORT, TOO_LARGE = ({4: (11, 0), 6: (3, 0)}, {4: (3, 0), 6: (1, 0)}, {4: (3, 3), 6: (1, 4)},
                                         {4: (3, 4), 6: (2, 0)})
ECHO = ICMP, ICMPV6
OUTSIDE = INTERNET  # the network's name, and that of who is there


@dataclass
class Node:
    name: str
    legs: list[tuple[str, IPv4Interface | IPv6Interface]]
    """(network, address there)"""
    routes: list[tuple[str, str]]
    forwards: bool = True
    outside: str = ""
    """The network by which it leads out, if it translates what leaves."""
    snat: str = ""

    def addresses(self) -> set[str]:
        return {str(leg.ip) for _, leg in self.legs}

    def way(self, target: str) -> tuple[str, str] | None:
        """The network and the next hop: of the longest prefix; what it is on itself first."""
        found = [(leg.network.prefixlen, 1, network, target) for network, leg in self.legs if ip_address(target) in leg.network]
        for prefix, hop in self.routes:
            if ip_address(target) in ip_network(prefix):
                found += [(ip_network(prefix).prefixlen, 0, n, hop) for n, leg in self.legs if ip_address(hop) in leg.network]
        return max(found)[2:] if found else None


class Flight(NamedTuple):
    source: str
    target: str
    protocol: int
    port: int


class Turn(NamedTuple):
    """A translation."""

    router: str
    before: Flight
    after: Flight


class Hop(NamedTuple):
    router: str
    speaks: frozenset[str]
    """The address under which the router says what becomes of a packet."""
    mtu: int
    """Of where it sends it."""


@dataclass
class Landing:
    at: str
    """Empty: nobody took it."""
    flight: Flight
    turns: list[Turn]
    hops: list[Hop]
    told: frozenset[str] = frozenset()
    """Who says that there is no way."""
    sure: bool = True
    """Do the words say it?"""
    abroad: bool = False
    """Was it outside?"""


class Expected(NamedTuple):
    """None: the words do not say."""

    arrives: tuple[str, str] | tuple[()] | None
    answered: bool | None
    told: tuple[tuple[int, int], frozenset[str], int] | None = None
    hops: tuple[Hop, ...] = ()


NOTHING, UNSAID = Expected((), False), Expected(None, None)


class Model:
    def __init__(self, of: Topology) -> None:
        self.of = of
        self.mtu = {name: network.mtu for name, network in of.networks.items()} | {OUTSIDE: MTU}
        self.nodes = {OUTSIDE: Node(OUTSIDE, [(where, ip_interface(address)) for where, address in (
            (OUTSIDE, f"{ROUTER}/24"), (OUTSIDE, f"{ROUTER6}/64"), ("lo", WEB), ("lo", WEB6))],
            [(cidr, of.routers[name].own[ip_network(cidr).version]) for cidr, name in of.abroad.items()])}
        for guest in of.guests.values():
            cidrs = of.networks[guest.network].cidrs
            self.nodes[guest.name] = Node(
                guest.name, [(guest.network, _leg(address, cidrs[version])) for version, address in guest.addresses.items()],
                [(DEFAULT[version], first(cidr)) for version, cidr in cidrs.items()], forwards=False)
        for router in of.routers.values():
            legs = [(name, _leg(first(cidr), cidr)) for name in router.networks for cidr in of.networks[name].cidrs.values()]
            if router.transit:
                legs += [(TRANSIT, _leg(router.on_transit(version), c)) for version, c in of.networks[TRANSIT].cidrs.items()]
            routes = list(router.routes)
            if router.outside:
                legs += [(OUTSIDE, ip_interface(f"{router.own[4]}/24")), (OUTSIDE, ip_interface(f"{router.own[6]}/64"))]
                routes += [(DEFAULT[4], ROUTER), (DEFAULT[6], ROUTER6)]
            self.nodes[router.name] = Node(router.name, legs, routes, True, OUTSIDE if router.outside else "",
                                           router.own[4] if router.outside and router.snat else "")
        self.held = {(network, str(leg.ip)): node for node in self.nodes.values() for network, leg in node.legs}
        self.held |= {(OUTSIDE, floating.address): self.nodes[floating.router] for floating in of.floats}
        self.floats = {(floating.router, floating.address): floating for floating in of.floats}
        self.forwarding = {(f.router, of.guests[one.guest].addresses[4]) for f in of.floats for one in f.ports}
        self.fixed = {(f.router, of.guests[f.guest].addresses[4]): f.address for f in of.floats if f.guest}

    def walk(self, start: str, flight: Flight, question: Landing | None = None) -> Landing:
        """`question`: what it is an answer to."""
        here, came, landing = self.nodes[start], "", Landing("", flight, [], [])
        answers = question.turns if question else ()
        while len(landing.hops) < 16:
            flight = landing.flight
            speaks = {str(leg.ip) for network, leg in here.legs if (network, leg.version) == (came, _version(flight.target))}
            if came and came == here.outside:
                speaks |= {flight.target} & {address for _, address in self.floats}
                if not self._entered(here, landing, answers):
                    return landing
            own = here.addresses() - {turn.after.source for turn in answers if turn.router == here.name}
            if landing.flight.target in own or came and not here.forwards:
                landing.at = here.name if landing.flight.target in own else ""
                return landing
            way = here.way(landing.flight.target)
            if way is None:
                landing.told = frozenset(speaks)
                return landing
            if came:
                landing.hops.append(Hop(here.name, frozenset(speaks), self.mtu[way[0]]))
                self._left(here, way[0], landing, question)
                # Who comes from elsewhere than his address says may be taken for its owner, on whose host that is known.
                landing.sure = landing.sure and not (way[0] == here.outside and any(
                    ip_address(flight.source) in leg.network for network, leg in here.legs if network not in (came, OUTSIDE)))
            if way not in self.held:
                return landing
            here, came = self.held[way], way[0]
            landing.abroad |= came == OUTSIDE
        landing.sure = False  # round and round
        return landing

    def _entered(self, here: Node, landing: Landing, answers: Sequence[Turn]) -> bool:
        """From outside: what is translated there. False: it is for nobody."""
        flight = landing.flight
        # What says to come from behind it, but does not, nobody promises to let in.
        landing.sure = landing.sure and not any(
            ip_address(flight.source) in leg.network for network, leg in here.legs if network != here.outside)
        for turn in answers:
            if turn.router == here.name and turn.after.source == flight.target != turn.before.source:
                landing.flight = flight._replace(target=turn.before.source)
                return True
        if floating := self.floats.get((here.name, flight.target)):
            to = self._behind(floating, flight)
            if to is None:
                return False
            self._turned(here, landing, target=to[0], port=to[1])
        return True

    def _behind(self, floating: Floating, flight: Flight) -> tuple[str, int] | None:
        if floating.guest:
            return self.of.guests[floating.guest].addresses[4], flight.port
        for one in floating.ports:
            if one.protocol == flight.protocol and one.outer <= flight.port < one.outer + one.count:
                return self.of.guests[one.guest].addresses[4], one.inner + flight.port - one.outer
        return None

    def _left(self, here: Node, network: str, landing: Landing, question: Landing | None) -> None:
        flight = landing.flight
        back = next((turn.before.target for turn in (question.turns if question else ()) if turn.router == here.name
                     and turn.after.target == flight.source != turn.before.target), "")
        translated = self.fixed.get((here.name, flight.source)) or (here.snat if ":" not in flight.target else "")
        if network == here.outside and question is None and translated:
            self._turned(here, landing, source=translated)
        elif network == here.outside and back:
            landing.flight = flight._replace(source=back)
        elif back or network == here.outside and question and (here.name, flight.source) in self.forwarding:
            landing.sure = False  # an answer that does not go back as the question came
        elif network == here.outside and question and translated:  # who was called as himself answers as himself
            landing.sure = landing.sure and not here.snat and here.name in {hop.router for hop in question.hops}

    @staticmethod
    def _turned(here: Node, landing: Landing, **changes: str | int) -> None:
        after = landing.flight._replace(**changes)
        landing.turns.append(Turn(here.name, landing.flight, after))
        landing.flight = after

    # What becomes of a probe.

    def expected(self, probe: Probe) -> Expected:
        version, packet, source = probe.packet.version, probe.packet, self.of.guests.get(probe.source)
        own = source.addresses[version] if source else {4: ROUTER, 6: ROUTER6}[version]
        there = self.walk(probe.source, Flight(own, probe.address, packet.protocol, packet.port))
        may = self._judged(source, "egress", probe.address, packet, "" if there.abroad else there.at)
        if may is not True or not there.sure:
            return NOTHING if may is False else UNSAID
        flight = there.flight
        if not there.at:
            told = self._returns(min(there.told), probe.source, there, own) if there.told and packet.protocol == UDP else False
            return Expected((), False, (NO_ROUTE[version], there.told, 0) if told else None)
        back = self.walk(there.at, Flight(flight.target, flight.source, flight.protocol, flight.port), there)
        answered = None if not back.sure else (
            back.at == probe.source and (back.flight.source, back.flight.target) == (probe.address, own))
        # What routers say themselves goes back where the packet came from, in whatever way they would send others.
        turned = [hop.router for hop in back.hops] == [hop.router for hop in reversed(there.hops)]
        if there.at in self.of.routers:
            return self._of_router(there, packet, answered if turned else None)
        target = self.of.guests.get(there.at)
        # Where the way to that address leads to somebody else, it is as much his; where it leads outside, nobody's.
        may = self._judged(target, "ingress", flight.source, packet._replace(port=flight.port),
                           "" if there.abroad or back.abroad or back.at != probe.source else probe.source)
        if may is not True or flight.source == flight.target:  # (nobody believes what says to come from himself)
            return NOTHING if may is False else UNSAID
        heard = turned and self._let_in(there, {address for hop in there.hops for address in hop.speaks})
        return Expected((there.at, flight.source), answered, hops=tuple(there.hops if heard else ()))

    def _of_router(self, there: Landing, packet: Packet, answered: bool | None) -> Expected:
        """It answers pings, and serves nothing. (Whether it says so outside, or to whom it has no way, is its own affair.)"""
        if packet.protocol in ECHO:
            return Expected(None, answered or None)
        inside = {str(leg.ip) for network, leg in self.nodes[there.at].legs if network != OUTSIDE}
        told = (NO_PORT[packet.version], frozenset(self.nodes[there.at].addresses()), 0)
        heard = answered and packet.protocol == UDP and there.flight.target in inside and self._let_in(there, told[1])
        return Expected((), False, told if heard else None)

    def _let_in(self, there: Landing, speakers: Iterable[str]) -> bool:
        """On the way back from outside nobody promises it to who has an address of behind the router, by another way."""
        ways = [self.nodes[hop.router] for hop in there.hops if there.abroad]
        return not any(ip_address(address) in leg.network and address not in node.addresses()
                       for address in speakers for node in ways for network, leg in node.legs if network != OUTSIDE)

    def _returns(self, by: str, source: str, there: Landing, own: str) -> bool:
        """Does what a router says find back?"""
        router = next(name for name, node in self.nodes.items() if by in node.addresses() and node.forwards)
        back = self.walk(router, Flight(by, there.flight.source, ICMP, 0), there)
        return router != OUTSIDE and back.at == source and back.flight.target == own and back.sure

    def _judged(self, guest: Guest | None, direction: str, address: str, packet: Packet, other: str) -> bool | None:
        """By its groups; `other` is who is there, if that is known. In a group are the addresses of its members, but somebody
        else may have the same: then it depends."""
        if guest is None:
            return True
        namesakes = [one for one in self.of.guests.values() if address in one.addresses.values()]
        member = [one for one in namesakes if one.name == other]
        verdicts = {any(rule["direction"] == direction and allows(
            rule, packet, address, {group for one in those for group in one.groups}, self.of.words[guest.tenant])
            for group in guest.groups for rule in self.of.rules[group]) for those in (member, namesakes)}
        return verdicts.pop() if len(verdicts) == 1 else None


def first(cidr: str) -> str:
    """The gateway's."""
    return str(ip_network(cidr)[1])


def _leg(address: str, cidr: str) -> IPv4Interface | IPv6Interface:
    return ip_interface(f"{address}/{cidr.rpartition('/')[2]}")


def _version(address: str) -> int:
    return ip_address(address).version
