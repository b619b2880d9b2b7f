"""Floating IPs: one public address, one port, both ways; and port forwardings, which share an address among several ports."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from controller.ipam import address
from controller.qos import may_leave
from unryu.checks import between, one_of
from unryu.errors import BadRequest, Conflict, NotFound
from unryu.resource import UNSET, Resource, field
from unryu.scope import seen

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

OWNER = "network:floatingip"
DETAILS = {**dict.fromkeys(("name", "network_id", "mac_address", "status", "device_id", "device_owner"), str),
           "admin_state_up": bool}
FORWARDED = {"id": str, "protocol": str, "internal_port_id": str, "internal_ip_address": str, "internal_port": int | None,
             "internal_port_range": str, "external_port": int | None, "external_port_range": str}
RANGE = re.compile(r"([0-9]{1,5})(?::([0-9]{1,5}))?")


def address4(value: str | None) -> str | None:
    value = address(value)
    if value and ":" in value:
        raise ValueError(f"{value} is not an IPv4 address")
    return value


class FloatingIP(Resource, kind="floatingip", service="network", quota=50, without=("name",)):
    floating_network_id: str = field(ref="network", shown="external", required=True, length=64)
    subnet_id: str | None = field(None, ref="subnet", passing=True)
    floating_ip_address: str = field(UNSET, admin=True, check=address4, length=15)
    floating_port_id: str = field("", ref="port", internal=True, unique=True, length=64)
    """The port that has this address: its MAC answers for it outside."""
    port_id: str | None = field(None, ref="port", put=True, ondelete="clear", length=64)
    fixed_ip_address: str | None = field(None, put=True, check=address4, length=15)
    router_id: str | None = field(None, ref="router", post=False, length=64)
    qos_policy_id: str | None = field(None, ref="qos_policy", put=True, length=64)
    """How much it may send and be sent, all its forwarded ports together; and how what it sends is marked."""
    status: str = field("DOWN", observed=True, inert=True)
    generation: int = field(0, observed=True, internal=True)
    """It grows with each move, so that the host that had it before can be told from the one that has it now."""
    adds = {"qos_network_policy_id": str | None, "port_details": (DETAILS, None), "port_forwardings": [FORWARDED]}

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        network = seen(tx, "network", self.floating_network_id, context, lock=True, shared=True)
        if not network.external_to(tx, context):
            raise BadRequest(f"Network {network.id} is not a valid external network.")
        port = self._port(tx, context)
        self = self.replace(floating_port_id=port.id, floating_ip_address=port.fixed_ips[0]["ip_address"])
        return self._associated(tx, context)

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        may_leave(tx, context, before, self)
        if (self.port_id, self.fixed_ip_address) == (before.port_id, before.fixed_ip_address):
            return self
        if not self.port_id and before.port_id and self.fixed_ip_address == before.fixed_ip_address:
            return self.cleared("port_id")
        if self.port_id != before.port_id and self.fixed_ip_address == before.fixed_ip_address:
            self = self.replace(fixed_ip_address=None)  # it was said of the port before
        return self._associated(tx, context)

    def cleared(self, name: str) -> Self:
        return self.replace(port_id=None, fixed_ip_address=None, router_id=None, status="DOWN", generation=self.generation + 1)

    def before_delete(self, tx: "Tx", context: "Context") -> None:
        if tx.where("port_forwarding", floatingip_id=self.id):
            raise Conflict(f"Floating IP {self.id} in use by Port Forwarding resources.", "FipInUseByPortForwarding")

    def after_delete(self, tx: "Tx", context: "Context") -> None:
        tx.delete(tx.get("port", self.floating_port_id))

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        ids = {r.port_id for r in records if r.port_id}
        ports = {port.id: port for port in tx.where("port", id=ids)} if ids else {}
        networks = {r.floating_network_id for r in records}
        policies = {n.id: n.qos_policy_id for n in tx.where("network", id=networks)} if networks else {}
        forwarded: dict[str, list[dict[str, Any]]] = {r.id: [] for r in records}
        for one in tx.where("port_forwarding", floatingip_id=list(forwarded)) if records else ():
            forwarded[one.floatingip_id].append({name: getattr(one, name) for name in FORWARDED})
        return {r.id: {"port_details": {name: getattr(ports[r.port_id], name) for name in DETAILS} if r.port_id else None,
                       "port_forwardings": forwarded[r.id],
                       "qos_network_policy_id": policies.get(r.floating_network_id)} for r in records}

    def _port(self, tx: "Tx", context: "Context") -> Any:
        """With the address asked for, or the first that a subnet has left. It is nobody's: no tenant sees it."""
        subnets = [s for s in tx.where("subnet", network_id=self.floating_network_id, ip_version=4)
                   if self.subnet_id in (None, s.id)]
        if not subnets:
            raise BadRequest(f"Network {self.floating_network_id} does not contain any IPv4 subnet." if not self.subnet_id else
                             f"Subnet {self.subnet_id} is no IPv4 subnet of network {self.floating_network_id}.")
        if self.floating_ip_address in {subnet.gateway_ip for subnet in subnets}:
            raise BadRequest(f"{self.floating_ip_address} is the gateway of network {self.floating_network_id}.")
        wishes: list[dict[str, str]] = [{"subnet_id": subnet.id} for subnet in _for_floating(subnets)]
        if self.floating_ip_address is not UNSET:
            of = {"subnet_id": self.subnet_id} if self.subnet_id else {}
            wishes = [{**of, "ip_address": self.floating_ip_address}]
        for wish in wishes:
            try:
                return tx.make("port", context.elevated(), project_id=None, network_id=self.floating_network_id,
                               fixed_ips=[wish], device_id=self.id, device_owner=OWNER, status="N/A")
            except Conflict:  # full: another one may have room
                if wish is wishes[-1]:
                    raise
        raise BadRequest(f"No subnet of network {self.floating_network_id} is for floating IPs.")

    # whose address it is

    def _associated(self, tx: "Tx", context: "Context") -> Self:
        if not self.port_id:
            if self.fixed_ip_address:
                raise BadRequest("fixed_ip_address cannot be specified without a port_id.")
            return self
        port = tx.lock("port", self.port_id, referable=True)  # nobody else gets its address, and it keeps it
        _may_be_reached(self, port, context)
        fixed = self._fixed(port)
        if tx.where("port_forwarding", floatingip_id=self.id):
            raise Conflict(f"Floating IP {self.id} in use by Port Forwarding resources.", "FipInUseByPortForwarding")
        if tx.where("port_forwarding", internal_port_id=port.id):
            raise BadRequest(f"Cannot associate floating IP to port {port.id} because it already has a Port Forwarding binding.",
                             "PortHasPortForwarding")
        for other in tx.where("floatingip", port_id=port.id, fixed_ip_address=fixed["ip_address"],
                              floating_network_id=self.floating_network_id):
            if other.id != self.id:
                raise Conflict(f"Cannot associate floating IP {self.floating_ip_address} ({self.id}) with port {port.id} using "
                               f"fixed IP {fixed['ip_address']}, as that fixed IP already has a floating IP on external network "
                               f"{self.floating_network_id}.", "FloatingIPPortAlreadyAssociated")
        router = router_between(tx, self, port, fixed["subnet_id"])
        return self.replace(fixed_ip_address=fixed["ip_address"], router_id=router, status="DOWN", generation=self.generation + 1)

    def _fixed(self, port: Any) -> dict[str, str]:
        fours = [fixed for fixed in port.fixed_ips if ":" not in fixed["ip_address"]]
        if self.fixed_ip_address:
            fours = [fixed for fixed in fours if fixed["ip_address"] == self.fixed_ip_address]
            if not fours:
                raise BadRequest(f"Port {port.id} does not have fixed ip {self.fixed_ip_address}.")
        if not fours:
            raise BadRequest(f"Cannot add floating IP to port {port.id} that has no fixed IPv4 addresses.")
        if len(fours) > 1:
            raise BadRequest(f"Port {port.id} has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when "
                             f"assigning a floating IP.")
        return fours[0]


def _for_floating(subnets: Iterable[Any]) -> list[Any]:
    """Those kept for floating IPs first."""
    fitting = [s for s in subnets if s.allocation_pools and (not s.service_types or OWNER in s.service_types)]
    return sorted(fitting, key=lambda s: not s.service_types)


def _may_be_reached(floating: Any, port: Any, context: "Context") -> None:
    if port is None:
        raise NotFound("The port was deleted meanwhile.", "PortNotFound")
    if port.project_id != floating.project_id and not context.is_admin:
        raise BadRequest(f"Cannot process floating IP association with Port {port.id}, since that port is owned by a different "
                         f"project.")
    if port.device_owner.startswith(("network:", "neutron:")):
        raise BadRequest(f"Port {port.id} is unable to be assigned a floating IP.")


def router_between(tx: "Tx", floating: Any, port: Any, subnet_id: str) -> str:
    """The router that joins the port's subnet to the floating IP's network: that of the subnet's gateway, or any."""
    gateway_ip = tx.get("subnet", subnet_id).gateway_ip
    near = tx.where("router_interface", network_id=port.network_id)
    found: dict[str, bool] = {}
    for router_id in sorted({interface.router_id for interface in near}):
        tx.lock("router", router_id, shared=True)  # its interfaces and its gateway stay until we are done
        inside = [fixed for interface in tx.where("router_interface", router_id=router_id, network_id=port.network_id)
                  for fixed in tx.get("port", interface.port_id).fixed_ips if fixed["subnet_id"] == subnet_id]
        if inside and tx.where("router_gateway", router_id=router_id, network_id=floating.floating_network_id):
            found[router_id] = any(fixed["ip_address"] == gateway_ip for fixed in inside)
    if not found:
        raise NotFound(f"External network {floating.floating_network_id} is not reachable from subnet {subnet_id}. Therefore, "
                       f"cannot associate Port {port.id} with a Floating IP.", "ExternalGatewayForFloatingIPNotFound")
    return max(found, key=lambda router_id: found[router_id])


def port_range(value: str | None) -> str | None:
    """`80` or `80:89`; always with its end."""
    if value is None:
        return None
    said = RANGE.fullmatch(value)
    low, high = (int(said[1]), int(said[2] or said[1])) if said else (0, 0)
    if not 1 <= low <= high <= 65535:
        raise ValueError(f"{value!r} is no range of ports, such as 8080:8089")
    return f"{low}:{high}"


def lower_case(value: str) -> str:
    return str(PROTOCOL(value.lower()))


PROTOCOL = one_of("tcp", "udp")
PORT = between(1, 65535)


class PortForwarding(Resource, kind="port_forwarding", service="network", without=("name", "tags"),
                     path="/floatingips/<floatingip_id>/port_forwardings"):
    """A port, or a range of them, of a floating IP that leads to one of a port's address."""

    floatingip_id: str = field(ref="floatingip", own=True, required=True, length=64)
    protocol: str = field(required=True, put=True, check=lower_case, length=8)
    internal_port_id: str = field(ref="port", required=True, put=True, ondelete="cascade", length=64)
    internal_ip_address: str = field(required=True, put=True, check=address4, length=15)
    internal_port: int | None = field(None, put=True, check=PORT)
    """Where the range is one port only; so is the external one."""
    internal_port_range: str | None = field(None, put=True, check=port_range, length=11)
    """Always stored, `80:80`. It is one port, or as many as outside."""
    external_port: int | None = field(None, put=True, check=PORT)
    external_port_range: str | None = field(None, put=True, check=port_range, length=11)

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        return self._with_ranges(self, ("internal", "external"))._checked(tx, context)

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        said = [end for end in ("internal", "external") if self._ports(end) != before._ports(end)]
        return self._with_ranges(before, said)._checked(tx, context)

    def after_delete(self, tx: "Tx", context: "Context") -> None:
        floating = tx.get("floatingip", self.floatingip_id)
        if not (floating.port_id or tx.where("port_forwarding", floatingip_id=floating.id)):
            tx.update(floating.cleared("port_id"))

    def _ports(self, end: str) -> tuple[int | None, str | None]:
        return getattr(self, f"{end}_port"), getattr(self, f"{end}_port_range")

    def _with_ranges(self, before: Self, said: Iterable[str]) -> Self:
        """Said as a port or as a range, whichever is new; kept as both where it can be."""
        changes: dict[str, Any] = {}
        for end in said:
            (port, range), (old_port, old_range) = self._ports(end), before._ports(end)
            if self is not before and range == old_range:
                range = None
            elif self is not before and port == old_port:
                port = None
            if port is None and range is None:
                raise BadRequest(f"A port forwarding needs an {end}_port or an {end}_port_range.")
            if port is not None and range not in (None, f"{port}:{port}"):
                raise BadRequest(f"{end}_port {port} and {end}_port_range {range} are not the same.")
            low, high = (port, port) if range is None else map(int, range.split(":"))
            changes |= {f"{end}_port": low if low == high else None, f"{end}_port_range": f"{low}:{high}"}
        return self.replace(**changes)

    def _checked(self, tx: "Tx", context: "Context") -> Self:
        floating = tx.get("floatingip", self.floatingip_id)  # locked already, as what this is a part of
        port = tx.lock("port", self.internal_port_id, referable=True)
        _may_be_reached(floating, port, context)
        fixed = next((f for f in port.fixed_ips if f["ip_address"] == self.internal_ip_address), None)
        if fixed is None:
            raise BadRequest(f"The internal IP {self.internal_ip_address} does not correspond to an address on the internal "
                             f"port, which has fixed_ips {port.fixed_ips}.")
        if floating.port_id:
            raise Conflict(f"Floating IP {floating.floating_ip_address} ({floating.id}) is associated with port "
                           f"{floating.port_id}: it cannot forward its ports.", "FloatingIPPortAlreadyAssociated")
        for held in tx.where("floatingip", port_id=port.id):
            raise Conflict(f"Cannot create port forwarding to floating IP {held.floating_ip_address} ({held.id}) with port "
                           f"{port.id} using fixed IP {self.internal_ip_address}, as that port already has a binding floating "
                           f"IP.", "PortHasBindingFloatingIP")
        self._check_collisions(tx)
        try:
            router = router_between(tx, floating, port, fixed["subnet_id"])
        except NotFound as error:
            raise BadRequest(error.sentence) from None
        if floating.router_id not in (None, router):
            raise BadRequest(f"The Floating IP {floating.id} had been set on router {floating.router_id}, the internal port "
                             f"{port.id} can not reach it.")
        tx.update(floating, router_id=router)
        return self

    def _check_collisions(self, tx: "Tx") -> None:
        inside, outside = (_span(getattr(self, f"{end}_port_range")) for end in ("internal", "external"))
        if len(inside) > 1 and len(inside) != len(outside):
            raise BadRequest("Invalid ranges of internal and/or external ports. The relation between internal and external ports "
                             "must be N-N or 1-N.")
        for end, span, same in (
            ("external", outside, {"floatingip_id": self.floatingip_id}),
            ("internal", inside, {"internal_port_id": self.internal_port_id, "internal_ip_address": self.internal_ip_address}),
        ):
            for other in tx.where("port_forwarding", protocol=self.protocol, **same):
                held = getattr(other, f"{end}_port_range")
                if other.id != self.id and _span(held)[0] <= span[-1] and span[0] <= _span(held)[-1]:
                    raise BadRequest(f"There is a port collision with the {end}_port_range. The following ranges collide: "
                                     f"{held} and {span[0]}:{span[-1]}.")


def _span(range_: str) -> range:
    low, high = map(int, range_.split(":"))
    return range(low, high + 1)
