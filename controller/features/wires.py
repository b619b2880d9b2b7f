"""Routers on wires: gateways for machines of which the API knows nothing.

Guests' own hosts route, on a wire as anywhere. For who is out there one host of each interface speaks: it answers for the
address, is sent what is for its MAC, and tells switches where that is. Who leaves by another host leaves under that host's MAC.
(docs/decisions/0026-machines-on-wires.md)
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

from controller.addresses import held, laid, mac_number, within
from controller.derive import Answer, Here, Net, derives, hosts_of_router, hosts_reaching, itself
from controller.flow import (
    ARP,
    ARP_SPA,
    ETH_DST,
    IPV4,
    IPV4_SRC,
    IPV6,
    IPV6_SRC,
    ND_NA,
    ND_TARGET,
    Flow,
    Terms,
    flow,
    goto,
    load,
    match,
    resubmit,
)
from controller.inside import Interface, interface, interfaces, networks, outside, routes, towards
from controller.outside import crossing, entering
from controller.pipeline import (
    EXACT,
    FALLBACK,
    FROM_WIRE,
    KNOWN,
    L2,
    NETWORK,
    OF_ROUTER,
    OVERRIDE,
    OWNED,
    PEER_MAC,
    ROUTE,
    ROUTER,
    SPECIAL,
    WHENCE,
    WHOSE,
    YIELDED,
)
from controller.segments import wired
from controller.speaking import agents_word, announced, relay, speaker, succession, whether_yielded

LINK = "fe80::/10"


@derives("agent", at=itself)
def manners(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What is for a router that is elsewhere now is not ours; and nobody out there is one of our ports."""
    for never in (YIELDED == 1, KNOWN == 1):
        yield flow(WHENCE, OVERRIDE, match(never))
    yield flow(WHENCE, SPECIAL, match(_from(LINK)), goto(ROUTE))  # which only answers pings


def hosts_of_its_router(row: Any, net: Net) -> Iterable[str]:
    return hosts_of_router(net, row.router_id)


def its_speaker(row: Any, net: Net) -> Iterable[str]:
    return {speaker(net, row.id)} - {""}


@derives("router_interface", at=its_speaker)
def addresses(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Who asks on the wire is answered here, and nowhere else."""
    one = interface(net, row.id)
    for address in sorted({*(address for address, _ in one.addresses), *one.link_local}):
        yield flow(WHOSE, OVERRIDE + 1, match(NETWORK == one.network, FROM_WIRE == 1, held(address)), load(KNOWN, 1),
                   load(OWNED, 1), load(PEER_MAC, mac_number(one.mac)), load(OF_ROUTER, 1), *whether_yielded(one.mac))
    # Of ARP no agent says what its host has yielded (floating_ip_flows.py); what else it says leaves under the host's MAC.
    if one.link_local:
        yield from agents_word(one, here, ND_NA)
    yield from succession(one.network, one.mac, row.id, row.generation)


@derives("router_interface", at=its_speaker)
def entrance(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What comes from the wire, if the router would look for its sender there: guests' packets never come that way."""
    one = interface(net, row.id)
    ways = _whence(net, row.router_id)
    mine = [prefix for prefix, network_id in ways.items() if network_id == one.network_id]
    for version, family, source in ((4, IPV4, IPV4_SRC), (6, IPV6, IPV6_SRC)):
        if version not in {ip_network(cidr).version for _, cidr in one.addresses}:
            continue
        yield flow(L2, EXACT, match(NETWORK == one.network, FROM_WIRE == 1, ETH_DST == one.mac, family), *laid(source),
                   resubmit(WHOSE), *entering(one.router, one.scopes), *whether_yielded(one.mac), goto(WHENCE))
        for prefix in sorted(p for p in ways if ip_network(p).version == version and any(within(p, wide) for wide in mine)):
            yield flow(WHENCE, FALLBACK + ip_network(prefix).prefixlen,
                       match(ROUTER == one.router, NETWORK == one.network, _from(prefix)),
                       *([goto(ROUTE)] if prefix in mine else []))


@derives("router_interface", at=its_speaker)
def relayed(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What comes for the wire from hosts that have it not, by tunnel, is routed here; it has all its hops left."""
    one = interface(net, row.id)
    for network_id, number, scopes in networks(net, row.router_id):
        if not wired(net.get("network", network_id)):
            yield flow(L2, EXACT, match(NETWORK == number, ETH_DST == one.mac), *entering(one.router, scopes), goto(ROUTE))


@derives("router_interface", at=hosts_of_its_router)
def ways(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """From such hosts, to it."""
    one = interface(net, row.id)
    if one and (host := relay(net, here, one)):
        yield from crossing(net, here, row.router_id, one.mac, host)


def _whence(net: Net, router_id: str) -> dict[str, str]:
    """Each prefix that the router knows, with the network that it lies behind; no network's, where it is behind a guest: what
    comes from there comes from the guest's own host."""
    ways: dict[str, str] = {}
    if way := outside(net, router_id):
        ways |= {subnet.cidr: way.network_id for subnet in net.where("subnet", network_id=way.network_id)}
    for prefix, hop in routes(net, router_id).items():
        if one := towards(net, router_id, hop):
            guests = any(port.binding_host_id for port in net.where("port", network_id=one.network_id, fixed_ips=hop))
            ways[prefix] = "" if guests else one.network_id
    return ways | {cidr: one.network_id for one in interfaces(net, router_id) for _, cidr in one.addresses}


def _from(prefix: str) -> Terms:
    network = ip_network(prefix)
    family, source = (IPV4, IPV4_SRC) if network.version == 4 else (IPV6, IPV6_SRC)
    return family + (source == prefix if network.prefixlen else ())


def hosts_reaching_its_wire(row: Any, net: Net) -> Iterable[str]:
    one = interface(net, row.id)
    return hosts_reaching(net, one.network_id) if one and one.wired else ()


@derives("router_interface", at=hosts_reaching_its_wire)
def guard(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Nobody out there is the router for guests: they know it from their own host. (Its own announcements are for the wire.)"""
    one: Interface = interface(net, row.id)
    for address in sorted({*(address for address, _ in one.addresses), *one.link_local}):
        claim = ND_NA + (ND_TARGET == address) if ":" in address else ARP + (ARP_SPA == address)
        yield flow(L2, OVERRIDE, match(NETWORK == one.network, FROM_WIRE == 1, claim))


@derives("router_interface", at=its_speaker)
def words(row: Any, net: Net, here: Here) -> Iterator[Answer]:
    """Where its MAC is."""
    yield announced(interface(net, row.id), row)
