"""The addresses of routers: answered for by ARP and neighbour discovery, and pinged, by flows of the asker's own host.

An echo goes back to the MAC that it came from, whatever the routes say, so one flow for each address is enough. Whatever
else is sent to a router it does not serve, and its agent says so; there, too, a large ping is turned around, piece by piece.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from controller.addresses import held, laid, mac_number
from controller.crossing import tag, tagged, untag
from controller.derive import Answer, Here, Net, answer, derives, hosts_of_network, hosts_of_router, hosts_reaching, itself
from controller.flow import (
    ARP,
    ARP_TPA,
    ETH_SRC,
    IN_PORT,
    ND_NA,
    ND_NS,
    ND_OPTIONS_TYPE,
    ND_RESERVED,
    ND_TARGET,
    ND_TLL,
    Flow,
    flow,
    goto,
    load,
    match,
    move,
    resubmit,
    set_field,
    to_in_port,
)
from controller.inside import addressed, echoed, interface, to_the_door
from controller.pipeline import (
    ADVERTISE,
    ANSWER,
    CLASSIFY,
    FROM_OVERLAY,
    FROM_WIRE,
    KNOWN,
    L2,
    LOCAL,
    NETWORK,
    NOT_SERVED,
    OF_ROUTER,
    OVERLAY,
    OVERRIDE,
    PEER_MAC,
    ROUTE,
    ROUTER,
    SPECIAL,
    WHOSE,
)
from controller.speaking import speaker

ROUTER_SOLICITED_OVERRIDE = 0xE0000000  # without the first of these bits a guest would take its default route for gone
TARGET_LINK_LAYER = 2


@derives("agent", at=itself)
def advertisement(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Of a router's address: it says that it is a router's."""
    for from_wire, back in ((0, ()), (1, tag(NETWORK.of))):
        yield flow(ADVERTISE, SPECIAL, match(ND_NA, OF_ROUTER == 1, FROM_WIRE == from_wire),
                   set_field(ND_RESERVED, ROUTER_SOLICITED_OVERRIDE), set_field(ND_OPTIONS_TYPE, TARGET_LINK_LAYER),
                   move(ETH_SRC, ND_TLL), *back, to_in_port())


def hosts_reaching_its_network(row: Any, net: Net) -> Iterable[str]:
    return hosts_reaching(net, row.network_id)


@derives("router_interface", at=hosts_reaching_its_network)
def whose(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """All that its addresses cost where they are asked for."""
    one = interface(net, row.id)
    if one is None:
        return
    known = load(KNOWN, 1), load(PEER_MAC, mac_number(one.mac)), load(OF_ROUTER, 1)
    addresses = {*(address for address, _ in one.addresses), *one.link_local}
    for address in sorted(addresses):
        yield flow(WHOSE, OVERRIDE, match(NETWORK == one.network, held(address)), *known)
    for address in one.link_local:
        # Others' names their MACs, and nobody else hears the question: this one is nobody's but ours.
        yield flow(LOCAL, OVERRIDE, match(NETWORK == one.network, ND_NS, ND_TARGET == address), *laid(ND_TARGET),
                   resubmit(WHOSE), goto(ANSWER))


def hosts_of_its_network(row: Any, net: Net) -> Iterable[str]:
    return hosts_of_network(net, row.network_id) - {speaker(net, row.id)}


@derives("router_interface", at=hosts_of_its_network)
def news(row: Any, net: Net, here: Here) -> Iterator[Flow | Answer]:
    """Announced when it comes, by each host's agent to its own guests only: the address may have been another router's a moment
    ago, whose MAC they still have. (Who speaks for it on a wire tells all of them there.)"""
    one, door = interface(net, row.id), here.ofport("br-int", "routers")
    if one is None or not door:
        return
    addresses = [address for address, _ in one.addresses]
    yield answer("announce", row.id, "near", network=one.network, mac=one.mac, addresses=addresses, router=True)
    if one.wired:
        yield flow(OVERLAY, OVERRIDE, match(NETWORK == one.network, FROM_OVERLAY == 1, ETH_SRC == one.mac))
    for address in addresses:
        said = ND_NA + (ND_TARGET == address) if ":" in address else ARP + (ARP_TPA == address)
        yield flow(CLASSIFY, SPECIAL, match(IN_PORT == door, tagged(one.network), said), *untag(NETWORK.of),
                   load(FROM_OVERLAY, 1), goto(L2))


def hosts_of_its_router(row: Any, net: Net) -> Iterable[str]:
    return hosts_of_router(net, row.router_id)


@derives("router_interface", at=hosts_of_its_router)
def echo(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Pings, from wherever; and the rest, which it does not serve."""
    one = interface(net, row.id)
    if one is None:
        return
    addresses = [address for address, _ in one.addresses]
    for address in sorted({*addresses, *one.link_local}):
        ping, answer = echoed(address)
        # A link-local address is one on every network of the router: it may have the same MAC on several.
        asked = (ROUTER == one.router) + (() if address in addresses else NETWORK == one.network)
        yield flow(ROUTE, OVERRIDE + 2, match(ping, asked), *answer)
        if address in addresses:
            yield flow(ROUTE, OVERRIDE + 1, match(addressed(address), asked), *to_the_door(NOT_SERVED))
