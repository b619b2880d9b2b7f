"""Ports: a guest's way in; its MAC and fixed IPs, the host it is bound to, and the flows of its own two ends."""

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, NotRequired, Self

from typing_extensions import TypedDict

from controller.allocate import mac as new_mac
from controller.derive import Here, Net, derives, own_host
from controller.flow import ETH_DST, IN_PORT, VLAN_TCI, Flow, flow, goto, load, match
from controller.ipam import address, free_address, this_address
from controller.pipeline import CLASSIFY, EXACT, L2, LOCAL, NETWORK, OUT_PORT, OUTPUT
from unryu.errors import BadRequest, Conflict
from unryu.resource import UNSET, Resource, field

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
TRIES = 16  # random MACs tried before giving up: a network would have to hold millions


class FixedIP(TypedDict):
    subnet_id: NotRequired[str]
    ip_address: NotRequired[str]


def mac_address(value: str) -> str:
    value = value.lower().replace("-", ":")
    if not MAC.fullmatch(value):
        raise ValueError(f"{value!r} is not a MAC address")
    if int(value[:2], 16) & 1 or value == "00:00:00:00:00:00":
        raise ValueError(f"{value} is no address of a single interface")
    return value


def fixed_ips(values: list[FixedIP]) -> list[FixedIP]:
    if len(values) > 64:
        raise ValueError(f"{len(values)} are more than 64")
    for value in values:
        if not value:
            raise ValueError("each needs a subnet_id or an ip_address")
        if "ip_address" in value:
            value["ip_address"] = str(address(value["ip_address"]))
    return values


class Port(Resource, kind="port", service="network", unique_together=(("network_id", "mac_address"),)):
    network_id: str = field(ref="network", required=True, length=64)
    admin_state_up: bool = field(True, put=True)
    mac_address: str = field(put=True, check=mac_address, length=17)
    fixed_ips: list[FixedIP] = field(put=True, check=fixed_ips)
    device_id: str = field("", put=True, inert=True, index=True)
    device_owner: str = field("", put=True, inert=True)
    binding_host_id: str = field("", wire="binding:host_id", put=True, admin=True, hidden=True, index=True)
    vnic_type: str = field("normal", wire="binding:vnic_type", put=True, inert=True)
    status: str = field("DOWN", observed=True, inert=True)

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        # Whoever deletes the network or one of its subnets waits for us, or we find it gone.
        tx.lock("network", self.network_id, shared=True)
        return self.replace(mac_address=self._mac(tx),
                            fixed_ips=self._take(tx, self._wanted(tx, self.fixed_ips)))

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        if self.mac_address != before.mac_address:
            if before.binding_host_id:
                raise Conflict(f"Port {self.id} is bound to {before.binding_host_id}: its MAC address cannot change.",
                               "PortBound")
            self._mac(tx)
        if self.fixed_ips == before.fixed_ips:
            return self
        kept = [f for f in before.fixed_ips if any(_same(f, wanted) for wanted in self.fixed_ips)]
        for gone in before.fixed_ips:
            if gone not in kept:
                tx.release(f"subnet:{gone['subnet_id']}", gone["ip_address"])
        fresh = [wanted for wanted in self.fixed_ips if not any(_same(f, wanted) for f in kept)]
        return self.replace(fixed_ips=kept + self._take(tx, self._wanted(tx, fresh)))

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        if not context.is_admin:
            return {}
        return {r.id: {"binding:vif_type": "ovs" if r.binding_host_id else "unbound", "binding:profile": {},
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

    def _wanted(self, tx: "Tx", given: list[FixedIP]) -> list[tuple[Any, str | None]]:
        """(subnet, address or None for any), from what was asked for; one of each IP version where nothing was."""
        subnets = tx.where("subnet", network_id=self.network_id)
        if given is UNSET:
            first: dict[int, Any] = {}
            for subnet in subnets:
                if subnet.allocation_pools:
                    first.setdefault(subnet.ip_version, subnet)
            return [(first[version], None) for version in sorted(first)]
        by_id = {subnet.id: subnet for subnet in subnets}
        wanted: list[tuple[Any, str | None]] = []
        for item in given:
            subnet_id, ip = item.get("subnet_id"), item.get("ip_address")
            if subnet_id is not None and subnet_id not in by_id:
                raise BadRequest(f"Invalid input for operation: subnet {subnet_id} is not on network {self.network_id}.",
                                 "InvalidInput")
            if subnet_id is None:
                subnet_id = next((s.id for s in subnets if ip_address(ip or "") in ip_network(s.cidr)), None)
                if subnet_id is None:
                    raise BadRequest(f"IP address {ip} is not a valid IP for any of the subnets on the network "
                                     f"{self.network_id}.", "InvalidIpForNetwork")
            wanted.append((by_id[subnet_id], ip))
        return wanted

    def _take(self, tx: "Tx", wanted: list[tuple[Any, str | None]]) -> list[FixedIP]:
        taken: list[FixedIP] = []
        # In one order for everybody, or two writers wait for each other's subnet.
        for subnet in sorted({s.id for s, _ in wanted}):
            tx.lock("subnet", subnet, shared=True)
        for subnet, ip in sorted(wanted, key=lambda w: w[1] is None):  # asked-for addresses before any free one
            choose = (this_address(ip_network(subnet.cidr), ip) if ip
                      else free_address(subnet.id, subnet.allocation_pools))
            taken.append({"subnet_id": subnet.id, "ip_address": tx.allocate(f"subnet:{subnet.id}", self.id, choose)})
        return taken


def _same(held: FixedIP, wanted: FixedIP) -> bool:
    """Does the address we have satisfy what is asked for?"""
    return all(held[key] == value for key, value in wanted.items())  # type: ignore[literal-required]


# A port's own two ends, on the host that it is bound to.


@derives("port", at=own_host)
def entrance(port: Port, net: Net, here: Here) -> Iterator[Flow]:
    """What comes from its VIF is of its network. Tagged frames match nothing here, so a guest cannot name a network."""
    network, ofport = net.get("network", port.network_id), here.vif(port.id)
    if ofport and port.admin_state_up and network.admin_state_up:
        yield flow(CLASSIFY, EXACT, match(IN_PORT == ofport, VLAN_TCI == 0), load(NETWORK, network.number), goto(LOCAL))


@derives("port", at=own_host)
def delivery(port: Port, net: Net, here: Here) -> Iterator[Flow]:
    """A local port's own way out."""
    network, ofport = net.get("network", port.network_id), here.vif(port.id)
    if ofport and port.admin_state_up and network.admin_state_up:
        yield flow(L2, EXACT, match(NETWORK == network.number, ETH_DST == port.mac_address),
                   load(OUT_PORT, ofport), goto(OUTPUT))
