"""States of the sample in which `blue` is carried otherwise: on a wire, in another tunnel, or not at all."""

from typing import Any

from tests.controller import routed
from tests.controller.routed import State, put

PAIR = [{"ip_address": "10.0.0.100", "mac_address": "00:00:5e:00:01:01"}]


def blue(network_type: str, **values: Any) -> tuple[str, str, dict[str, Any]]:
    return put("network", "blue", project_id="demo", mtu=1450, number=7, network_type=network_type, **values)


VLAN = blue("vlan", physical_network="physical1", segmentation_id=200)
MOVING: State = tuple(
    put("port", f"port{n}", network_id="blue", mac_address=f"fa:16:3e:00:00:0{n}", binding_host_id=f"h{n}",
        security_groups=["default"], port_security_enabled=True, allowed_address_pairs=PAIR,
        fixed_ips=[{"subnet_id": "blue4", "ip_address": f"10.0.0.1{n}"}]) for n in (1, 2))


def spoken_for(host: str, successor: str = "") -> State:
    """The router's interfaces on blue, by that host."""
    return tuple(put("router_interface", f"i-r-blue-{subnet}", router_id="r", port_id=f"r-blue-{subnet}", network_id="blue",
                     host=host, successor=successor) for subnet in ("blue4", "blue6"))


# By a machine of which the API knows nothing, by guests, by one in the other network, and everything else.
ROUTES = [{"destination": "10.8.0.0/16", "nexthop": "10.0.0.200"}, {"destination": "10.8.9.0/24", "nexthop": "10.0.0.12"},
          {"destination": "10.8.8.0/24", "nexthop": "10.1.0.200"}, {"destination": "::/0", "nexthop": "fd00::200"}]
MACHINES: State = (VLAN, *routed.JOINED, *spoken_for("h1", "h2"))
OFF_THE_WIRE: State = (put("agent", "agent-h2", host="h2", tunnel_ip="198.18.0.2", datapaths={"br-ex": "0" * 15 + "1"}, ofports={
    "br-int": {"patch-tun": 1, "patch-ex": 2, "door": 3, "routers": 4, "metadata": 5},
    "br-tun": {"patch-int": 1, "vxlan": 2, "geneve": 3, "gre": 4}, "br-ex": {"patch-int": 1}}),)
STATES: dict[str, State] = {
    "blue on a VLAN": (VLAN,),
    "blue untagged": (blue("flat", physical_network="physical1"),),
    "blue on a wire that nobody has": (blue("flat", physical_network="physical9"),),
    "blue on a VLAN that is down": (blue("vlan", physical_network="physical1", segmentation_id=200, admin_state_up=False),),
    "blue in GRE": (blue("gre", segmentation_id=1 << 24),),
    "blue where it is": (blue("local"),),
    "a MAC that moves over a wire": (VLAN, *MOVING),
    "a MAC that moves in Geneve": (blue("geneve", segmentation_id=5001), *MOVING),
    "a router into a VLAN": (VLAN, *routed.JOINED),
    "a router into a VLAN, for machines there": MACHINES,
    "a router into a VLAN, for machines there, by another host": (VLAN, *routed.JOINED, *spoken_for("h2")),
    "a router into a VLAN, with routes and a way out by machines there": (
        *MACHINES, *routed.LEADING_OUT, routed.router(routes=ROUTES)),
    "a router into a VLAN that is down, for machines there": (*MACHINES, routed.router(admin_state_up=False)),
    "a router into a VLAN that one host has not": (*MACHINES, *OFF_THE_WIRE),
    "a router spoken for as if on a wire": (*routed.JOINED, *spoken_for("h1", "h2")),
    "a way out for one project": (*routed.JOINED, *routed.LEADING_OUT, put(
        "network", "outside", project_id="admin", mtu=1500, network_type="vlan", physical_network="physical1",
        segmentation_id=100, number=8)),
}
