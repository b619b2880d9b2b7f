"""Subnets: the addresses of a network, and what its guests are told with them."""

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Self

from typing_extensions import TypedDict

from controller.ipam import Pool, address, check_pools, cidr, default_gateway, default_pools
from unryu.errors import BadRequest, Conflict
from unryu.resource import UNSET, Resource, field

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx


class HostRoute(TypedDict):
    destination: str
    nexthop: str


def ip_version(value: int) -> int:
    if value not in (4, 6):
        raise ValueError(f"{value} is neither 4 nor 6")
    return value


def addresses(values: list[str]) -> list[str]:
    if len(values) > 16:
        raise ValueError(f"{len(values)} are more than 16")
    if len(set(values)) < len(values):
        raise ValueError("one is there twice")
    return [str(address(value)) for value in values]


def pools(values: list[Pool]) -> list[Pool]:
    if len(values) > 64:
        raise ValueError(f"{len(values)} are more than 64")
    for value in values:
        address(value["start"]), address(value["end"])
    return values


def routes(values: list[HostRoute]) -> list[HostRoute]:
    if len(values) > 64:
        raise ValueError(f"{len(values)} are more than 64")
    return [{"destination": cidr(v["destination"]), "nexthop": str(address(v["nexthop"]))} for v in values]


class Subnet(Resource, kind="subnet", service="network", visible_with="network_id"):
    network_id: str = field(ref="network", own=True, ondelete="cascade", required=True, length=64)
    ip_version: int = field(required=True, check=ip_version)
    cidr: str = field(required=True, check=cidr)
    gateway_ip: str | None = field(put=True, check=address)
    allocation_pools: list[Pool] = field(put=True, check=pools)
    enable_dhcp: bool = field(True, put=True)
    dns_nameservers: list[str] = field([], put=True, check=addresses)
    host_routes: list[HostRoute] = field([], put=True, check=routes)

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        tx.lock("network", self.network_id)  # no second subnet of it is written meanwhile
        network = ip_network(self.cidr)
        if network.version != self.ip_version:
            raise BadRequest(f"The cidr {self.cidr} is not of ip_version {self.ip_version}.")
        if network.prefixlen == 0:
            raise BadRequest(f"The cidr {self.cidr} would hold every address.")
        for other in tx.where("subnet", network_id=self.network_id):
            if other.ip_version == self.ip_version and network.overlaps(ip_network(other.cidr)):
                raise BadRequest(f"Subnet {self.cidr} overlaps {other.cidr} of subnet {other.id} on the same network.",
                                 "InvalidInput")
        gateway = default_gateway(network) if self.gateway_ip is UNSET else self.gateway_ip
        self._check_gateway(gateway)
        if self.allocation_pools is UNSET:
            given = default_pools(network, gateway)
        else:
            given = check_pools(network, self.allocation_pools, gateway)
        return self.replace(gateway_ip=gateway, allocation_pools=given)

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        self._check_gateway(self.gateway_ip)
        return self.replace(allocation_pools=check_pools(ip_network(self.cidr), self.allocation_pools, self.gateway_ip))

    def before_delete(self, tx: "Tx", context: "Context") -> None:
        used = tx.taken(f"subnet:{self.id}")
        if used:
            some = ", ".join(sorted(used)[:5])
            raise Conflict(f"Unable to complete operation on subnet {self.id}: ports still have {some} of it.",
                           "SubnetInUse")

    def _check_gateway(self, gateway: str | None) -> None:
        if gateway is None:
            return
        inside = ip_address(gateway) in ip_network(self.cidr)
        # An IPv6 gateway may be link-local: routers advertise themselves so.
        if not inside and not (self.ip_version == 6 and ip_address(gateway).is_link_local):
            raise BadRequest(f"The gateway {gateway} is not in the cidr {self.cidr}.", "InvalidInput")
