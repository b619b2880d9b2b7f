"""What QoS policies do with packets of ports: meters at both ends, on the host of the port, and the mark of what it sends.

Where a packet has one way, a meter stands in it. A frame that several ports hear has several ways in one run of actions, and
there a meter would drop it for all that come behind (Open vSwitch makes no copy for `clone` with a resubmit in it; tried). So
what is not addressed to the port alone first goes through conntrack, which begins a run of its own; only IP can, and so only
IP is limited there: ARP is not.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from controller.derive import Here, Net, derives, own_host
from controller.flow import ETH_DST, IN_PORT, IPV4, IPV6, Flow, Meter, ct, flow, goto, match, output
from controller.pipeline import (
    EXACT,
    FALLBACK,
    LOCAL,
    MARKS,
    NOBODYS_ZONE,
    OUT_PORT,
    OUTPUT,
    OVERRIDE,
    PACED,
    SPECIAL,
    SPOOF,
)
from controller.qos import INGRESS, marking, meters, of_port, passing, ruling


def where_ruled(port: Any, net: Net) -> Iterable[str]:
    """On its own host; of a port without a policy nothing is remembered."""
    network = net.get("network", port.network_id)
    return own_host(port, net) if ruling(port, network) and port.admin_state_up and network.admin_state_up else ()


@derives("port", at=where_ruled)
def limits(port: Any, net: Net, here: Here) -> Iterator[Meter | Flow]:
    """Meters, the flows that lead through them, and the mark of what it sends (which passes them at its entrance, ports.py)."""
    ofport = here.vif(port.id)
    if not ofport:
        return
    policy, onward = ruling(port, net.get("network", port.network_id)), SPOOF if port.port_security_enabled else LOCAL
    yield from meters(net, policy, of_port(ofport))
    if mark := marking(net, policy):
        for family in (IPV4, IPV6):
            yield flow(MARKS, EXACT, match(IN_PORT == ofport, family), *mark, goto(onward))
        yield flow(MARKS, FALLBACK, match(IN_PORT == ofport), goto(onward))
    if received := passing(net, policy, INGRESS, of_port(ofport)):
        yield flow(OUTPUT, OVERRIDE, match(OUT_PORT == ofport, ETH_DST == port.mac_address), goto(PACED))
        for family in (IPV4, IPV6):
            yield flow(OUTPUT, SPECIAL, match(OUT_PORT == ofport, family), ct(NOBODYS_ZONE, PACED))
        yield flow(PACED, EXACT, match(OUT_PORT == ofport), *received, output(OUT_PORT))
