"""Neighbours: ARP and neighbour discovery for the ports we know, answered by flows on the asker's own host."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from controller.derive import Here, Net, derives, hosts_of_its_network, itself, own_host
from controller.flow import (
    ARP,
    ARP_OP,
    ARP_SHA,
    ARP_SPA,
    ARP_THA,
    ARP_TPA,
    ETH_DST,
    ETH_SRC,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IN_PORT,
    IPV6_DST,
    IPV6_SRC,
    ND_NA,
    ND_NS,
    ND_OPTIONS_TYPE,
    ND_RESERVED,
    ND_TARGET,
    ND_TLL,
    Flow,
    flow,
    goto,
    match,
    move,
    set_field,
    to_in_port,
)
from controller.pipeline import ADVERTISE, EXACT, L2, LOCAL, NETWORK, OVERRIDE

REQUEST, REPLY = 1, 2  # RFC 826
ADVERTISEMENT = 136  # RFC 4861, 4.4
SOLICITED_OVERRIDE = 0x60000000
TARGET_LINK_LAYER = 2  # option type; the solicitation had 1, the source's


@derives("agent", at=itself)
def scaffold(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What holds for every address of the host."""
    # Who probes for an address (RFC 5227, RFC 4862) must hear its true owner or nobody, never us.
    yield flow(LOCAL, OVERRIDE, match(ARP, ARP_SPA == "0.0.0.0"), goto(L2))
    yield flow(LOCAL, OVERRIDE, match(ND_NS, IPV6_SRC == "::"), goto(L2))
    # The second half of an advertisement: its option may only be written once it is an advertisement.
    yield flow(ADVERTISE, EXACT, match(ND_NA),
               set_field(ND_RESERVED, SOLICITED_OVERRIDE), set_field(ND_OPTIONS_TYPE, TARGET_LINK_LAYER),
               move(ETH_SRC, ND_TLL), to_in_port())


@derives("port", at=hosts_of_its_network)
def answer(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Every guest of the network asks its own host for this port's MAC."""
    network = net.get("network", port.network_id)
    if not (port.admin_state_up and network.admin_state_up):
        return
    for address in (fixed["ip_address"] for fixed in port.fixed_ips):
        if ip_address(address).version == 4:
            yield flow(LOCAL, EXACT, match(NETWORK == network.number, ARP, ARP_OP == REQUEST, ARP_TPA == address),
                       move(ETH_SRC, ETH_DST), set_field(ETH_SRC, port.mac_address),
                       set_field(ARP_OP, REPLY), move(ARP_SHA, ARP_THA), set_field(ARP_SHA, port.mac_address),
                       move(ARP_SPA, ARP_TPA), set_field(ARP_SPA, address), to_in_port())
        else:
            yield flow(LOCAL, EXACT, match(NETWORK == network.number, ND_NS, ND_TARGET == address),
                       move(ETH_SRC, ETH_DST), set_field(ETH_SRC, port.mac_address),
                       move(IPV6_SRC, IPV6_DST), set_field(IPV6_SRC, address),
                       set_field(ICMPV6_TYPE, ADVERTISEMENT), set_field(ICMPV6_CODE, 0), goto(ADVERTISE))


@derives("port", at=own_host)
def announcement(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """A port that asks for its own address announces it (gratuitous ARP): that is for its neighbours."""
    ofport = here.vif(port.id)
    if not ofport:
        return
    for address in (fixed["ip_address"] for fixed in port.fixed_ips):
        if ip_address(address).version == 4:
            yield flow(LOCAL, OVERRIDE, match(IN_PORT == ofport, ARP, ARP_OP == REQUEST, ARP_SPA == address,
                                              ARP_TPA == address), goto(L2))
