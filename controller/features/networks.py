"""Networks: a broadcast domain of a tenant, carried between hosts under its VNI."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from controller.allocate import NETWORK_NUMBERS, VNI, free_number, this_number
from controller.zones import ZONE, zone_hints
from unryu.errors import Conflict
from unryu.resource import Resource, between, field, one_of

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx


LEAST_MTU = 1280  # of a network with IPv6 (RFC 8200)


class Network(Resource, kind="network", service="network", visible_if="shared", visible_by="rbac_policy", quota=100):
    admin_state_up: bool = field(True, put=True)
    shared: bool = field(False, put=True, admin=True, inert=True)
    mtu: int = field(1450, put=True, check=between(68, 65535))
    port_security_enabled: bool = field(True, put=True, inert=True)
    """Of its ports, unless they say otherwise."""
    network_type: str = field("vxlan", wire="provider:network_type", admin=True, hidden=True, check=one_of("vxlan"))
    vni: int | None = field(None, wire="provider:segmentation_id", admin=True, hidden=True,
                            check=between(VNI.start, VNI.stop - 1))
    number: int = field(0, post=False, internal=True)
    """The word that names the network inside a host: what its packets carry across patch ports."""
    availability_zone_hints: list[str] = field([], check=zone_hints, inert=True)
    status: str = field("ACTIVE", observed=True, inert=True)
    adds = {"subnets": [str], "availability_zones": [str], "ipv4_address_scope": str | None, "ipv6_address_scope": str | None,
            "provider:physical_network": str | None}

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        choose = free_number(VNI, "VNI") if self.vni is None else this_number(self.vni, "VNI")
        return self.replace(
            vni=int(tx.allocate("vni", self.id, choose)),
            number=int(tx.allocate("network number", self.id, free_number(NETWORK_NUMBERS, "network number"))),
        )

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        if self.mtu < LEAST_MTU <= before.mtu and tx.where("subnet", network_id=self.id, ip_version=6):
            raise Conflict(f"Network {self.id} has IPv6 subnets, which need an MTU of {LEAST_MTU}.", "NetworkMTUSubnetConflict")
        return self

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
        if context.is_admin:
            for view in views.values():
                view["provider:physical_network"] = None
        return views
