"""DHCP: the lease of each port, v4 and v6, for the agent of its host to give; nothing is leased that is not the port's."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from controller.addresses import held, mac_number
from controller.derive import Answer, Here, Net, answer, derives, its_hosts, own_host
from controller.dhcp_options import DOMAIN, LEASE_TIME, addresses4, addresses6, domains, encoded, host_name, number, routes
from controller.flow import Flow, flow, load, match
from controller.pipeline import DOOR_MAC, KNOWN, METADATA, NETWORK, PEER_MAC, PEER_POLICY, SPECIAL, WHOSE
from controller.policy import behind, paired
from controller.policy import number as policy_number
from controller.segments import wired

LEASE = 86400  # seconds: what OpenStack's guests are used to
STATEFUL = "dhcpv6-stateful"
TFTP_ADDRESS = 150


def server(subnet: Any) -> str:
    """The server identifier: the gateway, or else the first address. No address is spent on it, since what is sent
    there is caught by its UDP port, and whether a guest has that address too makes no difference."""
    return subnet.gateway_ip or str(ip_network(subnet.cidr)[1])


@derives("port", at=own_host)
def lease(port: Any, net: Net, here: Here) -> Iterator[Answer]:
    """What a DHCP client on this port is told."""
    network = net.get("network", port.network_id)
    if not (port.admin_state_up and network.admin_state_up):
        return
    fixed = [(f["ip_address"], net.get("subnet", f["subnet_id"])) for f in port.fixed_ips]
    # A client asks for one address; the others of a port are for its owner to set.
    for address, subnet in [(a, s) for a, s in fixed if s.ip_version == 4 and s.enable_dhcp][:1]:
        given = options4(address, subnet, network.mtu) | extra(port, 4)
        seconds = int.from_bytes(given.pop(LEASE_TIME), "big")
        yield answer("dhcp4", port.id, mac=port.mac_address, address=address, server=server(subnet), server_mac=DOOR_MAC,
                     lease=seconds, next=str(ip_address(given.get(TFTP_ADDRESS, bytes(4))[:4])),
                     options={str(code): data.hex() for code, data in sorted(given.items())})
    sixes = [(a, s) for a, s in fixed if (s.ipv6_address_mode or "").startswith("dhcpv6")]
    if sixes:
        names = list(dict.fromkeys(n for _, s in sixes for n in s.dns_nameservers))
        given = {23: addresses6(names)} if names else {}
        given |= {24: domains([DOMAIN])} | extra(port, 6)
        yield answer("dhcp6", port.id, server_mac=DOOR_MAC, lease=LEASE,
                     addresses=[a for a, s in sixes if s.ipv6_address_mode == STATEFUL],
                     options={str(code): data.hex() for code, data in sorted(given.items())})


def options4(address: str, subnet: Any, mtu: int) -> dict[int, bytes]:
    network = ip_network(subnet.cidr)
    options = {
        1: network.netmask.packed, 12: host_name(address).encode(), 15: DOMAIN.encode(),
        26: number(2)(str(mtu)), 28: network.broadcast_address.packed, LEASE_TIME: number(4)(str(LEASE)),
    }
    if subnet.gateway_ip:
        options[3] = addresses4([subnet.gateway_ip])
    if names := [n for n in subnet.dns_nameservers if n != "0.0.0.0"]:  # OpenStack's word for "none at all"
        options[6] = addresses4(names)
    pairs = [(r["destination"], r["nexthop"]) for r in subnet.host_routes]
    if not subnet.gateway_ip and f"{METADATA}/32" not in dict(pairs):
        # Only who has no default route needs one there. Who is the server's own address cannot be sent to it: on the link, then.
        pairs.append((f"{METADATA}/32", server(subnet) if server(subnet) != address else "0.0.0.0"))
    if pairs:
        # Who takes these must ignore the router of option 3 (RFC 3442): so it is named here, too.
        if subnet.gateway_ip and "0.0.0.0/0" not in dict(pairs):
            pairs.append(("0.0.0.0/0", subnet.gateway_ip))
        options[121] = routes(pairs)
    return options


def extra(port: Any, version: int) -> dict[int, bytes]:
    """What the tenant says beside, or instead."""
    return dict(encoded(version, option["opt_name"], option["opt_value"]) for option in port.extra_dhcp_opts
                if option.get("ip_version", 4) == version)


@derives("network", at=its_hosts)
def whereabouts(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Who renews a lease asks for the server's MAC first. Where the gateway is a port's, that port's answer stands above;
    where ports may hold it beside their own, one of them answers. On a provider's wire the gateway is a neighbour."""
    if wired(network) or not network.admin_state_up:
        return
    servers = {server(s) for s in net.where("subnet", network_id=network.id) if s.ip_version == 4 and s.enable_dhcp}
    for address in sorted(servers - {prefix.removesuffix("/32") for prefix in paired(net, network.id)}):
        groups = behind(net, network.id, address)
        yield flow(WHOSE, SPECIAL, match(NETWORK == network.number, held(address)), load(KNOWN, 1),
                   load(PEER_MAC, mac_number(DOOR_MAC)), *([load(PEER_POLICY, policy_number(groups))] if groups else []))
