"""Router advertisements: what a guest learns of its IPv6 networks, told by the agent of its own host."""

from collections.abc import Iterator
from typing import Any

from controller.derive import Answer, Here, Net, answer, derives, own_host, remembered
from controller.pipeline import DOOR_MAC

ROUTER_LIFETIME = 1800  # RFC 4861, 6.2.1: three times the longest interval that it allows
SELF_MADE = ("slaac", "dhcpv6-stateless")


@remembered
def gateway_mac(net: Net, network_id: str, address: str) -> str:
    """Of the port that has this address; empty while none has, or it is that of a router which is down: then there is nobody
    to route."""
    for port in net.where("port", network_id=network_id, fixed_ips=address):
        routers = [net.get("router", row.router_id) for row in net.where("router_interface", port_id=port.id)]
        if all(router.admin_state_up for router in routers if router):
            mac: str = port.mac_address
            return mac
    return ""


@derives("port", at=own_host)
def advertisement(port: Any, net: Net, here: Here) -> Iterator[Answer]:
    """The prefixes of the network; a default router only where a port of the network is one."""
    network = net.get("network", port.network_id)
    subnets = [s for s in net.where("subnet", network_id=port.network_id) if s.ip_version == 6 and s.ipv6_ra_mode]
    if not (subnets and port.admin_state_up and network.admin_state_up):
        return
    routers = [gateway_mac(net, network.id, s.gateway_ip) for s in subnets if s.gateway_ip]
    router = next(filter(None, routers), "")
    if router == port.mac_address:
        return  # the router itself: routers take no advice
    modes = {s.ipv6_ra_mode for s in subnets}
    yield answer("ra", port.id, source_mac=router or DOOR_MAC, lifetime=ROUTER_LIFETIME if router else 0, mtu=network.mtu,
                 managed="dhcpv6-stateful" in modes, other=any(m.startswith("dhcpv6") for m in modes),
                 prefixes=[[s.cidr, s.ipv6_ra_mode in SELF_MADE] for s in subnets],
                 dns=list(dict.fromkeys(n for s in subnets for n in s.dns_nameservers)))
