"""Broadcast and multicast: an explicit list per network, of its ports here and of the hosts where it has others."""

from collections.abc import Iterator
from typing import Any

from controller.derive import Here, Net, derives, hosts_of_network, its_hosts, itself
from controller.flow import ETH_DST, TUN_DST, TUN_ID, Flow, flow, goto, match, output, set_field
from controller.pipeline import DEPART, FALLBACK, FROM_OVERLAY, L2, MULTICAST, NETWORK, OVERLAY
from controller.policy import towards

GROUP = ETH_DST.masked("01:00:00:00:00:00", "01:00:00:00:00:00")  # the bit that says "to more than one"


@derives("agent", at=itself)
def onward(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """A guest's packet for no port of this host is for another host. What came from there never goes back."""
    yield flow(L2, FALLBACK, match(FROM_OVERLAY == 0), goto(OVERLAY))


@derives("network", at=its_hosts)
def to_ports(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """To every port of the network here (Open vSwitch leaves out the one it came from); a guest's also to the hosts."""
    ports = [p for p in net.where("port", binding_host_id=here.id) if p.network_id == network.id and p.admin_state_up]
    if not network.admin_state_up:
        return
    everyone = [word for port in ports if here.vif(port.id) for word in towards(port, here.vif(port.id))]
    yield flow(L2, MULTICAST, match(NETWORK == network.number, GROUP, FROM_OVERLAY == 0), *everyone, goto(OVERLAY))
    if everyone:
        yield flow(L2, MULTICAST, match(NETWORK == network.number, GROUP, FROM_OVERLAY == 1), *everyone)


@derives("network", at=its_hosts)
def to_hosts(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """A copy under the network's VNI to every other host that has a port of it (head-end replication)."""
    tunnel = here.ofport("br-tun", "vxlan")
    peers = sorted(filter(None, (Here(h, net).agent.tunnel_ip for h in hosts_of_network(net, network.id) if h != here.id)))
    copies = [word for peer in peers for word in (set_field(TUN_DST, peer), output(tunnel))]
    if copies and tunnel and network.admin_state_up:
        yield flow(DEPART, MULTICAST, match(NETWORK == network.number, GROUP), set_field(TUN_ID, network.vni), *copies)
