"""Port forwardings on the wire: a floating IP whose ports lead to several guests lives where its router's gateway is.

The guests may be on several hosts, and a MAC outside can be in one place only. So both directions pass the gateway's host, and
are translated there, by flows alone: a range becomes blocks of a power of two, whose upper bits are another number. Only where
many ports outside are one inside does conntrack have to remember which it was.

What shows no port is the agent's: ICMP errors, and pieces. (Conntrack puts those together, but a flow sees ports on the first
of them only, before and after; docs/decisions/0022-addresses-outside.md.) It knows the forwardings, translates, and sends on.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from controller.addresses import held, mac_number
from controller.derive import Answer, Here, Net, answer, derives, remembered
from controller.flow import (
    ETH_DST,
    ETH_SRC,
    FRAGMENT,
    ICMP,
    ICMP_TYPE,
    IPV4,
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
    larger,
    load,
    match,
    resubmit,
    set_field,
)
from controller.inside import ETHERNET, interfaces, outside, to_the_door
from controller.outside import ERRORS, entering, gateway_host, sized, speaks_as, zone
from controller.pipeline import (
    ENTRY,
    EXACT,
    FALLBACK,
    KNOWN,
    L2,
    MEASURED,
    NETWORK,
    OVERRIDE,
    OWNED,
    PEER_MAC,
    PIECE,
    ROUTE,
    ROUTER,
    SNAT,
    SPECIAL,
    TOO_LARGE,
    TRANSLATE,
    UPLINK,
    WHOSE,
    YIELDED,
)
from controller.qos import INGRESS, meters, of_forwarding, passing, ruling, sending
from controller.scopes import translated
from controller.speaking import spoken, whether_yielded

PROTOCOLS = {"tcp": (6, TCP, TCP_SRC, TCP_DST), "udp": (17, UDP, UDP_SRC, UDP_DST)}


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


@remembered
def narrowest(net: Net, floating_id: str, router_id: str) -> int:
    """The least MTU where it leads to."""
    ports = (net.get("port", id) for id in net.values("port_forwarding", "internal_port_id", floatingip_id=floating_id))
    networks = {port.network_id for port in ports if port}
    return min((one.mtu for one in interfaces(net, router_id) if one.network_id in networks), default=1 << 16)


@derives("floatingip", at=with_forwardings)
def door(floating: Any, net: Net, here: Here) -> Iterator[Flow | Meter]:
    """Asked for and sent to as the router's own address is; not any more when another host is the gateway."""
    way, own, address = outside(net, floating.router_id), net.get("port", floating.floating_port_id), floating.floating_ip_address
    router, (policy, first), ours = ROUTER == way.router, limits(floating, net), whether_yielded(way.mac)
    yield from meters(net, policy, first)
    yield flow(WHOSE, OVERRIDE, match(NETWORK == way.network, held(address)), load(KNOWN, 1), load(OWNED, 1),
               load(PEER_MAC, mac_number(own.mac_address)), *ours)
    least = narrowest(net, floating.id, floating.router_id)
    measured = () if least >= way.mtu else (load(PEER_MAC.of[0:16], least), larger(least + ETHERNET, TOO_LARGE))
    yield flow(L2, EXACT, match(NETWORK == way.network, ETH_DST == own.mac_address), *entering(way.router, way.scopes),
               load(OWNED, 1), *measured, *ours, goto(ENTRY))
    # Its other ports are nobody's; a router without SNAT would send what is for them out again, to itself.
    yield flow(ENTRY, FALLBACK + 1, match(router, IPV4, IPV4_DST == address))
    # Before what is too large is cut: that is one errand for the agent.
    yield flow(ENTRY, OVERRIDE + 1, match(router, FRAGMENT, IPV4_DST == address, YIELDED == 0),
               *passing(net, policy, INGRESS, first), *to_the_door(PIECE))
    # What the agent has translated: pieces, and errors.
    yield flow(SNAT, SPECIAL + 1, match(router, IPV4, IPV4_SRC == address), *sending(net, policy, first),
               *abroad(way, own), goto(UPLINK))


@derives("floatingip", at=with_forwardings)
def words(floating: Any, net: Net, here: Here) -> Iterator[Answer]:
    """To be announced from the host where it is; and as whom the agent tells errors there."""
    way, own, address = outside(net, floating.router_id), net.get("port", floating.floating_port_id), floating.floating_ip_address
    prefix = net.get("subnet", own.fixed_ips[0]["subnet_id"]).cidr.rpartition("/")[2]
    yield answer("announce", floating.id, network=way.network, mac=own.mac_address, addresses=[address],
                 word=spoken(floating.floating_port_id, floating.generation))
    yield answer("router", own.id, network=way.network, mac=own.mac_address, addresses=[f"{address}/{prefix}"], next_hops=[])


@derives("port_forwarding", at=its_gateway)
def forwarding(forwarding: Any, net: Net, here: Here) -> Iterator[Flow | Answer]:
    """Both ways; of the guest's other ports nothing is changed."""
    floating, guest = net.get("floatingip", forwarding.floatingip_id), net.get("port", forwarding.internal_port_id)
    inside = next((one for one in interfaces(net, floating.router_id) if guest and one.network_id == guest.network_id), None)
    if inside is None or not guest.admin_state_up:
        return
    way, own = outside(net, floating.router_id), net.get("port", floating.floating_port_id)
    number, protocol, source, destination = PROTOCOLS[forwarding.protocol]
    address, fixed, router = floating.floating_ip_address, forwarding.internal_ip_address, ROUTER == way.router
    policy, first = limits(floating, net)
    received, sent = passing(net, policy, INGRESS, first), (*sending(net, policy, first), *abroad(way, own))
    anybodys = translated(way.scopes)
    arrives, leaves = match_of(router, protocol, IPV4_DST, address), match_of(router, protocol, IPV4_SRC, fixed)
    outer, inner = span(forwarding.external_port_range), span(forwarding.internal_port_range)
    said = answer("forwarding", forwarding.id, zone=zone(way.router), outside=way.network, address=address, mac=own.mac_address,
                  inside=inside.network, fixed=fixed, router=inside.mac, gateway=way.mac, mtu=inside.mtu, protocol=number,
                  outer=[outer[0], outer[-1]], inner=[inner[0], inner[-1]])
    for kind in ERRORS:
        yield flow(SNAT, EXACT + 2, match(router, ICMP, ICMP_TYPE == kind, IPV4_SRC == fixed), *to_the_door(TRANSLATE))
    yield flow(SNAT, EXACT + 2, match(leaves, FRAGMENT), *to_the_door(PIECE))
    if narrowest(net, floating.id, floating.router_id) < inside.mtu:    # it may fit here
        for low, bits, _ in blocks(outer, outer):
            again = match(arrives, some(destination, low, bits), TOO_LARGE == 1, MEASURED == 0, YIELDED == 0)
            yield flow(ENTRY, OVERRIDE + 1, again, load(TOO_LARGE, 0), *sized(inside.mtu, way), resubmit(ENTRY))
    if len(inner) < len(outer):
        remembered = ct_clear(), ct_nat(zone(way.router), ROUTE, destination=fixed, port=inner[0])
        for low, bits, _ in blocks(outer, outer):
            yield flow(ENTRY, EXACT, match(arrives, some(destination, low, bits)), *received, *anybodys, *remembered)
        yield flow(ENTRY, OVERRIDE + 3, match(arrives, FRAGMENT, ETH_SRC == label(number, outer[0]), YIELDED == 0), *anybodys,
                   *remembered)
        # What the guest begins from that port: as none of those that lead there, since an answer could come back to none.
        back = *sent, ct_nat(zone(way.router), UPLINK, source=speaks_as(net, floating.router_id) or address)
        yield flow(SNAT, EXACT + 1, match(leaves, source == inner[0]), *back)
        yield flow(SNAT, EXACT + 3, match(leaves, FRAGMENT, ETH_SRC == label(number, outer[0])), *back)
        yield said._replace(data={**said.data, "label": label(number, outer[0])})
        return
    yield said
    for low, bits, to in blocks(outer, inner):
        yield flow(ENTRY, EXACT, match(arrives, some(destination, low, bits)), *received, *anybodys, set_field(IPV4_DST, fixed),
                   *another(destination, low, to, bits), goto(ROUTE))
        yield flow(SNAT, EXACT + 1, match(leaves, some(source, to, bits)), *sent, set_field(IPV4_SRC, address),
                   *another(source, to, low, bits), goto(UPLINK))


def abroad(way: Any, own: Any) -> tuple[bytes, ...]:
    """The words that have it leave outside, from the floating IP's own port."""
    return set_field(ETH_SRC, own.mac_address), load(NETWORK, way.network)


def label(protocol: int, port: int) -> str:
    """Who sent a piece, where the agent says for which port it is."""
    return f"02:00:01:{protocol:02x}:{port >> 8:02x}:{port & 255:02x}"


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
