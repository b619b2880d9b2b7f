"""Broadcast and multicast: explicit lists per network. A question that flows could not answer goes only where somebody may.

Beyond its own host a group-addressed ARP request or neighbour solicitation is always such a question: neighbours.py
answers what it can, and turns gratuitous ARP into a reply.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from controller.addresses import bits, held, laid
from controller.audience import EVERYBODY, TRUSTED, asking_hosts, to_each, trusting_hosts
from controller.derive import Here, Net, derives, hosts_of_network, its_hosts, itself, own_host, remembered
from controller.flow import (
    ARP_REQUEST,
    ARP_TPA,
    ETH_DST,
    ND_NS,
    ND_TARGET,
    TUN_DST,
    TUN_ID,
    Flow,
    flow,
    goto,
    match,
    output,
    set_field,
)
from controller.pipeline import (
    ASK,
    DEPART,
    EXACT,
    FALLBACK,
    FLOOD,
    L2,
    MULTICAST,
    NETWORK,
    OPEN,
    OVERLAY,
    SPECIAL,
)
from controller.policy import paired

GROUP = ETH_DST.masked("01:00:00:00:00:00", "01:00:00:00:00:00")  # the bit that says "to more than one"
QUESTIONS = {ARP_TPA: GROUP + ARP_REQUEST, ND_TARGET: GROUP + ND_NS}


@derives("agent", at=itself)
def kinds(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What is for more than one is a question, or for everybody."""
    for target, question in QUESTIONS.items():
        yield flow(L2, EXACT, match(question), *laid(target), goto(ASK))
        yield flow(DEPART, EXACT, match(question))  # no other host of its network has anybody who might answer
    yield flow(L2, MULTICAST, match(GROUP), goto(FLOOD))


@derives("network", at=its_hosts)
def to_everybody(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """To every port of the network here. (Open vSwitch leaves out the one it came from.)"""
    if network.admin_state_up:
        yield from to_each(net, here.id, network.id, EVERYBODY, FLOOD, FALLBACK, NETWORK == network.number, OVERLAY)


@derives("network", at=its_hosts)
def to_trusted(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """To the ports here without port security: what is for nobody that we know may be for somebody behind them."""
    if network.admin_state_up:
        yield from to_each(net, here.id, network.id, TRUSTED, OPEN, FALLBACK, NETWORK == network.number, OVERLAY)


@derives("network", at=its_hosts)
def to_holders(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """A question for an address to the ports here that may hold it beside their own."""
    if network.admin_state_up:
        for prefix in paired(net, network.id):
            yield from to_each(net, here.id, network.id, prefix, ASK, FALLBACK + bits(prefix),
                               (NETWORK == network.number) + held(prefix), OPEN)


@remembered
def _trusting_others(net: Net, network_id: str, host: str) -> frozenset[str]:
    return trusting_hosts(net, network_id) - {host}


def other_trusting_hosts(port: Any, net: Net) -> Iterable[str]:
    return _trusting_others(net, port.network_id, port.binding_host_id) if own_host(port, net) else ()


@derives("port", at=other_trusting_hosts)
def elsewhere(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Where ports hear what is for nobody, they must not hear what is for a port of another host."""
    network = net.get("network", port.network_id)
    if port.admin_state_up and network.admin_state_up:
        yield flow(L2, EXACT, match(NETWORK == network.number, ETH_DST == port.mac_address), goto(OVERLAY))


@derives("network", at=its_hosts)
def to_hosts(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """A copy in the network's tunnel to each of the other hosts that are concerned (head-end replication)."""
    tunnel = here.ofport("br-tun", network.network_type)
    if not tunnel or not network.admin_state_up:
        return
    segment = set_field(TUN_ID, network.segmentation_id)
    for priority, asked, hosts in (
        (MULTICAST, GROUP, hosts_of_network(net, network.id)),
        *((SPECIAL, question, asking_hosts(net, network.id)) for question in QUESTIONS.values()),
        (FALLBACK, (), trusting_hosts(net, network.id)),
    ):
        peers = sorted(filter(None, (Here(h, net).agent.tunnel_ip for h in hosts if h != here.id)))
        if copies := [word for peer in peers for word in (set_field(TUN_DST, peer), output(tunnel))]:
            yield flow(DEPART, priority, match(NETWORK == network.number, asked), segment, *copies)
