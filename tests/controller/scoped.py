"""States of the sample with routers, in which networks are in address scopes."""

from tests.controller import routed, wired
from tests.controller.routed import State, put

POOLS: State = (put("subnetpool", "wide4", address_scope_id="wide-4"), put("subnetpool", "more4", address_scope_id="wide-4"),
                put("subnetpool", "wide6", address_scope_id="wide-6"), put("subnetpool", "far4", address_scope_id="far"),
                put("subnetpool", "no4"))


def blue(pool: str) -> State:
    return (put("subnet", "blue4", network_id="blue", ip_version=4, cidr="10.0.0.0/24", gateway_ip="10.0.0.1",
                subnetpool_id=pool),)


def blue6(pool: str) -> State:
    return (put("subnet", "blue6", network_id="blue", ip_version=6, cidr="fd00::/64", subnetpool_id=pool,
                ipv6_ra_mode="dhcpv6-stateful", ipv6_address_mode="dhcpv6-stateful"),)


def green(pool: str) -> State:
    return (put("subnet", "green4", network_id="green", ip_version=4, cidr="10.1.0.0/24", gateway_ip="10.1.0.1",
                subnetpool_id=pool),)


def outside(pool: str) -> State:
    return (put("subnet", "outside4", network_id="outside", ip_version=4, cidr="203.0.113.0/24", gateway_ip="203.0.113.1",
                subnetpool_id=pool),)


APART: State = (*routed.JOINED, *POOLS, *blue("wide4"), *blue6("wide6"), *green("far4"))
LEADING_OUT: State = (*APART, *outside("more4"), *routed.LEADING_OUT)
STATES: dict[str, State] = {
    "a router between two address scopes": APART,
    "a router between two pools of one address scope": (*APART, *green("more4")),
    "a router that leads out into blue's address scope": LEADING_OUT,
    "a router without SNAT into blue's address scope, a floating IP in another": (
        *LEADING_OUT, routed.router(enable_snat=False), *routed.floating("port5", "10.1.0.15")),
    "a router into blue's address scope, with SNAT and a floating IP": (*LEADING_OUT, *routed.floating("port5", "10.1.0.15")),
    "a router that leads out of all address scopes, with forwardings": (
        *APART, *routed.LEADING_OUT, *routed.floating(None, ""), *routed.forwarding("w", "8080:8080", "80:80"),
        *routed.forwarding("u", "100:109", "5000:5000", "udp")),
    "a router into a VLAN of another address scope, that one host has not": (
        *APART, wired.VLAN, *wired.spoken_for("h1", "h2"), *wired.OFF_THE_WIRE),
}
