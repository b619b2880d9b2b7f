"""Networks: a broadcast domain of a tenant, carried between hosts under its VNI."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from controller.allocate import NETWORK_NUMBERS, VNI, free_number, this_number
from unryu.errors import Conflict
from unryu.resource import Resource, between, field, one_of

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx


class Network(Resource, kind="network", service="network", visible_if="shared"):
    admin_state_up: bool = field(True, put=True)
    shared: bool = field(False, put=True, admin=True, inert=True)
    mtu: int = field(1450, put=True, check=between(68, 65535))
    network_type: str = field("vxlan", wire="provider:network_type", admin=True, hidden=True, check=one_of("vxlan"))
    vni: int | None = field(None, wire="provider:segmentation_id", admin=True, hidden=True,
                            check=between(VNI.start, VNI.stop - 1))
    number: int = field(0, post=False, internal=True)
    """The word that names the network inside a host: what its packets carry across patch ports."""
    status: str = field("ACTIVE", observed=True, inert=True)
    adds = {"subnets": [str], "provider:physical_network": str | None}

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        choose = free_number(VNI, "VNI") if self.vni is None else this_number(self.vni, "VNI")
        return self.replace(
            vni=int(tx.allocate("vni", self.id, choose)),
            number=int(tx.allocate("network number", self.id, free_number(NETWORK_NUMBERS, "network number"))),
        )

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        if before.shared and not self.shared:
            strangers = [p for p in tx.where("port", network_id=self.id) if p.project_id != self.project_id]
            if strangers:
                raise Conflict(f"Network {self.id} cannot stop being shared: port {strangers[0].id} of another project "
                               f"is on it.", "InvalidSharedSetting")
        return self

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        lists: dict[str, dict[str, Any]] = {r.id: {"subnets": []} for r in records}
        for subnet in tx.where("subnet", network_id=list(lists)) if records else ():
            lists[subnet.network_id]["subnets"].append(subnet.id)
        if context.is_admin:
            for view in lists.values():
                view["provider:physical_network"] = None
        return lists
