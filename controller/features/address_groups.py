"""Address groups: lists of addresses that security group rules name instead of a prefix each."""

from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, ConfigDict, with_config
from typing_extensions import TypedDict

from unryu.errors import BadRequest, NotFound
from unryu.resource import Resource, action, field

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx


def cidrs(values: list[str]) -> list[str]:
    """Networks, each once, in the order given."""
    networks: dict[str, None] = {}
    for value in values:
        try:
            networks[str(ip_network(value, strict=False))] = None
        except ValueError:
            raise ValueError(f"{value!r} is not an IP address or a CIDR, such as 10.0.0.0/24") from None
    return list(networks)


@with_config(ConfigDict(extra="forbid"))
class Addresses(TypedDict):
    addresses: Annotated[list[str], AfterValidator(cidrs)]


class AddressGroup(Resource, kind="address_group", service="network", quota=10, visible_if=("shared",), visible_by="rbac_policy"):
    shared: bool = field(False, post=False, inert=True)
    addresses: list[str] = field([], check=cidrs)

    @action("Add addresses to an address group.", body=Addresses)
    def add_addresses(self, tx: "Tx", context: "Context", body: Addresses) -> Self:
        known = [a for a in body["addresses"] if a in self.addresses]
        if known:
            raise BadRequest(f"Addresses {', '.join(known)} already exist in the address group {self.id}.",
                             "AddressesAlreadyExist")
        return tx.update(self, addresses=[*self.addresses, *body["addresses"]])

    @action("Remove addresses from an address group.", body=Addresses)
    def remove_addresses(self, tx: "Tx", context: "Context", body: Addresses) -> Self:
        unknown = [a for a in body["addresses"] if a not in self.addresses]
        if unknown:
            raise NotFound(f"Addresses {', '.join(unknown)} not found in the address group {self.id}.", "AddressesNotFound")
        return tx.update(self, addresses=[a for a in self.addresses if a not in body["addresses"]])
