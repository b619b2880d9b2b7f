"""What is said of routers in bodies and answers: routes, the way out, what is joined."""

from ipaddress import ip_address, ip_network
from itertools import combinations
from typing import NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from controller.ipam import address, cidr
from controller.port_forms import FixedIP, fixed_ips
from unryu.errors import BadRequest

MOST_ROUTES = 30


class Route(TypedDict):
    destination: str
    nexthop: str


@with_config(ConfigDict(extra="forbid"))
class Routes(TypedDict):
    routes: list[Route]


class GatewayInfo(TypedDict):
    network_id: NotRequired[str]
    enable_snat: NotRequired[bool]
    external_fixed_ips: NotRequired[list[FixedIP]]
    qos_policy_id: NotRequired[str | None]


@with_config(ConfigDict(extra="forbid"))
class Joined(TypedDict):
    subnet_id: NotRequired[str]
    port_id: NotRequired[str]


JOINED = {**dict.fromkeys(("id", "project_id", "tenant_id", "port_id", "network_id", "subnet_id"), str), "subnet_ids": [str],
          "tags": [str]}
GATEWAY_SHOWN = {"network_id": str, "enable_snat": bool, "qos_policy_id": str | None,
                 "external_fixed_ips": [{"subnet_id": str, "ip_address": str}]}


def routes(values: list[Route]) -> list[Route]:
    """Each once, in the order given."""
    if len(values) > MOST_ROUTES:
        raise ValueError(f"{len(values)} are more than {MOST_ROUTES}")
    given = [Route(destination=cidr(v["destination"]), nexthop=str(address(v["nexthop"]))) for v in values]
    for route in given:
        if ip_network(route["destination"]).version != ip_address(route["nexthop"]).version:
            raise ValueError(f"the nexthop {route['nexthop']} is of another IP version than {route['destination']}")
    if any(one == other for one, other in combinations(given, 2)):
        raise ValueError("one is there twice")
    return given


def gateway_info(value: GatewayInfo | None) -> GatewayInfo | None:
    if value and "network_id" not in value:
        raise ValueError("it needs a network_id")
    if value:
        fixed_ips(value.get("external_fixed_ips", []))
    return value or None


def always(value: bool) -> bool:
    if not value:
        raise ValueError("every router of this cloud is distributed, and what is not is highly available")
    return value


def checked(values: list[Route]) -> list[Route]:
    try:
        return routes(values)
    except ValueError as error:
        raise BadRequest(f"Invalid input for routes: {error}.") from None
