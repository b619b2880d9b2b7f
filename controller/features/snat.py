"""The gateway of a router: who has no address of its own outside leaves under the router's, from one host.

Only there something is remembered of connections (one conntrack zone a router). Source ports stay as they are, so that the
next host that becomes the gateway goes on with connections that it never saw, once their guests say something.

A gateway that no controller reaches any more may have a successor. It hears so from the wire: the successor's announcements
teach its switch to be silent, and to send on to the successor what still comes here (docs/decisions/0022-addresses-outside.md).
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from controller.addresses import held, laid, mac_number
from controller.derive import Answer, Here, Net, answer, derives, hosts_of_router, itself
from controller.flow import (
    CT_ZONE,
    ETH_DST,
    ETH_SRC,
    FRAGMENT,
    ICMP,
    ICMP_TYPE,
    IPV4,
    IPV4_DST,
    IPV4_SRC,
    IPV6,
    IPV6_DST,
    IPV6_SRC,
    RPL,
    TRANSLATED,
    TRK,
    Flow,
    Meter,
    ct_clear,
    ct_nat,
    ct_undo,
    flow,
    goto,
    load,
    match,
    resubmit,
    set_field,
)
from controller.inside import addressed, echoed, interfaces, networks, outside, routes, to_the_door
from controller.outside import across, crossing, entering, exits, gateway_host, sized, speaks_as, zone
from controller.pipeline import (
    ENTRY,
    EXACT,
    EXIT,
    FALLBACK,
    FROM_OVERLAY,
    KNOWN,
    L2,
    MEASURED,
    NEIGHBOUR,
    NETWORK,
    NOBODY,
    NOT_SERVED,
    OVERLAY,
    OVERRIDE,
    OWNED,
    PEER_MAC,
    RETURNED,
    ROUTE,
    ROUTER,
    SNAT,
    SPECIAL,
    UPLINK,
    WHOSE,
    YIELDED,
)
from controller.qos import INGRESS, meters, of_gateway, passing, sending
from controller.scopes import alike, translated, untranslated
from controller.speaking import agents_word, announced, succession, whether_yielded


def its_host(row: Any, net: Net) -> Iterable[str]:
    return {gateway_host(net, row.router_id)} - {""}


def its_exits(row: Any, net: Net) -> Iterable[str]:
    return exits(net, row.router_id)


def everywhere(row: Any, net: Net) -> Iterable[str]:
    return hosts_of_router(net, row.router_id) if gateway_host(net, row.router_id) else ()


def elsewhere(row: Any, net: Net) -> Iterable[str]:
    return set(everywhere(row, net)) - {gateway_host(net, row.router_id)}


@derives("agent", at=itself)
def replies(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What came back goes in; of all else that was for a router's own address only pings are answered."""
    for table in (L2, ENTRY, UPLINK):
        yield flow(table, OVERRIDE + 1, match(YIELDED == 1))
    yield flow(RETURNED, EXACT, match(IPV4, TRK == 1, RPL == 1), goto(ROUTE))
    yield flow(RETURNED, EXACT, match(ICMP, TRK == 1, RPL == 0, ICMP_TYPE == 8), goto(ROUTE))
    # Pieces of a ping only the agent can turn around.
    yield flow(RETURNED, EXACT, match(FRAGMENT, ICMP, TRK == 1, RPL == 0), *to_the_door(NOT_SERVED))


@derives("router_gateway", at=its_host)
def addresses(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What is said and asked outside about the router's own addresses."""
    way = outside(net, row.router_id)
    network = NETWORK == way.network
    for address, _ in way.addresses:
        yield flow(WHOSE, OVERRIDE, match(network, held(address)), load(KNOWN, 1), load(OWNED, 1),
                   load(PEER_MAC, mac_number(way.mac)), *whether_yielded(way.mac))
    yield from agents_word(way, here)
    yield from succession(way.network, way.mac, row.id, row.generation)


@derives("router_gateway", at=its_host)
def inward(row: Any, net: Net, here: Here) -> Iterator[Flow | Meter]:
    """From outside: un-SNATed; without SNAT, within an address scope, and with IPv6, as it is."""
    received = passing(net, row.qos_policy_id or "", INGRESS, of_gateway(outside(net, row.router_id).router))
    way, ways, own = outside(net, row.router_id), interfaces(net, row.router_id), speaks_as(net, row.router_id)
    least = min((w.mtu for w in ways), default=way.mtu)
    yield flow(L2, EXACT, match(NETWORK == way.network, ETH_DST == way.mac), *entering(way.router, way.scopes), load(OWNED, 0),
               *(sized(least, way) if own else ()), *whether_yielded(way.mac), goto(ENTRY))
    router = ROUTER == way.router
    if own:
        yield flow(ENTRY, SPECIAL, match(router, IPV4, IPV4_DST == own), *received, *translated(way.scopes), ct_clear(),
                   ct_undo(zone(way.router), RETURNED))
    if not own or untranslated(way.scopes, way.scopes):
        yield flow(ENTRY, FALLBACK, match(router, IPV4), *received, *([load(MEASURED, 0)] if own else ()), goto(ROUTE))
    yield flow(ENTRY, FALLBACK, match(router, IPV6), *received, load(MEASURED, 0), goto(ROUTE))


@derives("router_gateway", at=its_exits)
def mirrored(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Nobody outside has an address of inside, by which a group there might let him in; but without SNAT our own guests have."""
    way = outside(net, row.router_id)
    for one in interfaces(net, row.router_id):
        for cidr in sorted({cidr for _, cidr in one.addresses}):
            if ":" in cidr:
                yield flow(ENTRY, OVERRIDE + 2, match(ROUTER == one.router, IPV6, IPV6_SRC == cidr))
            elif speaks_as(net, row.router_id) and not untranslated(one.scopes, way.scopes):
                yield flow(ENTRY, OVERRIDE + 2, match(ROUTER == one.router, IPV4, IPV4_SRC == cidr))


@derives("router_gateway", at=everywhere)
def echo(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Pings of its own addresses: the answer goes back to where the question came from."""
    way = outside(net, row.router_id)
    for address, _ in way.addresses:
        ping, answer = echoed(address)
        yield flow(ROUTE, OVERRIDE + 2, match(ping, ROUTER == way.router), *answer)
        if address != speaks_as(net, row.router_id):  # (else it may be for who speaks under it)
            yield flow(ROUTE, OVERRIDE + 1, match(addressed(address), ROUTER == way.router), *to_the_door(NOT_SERVED))


@derives("router_gateway", at=its_host)
def outward(row: Any, net: Net, here: Here) -> Iterator[Flow | Meter]:
    """From inside, of all hosts: under the router's address; without SNAT, within an address scope, and with IPv6 as it is."""
    policy, first = row.qos_policy_id or "", of_gateway(outside(net, row.router_id).router)
    yield from meters(net, policy, first)
    sent = sending(net, policy, first)
    way, own = outside(net, row.router_id), speaks_as(net, row.router_id)
    router = ROUTER == way.router
    for _, number, scopes in networks(net, row.router_id):
        yield flow(L2, EXACT, match(NETWORK == number, ETH_DST == way.mac), *entering(way.router, scopes), goto(EXIT))
    yield flow(EXIT, FALLBACK, match(router), *whether_yielded(way.mac), goto(SNAT))
    yield flow(SNAT, OVERRIDE, match(router, YIELDED == 1), set_field(ETH_DST, way.mac), load(FROM_OVERLAY, 0), resubmit(OVERLAY))
    abroad = *sent, set_field(ETH_SRC, way.mac), load(NETWORK, way.network)
    some = untranslated(way.scopes, way.scopes)
    # The second is for what the agent is asked whether it is of a forwarded port, and is not.
    for priority, four in (EXACT, router + IPV4), (SPECIAL, router + IPV4 + (ETH_SRC == NOBODY)):
        if some or not own:
            yield flow(SNAT, priority, match(four, alike(way.scopes, 4)), *abroad, goto(UPLINK))
        if own:
            yield flow(SNAT, priority - some, match(four), *abroad, ct_nat(zone(way.router), UPLINK, source=own))
    yield flow(SNAT, FALLBACK, match(router, IPV6, alike(way.scopes, 6)), *abroad, goto(UPLINK))


@derives("router_gateway", at=its_exits)
def uplink(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """The next hop of what leaves: who has the address itself, that of a route, or the subnet's gateway."""
    way = outside(net, row.router_id)
    router = ROUTER == way.router
    # Where conntrack has no room for one connection more it lets the packet pass as it is: from an address that
    # is nobody's outside.
    yield flow(UPLINK, OVERRIDE, match(router, IPV4, TRK == 1, TRANSLATED == 0, CT_ZONE == zone(way.router)))
    subnets = net.where("subnet", network_id=way.network_id)
    for subnet in subnets:
        family, field = (IPV4, IPV4_DST) if subnet.ip_version == 4 else (IPV6, IPV6_DST)
        yield flow(UPLINK, FALLBACK + ip_network(subnet.cidr).prefixlen, match(router, family, field == subnet.cidr),
                   load(KNOWN, 0), *laid(field), resubmit(WHOSE), goto(NEIGHBOUR))
    near = {subnet.cidr for subnet in subnets}
    hops = {destination: hop for destination, hop in routes(net, row.router_id).items()
            if destination not in near and any(ip_address(hop) in ip_network(cidr) for cidr in near)}
    own = {cidr for _, cidr in way.addresses}
    for subnet in subnets:
        if subnet.gateway_ip and subnet.cidr in own:
            hops.setdefault("0.0.0.0/0" if subnet.ip_version == 4 else "::/0", subnet.gateway_ip)
    if not speaks_as(net, row.router_id):  # who calls floating IPs from inside is answered the way he came
        hops |= {cidr: address for one in interfaces(net, row.router_id) for _, cidr in one.addresses
                 for address, _ in way.addresses if "." in cidr and "." in address}
    for destination, hop in hops.items():
        prefix = ip_network(destination)
        family, field = (IPV4, IPV4_DST) if prefix.version == 4 else (IPV6, IPV6_DST)
        terms = field == destination if prefix.prefixlen else ()
        yield flow(UPLINK, FALLBACK + prefix.prefixlen, match(router, family, terms), load(KNOWN, 0), *asked(hop),
                   resubmit(WHOSE), goto(NEIGHBOUR))


def asked(address: str) -> tuple[bytes, ...]:
    """The words that lay this address into the register."""
    return tuple(load(term.of, term.value) for term in held(address))


@derives("router_gateway", at=elsewhere)
def towards(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """On all other hosts: by the guest's own network to the host of the gateway."""
    way = outside(net, row.router_id)
    yield flow(EXIT, FALLBACK, match(ROUTER == way.router), *across(way.mac))


@derives("router_gateway", at=everywhere)
def ways(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """To its host, by tunnel; on that host to its successor's, for as long as nobody says more."""
    host = gateway_host(net, row.router_id)
    yield from crossing(net, here, row.router_id, outside(net, row.router_id).mac, row.successor if host == here.id else host)


@derives("router_gateway", at=everywhere)
def streams(row: Any, net: Net, here: Here) -> Iterator[Answer]:
    """Whose guests the agents ask for their streams when the gateway has moved, and which ends of them are no further than it."""
    ways = [one for one in interfaces(net, row.router_id) if any("." in address for address, _ in one.addresses)]
    if ways and speaks_as(net, row.router_id):
        yield answer("way out", row.id, generation=row.generation, inside=sorted([one.network, one.mac] for one in ways),
                     near=sorted({cidr for one in ways for _, cidr in one.addresses if "." in cidr}))


@derives("router_gateway", at=its_host)
def words(row: Any, net: Net, here: Here) -> Iterator[Answer]:
    """What the agent announces, with its generation; and whose sessions end, when this is here no more or another address."""
    way = outside(net, row.router_id)
    yield announced(way, row)
    yield answer("translator", row.id, zone=zone(way.router), address=speaks_as(net, row.router_id))
