"""Networking API v2.0: our nouns in its dialect, its versions and its extensions."""

from typing import Any

import flask

import controller.features  # noqa: F401 - the nouns that it serves
from controller import availability, l3_agents, quotas, rule_types, topologies
from unryu.auth import Tokens
from unryu.db import Database
from unryu.errors import Fault
from unryu.resource import Resource
from unryu.rest import Api, Dialect, described, openapi

# Listed only when the data path, or the API, really does it.
EXTENSIONS = {
    "address-group": "Lists of addresses that rules name",
    "agent": "Agents of the hosts",
    "allowed-address-pairs": "Addresses that a port may hold beside its own",
    "auto-allocated-topology": "A network that leads out, made where one is asked for",
    "availability_zone": "Availability Zone",
    "availability_zone_filter": "Only the availability zones that are asked for",
    "binding": "Port binding: the host of a port",
    "default-subnetpools": "A subnet pool that is taken when none is named",
    "dvr": "Routers that are on every host",
    "empty-string-filtering": "Filters by what is empty",
    "expose-port-forwarding-in-fip": "The forwardings of a floating IP, shown in it",
    "ext-gw-mode": "Routers with and without SNAT",
    "external-net": "Networks that routers lead out by",
    "extra_dhcp_opt": "DHCP options of a port",
    "extraroute": "Routes of a router",
    "extraroute-atomic": "Routes of a router added and removed one by one",
    "filter-validation": "Filters are validated",
    "fip-port-details": "What a floating IP's port is",
    "floating-ip-port-forwarding": "Ports of a floating IP that lead to ports of guests",
    "floating-ip-port-forwarding-description": "Descriptions of port forwardings",
    "floating-ip-port-forwarding-detail": "Whose ports a floating IP forwards, shown in it",
    "floating-ip-port-forwarding-port-ranges": "Ranges of ports forwarded",
    "l3-ha": "Routers whose way out moves when its host is gone",
    "l3-port-ip-change-not-allowed": "Ports of routers keep their addresses",
    "l3_agent_scheduler": "On which hosts a router is, and by which it leaves",
    "net-mtu": "MTU of a network",
    "net-mtu-writable": "MTU of a network may be set",
    "network-ip-availability": "Addresses of networks, and how many are in use",
    "network_availability_zone": "Availability zones of a network",
    "pagination": "Lists in pages",
    "port-security": "Port security: a guest speaks as itself only",
    "port-security-groups-filtering": "Ports by their security groups",
    "project-id": "project_id beside tenant_id",
    "provider": "Where a network lies: its type, its physical network, its segment there",
    "qos": "QoS policies",
    "qos-bw-limit-direction": "Bandwidth limits of what a port sends, and of what it is sent",
    "qos-default": "A QoS policy of a project's new networks",
    "qos-fip": "QoS policies of floating IPs",
    "qos-fip-network-policy": "The QoS policy of a floating IP's network",
    "qos-gateway-ip": "QoS policies of routers' gateways",
    "qos-port-network-policy": "The QoS policy of a port's network",
    "qos-pps": "Packet rate limits",
    "qos-rule-type-details": "Parameters of QoS rule types",
    "qos-rule-type-filter": "Only the rule types that are asked for",
    "quota-check-limit": "No limit below what is in use",
    "quota-check-limit-default": "That is looked at unless it is forced",
    "quota_details": "Quotas, and what is in use of them",
    "quotas": "Quotas",
    "rbac-address-group": "Address groups that other projects may use",
    "rbac-policies": "Networks that other projects may use",
    "rbac-security-groups": "Security groups that other projects may use",
    "rbac-subnetpool": "Subnet pools that other projects may use",
    "revision-if-match": "If-Match with revision_number",
    "router": "Routers and floating IPs",
    "router_availability_zone": "Availability zones of a router",
    "security-group": "Security groups",
    "security-groups-default-rules": "The rules that a new security group begins with",
    "security-groups-normalized-cidr": "The network of a rule's prefix",
    "security-groups-remote-address-group": "Rules that name an address group",
    "security-groups-shared-filtering": "Security groups by whether they are shared",
    "service-type": "Who provides a service: routers",
    "sort-key-validation": "Keys of sorting are validated",
    "sorting": "Lists in order",
    "standard-attr-description": "Descriptions",
    "standard-attr-revisions": "Revision numbers",
    "standard-attr-tag": "Tags",
    "standard-attr-timestamp": "created_at and updated_at",
    "stateful-security-group": "Security groups without connection tracking",
    "subnet-service-types": "Subnets for ports of some device_owners only",
    "subnet_allocation": "Subnets from pools",
    "subnetpool-prefix-ops": "Prefixes added to subnet pools and removed one by one",
    "unryu-rule-sets": "All rules of a security group in one call",
    "unryu-transactions": "Several nouns in one call, all or none",
}


def fault(error: Fault) -> dict[str, Any]:
    return {"NeutronError": {"type": error.code, "message": error.sentence, "detail": ""}}


def links(noun: type[Resource], page: str, following: str | None) -> dict[str, Any]:
    return {f"{noun.plural}_links": [{"rel": "next", "href": following}]} if following else {}


DIALECT = Dialect(prefix="/v2.0", update="PUT", fault=fault, links=links, aliases={"tenant_id": "project_id"}, tags=True,
                  transactions=True)


def application(database: Database, tokens: Tokens) -> Any:
    api = Api("network", DIALECT, database, tokens)
    quotas.routes(api)
    availability.routes(api)
    topologies.routes(api)
    rule_types.routes(api)
    l3_agents.routes(api)
    extensions = {
        alias: {"alias": alias, "name": text, "description": text, "updated": "2026-11-21T00:00:00-00:00", "links": []}
        for alias, text in EXTENSIONS.items()
    }

    link = {"rel": str, "href": str}
    version = {"id": str, "status": str, "links": [link]}
    resource = {"name": str, "collection": str, "links": [link]}
    extension = {"alias": str, "name": str, "description": str, "updated": str, "links": [link]}
    openapi.serve(api, "Networking API")

    @api.app.get("/")
    @described("List the versions of this API.", answers={200: {"versions": [version]}}, public=True)
    def versions() -> Any:
        href = flask.request.host_url.rstrip("/") + flask.request.script_root
        return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": f"{href}/v2.0/"}]}]}

    @api.app.get("/v2.0")
    @described("List the nouns of this version.", answers={200: {"resources": [resource]}}, public=True)
    def resources() -> Any:
        base = flask.request.base_url.rstrip("/")
        return {"resources": [{"name": n.word, "collection": n.plural, "links": [{"rel": "self", "href": base + n.path}]}
                              for n in api.served if not n.within]}

    @api.app.get("/v2.0/extensions")
    @described("List the extensions.", answers={200: {"extensions": [extension]}})
    def list_extensions() -> Any:
        _ = api.context  # a token, whoever's
        return {"extensions": list(extensions.values())}

    @api.app.get("/v2.0/extensions/<alias>")
    @described("Show one extension.", answers={200: {"extension": extension}})
    def show_extension(alias: str) -> Any:
        _ = api.context  # a token, whoever's
        if alias not in extensions:
            flask.abort(404, f"There is no extension {alias}.")
        return {"extension": extensions[alias]}

    return api.app
