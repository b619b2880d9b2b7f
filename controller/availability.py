"""What is there to be had: addresses of networks, availability zones, providers of services."""

from ipaddress import ip_address
from typing import Any

import flask

from controller.zones import ZONE
from unryu.db import Tx
from unryu.errors import BadRequest, Forbidden
from unryu.resource import nouns
from unryu.rest import Api, Asked, described
from unryu.sentences import not_found

USE = {"used_ips": int, "total_ips": int}
OF_SUBNET = {"subnet_id": str, "subnet_name": str, "ip_version": int, "cidr": str, **USE}
OF_NETWORK = {"network_id": str, "network_name": str, "project_id": str, "tenant_id": str, **USE,
              "subnet_ip_availability": [OF_SUBNET]}
ROUTING = {"service_type": "L3_ROUTER_NAT", "name": "unryu", "default": True}
"""Every router is of one kind, so who asks finds one provider of them."""
# Filter → attribute of a network.
FILTERS = {"network_id": "id", "network_name": "name", "project_id": "project_id", "tenant_id": "project_id"}


def routes(api: Api) -> None:
    prefix = api.dialect.prefix

    def must_be_admin() -> None:
        if not api.context.is_admin:
            raise Forbidden("Only an administrator may see how many addresses are in use.", "PolicyNotAuthorized")

    @api.app.get(f"{prefix}/network-ip-availabilities")
    @described("List how many addresses the networks have, and how many are in use.", query={**dict.fromkeys(FILTERS, str),
               "ip_version": int, "fields": [str]}, answers={200: {"network_ip_availabilities": [Asked(OF_NETWORK)]}})
    def list_network_ip_availabilities() -> Any:
        must_be_admin()
        asked = _arguments(*FILTERS, "ip_version")
        fields = asked.pop("fields", [])
        versions = asked.pop("ip_version", ["4", "6"])
        with api.database.reading() as tx:
            networks = tx.where("network", **{FILTERS[name]: values for name, values in asked.items()})
            views = _availabilities(tx, networks, versions)
        return {"network_ip_availabilities": [_only(view, fields) for view in views]}

    @api.app.get(f"{prefix}/network-ip-availabilities/<id>")
    @described("Show how many addresses a network has, and how many are in use.", query={"fields": [str]},
               answers={200: {"network_ip_availability": Asked(OF_NETWORK)}})
    def show_network_ip_availability(id: str) -> Any:
        must_be_admin()
        with api.database.reading() as tx:
            network = tx.get("network", id)
            if network is None:
                raise not_found("network", id)
            [view] = _availabilities(tx, [network], ["4", "6"])
        return {"network_ip_availability": _only(view, _arguments().get("fields", []))}

    @api.app.get(f"{prefix}/availability_zones")
    @described("List the availability zones.", query={"name": str, "resource": str, "state": str, "fields": [str]},
               answers={200: {"availability_zones": [Asked(dict.fromkeys(("name", "resource", "state"), str))]}})
    def list_availability_zones() -> Any:
        context, asked = api.context, _arguments("name", "resource", "state")
        fields = asked.pop("fields", [])
        with api.database.reading() as tx:
            agents = tx.where("agent", admin_state_up=True)
            alive = any(view["alive"] for view in nouns["agent"].computed(tx, agents, context).values())
        zone = {"name": ZONE, "resource": "network", "state": "available" if alive else "unavailable"}
        fits = all(zone[name] in values for name, values in asked.items())
        return {"availability_zones": [_only(zone, fields)] if fits else []}

    @api.app.get(f"{prefix}/service-providers")
    @described("List the providers of services.", query={"service_type": str, "name": str, "default": bool, "fields": [str]},
               answers={200: {"service_providers": [Asked({"service_type": str, "name": str, "default": bool})]}})
    def list_service_providers() -> Any:
        _, asked = api.context, _arguments(*ROUTING)  # a token, whoever's
        fields = asked.pop("fields", [])
        fits = all(str(ROUTING[name]).lower() in map(str.lower, values) for name, values in asked.items())
        return {"service_providers": [_only(ROUTING, fields)] if fits else []}


def _availabilities(tx: Tx, networks: list[Any], versions: list[str]) -> list[dict[str, Any]]:
    if not all(version in ("4", "6") for version in versions):
        raise BadRequest("ip_version is 4 or 6.")
    subnets = tx.where("subnet", network_id=[n.id for n in networks], ip_version=[int(v) for v in versions])
    used = tx.given_out(f"subnet:{subnet.id}" for subnet in subnets)
    of: dict[str, list[dict[str, Any]]] = {network.id: [] for network in networks}
    for subnet in subnets:
        of[subnet.network_id].append({
            "subnet_id": subnet.id, "subnet_name": subnet.name, "ip_version": subnet.ip_version, "cidr": subnet.cidr,
            "used_ips": used.get(f"subnet:{subnet.id}", 0),
            "total_ips": sum(int(ip_address(p["end"])) - int(ip_address(p["start"])) + 1 for p in subnet.allocation_pools)})
    return [{
        "network_id": network.id, "network_name": network.name, "project_id": network.project_id,
        "tenant_id": network.project_id, "subnet_ip_availability": of[network.id],
        **{what: sum(subnet[what] for subnet in of[network.id]) for what in USE},
    } for network in networks if of[network.id] or len(versions) == 2]


def _arguments(*names: str) -> dict[str, list[str]]:
    """The request's arguments; a 400 for one that is none of these."""
    for name in flask.request.args:
        if name not in (*names, "fields"):
            raise BadRequest(f"This cannot be filtered by '{name}'.")
    return dict(flask.request.args.lists())


def _only(view: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    return {name: value for name, value in view.items() if name in fields} if fields else view
