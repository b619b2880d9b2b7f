"""Tunnels: network numbers inside, VNIs outside; which VTEPs are hosts of ours, and which host a MAC is on."""

from collections.abc import Iterator
from typing import Any

from controller.derive import Here, Net, derives, its_hosts, itself, other_hosts_of_its_network
from controller.flow import (
    ETH_DST,
    IN_PORT,
    TUN_DST,
    TUN_ID,
    TUN_SRC,
    VLAN_TCI,
    Flow,
    flow,
    goto,
    load,
    match,
    move,
    output,
    pop_vlan,
    push_vlan,
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
    NETWORK_PCP,
    NETWORK_VID,
    ORIGIN,
    OUT_PORT,
    OUTPUT,
    OVERLAY,
    TABLES,
)

TAGGED = VLAN_TCI.masked(0x1000, 0x1000)


@derives("agent", at=itself)
def misses(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Each table's last word, so that what no flow wants is counted where it ends."""
    by_name = {(t.bridge, t.name): t for t in TABLES}
    for table in TABLES:
        yield flow(table, MISS, match(), *([] if table.miss == "drop" else [goto(by_name[table.bridge, table.miss])]))


@derives("agent", at=itself)
def crossing(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Between br-int and br-tun: a network's number crosses as the VLAN tag."""
    up, down, tunnel = here.ofport("br-int", "patch-tun"), here.ofport("br-tun", "patch-int"), here.ofport("br-tun", "vxlan")
    if not (up and down and tunnel):
        return
    tag = push_vlan(), move(NETWORK_VID, VLAN_TCI[0:12]), move(NETWORK_PCP, VLAN_TCI[13:16])
    untag = move(VLAN_TCI[0:12], NETWORK_VID), move(VLAN_TCI[13:16], NETWORK_PCP), pop_vlan()
    yield flow(OVERLAY, EXACT, match(FROM_OVERLAY == 0), *tag, output(up))
    yield flow(OVERLAY, EXACT, match(FROM_OVERLAY == 1))  # what came from there never goes back
    yield flow(ORIGIN, EXACT, match(IN_PORT == down, TAGGED), *untag, goto(DEPART))
    yield flow(INWARD, EXACT, match(), *tag, output(down))
    yield flow(CLASSIFY, EXACT, match(IN_PORT == up, TAGGED), *untag, load(FROM_OVERLAY, 1), goto(L2))
    yield flow(OUTPUT, EXACT, match(), output(OUT_PORT))
    # A VTEP that no host of ours has: dropped here, and counted by itself.
    yield flow(ORIGIN, FALLBACK, match(IN_PORT == tunnel))


def everywhere_else(agent: Any, net: Net) -> Iterator[str]:
    return (a.host for a in net.all("agent") if a.host != agent.host)


@derives("agent", at=everywhere_else)
def known_vtep(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What another host of ours sends may arrive."""
    tunnel = here.ofport("br-tun", "vxlan")
    if tunnel and agent.tunnel_ip:
        yield flow(ORIGIN, EXACT, match(IN_PORT == tunnel, TUN_SRC == agent.tunnel_ip), goto(ARRIVE))


@derives("network", at=its_hosts)
def arrival(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Its VNI, on the hosts that have a port of it; nowhere else may it come in."""
    yield flow(ARRIVE, EXACT, match(TUN_ID == network.segmentation_id), load(NETWORK, network.number), goto(INWARD))


@derives("port", at=other_hosts_of_its_network)
def departure(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """The one flow that a remote port costs here beside its addresses: its MAC is behind that VTEP."""
    network, tunnel = net.get("network", port.network_id), here.ofport("br-tun", "vxlan")
    peer = Here(port.binding_host_id, net).agent
    if tunnel and peer and peer.tunnel_ip and port.admin_state_up and network.admin_state_up:
        yield flow(DEPART, EXACT, match(NETWORK == network.number, ETH_DST == port.mac_address),
                   set_field(TUN_ID, network.segmentation_id), set_field(TUN_DST, peer.tunnel_ip), output(tunnel))
