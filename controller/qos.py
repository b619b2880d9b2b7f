"""QoS policies, as others ask for them: which hold, what they limit, by which meters; and who may take one away."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from controller.derive import Net, remembered
from controller.flow import (
    BITS,
    IP_DSCP,
    PACKETS,
    Flow,
    Jump,
    Meter,
    Through,
    flow,
    load,
    match,
    meter,
    resubmit,
    set_field,
    through,
)
from controller.pipeline import EXACT, LIMIT, METER, PORTS_METERS, ROUTERS_METERS
from unryu.errors import Forbidden, NotFound
from unryu.scope import seen

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

EGRESS, INGRESS = DIRECTIONS = "egress", "ingress"
"""As a guest sees it: what it sends, what it is sent."""

Word = bytes | Jump | Through


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
def marking(net: Net, policy_id: str) -> tuple[bytes, ...]:
    """The words that give an IP packet the DSCP that what is sent gets; none without a rule."""
    rules = net.where("qos_dscp_marking_rule", qos_policy_id=policy_id) if policy_id else ()
    return tuple(set_field(IP_DSCP, rule.dscp_mark) for rule in rules)


# Numbers of meters, four from each of these on: known without asking what others have.


def of_port(ofport: int) -> int:
    return PORTS_METERS + 256 * ofport


def of_floating(ofport: int, port: Any, fixed: str) -> int:
    """Of the floating IP of this address of the port; it has 64 at most, and seldom more than one of each version."""
    return of_port(ofport) + 4 * (1 + sum(f["ip_address"] < fixed for f in port.fixed_ips) % 63)


def of_gateway(router: int) -> int:
    return ROUTERS_METERS + 256 * router


def of_forwarding(router: int, place: int) -> int:
    """Of its floating IP with forwardings that has this place among them; there are seldom more than one."""
    return of_gateway(router) + 4 * (1 + place % 63)


def _number(first: int, direction: str, counts: int) -> int:
    return first + 2 * DIRECTIONS.index(direction) + (counts == PACKETS)


def meters(net: Net, policy_id: str, first: int) -> Iterator[Meter | Flow]:
    """Those of a policy; and where there are two in one direction, the flow that holds the second."""
    for direction in DIRECTIONS if policy_id else ():
        for place, limit in enumerate(limits(net, policy_id, direction)):
            number = _number(first, direction, limit.counts)
            yield meter("br-int", number, *limit)
            if place:
                yield flow(LIMIT, EXACT, match(METER == number), through(number))


def passing(net: Net, policy_id: str, direction: str, first: int) -> tuple[Word, ...]:
    """The words, before all others of a flow, that lead what is sent, or received, through its meters."""
    numbers = [_number(first, direction, counts) for counts in counted(net, policy_id, direction)]
    second = (word for number in numbers[1:] for word in (load(METER, number), resubmit(LIMIT)))
    return *(through(number) for number in numbers[:1]), *second


def sending(net: Net, policy_id: str, first: int) -> tuple[Word, ...]:
    """Likewise of what is sent and known to be IP: it is marked, too."""
    return *passing(net, policy_id, EGRESS, first), *marking(net, policy_id)


def may_leave(tx: "Tx", context: "Context", before: Any, after: Any) -> None:
    """Who does not see a policy cannot take it away from what is his: somebody else has put it there."""
    if before.qos_policy_id and after.qos_policy_id != before.qos_policy_id:
        try:
            seen(tx, "qos_policy", before.qos_policy_id, context)
        except NotFound:
            raise Forbidden(f"Failed to remove provided policy {before.qos_policy_id} because you are not authorized.",
                            "PolicyRemoveAuthorizationError") from None
