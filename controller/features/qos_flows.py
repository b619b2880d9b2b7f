"""What QoS policies do with packets of ports: meters at both ends, on the host of the port, and the mark of what it sends.

Where a packet has one way, a meter stands in it. A frame that several ports hear has several ways in one run of actions, and
there a meter would drop it for all that come behind (Open vSwitch makes no copy for `clone` with a resubmit in it; tried). So
what is not addressed to the port alone first goes through conntrack, which begins a run of its own; only IP can, and so only
IP is limited there: ARP is not.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from controller.derive import Here, Net, derives, own_host
from controller.flow import ETH_DST, IN_PORT, IP_DSCP, IPV4, IPV6, Flow, Meter, ct, flow, goto, match, output, set_field
from controller.pipeline import (
    COUNTED,
    EXACT,
    FALLBACK,
    LOCAL,
    NOBODYS_ZONE,
    OUT_PORT,
    OUTPUT,
    OVERRIDE,
    PACE,
    PACED,
    SPECIAL,
    SPOOF,
)
from controller.qos import EGRESS, INGRESS, entering, mark, meters, of_port, passing, ruling


def where_ruled(port: Any, net: Net) -> Iterable[str]:
    """On its own host; of a port without a policy nothing is remembered."""
    network = net.get("network", port.network_id)
    return own_host(port, net) if ruling(port, network) and port.admin_state_up and network.admin_state_up else ()


@derives("port", at=where_ruled)
def limits(port: Any, net: Net, here: Here) -> Iterator[Meter | Flow]:
    """Meters, the flows that lead through them, and the mark of what it sends."""
    ofport = here.vif(port.id)
    if ofport:
        policy = ruling(port, net.get("network", port.network_id))
        yield from meters(net, policy, of_port(ofport))
        yield from _sending(port, net, policy, ofport)
        yield from _receiving(port, net, policy, ofport)


def _sending(port: Any, net: Net, policy: str, ofport: int) -> Iterator[Flow]:
    """What its entrance (ports.py) has no room for: the second meter, and the mark."""
    onward = SPOOF if port.port_security_enabled else LOCAL
    _, behind = entering(net, policy, ofport, onward)
    if behind is not PACE:
        return
    second, dscp = passing(net, policy, EGRESS, of_port(ofport))[1:], mark(net, policy)
    for family in (IPV4, IPV6) if dscp is not None else ():
        yield flow(PACE, EXACT, match(IN_PORT == ofport, family), *second, set_field(IP_DSCP, dscp or 0), goto(onward))
    yield flow(PACE, FALLBACK, match(IN_PORT == ofport), *second, goto(onward))


def _receiving(port: Any, net: Net, policy: str, ofport: int) -> Iterator[Flow]:
    """On its way out to the guest: through one meter, and perhaps another."""
    passes = passing(net, policy, INGRESS, of_port(ofport))
    if not passes:
        return
    first, second = passes[0], passes[1:]
    yield flow(OUTPUT, OVERRIDE, match(OUT_PORT == ofport, ETH_DST == port.mac_address), goto(PACED))
    for family in (IPV4, IPV6):
        yield flow(OUTPUT, SPECIAL, match(OUT_PORT == ofport, family), ct(NOBODYS_ZONE, PACED))
    yield flow(PACED, EXACT, match(OUT_PORT == ofport), first, goto(COUNTED) if second else output(OUT_PORT))
    for each in second:
        yield flow(COUNTED, EXACT, match(OUT_PORT == ofport), each, output(OUT_PORT))
