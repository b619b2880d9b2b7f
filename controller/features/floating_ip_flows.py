"""Floating IPs on the wire: on the host of its port an address is answered for, and translated both ways, by flows alone.

Nothing is remembered of a connection: it goes on whatever is restarted, and ends with the flows. Two kinds of packets flows
cannot translate. Of *pieces* Open vSwitch 3.1 mends a checksum that only the first has, and so spoils the later ones: they go
through conntrack, which puts them together. *ICMP errors* carry the packet that they are about: they go through the agent.

A host that no controller reaches hears on the wire that the address is on another now, as gateways do, and yields it.
(docs/decisions/0022-addresses-outside.md)
"""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any, NamedTuple

from controller.addresses import held, mac_number
from controller.crossing import TAGGED, untag
from controller.derive import Answer, Here, Net, answer, derives, itself, own_host
from controller.flow import (
    ARP,
    CONJ_ID,
    ETH_DST,
    ETH_SRC,
    FRAGMENT,
    ICMP,
    ICMP_TYPE,
    IN_PORT,
    IP_TTL,
    IPV4,
    IPV4_DST,
    IPV4_SRC,
    RPL,
    Flow,
    Meter,
    conjunction,
    ct_clear,
    ct_nat,
    dec_ttl,
    flow,
    goto,
    load,
    match,
    move,
    resubmit,
    set_field,
)
from controller.inside import Interface, interfaces, outside, to_the_door
from controller.outside import ERRORS, entering, sized, speaks_as, zone
from controller.pipeline import (
    AS_ANOTHER,
    AS_ITSELF,
    CLAIMED_MAC,
    CLASSIFY,
    CUT,
    ENTRY,
    EXACT,
    EXIT,
    EXPIRED,
    KNOWN,
    L2,
    MEASURED,
    NETWORK,
    OVERRIDE,
    OWNED,
    PEER_MAC,
    RENAMED,
    ROUTE,
    ROUTER,
    SPECIAL,
    TOO_LARGE,
    TRANSLATE,
    UPLINK,
    WHOSE,
    YIELDED_TO,
)
from controller.qos import INGRESS, meters, of_floating, passing, ruling, sending
from controller.scopes import translated
from controller.speaking import spoken, succession, whether_yielded

ABROAD = 1  # the number of a conjunction


def home(floating: Any, net: Net) -> Any:
    """The host of its port."""
    port = net.get("port", floating.port_id)
    return own_host(port, net) if port else ()


@derives("agent", at=itself)
def oddities(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What comes for a floating IP and is the agent's: before it is translated, since who sent it must know it again. And what
    the agent announces: nothing that this host has yielded meanwhile."""
    if door := here.ofport("br-int", "routers"):
        yield flow(CLASSIFY, EXACT + 1, match(IN_PORT == door, TAGGED, ARP), *untag(NETWORK.of), move(ETH_SRC, CLAIMED_MAC),
                   resubmit(YIELDED_TO), goto(L2))
    for asked in (OVERRIDE, match(IPV4, TOO_LARGE == 1)), (OVERRIDE - 1, match(FRAGMENT, MEASURED == 1, CUT == 0)):
        yield flow(ENTRY, *asked, *to_the_door(PEER_MAC.of[0:16]))
    for ttl in (0, 1):
        yield flow(ENTRY, OVERRIDE, match(IPV4, IP_TTL == ttl, TOO_LARGE == 0), *to_the_door(EXPIRED))
    for kind in ERRORS:
        yield flow(ENTRY, SPECIAL, match(ICMP, ICMP_TYPE == kind, OWNED == 1), *to_the_door(TRANSLATE))
        yield flow(EXIT, OVERRIDE, match(ICMP, ICMP_TYPE == kind), conjunction(ABROAD, 1, 2))
    yield flow(EXIT, OVERRIDE, match(CONJ_ID == ABROAD, IPV4), *to_the_door(TRANSLATE))


class Place(NamedTuple):
    """All about a floating IP that is in use here."""

    address: str
    prefix: int
    """Of its subnet."""
    mac: str
    outside: Interface
    inside: Interface
    guest: Any


def place(floating: Any, net: Net, here: Here) -> Place | None:
    own, guest = net.get("port", floating.floating_port_id), net.get("port", floating.port_id)
    way = outside(net, floating.router_id) if floating.router_id else None
    inside = next((one for one in interfaces(net, floating.router_id) if one.network_id == guest.network_id), None)
    if not (own and way and inside and guest.admin_state_up and here.vif(guest.id)):
        return None
    subnet = net.get("subnet", own.fixed_ips[0]["subnet_id"])
    return Place(floating.floating_ip_address, ip_network(subnet.cidr).prefixlen, own.mac_address, way, inside, guest)


@derives("floatingip", at=home)
def translation(floating: Any, net: Net, here: Here) -> Iterator[Flow | Meter]:
    """All that a floating IP costs, on the one host that it is on."""
    one = place(floating, net, here)
    if one is None:
        return
    address, fixed, way, inside = one.address, floating.fixed_ip_address, one.outside, one.inside
    router = ROUTER == way.router
    policy = ruling(floating, net.get("network", floating.floating_network_id))
    first = of_floating(here.vif(one.guest.id), one.guest, fixed)
    yield from meters(net, policy, first)
    sent, received = sending(net, policy, first), passing(net, policy, INGRESS, first)
    yield from succession(way.network, one.mac, floating.floating_port_id, floating.generation)
    ours = whether_yielded(one.mac)
    # Owned: so ARP on the wire is answered here, and nowhere else.
    yield flow(WHOSE, OVERRIDE, match(NETWORK == way.network, held(address)), load(KNOWN, 1), load(OWNED, 1),
               load(PEER_MAC, mac_number(one.mac)), *ours)
    yield flow(L2, EXACT, match(NETWORK == way.network, ETH_DST == one.mac), *entering(way.router, way.scopes), load(OWNED, 1),
               *sized(inside.mtu, way), *ours, goto(ENTRY))
    arrives, renamed = (router, IPV4, IPV4_DST == address), (load(RENAMED, 1), *translated(way.scopes))
    yield flow(ENTRY, EXACT, match(*arrives), *received, *renamed, set_field(IPV4_DST, fixed), goto(ROUTE))
    yield flow(ENTRY, EXACT + 1, match(*arrives, FRAGMENT), *received, *renamed, ct_clear(),
               ct_nat(zone(way.router), ROUTE, destination=fixed))
    abroad = set_field(ETH_SRC, one.mac), load(NETWORK, way.network), *ours
    leaves = router, IPV4, IPV4_SRC == fixed, AS_ITSELF == 0
    yield flow(EXIT, EXACT, match(*leaves), *sent, set_field(IPV4_SRC, address), *abroad, goto(UPLINK))
    yield flow(EXIT, EXACT + 1, match(*leaves, FRAGMENT), *sent, *abroad, ct_nat(zone(way.router), UPLINK, source=address))
    yield flow(EXIT, OVERRIDE, match(*leaves), conjunction(ABROAD, 0, 2))
    yield flow(EXIT, EXACT, match(router, IPV4, IPV4_SRC == address), *abroad, goto(UPLINK))  # errors, from the agent
    if not speaks_as(net, floating.router_id):  # then who calls may be from inside, and shows his address there
        yield flow(ROUTE, SPECIAL - 2, match(router, IPV4, IPV4_SRC == fixed, RPL == 1, AS_ANOTHER == 1), dec_ttl(),
                   load(MEASURED, 0), goto(EXIT))


@derives("floatingip", at=home)
def words(floating: Any, net: Net, here: Here) -> Iterator[Answer]:
    """What the agent must know: under which addresses to translate errors, as whom to say them, and what to announce."""
    if one := place(floating, net, here):
        yield answer("floating", floating.id, outside=one.outside.network, address=one.address, inside=one.inside.network,
                     fixed=floating.fixed_ip_address, mac=one.inside.mac, zone=zone(one.outside.router))
        yield answer("router", floating.floating_port_id, network=one.outside.network, mac=one.mac,
                     addresses=[f"{one.address}/{one.prefix}"], next_hops=[])
        yield answer("announce", floating.id, network=one.outside.network, mac=one.mac, addresses=[one.address],
                     word=spoken(floating.floating_port_id, floating.generation))
