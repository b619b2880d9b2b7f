"""Subnets: the addresses of a network, and what its guests are told with them."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import TypedDict

from controller.ipam import (
    Pool,
    address,
    check_pools,
    cidr,
    default_gateway,
    default_pools,
    eui64,
    free_prefix,
    ip_version,
    this_address,
    without,
)
from controller.segments import LEAST_MTU
from unryu.checks import between, one_of
from unryu.errors import BadRequest, Conflict
from unryu.resource import UNSET, Resource, field
from unryu.scope import seen

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx


class HostRoute(TypedDict):
    destination: str
    nexthop: str


MODES = ("slaac", "dhcpv6-stateful", "dhcpv6-stateless")
SELF_MADE = ("slaac", "dhcpv6-stateless")
"""The modes in which a guest makes its address from its MAC (EUI-64)."""
OWNERS = ("network:", "neutron:", "compute:", "baremetal:", "manila:")
"""What a port's device_owner, and so a service type, begins with."""


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


def service_types(values: list[str]) -> list[str]:
    if len(values) > 64:
        raise ValueError(f"{len(values)} are more than 64")
    for value in values:
        if not value.startswith(OWNERS) or len(value) > 255:
            raise ValueError(f"{value!r} is no device_owner: those begin with {', '.join(OWNERS)}")
    return sorted(set(values))


class Subnet(Resource, kind="subnet", service="network", visible_with="network_id", quota=100):
    network_id: str = field(ref="network", own=True, ondelete="cascade", required=True, length=64)
    ip_version: int = field(required=True, check=ip_version)
    cidr: str = field(check=cidr)
    subnetpool_id: str | None = field(None, ref="subnetpool", length=64)
    use_default_subnetpool: bool = field(False, passing=True)
    prefixlen: int | None = field(None, passing=True, check=between(0, 128))
    gateway_ip: str | None = field(put=True, check=address)
    allocation_pools: list[Pool] = field(put=True, check=pools)
    enable_dhcp: bool = field(True, put=True)
    dns_nameservers: list[str] = field([], put=True, check=addresses)
    host_routes: list[HostRoute] = field([], put=True, check=routes)
    ipv6_ra_mode: str | None = field(None, check=one_of(*MODES))
    ipv6_address_mode: str | None = field(None, check=one_of(*MODES))
    service_types: list[str] = field([], put=True, check=service_types, inert=True)
    """Only ports of these device_owners get an address of it; none: all of those that no other subnet is for."""

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        on = tx.lock("network", self.network_id)  # no second subnet of it is written meanwhile
        subnet = self._placed(tx, context)
        network = ip_network(subnet.cidr)
        if network.version != self.ip_version:
            raise BadRequest(f"The cidr {subnet.cidr} is not of ip_version {self.ip_version}.")
        if network.prefixlen == 0:
            raise BadRequest(f"The cidr {subnet.cidr} would hold every address.")
        if network.is_multicast or network.is_loopback:
            raise BadRequest(f"The cidr {subnet.cidr} is no host's: it is for multicast or loopback.", "InvalidInput")
        if self.ip_version == 6 and on.mtu < LEAST_MTU:
            raise Conflict(f"The MTU of network {on.id} is {on.mtu}: IPv6 needs {LEAST_MTU}.", "NetworkMTUSubnetConflict")
        subnet._check_neighbours(tx)
        gateway = default_gateway(network) if self.gateway_ip is UNSET else self.gateway_ip
        if self.allocation_pools is UNSET:
            given = default_pools(network, gateway)
        else:
            given = check_pools(network, self.allocation_pools, gateway)
        subnet = subnet.replace(gateway_ip=gateway, allocation_pools=given)
        subnet._check()
        if subnet.self_made:
            subnet._give_all(tx)
        return subnet

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        self._check()
        if self.gateway_ip != before.gateway_ip and before.gateway_ip:
            holder = tx.get("port", tx.owner(f"subnet:{self.id}", before.gateway_ip))
            if holder is not None and holder.device_owner.startswith("network:router"):
                raise Conflict(f"The gateway {before.gateway_ip} is in use by port {holder.id} of a router.", "GatewayIpInUse")
        return self.replace(allocation_pools=check_pools(ip_network(self.cidr), self.allocation_pools, self.gateway_ip))

    @property
    def self_made(self) -> bool:
        """Does each guest make its own address, from its MAC?"""
        return self.ipv6_address_mode in SELF_MADE or self.ipv6_ra_mode in SELF_MADE

    def before_delete(self, tx: "Tx", context: "Context") -> None:
        if self.self_made:
            self._take_all(tx)
        used = tx.taken(f"subnet:{self.id}")
        if used:
            some = ", ".join(sorted(used)[:5])
            raise Conflict(f"Unable to complete operation on subnet {self.id}: ports still have {some} of it.",
                           "SubnetInUse")

    # where it lies

    def _placed(self, tx: "Tx", context: "Context") -> Self:
        """With its cidr: the one asked for, or a free one of its pool."""
        pool_id = self.subnetpool_id
        if self.use_default_subnetpool:
            if pool_id:
                raise BadRequest("subnetpool_id and use_default_subnetpool cannot both be given.")
            pool_id = self._default_pool(tx, context)
        if self.cidr is not UNSET and self.prefixlen is not None:
            raise BadRequest("cidr and prefixlen cannot both be given.")
        if pool_id:
            return self._cut(tx, pool_id)
        if self.cidr is UNSET:
            raise BadRequest("A subnet needs a cidr, or a subnet pool to take one from.")
        return self

    def _default_pool(self, tx: "Tx", context: "Context") -> str:
        for pool in tx.where("subnetpool", is_default=True, ip_version=self.ip_version):
            return str(seen(tx, "subnetpool", pool.id, context).id)
        raise BadRequest(f"There is no default subnet pool for IPv{self.ip_version}.")

    def _cut(self, tx: "Tx", pool_id: str) -> Self:
        pool = tx.lock("subnetpool", pool_id)  # nobody else cuts from it meanwhile
        if pool.ip_version != self.ip_version:
            raise BadRequest(f"Cannot cut an IPv{self.ip_version} subnet from the IPv{pool.ip_version} subnet pool {pool.id}.")
        asked = None if self.cidr is UNSET else ip_network(self.cidr)
        if asked is None and not (self.allocation_pools is UNSET and not self.gateway_ip):
            raise BadRequest("gateway_ip and allocation_pools can be given with a cidr only.")
        length = asked.prefixlen if asked else pool.default_prefixlen if self.prefixlen is None else self.prefixlen
        if not pool.min_prefixlen <= length <= pool.max_prefixlen:
            bound = "Min" if length < pool.min_prefixlen else "Max"
            raise BadRequest(f"Unable to allocate a subnet with prefix length {length}: subnet pool {pool.id} allows "
                             f"{pool.min_prefixlen} to {pool.max_prefixlen}.", f"{bound}PrefixSubnetAllocationError")
        others = tx.where("subnet", subnetpool_id=pool.id)
        if pool.default_quota:
            unit = 32 if pool.ip_version == 4 else 64  # what Neutron counts in: addresses, or networks of 64 bits
            had = sum(2 ** (unit - ip_network(s.cidr).prefixlen) for s in others if s.project_id == self.project_id)
            if had + 2 ** (unit - length) > pool.default_quota:
                raise Conflict(f"Per-project quota of subnet pool {pool.id} exceeded: {had:g} of {pool.default_quota} are "
                               f"in use.", "SubnetPoolQuotaExceeded")
        taken = [other.cidr for other in others]
        if asked is None:
            found = free_prefix(pool.prefixes, taken, length)
        else:
            found = self.cidr if not without([self.cidr], without(pool.prefixes, taken)) else None
        if found is None:
            raise Conflict(f"Failed to allocate subnet: subnet pool {pool.id} has no room for {self.cidr or f'a /{length}'}.",
                           "SubnetAllocationError")
        return self.replace(cidr=found, subnetpool_id=pool.id)

    def _check_neighbours(self, tx: "Tx") -> None:
        """The other subnets of the network: none overlaps, and all of a version come from one pool, or one address scope."""
        network = ip_network(self.cidr)
        for other in tx.where("subnet", network_id=self.network_id, ip_version=self.ip_version):
            if network.overlaps(ip_network(other.cidr)):
                raise BadRequest(f"Subnet {self.cidr} overlaps {other.cidr} of subnet {other.id} on the same network.",
                                 "InvalidInput")
            if other.subnetpool_id != self.subnetpool_id:
                scopes = {p.address_scope_id for p in tx.where("subnetpool", id=[other.subnetpool_id, self.subnetpool_id])}
                if None in (other.subnetpool_id, self.subnetpool_id) or None in scopes or len(scopes) > 1:
                    raise BadRequest(f"Subnets of one network come from one subnet pool, or from pools of one address scope: "
                                     f"{other.id} does not.", "NetworkSubnetPoolAffinityError")

    # what must hold of it, however it came to be so

    def _check(self) -> None:
        self._check_gateway(self.gateway_ip)
        for what, values in (("dns_nameservers", self.dns_nameservers),
                             ("host_routes", [v for r in self.host_routes for v in (r["destination"], r["nexthop"])])):
            for value in values:
                if ip_network(value).version != self.ip_version:
                    raise BadRequest(f"{value} of {what} is not of ip_version {self.ip_version}.", "InvalidInput")
        modes = {mode for mode in (self.ipv6_ra_mode, self.ipv6_address_mode) if mode}
        if modes and self.ip_version == 4:
            raise BadRequest("ipv6_ra_mode and ipv6_address_mode are not valid when ip_version is 4.", "InvalidInput")
        if len(modes) > 1:
            raise BadRequest(f"ipv6_ra_mode {self.ipv6_ra_mode} with ipv6_address_mode {self.ipv6_address_mode} is not valid: "
                             f"they must be the same where both are given.", "InvalidInput")
        if modes and not self.enable_dhcp:
            raise BadRequest("ipv6_ra_mode and ipv6_address_mode need enable_dhcp.", "InvalidInput")
        if self.self_made and ip_network(self.cidr).prefixlen != 64:
            raise BadRequest(f"Guests make their addresses in a network of 64 bits, not in {self.cidr}.", "InvalidInput")

    def _check_gateway(self, gateway: str | None) -> None:
        if gateway is None:
            return
        inside = ip_address(gateway) in ip_network(self.cidr)
        # An IPv6 gateway may be link-local: routers advertise themselves so.
        if not inside and not (self.ip_version == 6 and ip_address(gateway).is_link_local):
            raise BadRequest(f"The gateway {gateway} is not in the cidr {self.cidr}.", "InvalidInput")

    # addresses that nobody asks for: every port of the network has one

    def _give_all(self, tx: "Tx") -> None:
        for port in self._ports(tx):
            if not port.device_owner.startswith("network:router") and port.fits(self):
                choose = this_address(ip_network(self.cidr), eui64(self.cidr, port.mac_address))
                made = tx.allocate(f"subnet:{self.id}", port.id, choose)
                tx.update(port, fixed_ips=[*port.fixed_ips, {"subnet_id": self.id, "ip_address": made}])

    def _take_all(self, tx: "Tx") -> None:
        for port in self._ports(tx):
            if port.device_owner.startswith("network:router"):
                continue  # a router's address was asked for: it holds the subnet
            for gone in [f for f in port.fixed_ips if f["subnet_id"] == self.id]:
                tx.release(f"subnet:{self.id}", gone["ip_address"])
            tx.update(port, fixed_ips=[f for f in port.fixed_ips if f["subnet_id"] != self.id])

    def _ports(self, tx: "Tx") -> Sequence[Any]:
        """The network's ports, which nobody else changes meanwhile."""
        locked = (tx.lock("port", port.id) for port in tx.where("port", network_id=self.network_id))
        return [port for port in locked if port is not None]
