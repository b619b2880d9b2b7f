"""Networks: a broadcast domain, carried between hosts in a tunnel or on a wire of the provider's (controller/segments.py)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from controller.allocate import NETWORK_NUMBERS, free_number
from controller.qos import may_leave
from controller.segments import LARGEST_MTU, LEAST_MTU, TYPES, mtu, segment
from controller.zones import ZONE, zone_hints
from unryu.checks import one_of, says
from unryu.errors import BadRequest, Conflict
from unryu.resource import UNSET, Resource, field
from unryu.scope import granted

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

GIVEN_OUT = "network:router_gateway", "network:floatingip"
"""Whose ports hold a network to being external, by their device_owner."""


@says(minimum=0, maximum=LARGEST_MTU)
def possible_mtu(value: int) -> int:
    if value and not 68 <= value <= LARGEST_MTU:
        raise ValueError(f"{value} is not between 68 and 65535, or 0 for what is usual")
    return value


class Network(Resource, kind="network", service="network", visible_if=("shared", "external"), visible_by="rbac_policy",
              quota=100):
    admin_state_up: bool = field(True, put=True)
    shared: bool = field(False, put=True, admin=True, inert=True)
    external: bool = field(False, put=True, wire="router:external", admin=True)
    """May routers lead out by it? Then everybody sees it."""
    is_default: bool = field(False, put=True, admin=True, inert=True)
    """Of the external ones, the one that a topology made by itself leads out by."""
    mtu: int = field(0, put=True, check=possible_mtu)
    port_security_enabled: bool = field(True, put=True, inert=True)
    """Of its ports, unless they say otherwise."""
    network_type: str = field("vxlan", wire="provider:network_type", admin=True, hidden=True, check=one_of(*TYPES), chosen=True)
    physical_network: str | None = field(None, wire="provider:physical_network", admin=True, hidden=True, length=64)
    segmentation_id: int | None = field(None, wire="provider:segmentation_id", admin=True, hidden=True)
    qos_policy_id: str | None = field(put=True, ref="qos_policy", length=64)
    number: int = field(0, post=False, internal=True)
    """The word that names the network inside a host: what its packets carry across patch ports."""
    availability_zone_hints: list[str] = field([], check=zone_hints, inert=True)
    status: str = field("ACTIVE", observed=True, inert=True)
    adds = {"subnets": [str], "availability_zones": [str], "ipv4_address_scope": str | None, "ipv6_address_scope": str | None}

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        if self.qos_policy_id is UNSET:
            default = tx.where("qos_policy", project_id=self.project_id, is_default=True)
            self = self.replace(qos_policy_id=default[0].id if default else None)
        number = int(tx.allocate("network number", self.id, free_number(NETWORK_NUMBERS, "network number")))
        self._check_default(tx)
        self = self.replace(**segment(tx, self), number=number)
        return self.replace(mtu=mtu(tx, self))

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        may_leave(tx, context, before, self)
        if self.mtu != before.mtu:
            self = self.replace(mtu=mtu(tx, self))
        if self.mtu < LEAST_MTU <= before.mtu and tx.where("subnet", network_id=self.id, ip_version=6):
            raise Conflict(f"Network {self.id} has IPv6 subnets, which need an MTU of {LEAST_MTU}.", "NetworkMTUSubnetConflict")
        if before.external and not self.external and tx.where("port", network_id=self.id, device_owner=GIVEN_OUT):
            raise Conflict(f"External network {self.id} cannot be updated to be made non-external, since it has existing gateway "
                           f"ports.", "ExternalNetworkInUse")
        self = self.replace(is_default=self.is_default and (self.external or not before.external))
        self._check_default(tx)
        return self

    def _check_default(self, tx: "Tx") -> None:
        if not self.is_default:
            return
        if not self.external:
            raise BadRequest(f"Network {self.id} is not external: it cannot be the default one of those.")
        tx.serialize("default external network")
        for other in tx.where("network", is_default=True):
            if other.id != self.id:
                raise Conflict(f"A default external network already exists: {other.id}.", "DefaultExternalNetworkExists")

    def open_to(self, tx: "Tx", context: "Context") -> bool:
        """May the caller's project have ports on it? To be seen for being external is not enough."""
        return context.owns(self) or self.shared or bool(granted(tx, type(self), [self.id], context, "shared"))

    def external_to(self, tx: "Tx", context: "Context") -> bool:
        """May routers of the caller's project lead out by it?"""
        return self.external or bool(granted(tx, type(self), [self.id], context, "external"))

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        views: dict[str, dict[str, Any]] = {r.id: {
            "subnets": [], "availability_zones": [ZONE], "ipv4_address_scope": None, "ipv6_address_scope": None} for r in records}
        subnets = tx.where("subnet", network_id=list(views)) if records else []
        pools = {s.subnetpool_id for s in subnets if s.subnetpool_id}
        scopes = {pool.id: pool.address_scope_id for pool in tx.where("subnetpool", id=pools)} if pools else {}
        for subnet in subnets:
            view = views[subnet.network_id]
            view["subnets"].append(subnet.id)
            view[f"ipv{subnet.ip_version}_address_scope"] = scopes.get(subnet.subnetpool_id)
        return views
