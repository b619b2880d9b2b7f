"""Ports: a guest's way in; its MAC and fixed IPs, the host it is bound to, and the flows of its own two ends."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, Self

from controller.allocate import mac as new_mac
from controller.derive import Here, Net, derives, own_host
from controller.flow import ETH_DST, ETH_SRC, IN_PORT, VLAN_TCI, Flow, flow, goto, load, match
from controller.ipam import eui64, free_address, this_address
from controller.pipeline import CLASSIFY, EXACT, FROM_PORT, L2, LOCAL, MARKS, NETWORK, POLICY, SPOOF
from controller.policy import policy_of, towards
from controller.port_forms import (
    DhcpOption,
    FixedIP,
    Pair,
    allowed_address_pairs,
    each_once,
    extra_dhcp_opts,
    fixed_ips,
    mac_address,
)
from controller.qos import EGRESS, marking, may_leave, of_port, passing, ruling
from controller.segments import wired
from unryu.errors import BadRequest, Conflict, Forbidden
from unryu.resource import UNSET, Resource, field, pointing_at
from unryu.scope import seen

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

TRIES = 4  # random MACs tried before giving up: a network would have to hold millions


class Port(Resource, kind="port", service="network", quota=500, unique_together=(("network_id", "mac_address"),)):
    network_id: str = field(ref="network", required=True, length=64)
    admin_state_up: bool = field(True, put=True)
    mac_address: str = field(put=True, check=mac_address, length=17)
    fixed_ips: list[FixedIP] = field(put=True, check=fixed_ips)
    security_groups: list[str] = field(ref="security_group", put=True, check=each_once)
    port_security_enabled: bool = field(put=True)
    allowed_address_pairs: list[Pair] = field([], put=True, check=allowed_address_pairs)
    extra_dhcp_opts: list[DhcpOption] = field([], put=True, check=extra_dhcp_opts)
    qos_policy_id: str | None = field(None, ref="qos_policy", put=True, length=64)
    device_id: str = field("", put=True, inert=True, index=True)
    device_owner: str = field("", put=True, inert=True)
    binding_host_id: str = field("", wire="binding:host_id", put=True, admin=True, hidden=True, index=True)
    vnic_type: str = field("normal", wire="binding:vnic_type", put=True, inert=True)
    status: str = field("DOWN", observed=True, inert=True)
    adds = {"qos_network_policy_id": str | None, "binding:vif_type": str, "binding:vif_details": dict[str, Any],
            "binding:profile": dict[str, Any]}

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        # Whoever deletes the network or one of its subnets waits for us, or we find it gone.
        network = tx.lock("network", self.network_id, shared=True)
        if not network.open_to(tx, context):
            seen(tx, "network", network.id, context)  # it is not any more, where a grant has just gone
            raise Forbidden(f"Project {context.project_id} not allowed to create port on this network.", "PolicyNotAuthorized")
        self._check_chosen(context, network)
        # What serves a network (`network:…`) is trusted, unless it is said otherwise.
        usual = network.port_security_enabled and not self.device_owner.startswith("network:")
        secured = usual if self.port_security_enabled is UNSET else self.port_security_enabled
        port = self.replace(mac_address=self._mac(tx), port_security_enabled=secured, extra_dhcp_opts=self._options([]))
        port = port._secured(tx, context)
        port = port.replace(security_groups=port._groups(tx))
        subnets = port._subnets(tx)
        wanted = port._any(subnets) if self.fixed_ips is UNSET else port._asked(subnets)
        return port.replace(fixed_ips=port._take(tx, [*wanted, *port._made(subnets)]))

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        if self != before.replace(name=self.name, description=self.description):
            before._refuse_if_held(tx, context, "changed")
            self._check_chosen(context, tx.get("network", self.network_id), before)
        if self.mac_address != before.mac_address:
            if before.binding_host_id:
                raise Conflict(f"Port {self.id} is bound to {before.binding_host_id}: its MAC address cannot change.",
                               "PortBound")
            self._mac(tx)
        if self.binding_host_id != before.binding_host_id:
            for floating in tx.where("floatingip", port_id=self.id):
                tx.update(floating, generation=floating.generation + 1)
        may_leave(tx, context, before, self)
        self = self._secured(tx, context, before)
        if self.extra_dhcp_opts != before.extra_dhcp_opts:
            self = self.replace(extra_dhcp_opts=self._options(before.extra_dhcp_opts))
        if self.fixed_ips == before.fixed_ips and self.mac_address == before.mac_address:
            return self
        subnets = self._subnets(tx, before.fixed_ips)
        left, fresh = list(before.fixed_ips), []
        # An address that is wanted as it is before any that would do, so that it is not taken for another.
        wishes = [*self._asked(subnets, before.fixed_ips), *self._made(subnets)]
        for wish in sorted(wishes, key=lambda wish: wish.ip is None):
            had = next((f for f in left if wish.meets(f)), None)
            if had:
                left.remove(had)
            else:
                fresh.append(wish)
        self._keep_what_is_spoken_for(tx, left)
        for gone in left:
            tx.release(f"subnet:{gone['subnet_id']}", gone["ip_address"])
        return self.replace(fixed_ips=[f for f in before.fixed_ips if f not in left] + self._take(tx, fresh))

    def before_delete(self, tx: "Tx", context: "Context") -> None:
        self._refuse_if_held(tx, context, "deleted")

    def _check_chosen(self, context: "Context", network: Any, before: Self | None = None) -> None:
        """On another's network nobody chooses who he is there: whoever names a MAC, an address (its gateway's, or that of a
        neighbour on the wire) or a service of the cloud as his is believed by everybody, and by routers that lead out by it."""
        if context.is_admin or context.owns(network):
            return
        held = {fixed["ip_address"] for fixed in before.fixed_ips} if before else set()
        fixed = () if self.fixed_ips is UNSET else self.fixed_ips
        owner = self.device_owner if before is None or before.device_owner != self.device_owner else ""
        chosen = {"mac_address": self.mac_address not in (UNSET, before and before.mac_address),
                  "fixed_ips:ip_address": any(f.get("ip_address") not in (None, *held) for f in fixed),
                  "device_owner": owner.startswith("network:")}
        if named := [name for name, it_is in chosen.items() if it_is]:
            raise Forbidden(f"Only its owner may say {', '.join(named)} of ports on network {network.id}.", "PolicyNotAuthorized")

    def _refuse_if_held(self, tx: "Tx", context: "Context", what: str) -> None:
        """What a router or a floating IP made for itself is its own. (Its device_owner alone anybody can write.)"""
        if context.itself or not self.device_owner.startswith("network:"):
            return
        for noun, f in pointing_at("port"):
            if f.ondelete == "restrict" and tx.where(noun.kind, **{f.name: self.id}):
                raise Conflict(f"Port {self.id} cannot be {what} directly via the port API: has device owner "
                               f"{self.device_owner}.", "ServicePortInUse")

    def _keep_what_is_spoken_for(self, tx: "Tx", left: list[FixedIP]) -> None:
        """Not without its floating IP does an address go; forwardings to it go with it."""
        gone = {fixed["ip_address"] for fixed in left}
        for floating in tx.where("floatingip", port_id=self.id):
            if floating.fixed_ip_address in gone:
                raise BadRequest(f"Cannot update the fixed_ips of the port {self.id}: {floating.fixed_ip_address} is associated "
                                 f"with the floating IP {floating.id}.")
        for forwarding in tx.where("port_forwarding", internal_port_id=self.id) if gone else ():
            if forwarding.internal_ip_address in gone:
                tx.delete(forwarding)

    def fits(self, subnet: Any) -> bool:
        """May it have an address of this subnet?"""
        return not subnet.service_types or self.device_owner in subnet.service_types

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        networks = {r.network_id for r in records}
        of = {n.id: n for n in tx.where("network", id=networks)} if networks else {}
        views = {r.id: {"qos_network_policy_id": of[r.network_id].qos_policy_id if r.network_id in of else None} for r in records}
        if not context.is_admin:
            return views
        failed = _out_of_reach(tx, [(r, of[r.network_id]) for r in records if r.network_id in of])
        return {r.id: {**views[r.id], "binding:profile": {},
                       "binding:vif_type": failed.get(r.id, "ovs") if r.binding_host_id else "unbound",
                       "binding:vif_details": {"port_filter": False, "bridge_name": "br-int", "datapath_type": "netdev"}
                       if r.binding_host_id else {}} for r in records}

    def _mac(self, tx: "Tx") -> str:
        if self.mac_address is not UNSET:
            for other in tx.where("port", network_id=self.network_id, mac_address=self.mac_address):
                if other.id != self.id:
                    raise Conflict(f"Unable to complete operation for network {self.network_id}. The mac address "
                                   f"{self.mac_address} is in use.", "MacAddressInUse")
            return self.mac_address
        tried = [new_mac() for _ in range(TRIES)]
        used = {p.mac_address for p in tx.where("port", network_id=self.network_id, mac_address=tried)}
        free = [m for m in tried if m not in used]
        if not free:
            raise Conflict(f"Unable to generate unique mac on network {self.network_id}.", "MacAddressGenerationFailure")
        return free[0]

    def _options(self, held: list[DhcpOption]) -> list[DhcpOption]:
        """Each option once; those that an update does not name stay."""
        merged = {(o.get("ip_version", 4), o["opt_name"]): o for o in (*held, *self.extra_dhcp_opts)}
        return [o for o in merged.values() if o["opt_value"] is not None]

    def _groups(self, tx: "Tx") -> list[str]:
        """Its project's default group where none was named; a port of the cloud itself (`network:dhcp`) is not guarded."""
        if self.security_groups is not UNSET:
            return self.security_groups
        unguarded = not self.port_security_enabled or self.device_owner.startswith("network:")
        return [] if unguarded else [tx.default("security_group", self.project_id).id]

    def _secured(self, tx: "Tx", context: "Context", before: Self | None = None) -> Self:
        """With its pairs whole; refused where it has what needs port security without having that."""
        pairs: list[Pair] = [{"ip_address": p["ip_address"], "mac_address": p.get("mac_address", self.mac_address)}
                             for p in self.allowed_address_pairs]
        for pair in pairs:
            if pairs.count(pair) > 1:
                raise BadRequest(f"Request contains duplicate address pair: mac_address {pair['mac_address']} ip_address "
                                 f"{pair['ip_address']}.", "DuplicateAddressPairInRequest")
        if not self.port_security_enabled:
            if pairs:
                raise Conflict("Port Security must be enabled in order to have allowed address pairs on a port.",
                               "AddressPairAndPortSecurityRequired")
            if self.security_groups and (before is None or self.security_groups != before.security_groups):
                raise BadRequest("Port security must be enabled in order to use security groups.",
                                 "PortSecurityAndIPRequiredForSecurityGroups")
            if self.security_groups:
                raise Conflict("Port has security group associated. Cannot disable port security until security group is "
                               "removed.", "PortSecurityPortHasSecurityGroup")
        network = tx.get("network", self.network_id)
        guarded = before.port_security_enabled if before else network.port_security_enabled
        freed = guarded and not self.port_security_enabled
        widened = [p for p in pairs if before is None or p not in before.allowed_address_pairs]
        if (freed or widened) and not context.is_admin and network.project_id != context.project_id:
            raise Forbidden(f"Only its owner may say who is trusted on network {network.id}.", "PolicyNotAuthorized")
        return self.replace(allowed_address_pairs=pairs)

    # its addresses

    def _subnets(self, tx: "Tx", held: Sequence[FixedIP] = ()) -> list[Any]:
        """Those of its network that it may, or does, have addresses of; those for ports of its kind first."""
        mine = {f["subnet_id"] for f in held}
        subnets = [s for s in tx.where("subnet", network_id=self.network_id) if self.fits(s) or s.id in mine]
        return sorted(subnets, key=lambda s: not s.service_types)

    def _any(self, subnets: list[Any]) -> list["Wish"]:
        """An address of each IP version, of whichever subnet has one left, where nothing was asked for."""
        versions: dict[int, list[Any]] = {}
        for subnet in subnets:
            if subnet.allocation_pools and not subnet.self_made:
                versions.setdefault(subnet.ip_version, []).append(subnet)
        return [Wish(of) for _, of in sorted(versions.items())]

    def _asked(self, subnets: list[Any], held: Sequence[FixedIP] = ()) -> list["Wish"]:
        """What was asked for; but the addresses that it makes itself come in by `_made`."""
        by_id = {subnet.id: subnet for subnet in subnets}
        wishes = []
        for item in self.fixed_ips:
            subnet_id, ip = item.get("subnet_id"), item.get("ip_address")
            if subnet_id is not None and subnet_id not in by_id:
                raise BadRequest(f"Invalid input for operation: subnet {subnet_id} is not on network {self.network_id}, or not "
                                 f"for ports of device_owner '{self.device_owner}'.", "InvalidInput")
            if subnet_id is None:
                subnet_id = next((s.id for s in subnets if ip_address(ip or "") in ip_network(s.cidr)), None)
                if subnet_id is None:
                    raise BadRequest(f"IP address {ip} is not a valid IP for any of the subnets on the network "
                                     f"{self.network_id}.", "InvalidIpForNetwork")
            subnet = by_id[subnet_id]
            if not subnet.self_made or self._of_router:
                wishes.append(Wish([subnet], ip))
            elif ip not in (None, eui64(subnet.cidr, self.mac_address)) and item not in held:
                raise BadRequest(f"IPv6 address {ip} cannot be given to a port on subnet {subnet.id}: there, addresses are made "
                                 f"of MAC addresses.", "AllocationOnAutoAddressSubnet")
        return wishes

    def _made(self, subnets: list[Any]) -> list["Wish"]:
        """The addresses that a guest makes of its MAC, asked for or not."""
        return [Wish([s], eui64(s.cidr, self.mac_address)) for s in subnets if s.self_made and not self._of_router]

    @property
    def _of_router(self) -> bool:
        return self.device_owner.startswith("network:router")

    def _take(self, tx: "Tx", wishes: Sequence["Wish"]) -> list[FixedIP]:
        # In one order for everybody, or two writers wait for each other's subnet.
        ids = sorted({subnet.id for wish in wishes for subnet in wish.subnets})
        there = {id for id in ids if tx.lock("subnet", id, shared=True) is not None}
        # Asked-for addresses before any free one.
        return [self._take_one(tx, [s for s in wish.subnets if s.id in there], wish.ip)
                for wish in sorted(wishes, key=lambda wish: wish.ip is None)]

    def _take_one(self, tx: "Tx", subnets: list[Any], ip: str | None) -> FixedIP:
        for subnet in subnets:
            choose = this_address(ip_network(subnet.cidr), ip) if ip else free_address(subnet.id, subnet.allocation_pools)
            try:
                return {"subnet_id": subnet.id, "ip_address": tx.allocate(f"subnet:{subnet.id}", self.id, choose)}
            except Conflict:  # full: another one may have room
                if subnet is subnets[-1]:
                    raise
        raise Conflict(f"A subnet of network {self.network_id} was deleted meanwhile.", "IpAddressGenerationFailure")


def _out_of_reach(tx: "Tx", ports: Sequence[tuple[Port, Any]]) -> dict[str, str]:
    """Those that are bound to a host which their network's wire does not come to."""
    on_wires = {port.id: (port.binding_host_id, network.physical_network) for port, network in ports
                if wired(network) and port.binding_host_id}
    hosts = {host for host, _ in on_wires.values()}
    mappings = {agent.host: agent.mappings for agent in tx.where("agent", host=hosts)} if hosts else {}
    return {id: "binding_failed" for id, (host, physical) in on_wires.items() if physical not in mappings.get(host, {})}


@dataclass(frozen=True)
class Wish:
    """An address of one of these subnets, the first that has one: this one, or any."""

    subnets: Sequence[Any]
    ip: str | None = None

    def meets(self, held: FixedIP) -> bool:
        """Is it what we have?"""
        return self.ip in (None, held["ip_address"]) and held["subnet_id"] in (s.id for s in self.subnets)


# A port's own two ends, on the host that it is bound to.


@derives("port", at=own_host)
def entrance(port: Port, net: Net, here: Here) -> Iterator[Flow]:
    """What comes from its VIF is of its network. Tagged frames match nothing here, so a guest cannot name a network."""
    network, ofport = net.get("network", port.network_id), here.vif(port.id)
    if not (ofport and port.admin_state_up and network.admin_state_up):
        return
    policy, onward = ruling(port, network), SPOOF if port.port_security_enabled else LOCAL
    if marking(net, policy):
        onward = MARKS
    begins = (*passing(net, policy, EGRESS, of_port(ofport)), load(NETWORK, network.number), load(FROM_PORT, ofport),
              load(POLICY, policy_of(port)))
    if not port.port_security_enabled:
        yield flow(CLASSIFY, EXACT, match(IN_PORT == ofport, VLAN_TCI == 0), *begins, goto(onward))
        return
    for mac in sorted({port.mac_address, *(pair["mac_address"] for pair in port.allowed_address_pairs)}):
        yield flow(CLASSIFY, EXACT, match(IN_PORT == ofport, ETH_SRC == mac, VLAN_TCI == 0), *begins, goto(onward))


@derives("port", at=own_host)
def delivery(port: Port, net: Net, here: Here) -> Iterator[Flow]:
    """A local port's own way out."""
    network, ofport = net.get("network", port.network_id), here.vif(port.id)
    if ofport and port.admin_state_up and network.admin_state_up:
        yield flow(L2, EXACT, match(NETWORK == network.number, ETH_DST == port.mac_address),
                   *towards(policy_of(port), ofport))
