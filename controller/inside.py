"""Routers as their networks see them: interfaces and their addresses, and the words by which packets come to them."""

from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from controller.derive import Here, Net, remembered
from controller.flow import (
    ETH_DST,
    ETH_SRC,
    ICMP,
    ICMP_TYPE,
    ICMPV6,
    ICMPV6_TYPE,
    IP_TTL,
    IPV4,
    IPV4_DST,
    IPV4_SRC,
    IPV6,
    IPV6_DST,
    IPV6_SRC,
    Bits,
    Jump,
    Terms,
    goto,
    load,
    move,
    resubmit,
    set_field,
)
from controller.ipam import eui64
from controller.pipeline import AGENT, L2, PEER_MAC, REASON
from controller.scopes import Scopes, scopes
from controller.segments import wired

ETHERNET = 14  # bytes of a frame before its packet, which a switch counts in its length
HOPS = 64  # of what a router says itself


class Interface(NamedTuple):
    """Of a router that is up, on a network that is."""

    router: int
    network_id: str
    network: int
    """Their numbers."""
    port_id: str
    mac: str
    mtu: int
    wired: bool
    """Whoever is on that wire is its neighbour, known or not."""
    scopes: Scopes
    addresses: tuple[tuple[str, str], ...]
    """Each with the prefix of its subnet."""

    @property
    def link_local(self) -> list[str]:
        """The address that its MAC makes, where it speaks IPv6."""
        return [eui64("fe80::/64", self.mac)] if any(":" in address for address, _ in self.addresses) else []


@remembered
def interface(net: Net, id: str) -> Interface | None:
    row = net.get("router_interface", id)
    return _standing(net, row) if row else None


@remembered
def interfaces(net: Net, router_id: str) -> tuple[Interface, ...]:
    found = (_standing(net, row) for row in net.where("router_interface", router_id=router_id))
    return tuple(one for one in found if one)


@remembered
def networks(net: Net, router_id: str) -> tuple[tuple[str, int, Scopes], ...]:
    """Those that it is on, each once, with their numbers: on one it may have a port for each IP version."""
    return tuple(sorted({(one.network_id, one.network, one.scopes) for one in interfaces(net, router_id)}))


@remembered
def outside(net: Net, router_id: str) -> Interface | None:
    """Its gateway port, seen as an interface."""
    return next((one for row in net.where("router_gateway", router_id=router_id) if (one := _standing(net, row))), None)


def _standing(net: Net, row: Any) -> Interface | None:
    router, port, network = net.get("router", row.router_id), net.get("port", row.port_id), net.get("network", row.network_id)
    if not (router and port and network and router.admin_state_up and network.admin_state_up):
        return None
    subnets = ((f["ip_address"], net.get("subnet", f["subnet_id"])) for f in port.fixed_ips)
    return Interface(router.number, network.id, network.number, port.id, port.mac_address, network.mtu, wired(network),
                     scopes(net, row.router_id).get(network.id, ()),
                     tuple((address, subnet.cidr) for address, subnet in subnets if subnet))


@remembered
def routes(net: Net, router_id: str) -> dict[str, str]:
    """Its extra routes: of a prefix said twice, the first next hop: equal ways are not shared. Subnets of its own are nearer."""
    router = net.get("router", router_id)
    found: dict[str, str] = {}
    near = {cidr for one in interfaces(net, router_id) for _, cidr in one.addresses}
    for route in router.routes if router else ():
        prefix = str(ip_network(route["destination"]))
        if prefix not in near:
            found.setdefault(prefix, route["nexthop"])
    return found


@remembered
def towards(net: Net, router_id: str, hop: str) -> Interface | None:
    """By which of its interfaces it has this neighbour."""
    ways = (*interfaces(net, router_id), outside(net, router_id))
    return next((one for one in ways if one and any(ip_address(hop) in ip_network(cidr) for _, cidr in one.addresses)), None)


@remembered
def largest(net: Net, router_id: str) -> int:
    """The largest MTU of its networks: from there packets come that another may not take."""
    return max(_mtus(net, router_id), default=0)


@remembered
def fits_everywhere(net: Net, router_id: str, mtu: int) -> bool:
    """May none of its networks take less?"""
    return all(mtu <= other for other in _mtus(net, router_id))


def _mtus(net: Net, router_id: str) -> list[int]:
    return [one.mtu for one in (*interfaces(net, router_id), outside(net, router_id)) if one]


def host_mac(here: Here) -> str:
    """As which routers leave this host on wires: locally administered, and like no other host's. A router has one MAC on all
    hosts, which switches out there would see in several places at once."""
    dpid = here.agent.datapaths.get("br-ex", "") if here.agent else ""
    return ":".join(("0e", *(dpid[at:at + 2] for at in range(4, 14, 2)))) if dpid else ""


def to_the_door(reason: int | Bits) -> tuple[bytes | Jump, ...]:
    """The words that bring a packet to the agent, as it is."""
    return load(REASON, reason) if isinstance(reason, int) else move(reason, REASON), goto(AGENT)


def addressed(address: str) -> Terms:
    """What is for this address."""
    return IPV6 + (IPV6_DST == address) if ":" in address else IPV4 + (IPV4_DST == address)


def echoed(address: str) -> tuple[Terms, tuple[bytes | Jump, ...]]:
    """A ping of a router's address, and the words that answer it: back to the MAC that it came from, whatever the routes say."""
    protocol, kind, request, reply, source, target = (
        (ICMPV6, ICMPV6_TYPE, 128, 129, IPV6_SRC, IPV6_DST) if ":" in address else (ICMP, ICMP_TYPE, 8, 0, IPV4_SRC, IPV4_DST))
    return protocol + (kind == request) + (target == address), (
        set_field(kind, reply), move(source, target), set_field(source, address), load(IP_TTL, HOPS), move(ETH_SRC, PEER_MAC),
        move(ETH_DST, ETH_SRC), move(PEER_MAC, ETH_DST), resubmit(L2))
