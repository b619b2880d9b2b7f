"""Port forwardings on the wire: a floating IP whose ports lead to several guests lives where its router's gateway is.

The guests may be on several hosts, and a MAC outside can be in one place only. So both directions pass the gateway's host, and
are translated there, by flows alone: a range becomes blocks of a power of two, whose upper bits are another number. Only where
many ports outside are one inside does conntrack have to remember which it was. (Pieces have no ports: none is forwarded.)
"""

from collections.abc import Iterable, Iterator
from typing import Any

from controller.addresses import held, mac_number
from controller.derive import Answer, Here, Net, answer, derives
from controller.flow import (
    ETH_DST,
    ETH_SRC,
    IPV4_DST,
    IPV4_SRC,
    TCP,
    TCP_DST,
    TCP_SRC,
    UDP,
    UDP_DST,
    UDP_SRC,
    Field,
    Flow,
    Meter,
    ct_clear,
    ct_nat,
    flow,
    goto,
    load,
    match,
    set_field,
)
from controller.inside import outside
from controller.outside import entering, gateway_host, zone
from controller.pipeline import (
    ENTRY,
    EXACT,
    KNOWN,
    L2,
    NETWORK,
    OVERRIDE,
    OWNED,
    PEER_MAC,
    ROUTE,
    ROUTER,
    SNAT,
    UPLINK,
    WHOSE,
)
from controller.qos import INGRESS, meters, of_forwarding, passing, ruling, sending
from controller.speaking import spoken, whether_yielded

PROTOCOLS = {"tcp": (TCP, TCP_SRC, TCP_DST), "udp": (UDP, UDP_SRC, UDP_DST)}


def with_forwardings(floating: Any, net: Net) -> Iterable[str]:
    leads = floating.router_id and net.values("port_forwarding", "floatingip_id", floatingip_id=floating.id)
    return {gateway_host(net, floating.router_id)} - {""} if leads and not floating.port_id else ()


def its_gateway(forwarding: Any, net: Net) -> Iterable[str]:
    floating = net.get("floatingip", forwarding.floatingip_id)
    return with_forwardings(floating, net) if floating else ()


def limits(floating: Any, net: Net) -> tuple[str, int]:
    """Its policy, and the first of its meters."""
    others = net.values("floatingip", "floating_ip_address", router_id=floating.router_id, port_id=None)
    place = sum(other < floating.floating_ip_address for other in others)
    return ruling(floating, net.get("network", floating.floating_network_id)), of_forwarding(
        outside(net, floating.router_id).router, place)


@derives("floatingip", at=with_forwardings)
def door(floating: Any, net: Net, here: Here) -> Iterator[Flow | Meter]:
    """Asked for and sent to as the router's own address is; not any more when another host is the gateway."""
    yield from meters(net, *limits(floating, net))
    way, own = outside(net, floating.router_id), net.get("port", floating.floating_port_id)
    ours = whether_yielded(way.mac)
    yield flow(WHOSE, OVERRIDE, match(NETWORK == way.network, held(floating.floating_ip_address)), load(KNOWN, 1), load(OWNED, 1),
               load(PEER_MAC, mac_number(own.mac_address)), *ours)
    yield flow(L2, EXACT, match(NETWORK == way.network, ETH_DST == own.mac_address), *entering(way.router), load(OWNED, 0),
               *ours, goto(ENTRY))


@derives("floatingip", at=with_forwardings)
def news(floating: Any, net: Net, here: Here) -> Iterator[Answer]:
    """To be announced from the host where it is."""
    way, own = outside(net, floating.router_id), net.get("port", floating.floating_port_id)
    yield answer("announce", floating.id, network=way.network, mac=own.mac_address, addresses=[floating.floating_ip_address],
                 word=spoken(floating.floating_port_id, floating.generation))


@derives("port_forwarding", at=its_gateway)
def forwarding(forwarding: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Both ways; of the guest's other ports nothing is changed."""
    floating, guest = net.get("floatingip", forwarding.floatingip_id), net.get("port", forwarding.internal_port_id)
    if guest is None or not guest.admin_state_up:
        return
    way, own = outside(net, floating.router_id), net.get("port", floating.floating_port_id)
    protocol, source, destination = PROTOCOLS[forwarding.protocol]
    address, fixed, router = floating.floating_ip_address, forwarding.internal_ip_address, ROUTER == way.router
    arrives, leaves = match_of(router, protocol, IPV4_DST, address), match_of(router, protocol, IPV4_SRC, fixed)
    policy, first = limits(floating, net)
    received = passing(net, policy, INGRESS, first)
    sent = *sending(net, policy, first), set_field(ETH_SRC, own.mac_address), load(NETWORK, way.network)
    outer, inner = span(forwarding.external_port_range), span(forwarding.internal_port_range)
    if len(inner) < len(outer):
        for low, bits, _ in blocks(outer, outer):
            yield flow(ENTRY, EXACT, match(arrives, some(destination, low, bits)),
                       *received, ct_clear(), ct_nat(zone(way.router), ROUTE, destination=fixed, port=inner[0]))
        yield flow(SNAT, EXACT + 1, match(leaves, source == inner[0]), *sent, ct_nat(zone(way.router), UPLINK, source=address))
        return
    for low, bits, to in blocks(outer, inner):
        yield flow(ENTRY, EXACT, match(arrives, some(destination, low, bits)), *received, set_field(IPV4_DST, fixed),
                   *another(destination, low, to, bits), goto(ROUTE))
        yield flow(SNAT, EXACT + 1, match(leaves, some(source, to, bits)), *sent, set_field(IPV4_SRC, address),
                   *another(source, to, low, bits), goto(UPLINK))


def match_of(router: Any, protocol: Any, field: Field, address: str) -> Any:
    return router + protocol + (field == address)


def some(field: Field, low: int, bits: int) -> Any:
    """The ports of a block, as a match asks for them."""
    return field.masked(low, 0xFFFF ^ (1 << bits) - 1)


def another(field: Field, before: int, after: int, bits: int) -> tuple[bytes, ...]:
    """The words that make a port of one block the one at its place in the other."""
    return (load(field[bits:16], after >> bits),) if before != after and bits < 16 else ()


def span(said: str) -> range:
    low, _, high = said.partition(":")
    return range(int(low), int(high) + 1)


def blocks(outer: range, inner: range) -> Iterator[tuple[int, int, int]]:
    """(first port outside, bits that may be anything, first port inside): as few as both ranges allow."""
    place = 0
    while place < len(outer):
        low, to, left = outer[place], inner[place], len(outer) - place
        bits = max(b for b in range(17) if low % (1 << b) == 0 == to % (1 << b) and 1 << b <= left)
        yield low, bits, to
        place += 1 << bits
