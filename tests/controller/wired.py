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
    "a way out for one project": (*routed.JOINED, *routed.LEADING_OUT, put(
        "network", "outside", project_id="admin", mtu=1500, network_type="vlan", physical_network="physical1",
        segmentation_id=100, number=8)),
}
