"""The metadata address: port 80 of 169.254.169.254 and fe80::a9fe:a9fe is the agent of the guest's own host, in one hop.

What the host's kernel sees of it are addresses of our own making, written and read by flows, with nothing kept in between:

    IPv4   from  240.0.0.0/5      and the lower 27 bits of the guest's address
           to    248.0.0.0/12     and its upper 5 bits, and the 15 bits of its port's number
    IPv6   from  the guest's own link-local address
           to    fe80:0:0:0:a9fe::/80 and the 15 bits of its port's number

So whatever a guest calls itself, and however many networks use the same addresses, the number of its port is not the guest's to
say; the host's own addresses stay apart from all of them, also where the host is a guest of another cloud and has a metadata
address itself; and the way back needs one flow for each port, however many addresses it has.
"""

import json
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from controller.addresses import held, mac_number
from controller.derive import Answer, Here, Net, answer, derives, itself, own_host
from controller.dhcp_options import DOMAIN, host_name
from controller.flow import (
    ETH_DST,
    IN_PORT,
    IP_FRAG,
    IPV4,
    IPV4_DST,
    IPV4_SRC,
    IPV6,
    IPV6_DST,
    IPV6_SRC,
    TCP,
    TCP6,
    TCP_DST,
    TCP_SRC,
    Flow,
    flow,
    goto,
    load,
    match,
    move,
    output,
    set_field,
)
from controller.pipeline import (
    ASKER,
    CLASSIFY,
    DOOR_MAC,
    EXACT,
    FALLBACK,
    KNOWN,
    LOCAL,
    METADATA,
    METADATA6,
    MULTICAST,
    OUT_PORT,
    OUTPUT,
    PEER_MAC,
    SPECIAL,
    WHOSE,
)

# As the kernel of the host sees both ends (ovsagent/answers/listener.py has the same).
GUESTS, AGENT, AGENT6 = "240.0.0.0/5", "248.0.0.0/12", "fe80:0:0:0:a9fe::/80"
PORT = 16254
"""Not 80: that may be somebody's on the host."""
LINK_LOCAL = "fe80::/64"


@derives("agent", at=itself)
def questions(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """To port 80 of the address, from whatever network; all else that is sent there ends here: no router may take it on."""
    device = here.ofport("br-int", "metadata")
    if not device:
        return
    for address in (METADATA, METADATA6):
        yield flow(WHOSE, SPECIAL, match(held(address)), load(KNOWN, 1), load(PEER_MAC, mac_number(DOOR_MAC)))
    # Pieces would fill the host's own memory for pieces.
    asked = (TCP_DST == 80) + (IP_FRAG == "no")
    through = set_field(TCP_DST, PORT), set_field(ETH_DST, DOOR_MAC), output(device)
    yield flow(LOCAL, EXACT, match(TCP, IPV4_DST == METADATA, asked),
               move(IPV4_SRC[27:32], IPV4_DST[15:20]), load(IPV4_DST[20:32], int(AGENT.split(".")[0]) << 4),
               move(IN_PORT[0:15], IPV4_DST[0:15]), load(IPV4_SRC[27:32], int(GUESTS.split(".")[0]) >> 3), *through)
    yield flow(LOCAL, EXACT, match(TCP6, IPV6_DST == METADATA6, IPV6_SRC == LINK_LOCAL, asked),
               set_field(IPV6_DST, AGENT6.partition("/")[0]), move(IN_PORT[0:15], IPV6_DST[0:15]), *through)
    yield flow(LOCAL, FALLBACK, match(IPV4, IPV4_DST == METADATA))
    yield flow(LOCAL, FALLBACK, match(IPV6, IPV6_DST == METADATA6))


@derives("agent", at=itself)
def answers(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Back to the port whose number stands in the agent's own address; nothing else comes in from there."""
    device = here.ofport("br-int", "metadata")
    if not device:
        return
    back = set_field(TCP_SRC, 80), goto(ASKER)
    yield flow(CLASSIFY, EXACT, match(IN_PORT == device, TCP, IPV4_SRC == AGENT, IPV4_DST == GUESTS, TCP_SRC == PORT),
               move(IPV4_SRC[0:15], OUT_PORT.of[0:15]), move(IPV4_SRC[15:20], IPV4_DST[27:32]),
               set_field(IPV4_SRC, METADATA), *back)
    yield flow(CLASSIFY, EXACT, match(IN_PORT == device, TCP6, IPV6_SRC == AGENT6, IPV6_DST == LINK_LOCAL, TCP_SRC == PORT),
               move(IPV6_SRC[0:15], OUT_PORT.of[0:15]), set_field(IPV6_SRC, METADATA6), *back)
    yield flow(CLASSIFY, MULTICAST, match(IN_PORT == device))


@derives("port", at=own_host)
def asker(port: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Its MAC, past every rule: the cloud itself speaks."""
    if ofport := here.vif(port.id):
        yield flow(ASKER, EXACT, match(OUT_PORT == ofport), set_field(ETH_DST, port.mac_address), goto(OUTPUT))


@derives("port", at=own_host)
def instance(port: Any, net: Net, here: Here) -> Iterator[Answer]:
    """What the port knows of its guest, as Nova and EC2 write it: files, so that one more needs no other agent."""
    network = net.get("network", port.network_id)
    if not (port.admin_state_up and network.admin_state_up):
        return
    addresses = [f["ip_address"] for f in port.fixed_ips]
    name = host_name(next(iter(sorted(addresses, key=lambda a: ":" in a)), port.mac_address))
    full = f"{name}.{DOMAIN}"
    files = {
        "openstack/meta_data.json": said({
            "uuid": port.id, "name": name, "hostname": full, "project_id": port.project_id, "launch_index": 0,
            "meta": {}, "public_keys": {}, "devices": []}),
        "openstack/network_data.json": said(network_data(port, network, net)),
        "openstack/vendor_data.json": "{}",
        "ec2/meta-data/instance-id": port.id, "ec2/meta-data/ami-launch-index": "0", "ec2/meta-data/mac": port.mac_address,
        "ec2/meta-data/hostname": full, "ec2/meta-data/local-hostname": full,
    }
    for address in [a for a in addresses if ":" not in a][:1]:
        files["ec2/meta-data/local-ipv4"] = address
        for floating in net.where("floatingip", port_id=port.id, fixed_ip_address=address):
            files["ec2/meta-data/public-ipv4"] = floating.floating_ip_address
    yield answer("metadata", port.id, files=files)


def said(what: dict[str, Any]) -> str:
    """As text already: of these there is one a port, and objects would take ten times the room."""
    return json.dumps(what, separators=(",", ":"))


def network_data(port: Any, network: Any, net: Net) -> dict[str, Any]:
    link = f"tap{port.id[:11]}"
    subnets = [(f["ip_address"], net.get("subnet", f["subnet_id"])) for f in port.fixed_ips]
    leased = next((a for a, s in subnets if s.ip_version == 4 and s.enable_dhcp), None)  # what features/dhcp.py gives
    return {
        "links": [{"id": link, "vif_id": port.id, "type": "ovs", "mtu": network.mtu, "ethernet_mac_address": port.mac_address}],
        "networks": [{"id": f"network{n}", "link": link, "network_id": network.id, **(
            {"type": "ipv4_dhcp"} if address == leased else static(address, subnet))}
            for n, (address, subnet) in enumerate(subnets)],
        "services": [{"type": "dns", "address": name}
                     for name in dict.fromkeys(name for _, subnet in subnets for name in subnet.dns_nameservers)],
    }


def static(address: str, subnet: Any) -> dict[str, Any]:
    everywhere = "0.0.0.0/0" if subnet.ip_version == 4 else "::/0"
    routes = [(r["destination"], r["nexthop"]) for r in subnet.host_routes]
    if subnet.gateway_ip:
        routes.insert(0, (everywhere, subnet.gateway_ip))
    mode = f"_{subnet.ipv6_address_mode}" if subnet.ipv6_address_mode else ""
    return {
        "type": f"ipv{subnet.ip_version}{mode}", "ip_address": address, "netmask": str(ip_network(subnet.cidr).netmask),
        "routes": [{"network": str(to.network_address), "netmask": str(to.netmask), "gateway": hop}
                   for to, hop in ((ip_network(to), hop) for to, hop in routes)],
        "services": [{"type": "dns", "address": name} for name in subnet.dns_nameservers],
    }
