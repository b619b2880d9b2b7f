"""Address scopes, as a router sees them: by numbers of its own, of both IP versions, since a register holds no more.

Where none of its networks has a scope there are no numbers, and nothing is asked of a packet.
"""

from controller.derive import Net, remembered
from controller.flow import IPV4, IPV6, Terms, load
from controller.pipeline import SCOPE4, SCOPE6

Scopes = tuple[int, ...]
"""Of a network: of IPv4, of IPv6."""
UNSCOPED, ANY = 0, 0xFFFF
"""Of whom no pool says a scope: they are one among themselves. And of who was translated: he has an address of each side."""
FAMILIES = {4: (IPV4, SCOPE4), 6: (IPV6, SCOPE6)}


@remembered
def scopes(net: Net, router_id: str) -> dict[str, Scopes]:
    """By network. What they mean may change with any of them: one bundle says it anew, and no packet carries them elsewhere."""
    said = {id: _said(net, id) for kind in ("router_interface", "router_gateway")
            for id in net.values(kind, "network_id", router_id=router_id)}
    numbers = {scope: at for at, scope in enumerate(sorted({"", *(each for both in said.values() for each in both)}))}
    return {id: tuple(numbers[each] for each in both) for id, both in said.items()} if len(numbers) > 1 else {}


@remembered
def _said(net: Net, network_id: str) -> tuple[str, str]:
    """A network has one scope of each IP version: its subnets are of one pool, or of pools of one."""
    found = {}
    for subnet in net.where("subnet", network_id=network_id):
        pool = net.get("subnetpool", subnet.subnetpool_id)
        found[subnet.ip_version] = pool and pool.address_scope_id or ""
    return found.get(4, ""), found.get(6, "")


def come_from(scopes: Scopes) -> tuple[bytes, ...]:
    """The words that note where a packet comes from, as it enters the router."""
    return tuple(load(register, number) for (_, register), number in zip(FAMILIES.values(), scopes, strict=False))


def translated(scopes: Scopes) -> tuple[bytes, ...]:
    """The words for what was sent to an address outside, and is now for one inside: that is reached from any scope."""
    return (load(SCOPE4, ANY),) if scopes else ()


def alike(scopes: Scopes, version: int) -> Terms:
    """What came from the same scope."""
    return FAMILIES[version][1] == scopes[version == 6] if scopes else ()


def untranslated(scopes: Scopes, other: Scopes) -> bool:
    """Whether IPv4 goes from one to the other under its own addresses, SNAT or not: a scope is where they are nobody else's."""
    return bool(scopes) and scopes[0] == other[0] != UNSCOPED
