"""Provider networks: those that cross between hosts on a wire of the provider's, through br-ex, with his tag or without one.

Whoever is on that wire is a neighbour: it hears what a guest says to everybody, asks for addresses and is answered by the host
that has them. What is for nobody that we know goes out to it, and what comes from it never goes back.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from controller.crossing import TAGGED, said, tag, tagged, untag
from controller.derive import Here, Net, derives, hosts_reaching, itself
from controller.flow import (
    ARP,
    ARP_REQUEST,
    ETH_SRC,
    IN_PORT,
    IP_TTL,
    ND_NA,
    ND_NS,
    VLAN_TCI,
    Flow,
    flow,
    goto,
    load,
    match,
    output,
    pop_vlan,
    resubmit,
    set_field,
)
from controller.inside import host_mac
from controller.outside import hosts_on_it
from controller.pipeline import CLASSIFY, EXACT, FROM_WIRE, HEARD, L2, LOCAL, NETWORK, OVERLAY, OVERRIDE, SPECIAL, WIRE
from controller.segments import wired
from controller.speaking import speaker


@derives("agent", at=itself)
def inward(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What comes from a wire: a question that this host may know the answer to, news of where somebody is, or for somebody."""
    wire = here.ofport("br-int", "patch-ex")
    if not wire:
        return
    came = *untag(NETWORK.of), load(FROM_WIRE, 1)
    yield flow(CLASSIFY, EXACT, match(IN_PORT == wire, TAGGED), *came, goto(L2))
    # With fewer hops left it was routed, and anybody anywhere may have said it (RFC 4861, 7.1).
    near = IP_TTL == 255
    for news in (ARP, ND_NA + near):
        yield flow(CLASSIFY, SPECIAL, match(IN_PORT == wire, TAGGED, news), *came, resubmit(HEARD), goto(L2))
    for question in (ARP_REQUEST, ND_NS + near):
        yield flow(CLASSIFY, OVERRIDE, match(IN_PORT == wire, TAGGED, question), *came, resubmit(HEARD), goto(LOCAL))
    yield flow(OVERLAY, OVERRIDE, match(FROM_WIRE == 1))


@derives("network", at=hosts_on_it)
def outward(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What is for somebody elsewhere goes to the wire, not into a tunnel; where there is neither, it ends."""
    wire = here.ofport("br-int", "patch-ex")
    if wired(network) and wire:
        yield flow(OVERLAY, SPECIAL, match(NETWORK == network.number), *tag(NETWORK.of), output(wire))
    elif network.network_type == "local":
        yield flow(OVERLAY, SPECIAL, match(NETWORK == network.number))


@derives("network", at=hosts_on_it)
def on_the_wire(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """The network's number inside, the provider's VLAN, or no tag, outside."""
    if ends := _ends(network, here):
        inside, outside = ends
        vlan = network.segmentation_id
        there = VLAN_TCI.masked(0x1000 | vlan, 0x1FFF) if vlan else VLAN_TCI == 0
        yield flow(WIRE, EXACT, match(IN_PORT == inside, tagged(network.number)), *_retagged(network), output(outside))
        yield flow(WIRE, EXACT, match(IN_PORT == outside, there), *(said if vlan else tag)(network.number), output(inside))


def hosts_reaching_its_network(row: Any, net: Net) -> Iterable[str]:
    return hosts_reaching(net, row.network_id)


@derives("router_interface", at=hosts_reaching_its_network)
def named_after_its_host(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What a router sends leaves each host under the host's own MAC; only what it says of itself has its own, and is said from
    one host."""
    network, port = net.get("network", row.network_id), net.get("port", row.port_id)
    ends = _ends(network, here)
    if ends and port:
        sent = (IN_PORT == ends[0]) + tagged(network.number) + (ETH_SRC == port.mac_address)
        leave = *_retagged(network), output(ends[1])
        yield flow(WIRE, SPECIAL, match(sent), set_field(ETH_SRC, host_mac(here)), *leave)
        if here.id == speaker(net, row.id):
            for of_itself in (ARP, ND_NA):
                yield flow(WIRE, SPECIAL + 1, match(sent, of_itself), *leave)


def _ends(network: Any, here: Here) -> tuple[int, int] | None:
    """The ports of br-ex that lead inside and outside, where both are there."""
    if not (wired(network) and network.admin_state_up):
        return None
    inside, outside = here.ofport("br-ex", "patch-int"), here.ofport("br-ex", network.physical_network)
    return (inside, outside) if inside and outside else None


def _retagged(network: Any) -> tuple[bytes, ...]:
    return said(network.segmentation_id) if network.segmentation_id else (pop_vlan(),)
