"""Next hops: the MAC of whom a router sends a packet to; from the flows of our own ports, or else as it said itself.

Who is asked outside answers on a wire, and the switch writes down what it says, for a minute, beside the flows that are
pushed: so it goes on with the controller dead. Until then packets wait with the agent, which asks, and asks again in time.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

from controller.addresses import held, laid
from controller.crossing import tag
from controller.derive import Here, Net, derives, hosts_of_router, hosts_reaching_network, itself
from controller.flow import (
    ARP,
    ARP_REPLY,
    ARP_SHA,
    ARP_SPA,
    ETH_DST,
    ETH_SRC,
    ND_NA,
    ND_TARGET,
    ND_TLL,
    VLAN_TCI,
    Field,
    Flow,
    Terms,
    flow,
    goto,
    load,
    match,
    move,
    output,
    pop_vlan,
    remember,
    resubmit,
    set_field,
)
from controller.inside import host_mac, to_the_door
from controller.pipeline import (
    ADDRESS,
    EXACT,
    FROM_WIRE,
    HEARD,
    KNOWN,
    L2,
    NEIGHBOUR,
    NETWORK,
    NEXT_HOP,
    NEXT_HOPS,
    OVERRIDE,
    PEER_MAC,
    RESOLVED,
    SPECIAL,
)
from controller.policy import paired, shares
from controller.segments import wired

SECONDS = 60  # for which what somebody outside said is believed; the agent asks again before (ovsagent/answers/next_hops.py)
MOST = 1024  # of a network
TO_ONE, TO_ALL = (ETH_DST.masked(bit, "01:00:00:00:00:00") for bit in ("00:00:00:00:00:00", "01:00:00:00:00:00"))
SAID = (ARP_REPLY, ARP_SPA, ARP_SHA), (ND_NA, ND_TARGET, ND_TLL), (ND_NA + (ND_TLL == 0), ND_TARGET, ETH_SRC)


@derives("agent", at=itself)
def resolution(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """The MAC that was found is where it goes; without one, it waits with the agent."""
    for table in (NEIGHBOUR, RESOLVED):
        yield flow(table, EXACT, match(KNOWN == 1), move(PEER_MAC, ETH_DST), resubmit(L2))
    yield flow(NEIGHBOUR, EXACT, match(KNOWN == 0), resubmit(NEXT_HOPS), goto(RESOLVED))
    yield flow(RESOLVED, SPECIAL + 1, match(FROM_WIRE == 1))  # straight from there come no packets, but news: see hearsay
    yield flow(RESOLVED, EXACT, match(KNOWN == 0), move(ADDRESS.of[0:48], ETH_DST), *to_the_door(NEXT_HOP))


@derives("network", at=hosts_reaching_network)
def shared(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """An address inside that ports may hold beside their own: to each of them, under its MAC there. Who has it takes it.

    Where the MAC moves, too, l2 knows which of them announced it last (moving.py)."""
    if not (shares(net, network.id) and net.values("router_interface", "router_id", network_id=network.id)):
        return
    for address in paired(net, network.id):
        holders = net.where("port", network_id=network.id, allowed_address_pairs=address)
        macs = {pair["mac_address"] for port in holders if port.admin_state_up and port.binding_host_id
                for pair in port.allowed_address_pairs if pair["ip_address"] == address}
        if macs and ip_network(address).num_addresses == 1:
            # A copy that crossed to another bridge was tagged for that: the next one is not.
            copies = [word for mac in sorted(macs) for word in (load(VLAN_TCI, 0), set_field(ETH_DST, mac), resubmit(L2))]
            yield flow(RESOLVED, SPECIAL, match(NETWORK == network.number, KNOWN == 0, held(address)), *copies)


def hosts_leaving_by_it(network: Any, net: Net) -> Iterable[str]:
    return _hosts_of(net, net.values("router_gateway", "router_id", network_id=network.id))


def hosts_asking_on_it(network: Any, net: Net) -> Iterable[str]:
    """Those, and of a wire also the hosts of routers that only join it."""
    joined = net.values("router_interface", "router_id", network_id=network.id) if wired(network) else frozenset()
    return _hosts_of(net, joined | net.values("router_gateway", "router_id", network_id=network.id))


def _hosts_of(net: Net, routers: Iterable[str]) -> Iterable[str]:
    return frozenset().union(*(hosts_of_router(net, router_id) for router_id in routers))


@derives("network", at=hosts_asking_on_it)
def hearsay(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What somebody on the wire tells one of us, who asked: the agent hears it, too, for packets may wait for it."""
    door = here.ofport("br-int", "routers")
    copied = (*tag(NETWORK.of), output(door), pop_vlan()) if door else ()
    # Where routers lead out, floating IPs ask, too, each as itself; else what is said to guests is not for routers to hear.
    ours = TO_ONE
    if not net.values("router_gateway", "router_id", network_id=network.id):
        if not (own := host_mac(here)):
            return
        ours = ETH_DST == own
    for said, address, mac in SAID:
        yield flow(HEARD, SPECIAL if mac is ETH_SRC else EXACT,
                   match(NETWORK == network.number, FROM_WIRE == 1, ours, said, of_one(mac)),
                   *laid(address), learnt(mac, network), *copied)
    # To everybody it says that it is another now, perhaps: heeded of whom we know (as RFC 826 has it), or every address that any
    # host announces would be remembered by all.
    for said, address, mac in SAID:
        known = match(NETWORK == network.number, FROM_WIRE == 1, KNOWN == 1, anybodys(said), of_one(mac))
        yield flow(RESOLVED, OVERRIDE + (mac is ETH_SRC), known, learnt(mac, network))
        if mac is not ETH_SRC:
            yield flow(HEARD, EXACT, match(NETWORK == network.number, FROM_WIRE == 1, TO_ALL, anybodys(said)), *laid(address),
                       resubmit(NEXT_HOPS), resubmit(RESOLVED), load(KNOWN, 0))


def anybodys(said: Terms) -> Terms:
    """Who asks everybody by ARP says who he is, as who answers."""
    return ARP if said is ARP_REPLY else said


def of_one(mac: Field) -> Terms:
    """Not that of a group: what routers send to one host would be everybody's (RFC 1812, 3.3.2)."""
    return mac.masked("00:00:00:00:00:00", "01:00:00:00:00:00")


def learnt(mac: Field, network: Any) -> bytes:
    return remember(NEXT_HOPS, EXACT, (NETWORK, ADDRESS), [(mac, PEER_MAC)], load(KNOWN, 1), seconds=SECONDS, most=MOST,
                    of=network.number)
