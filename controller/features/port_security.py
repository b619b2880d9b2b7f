"""Port security: a guest speaks with its own MAC and addresses only, and never as a router or a DHCP server.

Its MAC is asked for at the entrance (ports.py). Here a packet's claims (who sends it, and whose MAC ARP or neighbour
discovery says that an address has) are laid into registers and looked up in one table, `own`. So an address costs one
flow, whatever the protocols that name it, and what is dropped is counted by reason, whoever sent it.

Open vSwitch does not see IPv4 options nor IPv6 extension headers: a source route is not refused here, and leads nowhere,
since nothing on the way follows one.
"""

from collections.abc import Iterator
from typing import Any

from controller.addresses import held, laid, mac_number
from controller.derive import Here, Net, derives, its_hosts, itself, own_host
from controller.flow import (
    ARP,
    ARP_REQUEST,
    ARP_SHA,
    ARP_SPA,
    ARP_TPA,
    ETH_SRC,
    ICMP,
    ICMP_TYPE,
    ICMPV6,
    ICMPV6_TYPE,
    IN_PORT,
    IP_PROTO,
    IPV4,
    IPV4_DST,
    IPV4_SRC,
    IPV6,
    IPV6_SRC,
    ND_NA,
    ND_NS,
    ND_SLL,
    ND_TARGET,
    ND_TLL,
    UDP,
    UDP6,
    UDP_DST,
    UDP_SRC,
    VLAN_TCI,
    Field,
    Flow,
    Jump,
    flow,
    goto,
    load,
    match,
    move,
    resubmit,
)
from controller.ipam import eui64
from controller.pipeline import (
    CLAIMED_MAC,
    CLASSIFY,
    EXACT,
    FALLBACK,
    LOCAL,
    MULTICAST,
    NETWORK,
    OVERRIDE,
    OWN,
    SENDER,
    SPECIAL,
    SPOOF,
    STRANGER,
)

IGMP = IPV4 + (IP_PROTO == 2)
ICMP_REDIRECT, REDIRECT, ADVERTISEMENT = 5, 137, 134
FROM_NOBODY = 131, 132, 133, 143  # may come from "::": MLD reports (RFC 2710, 3810) and router solicitations (RFC 4861)


def claims(address: Field, mac: Field) -> tuple[bytes | Jump, ...]:
    """Ask whether the port may hold this address with this MAC."""
    return *laid(address), move(mac, CLAIMED_MAC), resubmit(OWN)


@derives("agent", at=itself)
def questions(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What each kind of packet claims, and what no guest may send at all."""
    verdict = goto(SENDER)
    yield flow(CLASSIFY, FALLBACK, match(VLAN_TCI == 0))  # a MAC that is not the port's
    for never in (UDP + (UDP_DST == 68), UDP6 + (UDP_DST == 546),  # what DHCP servers send, from whatever port
                  ICMPV6 + (ICMPV6_TYPE == ADVERTISEMENT), ICMPV6 + (ICMPV6_TYPE == REDIRECT),
                  ICMP + (ICMP_TYPE == ICMP_REDIRECT),
                  ND_NS + (ND_TARGET == "::")):  # so it reads when an option comes twice
        yield flow(SPOOF, OVERRIDE, match(never))
    yield flow(SPOOF, FALLBACK, match(IPV4), *claims(IPV4_SRC, ETH_SRC), verdict)
    yield flow(SPOOF, FALLBACK, match(IPV6), *claims(IPV6_SRC, ETH_SRC), verdict)
    yield flow(SPOOF, FALLBACK, match(ARP), *claims(ARP_SPA, ARP_SHA), verdict)
    # Who probes for an address (RFC 5227, RFC 4862) asks for one of its own, or it could keep others from theirs.
    yield flow(SPOOF, EXACT, match(ARP_REQUEST, ARP_SPA == "0.0.0.0"), *claims(ARP_TPA, ARP_SHA), verdict)
    yield flow(SPOOF, OVERRIDE, match(ND_NS, IPV6_SRC == "::", ND_SLL == 0), *claims(ND_TARGET, ETH_SRC), verdict)
    # Without its option (0), neighbour discovery claims the MAC that the frame has.
    for priority, absent, sll, tll in ((EXACT, False, ND_SLL, ND_TLL), (SPECIAL, True, ETH_SRC, ETH_SRC)):
        yield flow(SPOOF, priority, match(ND_NS, (ND_SLL == 0) if absent else ()), *claims(IPV6_SRC, sll), verdict)
        yield flow(SPOOF, priority, match(ND_NA, (ND_TLL == 0) if absent else ()), *claims(IPV6_SRC, tll),
                   *claims(ND_TARGET, tll), verdict)
    for kind in (135, 136):  # whatever its code says
        yield flow(SPOOF, MULTICAST, match(ICMPV6, ICMPV6_TYPE == kind))
    # Who has no address yet.
    yield flow(SPOOF, EXACT, match(UDP, IPV4_SRC == "0.0.0.0", IPV4_DST == "255.255.255.255", UDP_SRC == 68, UDP_DST == 67),
               goto(LOCAL))
    yield flow(SPOOF, EXACT, match(IGMP, IPV4_SRC == "0.0.0.0"), goto(LOCAL))
    for kind in FROM_NOBODY:
        yield flow(SPOOF, EXACT, match(ICMPV6, IPV6_SRC == "::", ICMPV6_TYPE == kind), goto(LOCAL))


@derives("agent", at=itself)
def verdicts(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """One claim that is not its own, and the packet is dropped under what it is."""
    yield flow(OWN, FALLBACK, match(), load(STRANGER, 1))
    yield flow(SENDER, EXACT, match(STRANGER == 0), goto(LOCAL))
    for priority, kind in ((SPECIAL, ND_NS), (SPECIAL, ND_NA), (FALLBACK, IPV4), (FALLBACK, IPV6), (FALLBACK, ARP)):
        yield flow(SENDER, priority, match(STRANGER == 1, kind))


@derives("network", at=its_hosts)
def renewals(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Who renews a lease speaks from the address that it had, which may be its own no more: so it learns of the new one.
    Only where the cloud takes every such packet, wherever it is addressed to."""
    if here.ofport("br-int", "door") and any(
            s.ip_version == 4 and s.enable_dhcp for s in net.where("subnet", network_id=network.id)):
        yield flow(SPOOF, EXACT, match(NETWORK == network.number, UDP, UDP_SRC == 68, UDP_DST == 67), goto(LOCAL))


@derives("port", at=own_host)
def own(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """A port's addresses, each with its MAC. A packet that meets one of these flows is left as it is."""
    ofport = here.vif(port.id)
    if not ofport or not port.port_security_enabled:
        return
    its = {(f["ip_address"], port.mac_address) for f in port.fixed_ips}
    its |= {(p["ip_address"], p["mac_address"]) for p in port.allowed_address_pairs}
    its |= {(eui64("fe80::/64", mac), mac) for mac in {port.mac_address, *(mac for _, mac in its)}}
    for address, mac in sorted(its):
        yield flow(OWN, EXACT, match(IN_PORT == ofport, ETH_SRC == mac, CLAIMED_MAC == mac_number(mac), held(address)))
