"""Subnet pools: prefixes that subnets are cut from, no two of them overlapping."""

from collections.abc import Iterable
from ipaddress import collapse_addresses, ip_network
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, with_config
from typing_extensions import TypedDict

from controller.ipam import cidr, without
from unryu.checks import between
from unryu.errors import BadRequest, Conflict
from unryu.resource import UNSET, Resource, action, field

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

PREFIXES = {"prefixes": [str]}
SHORTEST = {4: 8, 6: 64}
"""IP version → what min_prefixlen is when nobody says."""


def prefixes(values: list[str]) -> list[str]:
    if len(values) > 1000:
        raise ValueError(f"{len(values)} are more than 1000")
    return [cidr(value) for value in values]


@with_config(ConfigDict(extra="forbid"))
class Prefixes(TypedDict):
    prefixes: Annotated[list[str], AfterValidator(prefixes)]


def compact(values: Iterable[str]) -> list[str]:
    """What these cover together, in as few prefixes as can be; of one IP version, or a 400."""
    networks = [ip_network(value) for value in values]
    if not networks:
        raise BadRequest("A subnet pool needs at least one prefix.", "EmptySubnetPoolPrefixList")
    if len({network.version for network in networks}) > 1:
        raise BadRequest("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.", "PrefixVersionMismatch")
    return [str(network) for network in collapse_addresses(networks)]  # type: ignore[type-var]


class SubnetPool(Resource, kind="subnetpool", service="network", visible_if=("shared",), visible_by="rbac_policy", quota=-1):
    prefixes: list[str] = field(required=True, put=True, check=prefixes, inert=True)
    ip_version: int = field(post=False, inert=True)
    min_prefixlen: int = field(put=True, check=between(0, 128), inert=True)
    max_prefixlen: int = field(put=True, check=between(0, 128), inert=True)
    default_prefixlen: int = field(put=True, check=between(0, 128), inert=True)
    default_quota: int | None = field(None, put=True, check=between(0, 2**31 - 1), inert=True)
    """Addresses (IPv6: networks of 64 bits) that one project may have of it; 0 and none: as many as there are."""
    is_default: bool = field(False, put=True, admin=True, inert=True)
    shared: bool = field(False, admin=True, inert=True)
    address_scope_id: str | None = field(None, ref="address_scope", put=True, length=64)

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        compacted = compact(self.prefixes)
        version = ip_network(compacted[0]).version
        shortest = SHORTEST[version] if self.min_prefixlen is UNSET else self.min_prefixlen
        pool = self.replace(
            prefixes=compacted, ip_version=version, min_prefixlen=shortest,
            max_prefixlen=(32 if version == 4 else 128) if self.max_prefixlen is UNSET else self.max_prefixlen,
            default_prefixlen=shortest if self.default_prefixlen is UNSET else self.default_prefixlen)
        pool._check(tx)
        return pool

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        pool = self.replace(prefixes=compact(self.prefixes))
        if without(before.prefixes, pool.prefixes):
            raise BadRequest("Illegal update to prefixes: the new ones must hold all of the old.",
                             "IllegalSubnetPoolPrefixUpdate")
        if before.address_scope_id and not context.owns(tx.get("address_scope", before.address_scope_id)):
            raise BadRequest(f"Illegal subnetpool update: subnetpool {self.id} is in the address scope "
                             f"{before.address_scope_id} of another project.", "IllegalSubnetPoolUpdate")
        pool._check(tx)
        if pool.address_scope_id != before.address_scope_id:
            pool._check_networks(tx)
        return pool

    @action("Add prefixes to a subnet pool.", body=Prefixes, answer=PREFIXES)
    def add_prefixes(self, tx: "Tx", context: "Context", body: Prefixes) -> Any:
        grown = self.replace(prefixes=[*self.prefixes, *body["prefixes"]])
        return {"prefixes": tx.update(grown.before_update(tx, context, self)).prefixes}

    @action("Remove prefixes, which no subnet has, from a subnet pool.", body=Prefixes, answer=PREFIXES)
    def remove_prefixes(self, tx: "Tx", context: "Context", body: Prefixes) -> Any:
        gone = body["prefixes"]
        for subnet in tx.where("subnet", subnetpool_id=self.id):
            if without([subnet.cidr], gone) != [subnet.cidr]:
                raise BadRequest(f"Illegal update to prefixes: subnet {subnet.id} has {subnet.cidr} of them.",
                                 "IllegalSubnetPoolPrefixUpdate")
        return {"prefixes": tx.update(self, prefixes=compact(without(self.prefixes, gone))).prefixes}

    def _check(self, tx: "Tx") -> None:
        """What must hold of it, however it came to be so."""
        bounds = {"min_prefixlen": self.min_prefixlen, "default_prefixlen": self.default_prefixlen,
                  "max_prefixlen": self.max_prefixlen, "the bits of an address": 32 if self.ip_version == 4 else 128}
        for (low, least), (high, most) in zip(list(bounds.items()), list(bounds.items())[1:], strict=False):
            if least > most:
                raise BadRequest(f"Illegal prefix bounds: {low}={least} is more than {high}={most}.",
                                 "IllegalSubnetPoolPrefixBounds")
        if self.is_default:
            tx.serialize(f"default subnetpool {self.ip_version}")
            for other in tx.where("subnetpool", is_default=True, ip_version=self.ip_version):
                if other.id != self.id:
                    raise BadRequest(f"Subnet pool {other.id} is the default for IPv{self.ip_version} already.", "InvalidInput")
        if self.address_scope_id:
            self._check_scope(tx)

    def _check_scope(self, tx: "Tx") -> None:
        scope = tx.lock("address_scope", self.address_scope_id or "")  # no second pool comes into it meanwhile
        if scope is not None and scope.ip_version != self.ip_version:
            raise BadRequest(f"Illegal subnetpool association: address scope {scope.id} is of IPv{scope.ip_version}, and the "
                             f"pool is not.", "IllegalSubnetPoolIpVersionAssociationToAddressScope")
        for other in tx.where("subnetpool", address_scope_id=self.address_scope_id):
            if other.id != self.id and without(other.prefixes, self.prefixes) != other.prefixes:
                raise Conflict(f"Failed to associate address scope: subnet pool {other.id} of it has some of the same prefixes.",
                               "AddressScopePrefixConflict")

    def _check_networks(self, tx: "Tx") -> None:
        """The subnets of a network that come from pools are of one scope: a pool may not leave with some of them only."""
        networks = {subnet.network_id for subnet in tx.where("subnet", subnetpool_id=self.id)}
        for subnet in tx.where("subnet", network_id=networks, ip_version=self.ip_version) if networks else ():
            if subnet.subnetpool_id != self.id:
                raise BadRequest(f"Subnet {subnet.id} is on a network with one of this pool: they must stay in one address "
                                 f"scope.", "NetworkAddressScopeAffinityError")
