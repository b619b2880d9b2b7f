"""Routing: what is addressed to a router's MAC goes on from there, on the very host where it was sent.

The longest prefix wins, by priority; keyed by the router's number, so that tenants may have the same addresses. What flows
cannot do (tell the sender, cut a packet, ask a next hop) is the agent's, behind the routers' door.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

from controller.addresses import bits, held, laid, said, within
from controller.crossing import TAGGED, tag, untag
from controller.derive import Answer, Here, Net, answer, derives, hosts_of_router, its_hosts, itself, remembered
from controller.flow import (
    ETH_DST,
    ETH_SRC,
    FRAGMENT,
    IN_PORT,
    IP_TTL,
    IPV4,
    IPV4_DST,
    IPV4_SRC,
    IPV6,
    IPV6_DST,
    IPV6_SRC,
    MPLS_LABEL,
    Flow,
    Jump,
    dec_ttl,
    flow,
    goto,
    larger,
    load,
    match,
    move,
    output,
    push_mpls,
    resubmit,
    set_field,
)
from controller.inside import (
    ETHERNET,
    Interface,
    fits_everywhere,
    host_mac,
    interface,
    interfaces,
    largest,
    outside,
    routes,
    to_the_door,
    towards,
)
from controller.outside import across, entering
from controller.pipeline import (
    AGENT,
    CLASSIFY,
    CUT,
    EXACT,
    EXIT,
    EXPIRED,
    FALLBACK,
    FROM_PORT,
    FROM_WIRE,
    JOINED,
    KNOWN,
    L2,
    MEASURED,
    MISS,
    NEIGHBOUR,
    NETWORK,
    NO_ROUTE,
    OVERRIDE,
    REASON,
    ROUTE,
    ROUTER,
    SCOPE,
    SPECIAL,
    TOO_LARGE,
    WHOSE,
)
from controller.speaking import relay

# This network, this host, this link, groups and what is reserved (RFC 1812, 5.3.7); of IPv6 also what is not meant for a wire.
NOT_ROUTED = (*(IPV4 + (end == prefix) for end in (IPV4_SRC, IPV4_DST)
                for prefix in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")),
              *(IPV6 + (end == prefix) for end in (IPV6_SRC, IPV6_DST)
                for prefix in ("::/96", "::ffff:0:0/96", "fe80::/10", "ff00::/8")))
DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}


@derives("agent", at=itself)
def manners(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What holds for every router: hops are counted, links stay apart, and who sent what goes nowhere is told."""
    for never in NOT_ROUTED:
        yield flow(ROUTE, OVERRIDE, match(never))
    for family in (IPV4, IPV6):
        for hops in (0, 1):
            yield flow(ROUTE, SPECIAL, match(family, IP_TTL == hops), *to_the_door(EXPIRED))
        yield flow(ROUTE, MISS + 1, match(family), *to_the_door(NO_ROUTE))
    # All pieces of a datagram go the same way: conntrack puts together only what came by one.
    yield flow(ROUTE, SPECIAL - 1, match(FRAGMENT, MEASURED == 0, CUT == 0), load(TOO_LARGE, 1), load(MEASURED, 1),
               resubmit(ROUTE))
    if door := here.ofport("br-int", "routers"):
        # What the agent says, in the name of the cloud: no group judges who sends it.
        yield flow(CLASSIFY, EXACT, match(IN_PORT == door, TAGGED), *untag(NETWORK.of), load(CUT, 1), goto(L2))
        # What it hears is told from the packet by two labels, since a frame has room for one tag: why, and before it by whose
        # doing. Its floods are at the expense of a guest here alone, or of a router that was sent it from elsewhere.
        yield flow(AGENT, EXACT, match(FROM_PORT == 0), move(ROUTER.of[0:15], FROM_PORT.of[16:31]),
                   load(FROM_PORT.of[31:32], 1), resubmit(AGENT))
        yield flow(AGENT, FALLBACK, match(), push_mpls(), move(REASON, MPLS_LABEL[0:16]), push_mpls(),
                   move(FROM_PORT, MPLS_LABEL[0:16]), *tag(NETWORK.of), output(door))
    yield flow(JOINED, MISS + 1, match(), resubmit(WHOSE))


def hosts_of_its_router(record: Any, net: Net) -> Iterable[str]:
    return hosts_of_router(net, record.router_id)


@derives("router_interface", at=hosts_of_its_router)
def doorstep(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What is addressed to it; from a wire it comes to one host only (wires.py). Where no other network takes less than this,
    nothing is measured: it would have every packet go alone through the rest of the switch."""
    if one := interface(net, row.id):
        near = FROM_WIRE == 0 if one.wired else ()
        fits = one.mtu < largest(net, row.router_id) and fits_everywhere(net, row.router_id, one.mtu)
        yield flow(L2, EXACT, match(NETWORK == one.network, ETH_DST == one.mac, near), *entering(one.router, one.scopes),
                   *([load(MEASURED, 1)] if fits else []), goto(ROUTE))


@derives("router_interface", at=hosts_of_its_router)
def connected(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """The subnets that it is on: whoever has the address is the next hop."""
    if one := interface(net, row.id):
        for cidr in sorted({cidr for _, cidr in one.addresses}):
            yield from _inward(net, here, row.router_id, one, cidr, laid(IPV6_DST if ":" in cidr else IPV4_DST))


def hosts_of_it(router: Any, net: Net) -> Iterable[str]:
    return hosts_of_router(net, router.id)


@derives("router", at=hosts_of_it)
def detours(router: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Its extra routes, by a neighbour inside or outside."""
    for prefix, hop in sorted(routes(net, router.id).items()):
        one, leaving = towards(net, router.id, hop), outside(net, router.id)
        if one and one == leaving:
            yield from _outward(net, here, router.id, one, prefix)
        elif one:
            yield from _inward(net, here, router.id, one, prefix, said(hop))


@derives("router_gateway", at=hosts_of_its_router)
def away(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Everything else, and the subnets outside: under which address, and by whom, the next tables ask."""
    if one := outside(net, row.router_id):
        versions = {ip_network(cidr).version for _, cidr in one.addresses}
        subnets = {s.cidr for s in net.where("subnet", network_id=one.network_id) if s.ip_version in versions}
        taken = routes(net, row.router_id).keys() | {cidr for i in interfaces(net, row.router_id) for _, cidr in i.addresses}
        for prefix in sorted(subnets.union(DEFAULT[v] for v in versions) - taken):
            yield from _outward(net, here, row.router_id, one, prefix)


def _inward(net: Net, here: Here, router_id: str, one: Interface, prefix: str, next_hop: tuple[bytes, ...]) -> Iterator[Flow]:
    """To a neighbour on that network, in the name of the router's interface there; from a host that is not on its wire, by
    one that is."""
    if relay(net, here, one):
        yield from _way(net, here, router_id, one, prefix, load(MEASURED, 0), *across(one.mac))
        return
    yield from _way(net, here, router_id, one, prefix, load(NETWORK, one.network), set_field(ETH_SRC, one.mac), dec_ttl(),
                    load(MEASURED, 0), *next_hop, load(KNOWN, 0), resubmit(WHOSE), goto(SCOPE if one.scopes else NEIGHBOUR))


def _outward(net: Net, here: Here, router_id: str, one: Interface, prefix: str) -> Iterator[Flow]:
    yield from _way(net, here, router_id, one, prefix, dec_ttl(), load(MEASURED, 0), goto(EXIT))


def _way(net: Net, here: Here, router_id: str, one: Interface, prefix: str, *words: bytes | Jump) -> Iterator[Flow]:
    """For a prefix. Measured before, where packets come that may not fit; what does not is as it was when it came, so that
    its sender can be told, or it be cut and come again. (So do pieces that fit: `manners`.)"""
    network = ip_network(prefix)
    priority = FALLBACK + network.prefixlen
    asked = (ROUTER == one.router) + (IPV6 + (IPV6_DST == prefix) if network.version == 6 else IPV4 + (IPV4_DST == prefix))
    if one.mtu < largest(net, router_id):
        yield flow(ROUTE, priority, match(asked, MEASURED == 0), larger(ETHERNET + one.mtu, TOO_LARGE), load(MEASURED, 1),
                   resubmit(ROUTE))
        yield flow(ROUTE, priority, match(asked, MEASURED == 1, TOO_LARGE == 1), *to_the_door(one.mtu))
        asked += (MEASURED == 1) + (TOO_LARGE == 0)
    if network.version == 4:    # cut for this way: the next router on this host may have to cut again, all the pieces or none
        words = load(CUT, 0), *words
    yield flow(ROUTE, priority, match(asked), *words)


# Groups judge by addresses at the other end, wherever that is: for a network, those of the networks that routers join to it.


@derives("network", at=its_hosts)
def joined(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Whose an address of another network is, is asked of that network."""
    for cidr, number in _joined(net, network.id):
        yield flow(JOINED, FALLBACK + bits(cidr), match(NETWORK == network.number, held(cidr)), load(NETWORK, number),
                   resubmit(WHOSE), load(NETWORK, network.number))


@remembered
def _joined(net: Net, network_id: str) -> tuple[tuple[str, int], ...]:
    """Subnets, and the numbers of their networks. Where two routers lead to different networks of one prefix, nobody can say
    which is meant: then its addresses are in no group. Those of the network itself are never another's, whatever router
    somebody joins to it; nor are those behind one router what is behind the next."""
    found: dict[str, set[int]] = {}
    own = [ip_network(subnet.cidr) for subnet in net.where("subnet", network_id=network_id)]
    routers = sorted(net.values("router_interface", "router_id", network_id=network_id))
    near = [(cidr, one.network) for router_id in routers for one in interfaces(net, router_id) for _, cidr in one.addresses]
    far = [led for router_id in routers for wide in DEFAULT.values() for led in _beyond(net, router_id, wide, {router_id})]
    for ways in (near, far):
        own += [ip_network(cidr) for cidr in found]
        for cidr, number in ways:
            if not any(ip_network(cidr).overlaps(mine) for mine in own):
                found.setdefault(cidr, set()).add(number)
    return tuple(sorted((cidr, min(numbers)) for cidr, numbers in found.items() if len(numbers) == 1))


def _beyond(net: Net, router_id: str, prefix: str, passed: set[str]) -> Iterator[tuple[str, int]]:
    """What lies there behind other routers, to which its extra routes lead."""
    for way, hop in routes(net, router_id).items():
        part = way if within(way, prefix) else prefix if within(prefix, way) else ""
        one = towards(net, router_id, hop) if part else None
        ports = net.values("port", "id", network_id=one.network_id, fixed_ips=hop) if one else ()
        for other in {row.router_id for port_id in ports for row in net.where("router_interface", port_id=port_id)} - passed:
            for far in interfaces(net, other):
                yield from ((cidr, far.network) for _, cidr in far.addresses if within(cidr, part))
            yield from _beyond(net, other, part, passed | {other})


# What the agent has to know.


@derives("router_interface", at=hosts_of_its_router)
def person(row: Any, net: Net, here: Here) -> Iterator[Answer]:
    """In whose name the agent speaks; and as whom it asks on a wire, so that it is this host that hears the answer."""
    if one := interface(net, row.id):
        yield _person(net, row.router_id, one, (), asker=host_mac(here) if one.wired else "")


@derives("router_gateway", at=hosts_of_its_router)
def person_outside(row: Any, net: Net, here: Here) -> Iterator[Answer]:
    """Likewise; and the next hops outside by name, since a MAC holds only the end of an IPv6 address."""
    if one := outside(net, row.router_id):
        subnets = net.where("subnet", network_id=one.network_id)
        yield _person(net, row.router_id, one, [s.gateway_ip for s in subnets if s.gateway_ip])


def _person(net: Net, router_id: str, one: Interface, gateways: Iterable[str], asker: str = "") -> Answer:
    hops = {hop for hop in routes(net, router_id).values() if towards(net, router_id, hop) == one}
    addresses = [f"{address}/{cidr.rpartition('/')[2]}" for address, cidr in one.addresses]
    return answer("router", one.port_id, network=one.network, mac=one.mac, addresses=addresses,
                  next_hops=sorted(hops.union(gateways)), **({"asker": asker} if asker else {}))
