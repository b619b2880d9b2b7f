"""QoS policies, as others ask for them: which hold, what they limit, by which meters; and who may take one away."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from controller.derive import Net, remembered
from controller.flow import BITS, PACKETS, Meter, Table, Through, meter, through
from controller.pipeline import PACE, PORTS_METERS, ROUTERS_METERS
from unryu.errors import Forbidden, NotFound
from unryu.scope import seen

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

EGRESS, INGRESS = DIRECTIONS = "egress", "ingress"
"""As a guest sees it: what it sends, what it is sent."""

ONE = (BITS,)
"""What is limited where there is room for one meter: of floating IPs and gateways."""


class Limit(NamedTuple):
    counts: int
    """Bits or packets, as a meter does."""
    rate: int
    burst: int


def ruling(port: Any, network: Any) -> str:
    """The policy that holds for a port, or a floating IP: its own, else its network's; empty: none."""
    return port.qos_policy_id or network.qos_policy_id or ""


@remembered
def limits(net: Net, policy_id: str, direction: str) -> tuple[Limit, ...]:
    asked = {"qos_policy_id": policy_id, "direction": direction}
    bits = [Limit(BITS, rule.max_kbps, rule.max_burst_kbps) for rule in net.where("qos_bandwidth_limit_rule", **asked)]
    packets = [Limit(PACKETS, 1000 * rule.max_kpps, 1000 * rule.max_burst_kpps)
               for rule in net.where("qos_packet_rate_limit_rule", **asked)]
    # Without a burst nothing that comes in bursts, as TCP does, would reach the limit: Neutron's usual one is 80 %.
    return tuple(limit._replace(burst=limit.burst or max(1, limit.rate * 4 // 5)) for limit in (*bits, *packets))


@remembered
def counted(net: Net, policy_id: str, direction: str) -> tuple[int, ...]:
    """What is limited; not how much. Flows need not know, and stay as they are while meters change."""
    return tuple(limit.counts for limit in limits(net, policy_id, direction)) if policy_id else ()


@remembered
def mark(net: Net, policy_id: str) -> int | None:
    """The DSCP that what is sent gets."""
    rules = net.where("qos_dscp_marking_rule", qos_policy_id=policy_id) if policy_id else ()
    return next((rule.dscp_mark for rule in rules), None)


# Numbers of meters, four from each of these on: known without asking what others have.


def of_port(ofport: int) -> int:
    return PORTS_METERS + 256 * ofport


def of_floating(ofport: int, port: Any, fixed: str) -> int:
    """Of the floating IP of this address of the port; it has 64 at most, and seldom more than one of each version."""
    return of_port(ofport) + 4 * (1 + sum(f["ip_address"] < fixed for f in port.fixed_ips) % 63)


def of_gateway(router: int) -> int:
    return ROUTERS_METERS + 256 * router


def _number(first: int, direction: str, counts: int) -> int:
    return first + 2 * DIRECTIONS.index(direction) + (counts == PACKETS)


def meters(net: Net, policy_id: str, first: int, of: tuple[int, ...] = (BITS, PACKETS)) -> Iterator[Meter]:
    for direction in DIRECTIONS if policy_id else ():
        for counts, rate, burst in limits(net, policy_id, direction):
            if counts in of:
                yield meter("br-int", _number(first, direction, counts), counts, rate, burst)


def passing(net: Net, policy_id: str, direction: str, first: int, of: tuple[int, ...] = (BITS, PACKETS)) -> list[Through]:
    """The meters on the way of what is sent, or received, one after the other."""
    return [through(_number(first, direction, counts)) for counts in counted(net, policy_id, direction) if counts in of]


def entering(net: Net, policy_id: str, ofport: int, onward: Table) -> tuple[list[Through], Table]:
    """How a packet that a port sends begins its way: with the first meter, if any; then to `pace`, where there is more."""
    meters = passing(net, policy_id, EGRESS, of_port(ofport))
    return meters[:1], PACE if len(meters) > 1 or mark(net, policy_id) is not None else onward


def may_leave(tx: "Tx", context: "Context", before: Any, after: Any) -> None:
    """Who does not see a policy cannot take it away from what is his: somebody else has put it there."""
    if before.qos_policy_id and after.qos_policy_id != before.qos_policy_id:
        try:
            seen(tx, "qos_policy", before.qos_policy_id, context)
        except NotFound:
            raise Forbidden(f"Failed to remove provided policy {before.qos_policy_id} because you are not authorized.",
                            "PolicyRemoveAuthorizationError") from None
