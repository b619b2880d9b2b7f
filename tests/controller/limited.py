"""States of the sample with QoS policies: on `port1`, on its network, on both."""

from typing import Any

from tests.controller.routed import JOINED, LEADING_OUT, State, floating, forwarding

KINDS = "qos_policy", "qos_bandwidth_limit_rule", "qos_packet_rate_limit_rule", "qos_dscp_marking_rule"
BITS_IN: dict[str, Any] = {"id": "in", "qos_policy_id": "gold", "direction": "ingress", "max_kbps": 5000}
GOLD: State = (
    ("qos_policy", "gold", {"id": "gold"}), ("qos_bandwidth_limit_rule", "in", BITS_IN),
    ("qos_bandwidth_limit_rule", "out", {**BITS_IN, "id": "out", "direction": "egress"}),
    *(("qos_packet_rate_limit_rule", direction, {
        "id": direction, "qos_policy_id": "gold", "direction": direction, "max_kpps": 2, "max_burst_kpps": 1})
      for direction in ("egress", "ingress")),
    ("qos_dscp_marking_rule", "mark", {"id": "mark", "qos_policy_id": "gold", "dscp_mark": 46}))
FULL = "a policy that limits and marks all that port1 sends and is sent"
OWN = "a policy of a network, and port1 with its own"
OUTSIDE = "a floating IP and a gateway that are limited"
FORWARDED = "a floating IP with forwardings that is limited"


def _with_policy(state: State, *kinds: str) -> State:
    return tuple((kind, id, {**values, "qos_policy_id": "gold"} if kind in kinds and values else values)
                 for kind, id, values in state)


def states(port1: dict[str, Any], blue: dict[str, Any]) -> dict[str, State]:
    """Of these two as they are without."""
    return {
        FULL: (*GOLD, ("port", "port1", {**port1, "qos_policy_id": "gold"})),
        "a policy of a network": (*GOLD, ("network", "blue", {**blue, "qos_policy_id": "gold"})),
        OWN: (
            *GOLD, ("network", "blue", {**blue, "qos_policy_id": "gold"}), ("qos_policy", "mute", {"id": "mute"}),
            ("qos_bandwidth_limit_rule", "mutes", {"id": "mutes", "qos_policy_id": "mute", "max_kbps": 1}),
            ("port", "port1", {**port1, "qos_policy_id": "mute", "port_security_enabled": False})),
        "a policy with another rate, and that only": (
            GOLD[0], ("qos_bandwidth_limit_rule", "in", {**BITS_IN, "max_kbps": 7000, "max_burst_kbps": 7}),
            ("port", "port1", {**port1, "qos_policy_id": "gold"})),
        OUTSIDE: _with_policy((*GOLD, *JOINED, *LEADING_OUT, *floating("port1", "10.0.0.11")), "floatingip", "router_gateway"),
        FORWARDED: _with_policy((*GOLD, *JOINED, *LEADING_OUT, *floating(None, ""), *forwarding("w", "8080:8080", "80:80"),
                                 *forwarding("u", "100:109", "5000:5000", "udp")), "floatingip"),
        "a floating IP that is limited, elsewhere": _with_policy(
            (*GOLD, *JOINED, *LEADING_OUT, *floating("port5", "10.1.0.15")), "floatingip"),
    }
