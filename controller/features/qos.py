"""QoS policies: how much ports, networks, floating IPs and gateways may send and be sent, and how that is marked."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from controller.qos import DIRECTIONS, EGRESS
from unryu.checks import between, one_of, says
from unryu.errors import Conflict
from unryu.resource import Resource, field, nouns

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

ADMINS = {"create": "admin", "update": "admin", "delete": "admin"}
"""As with Neutron: a limit is the provider's, or it would be none."""
MOST = (1 << 31) - 1
MARKS = (0, *(mark for mark in range(8, 57, 2) if mark not in (42, 44, 50, 52, 54)))
PLAIN = "name", "description", "tags", "created_at", "updated_at", "revision_number"


class QosPolicy(Resource, kind="qos_policy", service="network", word="policy", path="/qos/policies", visible_if=("shared",),
                visible_by="rbac_policy", roles=ADMINS):
    shared: bool = field(False, put=True, inert=True)
    is_default: bool = field(False, put=True, inert=True)
    """Of the networks that its project makes from now on, unless they say otherwise."""
    adds = {"rules": [dict[str, Any]]}

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        if self.is_default:
            tx.serialize(f"default QoS policy {self.project_id}")
            if {p.id for p in tx.where("qos_policy", project_id=self.project_id, is_default=True)} - {self.id}:
                raise Conflict(f"A default QoS policy exists for project {self.project_id}.", "QoSPolicyDefaultAlreadyExists")
        return self

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        return self.before_create(tx, context)

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        views: dict[str, dict[str, Any]] = {r.id: {"rules": []} for r in records}
        for noun in (n for n in nouns.values() if n.within == "qos_policy_id"):
            for rule in tx.where(noun.kind, qos_policy_id=list(views)) if views else ():
                own = {name: getattr(rule, name) for name in rule.fields if name != "project_id"}
                views[rule.qos_policy_id]["rules"].append({**own, "type": noun.word.removesuffix("_rule")})
        return views


class _Rule:
    """What rules have in common: of a kind, a policy has one (for a direction)."""

    alone: ClassVar[tuple[str, ...]] = ("qos_policy_id", "direction")

    def before_create(self, tx: "Tx", context: "Context") -> Any:
        rule: Any = self
        for other in tx.where(rule.kind, **{name: getattr(rule, name) for name in self.alone}):
            if other.id != rule.id:
                raise Conflict(f"Rule {rule.word} conflicts with rule {other.id} which already exists in QoS Policy "
                               f"{rule.qos_policy_id}.", "QoSRulesConflict")
        return self

    def before_update(self, tx: "Tx", context: "Context", before: Any) -> Any:
        return self.before_create(tx, context)


class QosBandwidthLimitRule(_Rule, Resource, kind="qos_bandwidth_limit_rule", service="network", word="bandwidth_limit_rule",
                            path="/qos/policies/<qos_policy_id>/bandwidth_limit_rules", without=PLAIN, roles=ADMINS,
                            visible_with="qos_policy_id"):
    """What may pass in a direction, in kilobits a second."""

    qos_policy_id: str = field(ref="qos_policy", required=True, own=True, ondelete="cascade", length=64)
    max_kbps: int = field(required=True, put=True, check=between(1, MOST))
    max_burst_kbps: int = field(0, put=True, check=between(0, MOST))
    """In kilobits; 0: what the limit lets pass in 0.8 s."""
    direction: str = field(EGRESS, put=True, check=one_of(*DIRECTIONS), length=16)


class QosPacketRateLimitRule(_Rule, Resource, kind="qos_packet_rate_limit_rule", service="network",
                             word="packet_rate_limit_rule", path="/qos/policies/<qos_policy_id>/packet_rate_limit_rules",
                             without=PLAIN, roles=ADMINS, visible_with="qos_policy_id"):
    """How many packets may pass in a direction, in thousands a second."""

    qos_policy_id: str = field(ref="qos_policy", required=True, own=True, ondelete="cascade", length=64)
    max_kpps: int = field(required=True, put=True, check=between(1, MOST // 1000))
    max_burst_kpps: int = field(0, put=True, check=between(0, MOST // 1000))
    direction: str = field(EGRESS, put=True, check=one_of(*DIRECTIONS), length=16)


@says(enum=list(MARKS))
def dscp(value: int) -> int:
    if value not in MARKS:
        raise ValueError(f"{value} is none of the DSCP marks {', '.join(map(str, MARKS))}")
    return value


class QosDscpMarkingRule(_Rule, Resource, kind="qos_dscp_marking_rule", service="network", word="dscp_marking_rule",
                         path="/qos/policies/<qos_policy_id>/dscp_marking_rules", without=PLAIN, roles=ADMINS,
                         visible_with="qos_policy_id"):
    """How what is sent is marked, in the six bits of its IP header that are for that."""

    alone = ("qos_policy_id",)
    qos_policy_id: str = field(ref="qos_policy", required=True, own=True, ondelete="cascade", length=64)
    dscp_mark: int = field(required=True, put=True, check=dscp)
