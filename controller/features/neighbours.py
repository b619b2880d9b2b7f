"""Neighbours: ARP and neighbour discovery, answered by flows on the asker's own host for every address that we know.

One table, `whose`, holds what is known of an address; here it is asked for who asks, elsewhere for whose rules name
groups. What we do not know goes to those who may hold it (broadcast.py).
"""

from collections.abc import Iterator
from typing import Any

from controller.addresses import held, laid, mac_number
from controller.crossing import tag
from controller.derive import Answer, Here, Net, answer, derives, hosts_reaching_it, itself, own_host
from controller.flow import (
    ARP,
    ARP_OP,
    ARP_REQUEST,
    ARP_SHA,
    ARP_SPA,
    ARP_THA,
    ARP_TPA,
    CONJ_ID,
    ETH_DST,
    ETH_SRC,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IPV6_DST,
    IPV6_SRC,
    ND_NA,
    ND_NS,
    ND_OPTIONS_TYPE,
    ND_RESERVED,
    ND_TARGET,
    ND_TLL,
    REPLY,
    Flow,
    conjunction,
    flow,
    goto,
    load,
    match,
    move,
    resubmit,
    set_field,
    to_in_port,
)
from controller.pipeline import (
    ADDRESS,
    ADVERTISE,
    ANSWER,
    EXACT,
    FROM_WIRE,
    KNOWN,
    L2,
    LOCAL,
    NETWORK,
    OVERRIDE,
    OWNED,
    PEER_MAC,
    PEER_POLICY,
    SPECIAL,
    WHOSE,
)
from controller.policy import behind, number
from controller.segments import wired

ADVERTISEMENT = 136  # RFC 4861, 4.4
SOLICITED_OVERRIDE = 0x60000000
TARGET_LINK_LAYER = 2  # option type; the solicitation had 1, the source's
TRIED = 3  # seconds after which a guest has found out that its new address is nobody's
GRATUITOUS = 1  # the number of a conjunction

# fe80::/64 with a MAC in it (RFC 4291, appendix A): ff:fe in the middle, one bit turned over, no group's MAC.
LINK_LOCAL = 0xFE80 << 112 | 0xFFFE << 24
LINK_LOCAL_MASK = (1 << 64) - 1 << 64 | 3 << 56 | 0xFFFF << 24


@derives("agent", at=itself)
def scaffold(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What holds for every address of the host."""
    yield flow(LOCAL, EXACT, match(ARP_REQUEST), *laid(ARP_TPA), resubmit(WHOSE), goto(ANSWER))
    yield flow(LOCAL, EXACT, match(ND_NS), *laid(ND_TARGET), resubmit(WHOSE), goto(ANSWER))
    known = KNOWN == 1
    for from_wire, back in ((0, (to_in_port(),)), (1, (*tag(NETWORK.of), to_in_port()))):
        yield flow(ANSWER, EXACT, match(known, FROM_WIRE == from_wire, ARP), move(ETH_SRC, ETH_DST), move(PEER_MAC, ETH_SRC),
                   set_field(ARP_OP, REPLY), move(ARP_SHA, ARP_THA), move(PEER_MAC, ARP_SHA), move(ARP_SPA, ARP_TPA),
                   move(ADDRESS.of[0:32], ARP_SPA), *back)
        # The second half of an advertisement: its option may only be written once it is an advertisement.
        yield flow(ADVERTISE, EXACT, match(FROM_WIRE == from_wire, ND_NA),
                   set_field(ND_RESERVED, SOLICITED_OVERRIDE), set_field(ND_OPTIONS_TYPE, TARGET_LINK_LAYER),
                   move(ETH_SRC, ND_TLL), *back)
    yield flow(ANSWER, EXACT, match(known, ND_NS), move(ETH_SRC, ETH_DST), move(PEER_MAC, ETH_SRC),
               move(IPV6_SRC, IPV6_DST), move(ND_TARGET, IPV6_SRC), set_field(ICMPV6_TYPE, ADVERTISEMENT),
               set_field(ICMPV6_CODE, 0), goto(ADVERTISE))
    # A wire brings the question to every host: only one may answer, that whose the address is.
    for question in (ARP, ND_NS):
        yield flow(ANSWER, SPECIAL + 1, match(known, FROM_WIRE == 1, OWNED == 0, question))
    # Who probes for an address (RFC 5227, RFC 4862) must hear its true owner or nobody, never us: the owner alone is asked.
    for probe in (ARP + (ARP_SPA == "0.0.0.0"), ND_NS + (IPV6_SRC == "::")):
        yield flow(ANSWER, SPECIAL, match(known, probe), move(PEER_MAC, ETH_DST), goto(L2))
    # A link-local address names its MAC itself. So nobody but its owner need hear the question, and no port costs a flow.
    for turned in (0, 1):
        asked = ND_TARGET.masked(LINK_LOCAL | turned << 57, LINK_LOCAL_MASK)
        yield flow(LOCAL, SPECIAL, match(ND_NS, asked), move(ND_TARGET[0:24], ETH_DST[0:24]),
                   move(ND_TARGET[40:64], ETH_DST[24:48]), load(ETH_DST[41:42], 1 - turned), goto(L2))


@derives("agent", at=itself)
def announcement(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Who asks for its own address announces it (gratuitous ARP): that is for everybody, so it goes on as the reply that
    it might be as well (RFC 5227, 3). From there on a request is always a question."""
    # No flow can compare two fields, but a conjunction can, bit by bit.
    for bit in range(32):
        for value in (0, 1):
            yield flow(ANSWER, OVERRIDE, match(ARP, ARP_SPA[bit:bit + 1] == value, ARP_TPA[bit:bit + 1] == value),
                       conjunction(GRATUITOUS, bit, 32))
    yield flow(ANSWER, OVERRIDE, match(CONJ_ID == GRATUITOUS, ARP),
               set_field(ARP_OP, REPLY), move(ARP_SHA, ARP_THA), goto(L2))


@derives("port", at=hosts_reaching_it)
def address(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """All that a port's address costs on a host: which MAC has it, and which groups speak from there."""
    network = net.get("network", port.network_id)
    if not (port.admin_state_up and network.admin_state_up):
        return
    if network.network_type == "local" and here.id != port.binding_host_id:
        return  # out of reach
    for ip in (fixed["ip_address"] for fixed in port.fixed_ips):
        yield flow(WHOSE, OVERRIDE, match(NETWORK == network.number, held(ip)), *_said(net, port, ip))


@derives("port", at=own_host)
def ownership(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Who asks on a wire is answered here, where the port is, and nowhere else."""
    network = net.get("network", port.network_id)
    if wired(network) and port.admin_state_up and network.admin_state_up:
        for ip in (fixed["ip_address"] for fixed in port.fixed_ips):
            yield flow(WHOSE, OVERRIDE + 1, match(NETWORK == network.number, FROM_WIRE == 1, held(ip)),
                       *_said(net, port, ip), load(OWNED, 1))


@derives("port", at=own_host)
def news(port: Any, net: Net, here: Here) -> Iterator[Answer]:
    """Announced when it is plugged: the address may have been another's a moment ago, whose MAC its neighbours still have.
    Of IPv6 later, since who just tries whether an address is free would take the announcement for an objection."""
    network = net.get("network", port.network_id)
    if not (port.admin_state_up and network.admin_state_up and here.vif(port.id)):
        return
    addresses = [fixed["ip_address"] for fixed in port.fixed_ips]
    for part, sign, after in (("", ".", 0), ("six", ":", TRIED)):
        if mine := [address for address in addresses if sign in address]:
            yield answer("announce", port.id, part, network=network.number, mac=port.mac_address, addresses=mine, after=after)


def _said(net: Net, port: Any, ip: str) -> list[bytes]:
    groups = behind(net, port.network_id, ip).union(port.security_groups)
    return [load(KNOWN, 1), load(PEER_MAC, mac_number(port.mac_address)),
            *([load(PEER_POLICY, number(groups))] if groups else [])]
