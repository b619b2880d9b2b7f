"""Address scopes: subnet pools whose addresses must not repeat, so that what is routed between them is unambiguous.

A router notes of which scope the network is that a packet comes from (controller/scopes.py), and asks before it goes on: inside
here, at the way out where it is said under which address it leaves (snat.py). (docs/decisions/0027-address-scopes.md)
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

from controller.derive import Here, Net, derives, hosts_of_router
from controller.flow import Flow, flow, goto, load, match, resubmit
from controller.inside import addressed, interfaces, outside
from controller.ipam import ip_version
from controller.outside import gateway_host, speaks_as
from controller.pipeline import EXACT, FALLBACK, NEIGHBOUR, NETWORK, OVERRIDE, ROUTER, SCOPE, SCOPE4, SNAT
from controller.scopes import ANY, FAMILIES, alike, untranslated
from unryu.resource import Resource, field


class AddressScope(Resource, kind="address_scope", service="network", visible_if=("shared",), visible_by="rbac_policy"):
    ip_version: int = field(required=True, check=ip_version)
    shared: bool = field(False, put=True, admin=True, inert=True)


def its_hosts(router: Any, net: Net) -> Iterable[str]:
    return hosts_of_router(net, router.id)


@derives("router", at=its_hosts)
def boundary(router: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Where its networks have address scopes: what goes from one into another is dropped, unless it was translated."""
    inside = [one for one in interfaces(net, router.id) if one.scopes]
    for number, version, scope in sorted({(one.network, version, one.scopes[version == 6]) for one in inside
                                          for version in {ip_address(address).version for address, _ in one.addresses}}):
        family, register = FAMILIES[version]
        yield flow(SCOPE, EXACT, match(ROUTER == router.number, NETWORK == number, family, register == scope), goto(NEIGHBOUR))
    if inside:
        yield flow(SCOPE, EXACT, match(ROUTER == router.number, FAMILIES[4][0], SCOPE4 == ANY), goto(NEIGHBOUR))
        yield flow(SCOPE, FALLBACK, match(ROUTER == router.number))


def its_gateway(row: Any, net: Net) -> Iterable[str]:
    return {gateway_host(net, row.router_id)} - {""}


@derives("router_gateway", at=its_gateway)
def frontier(row: Any, net: Net, here: Here) -> Iterator[Flow]:
    """At the way out: what is of another address scope than the network outside, and is translated by nobody, is dropped."""
    way = outside(net, row.router_id)
    if way.scopes:
        yield flow(SNAT, FALLBACK - 1, match(ROUTER == way.router))


@derives("floatingip", at=its_gateway)
def hairpin(floating: Any, net: Net, here: Here) -> Iterator[Flow]:
    """Who is in the scope outside calls a floating IP of his own router as others do: else the answer would go to him inside."""
    way = outside(net, floating.router_id)
    if speaks_as(net, floating.router_id) and untranslated(way.scopes, way.scopes):
        yield flow(SNAT, OVERRIDE - 1, match(ROUTER == way.router, alike(way.scopes, 4), addressed(floating.floating_ip_address)),
                   load(SCOPE4, ANY), resubmit(SNAT))
