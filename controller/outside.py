"""The way out of routers: which host holds it, under which address it is spoken there, where else packets leave, and how a host
that no controller reaches any more hears that what it speaks for is another's."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from controller.derive import Here, Net, agent_of, gathered, hosts_reaching, remembered
from controller.flow import (
    ETH_DST,
    ETH_SRC,
    IN_PORT,
    TUN_DST,
    TUN_ID,
    Flow,
    Jump,
    flow,
    larger,
    load,
    match,
    move,
    output,
    resubmit,
    set_field,
)
from controller.inside import ETHERNET, Interface, networks, outside
from controller.pipeline import (
    CUT,
    DEPART,
    EXACT,
    FROM_OVERLAY,
    FROM_WIRE,
    MEASURED,
    NETWORK,
    OVERLAY,
    PEER_MAC,
    ROUTER,
    ROUTERS_ZONES,
    TOO_LARGE,
)
from controller.scopes import Scopes, come_from

ERRORS = 3, 11, 12  # of ICMP: unreachable, time exceeded, parameter problem


def zone(router: int) -> int:
    """Of conntrack, by the router's number."""
    return ROUTERS_ZONES | router


@remembered
def gateway_host(net: Net, router_id: str) -> str:
    """Where its gateway is; empty while it is nowhere."""
    hosts = net.values("router_gateway", "host", router_id=router_id)
    return next((host for host in hosts if host and agent_of(net, host)), "") if outside(net, router_id) else ""


@remembered
def speaks_as(net: Net, router_id: str) -> str:
    """The address that guests without one of their own have outside; empty where they keep theirs."""
    router, way = net.get("router", router_id), outside(net, router_id)
    fours = (a for a, _ in way.addresses if ip_address(a).version == 4) if way and router.enable_snat else ()
    return next(iter(fours), "")


@gathered("floatingip")
def floating_hosts(net: Net, floating: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """The hosts of a router's floating IPs, or of a network's: those of their ports."""
    port = net.get("port", floating.port_id)
    if port and agent_of(net, port.binding_host_id):
        yield (floating.router_id,), port.binding_host_id
        yield (floating.floating_network_id,), port.binding_host_id


@remembered
def exits(net: Net, router_id: str) -> frozenset[str]:
    """The hosts from which what it routes leaves: its gateway's, and those of its floating IPs."""
    host = gateway_host(net, router_id)
    return floating_hosts(net, router_id) | ({host} if host else set()) if outside(net, router_id) else frozenset()


@gathered("router_gateway")
def _gateway_hosts(net: Net, row: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """The hosts by which routers leave to a network, and those by which they would next."""
    for host in dict.fromkeys((row.host, row.successor)):
        if host and agent_of(net, host):
            yield (row.network_id,), host


def hosts_on_it(network: Any, net: Net) -> Iterable[str]:
    """Of a network: the hosts with ports on it, those that route to it, and those from which routers lead out by it. (Not only
    of `external` ones: that a network is so to one project alone, no record of its own says.)"""
    return hosts_reaching(net, network.id) | _gateway_hosts(net, network.id) | floating_hosts(net, network.id)


def across(mac: str) -> tuple[bytes | Jump, ...]:
    """The words that send a packet on by the network that it came from, to where the router has this MAC: as from the router's
    interface, since on a wire nobody's MAC may be seen to leave from another host than its own."""
    return move(ETH_DST, ETH_SRC), set_field(ETH_DST, mac), load(FROM_OVERLAY, 0), resubmit(OVERLAY)


def crossing(net: Net, here: Here, router_id: str, mac: str, host: str) -> Iterator[Flow]:
    """By the tunnels of the router's networks to that host, which has the MAC."""
    peer = Here(host, net).agent
    for network_id, number, _ in networks(net, router_id):
        network = net.get("network", network_id)
        tunnel = here.ofport("br-tun", network.network_type)
        if tunnel and peer and peer.tunnel_ip:
            yield flow(DEPART, EXACT, match(NETWORK == number, ETH_DST == mac), set_field(TUN_ID, network.segmentation_id),
                       set_field(TUN_DST, peer.tunnel_ip), output(tunnel))


def entering(router: int, scopes: Scopes) -> tuple[bytes, ...]:
    """The words of table l2 for what is addressed to a router: from here on it is nobody's copy, and may go back to where it
    came from, of which the scopes are noted."""
    return (load(ROUTER, router), load(FROM_OVERLAY, 0), load(FROM_WIRE, 0), load(MEASURED, 0), load(TOO_LARGE, 0),
            load(IN_PORT[0:16], 0), *come_from(scopes))


def sized(mtu: int, way: Interface) -> tuple[bytes, ...]:
    """The words that measure what comes from outside for networks of this MTU: what does not fit is told of before it is
    translated, since the error would else be about a packet that its sender does not know."""
    if mtu >= way.mtu:
        return load(MEASURED, 1), load(CUT, 1)
    return load(MEASURED, 1), load(PEER_MAC.of[0:16], mtu), larger(mtu + ETHERNET, TOO_LARGE)
