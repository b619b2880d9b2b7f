"""The flows of security groups: who may talk is asked of conntrack and of the rules, for every packet of a connection.

A packet is judged by the direction that its connection began in and by the tuple that it began with, whoever sends
now. So a rule that goes ends its connections with the same change, and they live again with the rule; conntrack's
table is never touched. See docs/decisions/0008-security-groups.md.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

from controller.addresses import bits, held, laid
from controller.derive import Here, Net, derives, its_hosts, itself
from controller.flow import (
    CT_IPV6_DST,
    CT_IPV6_SRC,
    CT_NW_DST,
    CT_NW_PROTO,
    CT_NW_SRC,
    CT_TP_DST,
    CT_TP_SRC,
    ICMP,
    ICMP_CODE,
    ICMP_TYPE,
    ICMPV6,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IN_PORT,
    INV,
    IP_FRAG,
    IP_PROTO,
    IPV4,
    IPV4_DST,
    IPV4_SRC,
    IPV6,
    IPV6_DST,
    IPV6_SRC,
    NEW,
    REL,
    RPL,
    SCTP_DST,
    SCTP_SRC,
    TCP_DST,
    TRK,
    UDP_DST,
    Flow,
    Terms,
    ct,
    ct_commit,
    flow,
    goto,
    load,
    match,
    move,
    one,
    resubmit,
)
from controller.pipeline import (
    AS_ANOTHER,
    AS_ITSELF,
    COMMIT,
    CUT,
    EXACT,
    FALLBACK,
    INBOUND,
    JOINED,
    L2,
    MEMBERS,
    NETWORK,
    OUT_PORT,
    OUTPUT,
    OVERRIDE,
    PEER_POLICY,
    POLICY,
    RENAMED,
    RULES,
    TO_GUEST,
    TRACK,
    UNTRACKED,
    VERDICT,
    WHOSE,
)
from controller.policy import UNGUARDED, behind, hosts_with, members, number, paired, policies_with, stateless

VALID = one(TRK == 1, INV == 0)
PROTOCOLS = {"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "icmpv6": 58, "igmp": 2, "ip": 4,
             "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43,
             "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112}
TCP, UDP, SCTP = 6, 17, 132
PINGS = {"IPv4": 1, "IPv6": 58}
DESTINATION_PORT = {TCP: TCP_DST, UDP: UDP_DST, SCTP: SCTP_DST}

# The ICMP that conntrack follows. Of all other types it says that they are invalid, whatever they are.
ICMP_FOLLOWED = (0, 3, 4, 5, 8, 11, 12, 13, 14, 15, 16)
ICMPV6_FOLLOWED = (1, 2, 3, 4, 128, 129)
FOLLOWED = (*(ICMP + (ICMP_TYPE == kind) for kind in ICMP_FOLLOWED),
            *(ICMPV6 + (ICMPV6_TYPE == kind) for kind in ICMPV6_FOLLOWED))
TOO_BIG = 2
NEIGHBOURS = (133, 134, 135, 136)  # solicitations and advertisements, RFC 4861

# The address at the other end: of who began, where the connection came in; of whom it went to, where it went out.
TRACKED_END = {("IPv4", True): CT_NW_SRC, ("IPv4", False): CT_NW_DST, ("IPv6", True): CT_IPV6_SRC, ("IPv6", False): CT_IPV6_DST}
OWN_END = {("IPv4", True): IPV4_SRC, ("IPv4", False): IPV4_DST, ("IPv6", True): IPV6_SRC, ("IPv6", False): IPV6_DST}
VERSION = {"IPv4": IPV4, "IPv6": IPV6}


@derives("agent", at=itself)
def judgement(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What is the same for all policies: asking conntrack, finding the direction and the other end, committing."""
    yield flow(TRACK, OVERRIDE, match(POLICY == UNGUARDED), goto(COMMIT))
    for kind in NEIGHBOURS:
        yield flow(TRACK, OVERRIDE, match(ICMPV6, ICMPV6_TYPE == kind), goto(COMMIT))
    # Conntrack calls an error about a piece invalid; whose pieces nobody cuts has to hear of the MTU, from his own host's agent.
    yield flow(TRACK, OVERRIDE, match(ICMPV6, ICMPV6_TYPE == TOO_BIG, CUT == 1), goto(COMMIT))
    for to_guest, zone, onward in ((0, IN_PORT[0:16], L2), (1, OUT_PORT, OUTPUT)):
        for family in VERSION.values():
            yield flow(TRACK, FALLBACK, match(TO_GUEST == to_guest, family), load(UNTRACKED, 0), ct(zone, VERDICT))
            yield flow(COMMIT, EXACT, match(TO_GUEST == to_guest, UNTRACKED == 0, family, NEW == 1, TRK == 1),
                       ct_commit(zone), goto(onward))
        yield flow(COMMIT, FALLBACK, match(TO_GUEST == to_guest), goto(onward))
        for reply in (0, 1):
            yield flow(VERDICT, EXACT, match(VALID, RPL == reply, TO_GUEST == to_guest),
                       load(INBOUND, to_guest ^ reply), goto(RULES))
    # How a guest with a floating IP was called is how he answers (floating_ip_flows.py): as he was last, where one port calls
    # him by both addresses.
    for renamed, called in enumerate((AS_ITSELF, AS_ANOTHER)):
        yield flow(COMMIT, EXACT + 1, match(TO_GUEST == 1, UNTRACKED == 0, IPV4, TRK == 1, REL == 0, RPL == 0,
                                            RENAMED == renamed, called == 0), ct_commit(OUT_PORT, called.mask), goto(OUTPUT))
    yield flow(VERDICT, FALLBACK, match(TRK == 1, INV == 1))
    for followed in FOLLOWED:
        yield flow(VERDICT, OVERRIDE, match(TRK == 1, INV == 1, followed))
    for pings in (ICMP, ICMPV6):
        yield flow(VERDICT, EXACT, match(TRK == 1, INV == 1, pings),
                   load(UNTRACKED, 1), move(TO_GUEST, INBOUND), goto(RULES))
    # Later pieces have no ports, in conntrack's tuple neither. They follow: without the first piece they are worth
    # nothing, and to begin a connection takes all of them.
    for family in VERSION.values():
        yield flow(RULES, OVERRIDE, match(family, IP_FRAG == "later"), goto(COMMIT))
    for (version, inbound), end in TRACKED_END.items():
        yield flow(RULES, FALLBACK, match(UNTRACKED == 0, INBOUND == inbound, VERSION[version], VALID),
                   *laid(end), load(PEER_POLICY, 0), resubmit(JOINED), goto(MEMBERS))
    for (version, inbound), end in OWN_END.items():
        yield flow(RULES, FALLBACK, match(UNTRACKED == 1, INBOUND == inbound, VERSION[version]),
                   *laid(end), load(PEER_POLICY, 0), resubmit(JOINED), goto(MEMBERS))


def hosts_of_group(group: Any, net: Net) -> Iterable[str]:
    return hosts_with(net, group.id)


@derives("security_group", at=hosts_of_group)
def exemption(group: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Ports of stateless groups only are judged packet by packet, by what each says itself."""
    for policy in here.ask(policies_with, group.id):
        if stateless(net, policy):
            for family in VERSION.values():
                yield flow(TRACK, EXACT, match(POLICY == number(policy), family),
                           load(UNTRACKED, 1), move(TO_GUEST, INBOUND), goto(RULES))


def hosts_of_rule(rule: Any, net: Net) -> Iterable[str]:
    return hosts_with(net, rule.security_group_id)


@derives("security_group_rule", at=hosts_of_rule)
def admission(rule: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What a rule lets pass: once for each policy here that it is in, and each policy that a group it names is in."""
    by_state: dict[bool, list[Terms]] = {}  # of a group in many policies, the same for each
    for policy in here.ask(policies_with, rule.security_group_id):
        judged = stateless(net, policy)
        if judged not in by_state:
            by_state[judged] = [one(form) for prefix in prefixes(rule, net) for form in forms(rule, prefix, judged)]
        asked, whose = by_state[judged], POLICY == number(policy)
        if not rule.remote_group_id:
            yield from (flow(RULES, EXACT, match(whose, form), goto(COMMIT)) for form in asked)
            continue
        for peer in members(net, rule.remote_group_id):
            yield from (flow(MEMBERS, EXACT, match(whose, PEER_POLICY == number(peer), form), goto(COMMIT)) for form in asked)


@derives("network", at=its_hosts)
def sharing(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Who may hold an address beside its own speaks for its groups there. (Addresses of ports: neighbours.address.)"""
    for prefix in paired(net, network.id):
        if groups := behind(net, network.id, prefix):
            yield flow(WHOSE, FALLBACK + bits(prefix), match(NETWORK == network.number, held(prefix)),
                       load(PEER_POLICY, number(groups)))


# A rule as terms of a match.


def prefixes(rule: Any, net: Net) -> list[str | None]:
    """The addresses that a rule says itself; None: any."""
    if rule.remote_address_group_id:
        group = net.get("address_group", rule.remote_address_group_id)
        found = group.addresses if group else []
    else:
        found = [rule.normalized_cidr] if rule.normalized_cidr else [None]
    networks = [ip_network(f) if f else None for f in found]
    return [str(n) if n and n.prefixlen else None for n in networks if n is None or f"IPv{n.version}" == rule.ethertype]


def forms(rule: Any, prefix: str | None, stateless: bool) -> Iterator[Terms]:
    """The matches of a rule: by conntrack's tuple, and by the packet's own fields where conntrack is not asked or knows
    nothing, which is so of some ICMP."""
    protocol = PROTOCOLS.get(rule.protocol, rule.protocol)
    protocol = int(protocol) if protocol not in (None, "any") else None
    pings = protocol == PINGS[rule.ethertype]
    begin = (INBOUND == (rule.direction == "ingress")) + VERSION[rule.ethertype]
    if protocol is None and prefix is None:
        yield begin
        return
    if not stateless:
        end = TRACKED_END[rule.ethertype, rule.direction == "ingress"]
        for ports in _tracked_ports(rule, protocol, pings):
            yield begin + VALID + (end == prefix if prefix else ()) + (
                CT_NW_PROTO == protocol if protocol is not None else ()) + ports
    if stateless or protocol is None or pings:
        end = OWN_END[rule.ethertype, rule.direction == "ingress"]
        for ports in _own_ports(rule, protocol, pings):
            yield begin + (UNTRACKED == 1) + (end == prefix if prefix else ()) + (
                IP_PROTO == protocol if protocol is not None else ()) + ports


def _tracked_ports(rule: Any, protocol: int | None, pings: bool) -> Iterator[Terms]:
    low, high = rule.port_range_min, rule.port_range_max
    if pings:  # conntrack keeps the type and the code where others have their ports
        yield (CT_TP_SRC == low if low is not None else ()) + (CT_TP_DST == high if high is not None else ())
    elif protocol == SCTP and low is not None:  # conntrack follows it by address, so each packet says its ports itself
        for reply, end in ((0, SCTP_DST), (1, SCTP_SRC)):
            yield from ((RPL == reply) + (IP_PROTO == SCTP) + (end.masked(*part) if part else ()) for part in ranges(low, high))
    elif protocol in DESTINATION_PORT:
        yield from (CT_TP_DST.masked(*part) if part else () for part in ranges(low, high))
    elif low is None:  # the ports of DCCP and UDP-Lite are beyond Open vSwitch: a rule that asks for some lets nothing pass
        yield ()


def _own_ports(rule: Any, protocol: int | None, pings: bool) -> Iterator[Terms]:
    low, high = rule.port_range_min, rule.port_range_max
    if pings:
        kind, code = (ICMP_TYPE, ICMP_CODE) if rule.ethertype == "IPv4" else (ICMPV6_TYPE, ICMPV6_CODE)
        yield (kind == low if low is not None else ()) + (code == high if high is not None else ())
    elif protocol in DESTINATION_PORT:
        yield from (DESTINATION_PORT[protocol].masked(*part) if part else () for part in ranges(low, high))
    elif low is None:
        yield ()


def ranges(low: int | None, high: int | None) -> Iterator[tuple[int, int] | None]:
    """(value, mask) of the fewest masks that together are the numbers from low to high; None: any number."""
    if low is None or high is None or (low, high) == (0, 0xFFFF):
        yield None
        return
    while low <= high:
        size = min(low & -low or 1 << 16, 1 << (high - low + 1).bit_length() - 1)
        yield low, 0xFFFF ^ size - 1
        low += size
