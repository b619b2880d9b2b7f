"""Tunnels: network numbers inside, segments outside; which VTEPs are hosts of ours, and which host a MAC is on.

Each type has a port of its own for all peers, and numbers of its own: what they say, they say of what came by that port.
"""

from collections.abc import Iterator
from typing import Any

from controller.crossing import TAGGED, tag, untag
from controller.derive import Here, Net, derives, hosts_reaching_network, itself, others_reaching_it
from controller.flow import (
    ETH_DST,
    IN_PORT,
    TUN_DST,
    TUN_ID,
    TUN_SRC,
    Flow,
    flow,
    goto,
    load,
    match,
    output,
    set_field,
)
from controller.pipeline import (
    ARRIVE,
    CLASSIFY,
    DEPART,
    EXACT,
    FALLBACK,
    FROM_OVERLAY,
    INWARD,
    L2,
    MISS,
    NETWORK,
    ORIGIN,
    OUT_PORT,
    OUTPUT,
    OVERLAY,
    TABLES,
)
from controller.segments import TUNNELS


@derives("agent", at=itself)
def misses(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Each table's last word, so that what no flow wants is counted where it ends."""
    by_name = {(t.bridge, t.name): t for t in TABLES}
    for table in TABLES:
        yield flow(table, MISS, match(), *([] if table.miss == "drop" else [goto(by_name[table.bridge, table.miss])]))


@derives("agent", at=itself)
def crossing(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Between br-int and br-tun: a network's number crosses as the VLAN tag."""
    up, down = here.ofport("br-int", "patch-tun"), here.ofport("br-tun", "patch-int")
    if not (up and down):
        return
    yield flow(OVERLAY, EXACT, match(FROM_OVERLAY == 0), *tag(NETWORK.of), output(up))
    yield flow(OVERLAY, EXACT, match(FROM_OVERLAY == 1))  # what came from there never goes back
    yield flow(ORIGIN, EXACT, match(IN_PORT == down, TAGGED), *untag(NETWORK.of), goto(DEPART))
    yield flow(INWARD, EXACT, match(), *tag(NETWORK.of), output(down))
    yield flow(CLASSIFY, EXACT, match(IN_PORT == up, TAGGED), *untag(NETWORK.of), load(FROM_OVERLAY, 1), goto(L2))
    yield flow(OUTPUT, EXACT, match(), output(OUT_PORT))
    # A VTEP that no host of ours has: dropped here, and counted by itself.
    for tunnel in filter(None, (here.ofport("br-tun", name) for name in TUNNELS)):
        yield flow(ORIGIN, FALLBACK, match(IN_PORT == tunnel))


def everywhere_else(agent: Any, net: Net) -> Iterator[str]:
    return (a.host for a in net.all("agent") if a.host != agent.host)


@derives("agent", at=everywhere_else)
def known_vtep(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What another host of ours sends may arrive."""
    if agent.tunnel_ip:
        yield flow(ORIGIN, EXACT, match(TUN_SRC == agent.tunnel_ip), goto(ARRIVE))


@derives("network", at=hosts_reaching_network)
def arrival(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Its segment, on the hosts that have a port of it or route to it; nowhere else may it come in."""
    if tunnel := here.ofport("br-tun", network.network_type):
        yield flow(ARRIVE, EXACT, match(IN_PORT == tunnel, TUN_ID == network.segmentation_id), load(NETWORK, network.number),
                   goto(INWARD))


@derives("port", at=others_reaching_it)
def departure(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """The one flow that a remote port costs here beside its addresses: its MAC is behind that VTEP."""
    network = net.get("network", port.network_id)
    tunnel = here.ofport("br-tun", network.network_type)
    peer = Here(port.binding_host_id, net).agent
    if tunnel and peer and peer.tunnel_ip and port.admin_state_up and network.admin_state_up:
        yield flow(DEPART, EXACT, match(NETWORK == network.number, ETH_DST == port.mac_address),
                   set_field(TUN_ID, network.segmentation_id), set_field(TUN_DST, peer.tunnel_ip), output(tunnel))
