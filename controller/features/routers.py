"""Routers: what joins subnets, and leads out of the cloud; the ports that they have on networks are their own.

Each port of a router has a row beside it, which only we write: what a port says of its device anybody could have said.
"""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, Self

from controller.allocate import ROUTER_NUMBERS, free_number
from controller.port_forms import FixedIP
from controller.qos import may_leave
from controller.router_forms import (
    GATEWAY_SHOWN,
    JOINED,
    GatewayInfo,
    Joined,
    Route,
    Routes,
    always,
    checked,
    gateway_info,
    routes,
)
from controller.zones import ZONE, zone_hints
from unryu.errors import BadRequest, Conflict, Forbidden, NotFound
from unryu.resource import UNSET, Resource, action, field
from unryu.scope import grant, owned, seen

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

INTERFACE, GATEWAY = "network:router_interface", "network:router_gateway"
"""Whose a port is, in its device_owner."""


class Router(Resource, kind="router", service="network", quota=10):
    admin_state_up: bool = field(True, put=True)
    number: int = field(0, post=False, internal=True)
    """The word that names the router inside a host."""
    external_gateway_info: GatewayInfo | None = field(UNSET, put=True, passing=True, check=gateway_info)
    enable_snat: bool = field(True, internal=True)
    routes: list[Route] = field([], post=False, put=True, check=routes)
    """To other networks than its own. Of two with one destination, the first is taken."""
    distributed: bool = field(True, put=True, admin=True, passing=True, check=always)
    ha: bool = field(True, put=True, admin=True, passing=True, check=always)
    availability_zone_hints: list[str] = field([], check=zone_hints, inert=True)
    status: str = field("ACTIVE", observed=True, inert=True)
    adds = {"external_gateway_info": (GATEWAY_SHOWN, None), "availability_zones": [str], "distributed": bool, "ha": bool}

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        return self.replace(number=int(tx.allocate("router number", self.id, free_number(ROUTER_NUMBERS, "router number"))),
                            enable_snat=self._snat(tx, context))

    def after_create(self, tx: "Tx", context: "Context") -> None:
        if self.external_gateway_info:
            self._lead_out(tx, context, self.external_gateway_info)

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        info = self.external_gateway_info
        if info is not UNSET:
            self = self.replace(enable_snat=self._snat(tx, context))
            if before._move_out(tx, context, info):
                self = self.replace(revision_number=before.revision_number + 1)
        if info is not UNSET or self.routes != before.routes:
            self._check_routes(tx)
        return self

    def before_delete(self, tx: "Tx", context: "Context") -> None:
        held = [interface.port_id for interface in self._interfaces(tx)]
        if held:
            raise Conflict(f"Router {self.id} has ports still attached: {', '.join(held)}.", "RouterInUse")
        self._move_out(tx, context, None)

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        gateways = tx.where("router_gateway", router_id=[r.id for r in records]) if records else []
        ports = {p.id: p for p in tx.where("port", id=[g.port_id for g in gateways])} if gateways else {}
        out = {g.router_id: (g, ports[g.port_id].fixed_ips) for g in gateways}
        views: dict[str, dict[str, Any]] = {}
        for router in records:
            view = views[router.id] = {"external_gateway_info": None, "availability_zones": [ZONE]}
            if router.id in out:
                gateway, fixed_ips = out[router.id]
                view["external_gateway_info"] = {"network_id": gateway.network_id, "enable_snat": router.enable_snat,
                                                 "external_fixed_ips": fixed_ips, "qos_policy_id": gateway.qos_policy_id}
            if context.is_admin:
                view |= {"distributed": True, "ha": True}
        return views

    # the way out

    def _snat(self, tx: "Tx", context: "Context") -> bool:
        """Whoever does not say gets it, at every change. A tenant may repeat what is, as Ansible does, and set nothing."""
        info = self.external_gateway_info or {}
        there = tx.where("router_gateway", router_id=self.id, network_id=info.get("network_id", ""))
        held = [fixed for port in tx.where("port", id=[gateway.port_id for gateway in there]) for fixed in port.fixed_ips]
        said = info.get("external_fixed_ips", [])
        same = {"enable_snat": info.get("enable_snat", True) == (self.enable_snat or not there),
                "external_fixed_ips": len(said) in (0, len(held)) and all(
                    any(item.items() <= fixed.items() for fixed in held) for item in said)}
        for word in same:
            if word in info and not (same[word] or context.is_admin):
                raise Forbidden(f"Only an administrator may set {word} of a router's external_gateway_info.",
                                "PolicyNotAuthorized")
        return info.get("enable_snat", True)

    def _move_out(self, tx: "Tx", context: "Context", info: GatewayInfo | None) -> bool:
        """Whether anything but SNAT is another."""
        have = next(iter(tx.where("router_gateway", router_id=self.id)), None)
        if have and info and info["network_id"] == have.network_id:
            limited = self._limit(tx, context, have, info)
            return self._readdress(tx, context, have, info.get("external_fixed_ips", [])) or limited
        if have:
            if tx.where("floatingip", router_id=self.id):
                raise Conflict(f"Gateway cannot be updated for router {self.id}, since a gateway to external network "
                               f"{have.network_id} is required by one or more floating IPs.",
                               "RouterExternalGatewayInUseByFloatingIp")
            tx.delete(have)
            tx.delete(tx.get("port", have.port_id))
        if info:
            self._lead_out(tx, context, info)
        return bool(have or info)

    def _lead_out(self, tx: "Tx", context: "Context", info: GatewayInfo) -> None:
        network = seen(tx, "network", info["network_id"], context, lock=True, shared=True)  # who stops sharing it waits for us
        if not network.external_to(tx, context):
            raise BadRequest(f"Network {network.id} is not an external network.")
        subnets = tx.where("subnet", network_id=network.id)
        self._check_overlap(tx, subnets)
        wanted = self._wanted(subnets, info.get("external_fixed_ips", []))
        port = tx.make("port", context.elevated(), project_id=None, network_id=network.id, device_id=self.id,
                       device_owner=GATEWAY, **({"fixed_ips": wanted} if wanted else {}))
        gateway = tx.make("router_gateway", context, project_id=self.project_id, router_id=self.id, port_id=port.id,
                          network_id=network.id)
        self._limit(tx, context, gateway, info)

    @staticmethod
    def _limit(tx: "Tx", context: "Context", have: "RouterGateway", info: GatewayInfo) -> bool:
        """By another QoS policy than until now, where one is named, or none."""
        wanted = info.get("qos_policy_id", have.qos_policy_id)
        if wanted:
            seen(tx, "qos_policy", wanted, context)
        after = have.replace(qos_policy_id=wanted)
        may_leave(tx, context, have, after)
        return bool(tx.update(after) != have)

    def _readdress(self, tx: "Tx", context: "Context", have: "RouterGateway", fixed_ips: list[FixedIP]) -> bool:
        """To these addresses of the same network; without any, it keeps those that it has."""
        wanted = self._wanted(tx.where("subnet", network_id=have.network_id), fixed_ips)
        port = tx.get("port", have.port_id)
        return bool(wanted) and tx.change(port, context.elevated(), fixed_ips=wanted) != port

    @staticmethod
    def _wanted(subnets: Iterable[Any], fixed_ips: list[FixedIP]) -> list[FixedIP]:
        taken = {subnet.gateway_ip for subnet in subnets}
        for fixed in fixed_ips:
            if fixed.get("ip_address") in taken:
                raise BadRequest(f"External IP {fixed['ip_address']} is the same as the gateway IP.")
        return fixed_ips

    # its interfaces

    @action("Join a subnet, by its gateway's address, or by a port.", body=Joined, answer=JOINED)
    def add_router_interface(self, tx: "Tx", context: "Context", body: Joined) -> Any:
        if len(body) != 1:
            raise BadRequest("Cannot specify both subnet-id and port-id." if body else
                             "Either subnet_id or port_id must be specified.")
        if "port_id" in body:
            port, subnets = self._join_by_port(tx, context, owned(tx, "port", body["port_id"], context))
        else:
            port, subnets = self._join_by_subnet(tx, context, seen(tx, "subnet", body["subnet_id"], context))
        tx.touch("router", self.id)
        return self._joined(port, subnets)

    @action("Leave a subnet, by its id or by that of the port there.", body=Joined, answer=JOINED)
    def remove_router_interface(self, tx: "Tx", context: "Context", body: Joined) -> Any:
        if not body:
            raise BadRequest("Either subnet_id or port_id must be specified.")
        interface, port, gone = self._leaving(tx, context, body)
        subnets = tx.where("subnet", id=gone)
        for subnet in subnets:
            self._check_unused(tx, subnet)
        left = [fixed for fixed in port.fixed_ips if fixed["subnet_id"] not in gone]
        if left:
            tx.change(port, context.elevated(), fixed_ips=left)
        else:
            tx.delete(interface)
            tx.delete(port)
        tx.touch("router", self.id)
        return self._joined(port, subnets)

    def _join_by_port(self, tx: "Tx", context: "Context", port: Any) -> tuple[Any, list[Any]]:
        if port.device_id or port.binding_host_id:
            raise Conflict(f"Unable to complete operation on port {port.id} for network {port.network_id}. Port already has an "
                           f"attached device {port.device_id or port.binding_host_id}.", "PortInUse")
        if not port.fixed_ips:
            raise BadRequest("Router port must have at least one fixed IP.")
        subnets = tx.where("subnet", id=[fixed["subnet_id"] for fixed in port.fixed_ips])
        if len([subnet for subnet in subnets if subnet.ip_version == 4]) > 1:
            raise BadRequest("Cannot have multiple IPv4 subnets on router port.")
        other = self._port_with_ipv6(tx, port.network_id)
        if other and any(subnet.ip_version == 6 for subnet in subnets):
            raise BadRequest(f"Router already contains IPv6 port {other.id} belonging to network id {port.network_id}. Only one "
                             f"IPv6 port from the same network subnet can be connected to a router.")
        self._check_modes(subnets)
        self._check_overlap(tx, subnets)
        self._check_pools(context, port, subnets)
        port = tx.change(port, context.elevated(), device_id=self.id, device_owner=INTERFACE, security_groups=[],
                         allowed_address_pairs=[], port_security_enabled=False)
        tx.make("router_interface", context, project_id=self.project_id, router_id=self.id, port_id=port.id,
                network_id=port.network_id)
        return port, subnets

    def _join_by_subnet(self, tx: "Tx", context: "Context", subnet: Any) -> tuple[Any, list[Any]]:
        if not subnet.gateway_ip:
            raise BadRequest("Subnet for router interface must have a gateway IP.")
        tx.lock("network", subnet.network_id, shared=True)  # who stops sharing it waits for us
        if not context.owns(subnet) and not tx.where("rbac_policy", object_type="network", object_id=subnet.network_id,
                                                     action=grant("shared"), target_project_id=context.project_id):
            raise BadRequest(f"Cannot add interface to router because subnet {subnet.id} is not owned by project making the "
                             f"request.")
        self._check_modes([subnet])
        self._check_overlap(tx, [subnet])
        fixed: FixedIP = {"subnet_id": subnet.id, "ip_address": subnet.gateway_ip}
        port = self._port_with_ipv6(tx, subnet.network_id) if subnet.ip_version == 6 else None
        if port:
            return tx.change(port, context.elevated(), fixed_ips=[*port.fixed_ips, fixed]), [subnet]
        port = tx.make("port", context.elevated(), project_id=self.project_id, network_id=subnet.network_id, fixed_ips=[fixed],
                       device_id=self.id, device_owner=INTERFACE)
        tx.make("router_interface", context, project_id=self.project_id, router_id=self.id, port_id=port.id,
                network_id=port.network_id)
        return port, [subnet]

    def _leaving(self, tx: "Tx", context: "Context", body: Joined) -> tuple["RouterInterface", Any, set[str]]:
        """The interface, its port, and the subnets that it is no longer in."""
        subnet_id = seen(tx, "subnet", body["subnet_id"], context).id if "subnet_id" in body else None
        for interface in self._interfaces(tx):
            port = tx.lock("port", interface.port_id)
            held = {fixed["subnet_id"] for fixed in port.fixed_ips}
            if "port_id" not in body and subnet_id in held:
                return interface, port, held & {subnet_id}
            if body.get("port_id") == port.id:
                if subnet_id and subnet_id not in held:
                    raise BadRequest(f"Subnet on port {port.id} does not match the requested subnet {subnet_id}.",
                                     "SubnetMismatchForPort")
                return interface, port, held
        if "port_id" in body:
            raise NotFound(f"Router {self.id} does not have an interface with id {body['port_id']}.", "RouterInterfaceNotFound")
        raise NotFound(f"Router {self.id} has no interface on subnet {subnet_id}.", "RouterInterfaceNotFoundForSubnet")

    def _joined(self, port: Any, subnets: Sequence[Any]) -> dict[str, Any]:
        return {"id": self.id, "project_id": port.project_id, "tenant_id": port.project_id, "port_id": port.id,
                "network_id": port.network_id, "subnet_id": subnets[-1].id, "subnet_ids": [s.id for s in subnets],
                "tags": self.tags}

    def _interfaces(self, tx: "Tx") -> list["RouterInterface"]:
        return tx.where("router_interface", router_id=self.id)

    def _port_with_ipv6(self, tx: "Tx", network_id: str) -> Any:
        """Routers have one port at most in a network that is in its IPv6 subnets, and it is in all of them."""
        ids = [i.port_id for i in self._interfaces(tx) if i.network_id == network_id]
        return next((p for p in tx.where("port", id=ids) if any(":" in f["ip_address"] for f in p.fixed_ips)), None)

    # what must hold of it

    def _addresses(self, tx: "Tx") -> list[FixedIP]:
        """All its own, inside and outside."""
        kinds = ("router_interface", "router_gateway")
        ports = [p.port_id for kind in kinds for p in tx.where(kind, router_id=self.id)]
        return [fixed for port in tx.where("port", id=ports) for fixed in port.fixed_ips]

    def _subnets(self, tx: "Tx") -> list[Any]:
        """Those that it is in; outside, all of the network."""
        inside = tx.where("subnet", id=[fixed["subnet_id"] for fixed in self._addresses(tx)])
        outside = tx.where("subnet", network_id=[g.network_id for g in tx.where("router_gateway", router_id=self.id)])
        return list({subnet.id: subnet for subnet in (*inside, *outside)}.values())

    def _check_overlap(self, tx: "Tx", more: Iterable[Any]) -> None:
        have = self._subnets(tx)
        for subnet in more:
            for other in have:
                if subnet.id == other.id:
                    raise BadRequest(f"Router already has a port on subnet {subnet.id}.")
                if ip_network(subnet.cidr).overlaps(ip_network(other.cidr)):
                    raise BadRequest(f"Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {other.cidr} of subnet "
                                     f"{other.id}.")

    @staticmethod
    def _check_modes(subnets: Iterable[Any]) -> None:
        for subnet in subnets:
            if subnet.ipv6_address_mode and not subnet.ipv6_ra_mode:
                raise BadRequest(f"IPv6 subnet {subnet.id} is configured to receive RAs from an external router: it cannot be "
                                 f"added to a router of the cloud.")

    @staticmethod
    def _check_pools(context: "Context", port: Any, subnets: Iterable[Any]) -> None:
        """In a subnet of others, an address that is kept for something may not be a router's."""
        pools = {subnet.id: subnet.allocation_pools for subnet in subnets if not context.owns(subnet)}
        for fixed in port.fixed_ips:
            ip = int(ip_address(fixed["ip_address"]))
            kept = [[int(ip_address(pool[end])) for end in ("start", "end")] for pool in pools.get(fixed["subnet_id"], ())]
            if fixed["subnet_id"] in pools and not any(low <= ip <= high for low, high in kept):
                raise BadRequest(f"Cannot add interface to router because specified port {port.id} has an IP address out of the "
                                 f"allocation pool of subnet {fixed['subnet_id']}, which is not owned by the project making the "
                                 f"request.")

    def _check_unused(self, tx: "Tx", subnet: Any) -> None:
        here = ip_network(subnet.cidr)
        served = [(f.port_id, f.fixed_ip_address) for f in tx.where("floatingip", router_id=self.id)]
        ids = [floating.id for floating in tx.where("floatingip", router_id=self.id)]
        served += [(f.internal_port_id, f.internal_ip_address) for f in tx.where("port_forwarding", floatingip_id=ids)]
        ports = {p.id: p for p in tx.where("port", id=[id for id, _ in served if id])}
        if any(id in ports and ip_address(ip) in here and ports[id].network_id == subnet.network_id for id, ip in served):
            raise Conflict(f"Router interface for subnet {subnet.id} on router {self.id} cannot be deleted, as it is required by "
                           f"one or more floating IPs.", "RouterInterfaceInUseByFloatingIP")
        if any(ip_address(route["nexthop"]) in here for route in self.routes):
            raise Conflict(f"Router interface for subnet {subnet.id} on router {self.id} cannot be deleted, as it is required by "
                           f"one or more routes.", "RouterInterfaceInUseByRoute")

    # routes

    @action("Add routes to a router; those that it has already stay.", body=Routes)
    def add_extraroutes(self, tx: "Tx", context: "Context", body: Routes) -> Self:
        more = checked(body["routes"])
        return self._routed(tx, [*self.routes, *(route for route in more if route not in self.routes)])

    @action("Remove routes from a router; those that it has not are no fault.", body=Routes)
    def remove_extraroutes(self, tx: "Tx", context: "Context", body: Routes) -> Self:
        less = checked(body["routes"])
        return self._routed(tx, [route for route in self.routes if route not in less])

    def _routed(self, tx: "Tx", wanted: list[Route]) -> Self:
        changed = self.replace(routes=checked(wanted))
        changed._check_routes(tx)
        return tx.update(changed)

    def _check_routes(self, tx: "Tx") -> None:
        if not self.routes:
            return
        own = {fixed["ip_address"] for fixed in self._addresses(tx)}
        networks = [ip_network(subnet.cidr) for subnet in self._subnets(tx)]
        for route in self.routes:
            if not any(ip_address(route["nexthop"]) in network for network in networks):
                why = "the nexthop is not connected with router"
            elif route["nexthop"] in own:
                why = "the nexthop is used by router"
            else:
                continue
            raise BadRequest(f"Invalid format for routes: {route['destination']} via {route['nexthop']}, {why}.", "InvalidRoutes")


class RouterInterface(Resource, kind="router_interface", service="network", path=None,
                      without=("name", "description", "tags")):
    """A port of a router in a network that it joins to others, and the host that speaks for it where that is on a wire."""

    router_id: str = field(ref="router", length=64)
    port_id: str = field(ref="port", unique=True, length=64)
    network_id: str = field(ref="network", length=64)
    host: str = field("", observed=True)
    successor: str = field("", observed=True)
    generation: int = field(0, observed=True)


class RouterGateway(Resource, kind="router_gateway", service="network", path=None, without=("name", "description", "tags")):
    """A router's port in an external network, and the host that it is on."""

    router_id: str = field(ref="router", unique=True, length=64)
    port_id: str = field(ref="port", unique=True, length=64)
    network_id: str = field(ref="network", shown="external", length=64)
    qos_policy_id: str | None = field(None, ref="qos_policy", length=64)
    host: str = field("", observed=True)
    successor: str = field("", observed=True)
    generation: int = field(0, observed=True)
    """It grows with each move, so that who held it before can be told from who holds it now."""
