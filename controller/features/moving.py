"""MACs that move between guests: a pair that names a MAC of its own (as VRRP does) is where it was last announced from.

Nobody is asked: the switches learn it from the announcement itself (gratuitous ARP, unsolicited NA, any ARP or NA that says
the pair's address with the pair's MAC), so it moves with the controller dead as quickly as alive. What a flow can teach is known
beforehand and goes with it (docs/decisions/0013-moving-macs.md), and what was learned only chooses among the ports that may hold
the MAC: the flows that deliver are derived. Until it is announced, all of those ports hear what is for it.

A pair with its port's own MAC needs none of this: neighbours hear the announcement, and the MAC stays where it is.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

from controller.addresses import held, mac_number
from controller.crossing import TAGGED, untag
from controller.derive import Here, Net, derives, hosts_reaching_it, itself, others_reaching_it, own_host, remembered
from controller.flow import (
    ARP,
    ARP_SPA,
    ETH_DST,
    ETH_SRC,
    IN_PORT,
    ND_NA,
    ND_TARGET,
    TUN_DST,
    TUN_ID,
    TUN_SRC,
    Flow,
    Terms,
    flow,
    goto,
    learn,
    load,
    match,
    output,
    resubmit,
    set_field,
)
from controller.pipeline import (
    ARRIVE,
    CLAIMED_MAC,
    CLASSIFY,
    DEPART,
    EXACT,
    FALLBACK,
    FROM_OVERLAY,
    HEARD,
    HOLDER,
    INWARD,
    L2,
    MOVED,
    MULTICAST,
    NETWORK,
    OUT_PORT,
    OVERLAY,
    OVERRIDE,
    OWN,
    SPECIAL,
    VTEP,
)
from controller.policy import paired, policy_of, towards


@remembered
def holders(net: Net, network_id: str, mac: str) -> tuple[tuple[str, str], ...]:
    """(host, port) of all that may hold this MAC beside their own. Nobody, where it is a port's own: that stays where it is."""
    if net.where("port", network_id=network_id, mac_address=mac):
        return ()
    # Asked for by their pairs: in a network of a thousand ports a few have some, and none of the others is looked at.
    return tuple(sorted({
        (p.binding_host_id, p.id) for prefix in paired(net, network_id)
        for p in net.where("port", network_id=network_id, allowed_address_pairs=prefix)
        if p.admin_state_up and mac in {m for m, _ in _pairs(p)}}))


def _pairs(port: Any) -> set[tuple[str, str]]:
    """The MACs beside its own that it may have, each with an address."""
    if not port.port_security_enabled:
        return set()
    return {(p["mac_address"], p["ip_address"]) for p in port.allowed_address_pairs} - {
        (port.mac_address, p["ip_address"]) for p in port.allowed_address_pairs}


def moving(port: Any, net: Net) -> list[tuple[str, str]]:
    """Its pairs whose MAC may be here or there."""
    network = net.get("network", port.network_id)
    if not (port.admin_state_up and network.admin_state_up):
        return []
    return sorted(pair for pair in _pairs(port) if holders(net, port.network_id, pair[0]))


def announces(mac: str, prefix: str) -> Terms:
    if ip_network(prefix).version == 4:
        return (ETH_SRC == mac) + ARP + (ARP_SPA == prefix)
    return (ETH_SRC == mac) + ND_NA + (ND_TARGET == prefix)


def its_place(network: Any, mac: str) -> Terms:
    return (NETWORK == network.number) + (ETH_DST == mac)


# Only ports with such pairs are looked at, anywhere.


def own(port: Any, net: Net) -> Iterable[str]:
    return own_host(port, net) if _pairs(port) else ()


def everywhere(port: Any, net: Net) -> Iterable[str]:
    return hosts_reaching_it(port, net) if _pairs(port) else ()


def elsewhere(port: Any, net: Net) -> Iterable[str]:
    return others_reaching_it(port, net) if _pairs(port) else ()


@derives("port", at=own)
def announcement(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """A port here that announces what it may hold: the MAC is there now. (Asked beside port security, as what it is.)"""
    network, ofport = net.get("network", port.network_id), here.vif(port.id)
    if not ofport:
        return
    for mac, prefix in moving(port, net):
        yield flow(OWN, SPECIAL, match(IN_PORT == ofport, announces(mac, prefix), CLAIMED_MAC == mac_number(mac), held(prefix)),
                   learn(MOVED, EXACT, its_place(network, mac), load(OUT_PORT, ofport)))
    for mac in sorted({mac for mac, _ in moving(port, net)}):
        yield flow(HOLDER, EXACT, match(its_place(network, mac), OUT_PORT == ofport), *towards(policy_of(port), ofport))


@derives("agent", at=itself)
def ears(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What comes from other hosts and may be an announcement."""
    if up := here.ofport("br-int", "patch-tun"):
        for kind in (ARP, ND_NA):
            yield flow(CLASSIFY, SPECIAL, match(IN_PORT == up, TAGGED, kind), *untag(NETWORK.of), load(FROM_OVERLAY, 1),
                       resubmit(HEARD), goto(L2))


@derives("port", at=everywhere)
def way(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """To where it is; to all that may hold it while nobody has said."""
    network, up = net.get("network", port.network_id), here.ofport("br-int", "patch-tun")
    tunnel = here.ofport("br-tun", network.network_type)
    for mac in sorted({mac for mac, _ in moving(port, net)}):
        place = its_place(network, mac)
        found = holders(net, network.id, mac)
        near = [word for host, id in found if host == here.id and here.vif(id)
                for word in towards(policy_of(net.get("port", id)), here.vif(id))]
        far = sorted({peer.tunnel_ip for host, _ in found if host and host != here.id
                      and (peer := Here(host, net).agent) and peer.tunnel_ip})
        yield flow(L2, MULTICAST, match(place), resubmit(MOVED), goto(HOLDER))
        yield flow(HOLDER, EXACT, match(place, OUT_PORT == 0), *near, goto(OVERLAY))
        if up:
            yield flow(HOLDER, EXACT, match(place, OUT_PORT == up), goto(OVERLAY))
        if far and tunnel:
            segment = set_field(TUN_ID, network.segmentation_id)
            yield flow(DEPART, MULTICAST, match(place), segment, resubmit(VTEP), output(tunnel))
            copies = [word for peer in far[:-1] for word in (set_field(TUN_DST, peer), output(tunnel))]
            yield flow(VTEP, FALLBACK, match(place), *copies, set_field(TUN_DST, far[-1]))  # who asked sends the last one
    for mac, prefix in moving(port, net) if tunnel else ():
        # From a host without such a port only one without port security can say this: it moves nothing, here or there.
        yield flow(ARRIVE, SPECIAL, match(_from(tunnel, network), announces(mac, prefix)))


@derives("port", at=elsewhere)
def news(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """A port of another host that announces what it may hold: the MAC is there now, behind that VTEP."""
    network, up = net.get("network", port.network_id), here.ofport("br-int", "patch-tun")
    tunnel, peer = here.ofport("br-tun", network.network_type), Here(port.binding_host_id, net).agent
    if not (up and peer and peer.tunnel_ip):
        return
    vtep = int.from_bytes(bytes(map(int, peer.tunnel_ip.split("."))), "big")
    for mac, prefix in moving(port, net):
        place = its_place(network, mac)
        yield flow(HEARD, EXACT, match(NETWORK == network.number, announces(mac, prefix)),
                   learn(MOVED, EXACT, place, load(OUT_PORT, up)))
        if tunnel:
            yield flow(ARRIVE, OVERRIDE, match(_from(tunnel, network), TUN_SRC == peer.tunnel_ip, announces(mac, prefix)),
                       learn(VTEP, EXACT, place, load(TUN_DST, vtep)), load(NETWORK, network.number), goto(INWARD))


def _from(tunnel: int, network: Any) -> Terms:
    return (IN_PORT == tunnel) + (TUN_ID == network.segmentation_id)
