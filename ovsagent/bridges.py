"""The three bridges of a host, what joins them, and who controls them: wanted, compared, mended in one transaction."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from ovsagent.ovsdb import New, Operation, Row, Tables, insert, members, mutate, update

WATCH = {
    "Open_vSwitch": ("bridges", "ssl"),
    "SSL": ("private_key", "certificate", "ca_cert", "bootstrap_ca_cert"),
    "Bridge": ("name", "ports", "controller", "datapath_type", "protocols", "fail_mode", "other_config",
               "external_ids"),
    "Port": ("name", "interfaces", "tag", "trunks", "vlan_mode"),
    "Interface": ("name", "type", "options", "ofport", "ofport_request", "mtu_request", "external_ids", "error", "link_state",
                  "ifindex"),
    "Controller": ("target", "connection_mode", "inactivity_probe", "max_backoff"),
}

PORT: Row = {"tag": (), "trunks": (), "vlan_mode": ()}      # no VLAN behaviour: tags are words of our own flows
# The probe is for a controller whose machine is gone. (Open vSwitch 3.1 heeds no max_backoff: see `redialled`.)
CONTROLLER: Row = {"connection_mode": "out-of-band", "inactivity_probe": 5000, "max_backoff": 1000}
NONE = ((), -1)     # an ofport that vswitchd has not given, or cannot give
BRIDGES = ("br-int", "br-tun", "br-ex")
DOOR = "door"       # where guests ask this host's agent (ovsagent/answers)
METADATA = "metadata"   # where they ask by HTTP: this host's own IP stack stands there
ROUTERS = "routers"     # where routers do: what only software can say, and next hops


class Fixed(NamedTuple):
    """A port that every host has. Names are unique in a database, roles only on their bridge."""

    bridge: str
    role: str
    name: str
    ofport: int
    type: str
    options: dict[str, str]


TUNNEL = {"remote_ip": "flow", "key": "flow"}   # one port for all peers: flows say whom a packet is for
WIDE = 65000    # bytes: what routers hold or cut may be as large as any network takes, and a device takes what the smallest does
FIXED = (
    Fixed("br-int", "patch-tun", "patch-tun", 1, "patch", {"peer": "patch-int"}),
    Fixed("br-int", "patch-ex", "patch-ex", 2, "patch", {"peer": "patch-ex-int"}),
    Fixed("br-int", "door", DOOR, 3, "internal", {}),
    Fixed("br-int", "routers", ROUTERS, 4, "internal", {}),
    Fixed("br-int", "metadata", METADATA, 5, "internal", {}),
    Fixed("br-tun", "patch-int", "patch-int", 1, "patch", {"peer": "patch-tun"}),
    Fixed("br-tun", "vxlan", "vxlan", 2, "vxlan", TUNNEL),
    Fixed("br-tun", "geneve", "geneve", 3, "geneve", TUNNEL),
    Fixed("br-tun", "gre", "gre", 4, "gre", TUNNEL),
    Fixed("br-ex", "patch-int", "patch-ex-int", 1, "patch", {"peer": "patch-ex"}),
)


@dataclass(frozen=True)
class Bridge:
    columns: Row
    ports: Mapping[str, Row] = field(default_factory=dict)      # name, and the columns of its one interface
    controllers: tuple[str, ...] | None = None                  # None: whatever is set stays


def datapath_ids(cloud: str, host: str) -> dict[str, str]:
    """Known before a bridge ever connects, and the same in every life of the host."""
    common = hashlib.blake2b(f"{cloud}/{host}".encode(), digest_size=7).hexdigest()
    return {bridge: f"{common}{number:02x}" for number, bridge in enumerate(BRIDGES, start=1)}


def wanted(cloud: str, host: str, tunnel_ip: str, controllers: tuple[str, ...] | None) -> dict[str, Bridge]:
    def ports(bridge: str) -> dict[str, Row]:
        return {bridge: {"type": "internal"}} | {
            port.name: {
                "type": port.type, "ofport_request": port.ofport,
                "options": port.options | ({"local_ip": tunnel_ip} if port.options is TUNNEL else {}),
                **({"mtu_request": WIDE} if port.name == ROUTERS else {}),
            }
            for port in FIXED if port.bridge == bridge
        }

    return {
        bridge: Bridge(
            columns={
                "datapath_type": "netdev", "protocols": "OpenFlow13", "fail_mode": "secure",
                "other_config": {"disable-in-band": "true", "datapath-id": datapath},
            },
            ports=ports(bridge), controllers=controllers,
        )
        for bridge, datapath in datapath_ids(cloud, host).items()
    }


def secured(identity: Path, authority: Path) -> Row:
    """What the switch shows, and whom it believes: it looks at the files again whenever they change."""
    return {"private_key": str(identity), "certificate": str(identity), "ca_cert": str(authority), "bootstrap_ca_cert": False}


def with_ports(bridges: Mapping[str, Bridge], name: str, ports: Mapping[str, Row]) -> dict[str, Bridge]:
    return {**bridges, name: replace(bridges[name], ports={**bridges[name].ports, **ports})}


def ofports(have: Tables) -> dict[str, dict[str, int]]:
    """Bridge, role, number: of the fixed ports that vswitchd has."""
    found: dict[str, dict[str, int]] = {bridge: {} for bridge in BRIDGES}
    for port in FIXED:
        if port.name in have.interfaces:
            number = have["Interface"][have.interfaces[port.name]]["ofport"]
            if number not in NONE:
                found[port.bridge][port.role] = number
    return found


def difference(want: Mapping[str, Bridge], have: Tables, secured: Row | None = None) -> list[Operation]:
    """The operations of the one transaction that makes it so. What nobody wants here is not ours to remove."""
    names = (New(f"row{number}") for number in count())
    operations: list[Operation] = []

    def new(table: str, row: Row) -> New:
        operations.append(insert(table, row, name := next(names)))
        return name

    def mend(table: str, uuid: Any, row: Row) -> None:
        if changes := changed(have[table][uuid], row):
            operations.append(update(table, uuid, changes))

    if not have["Open_vSwitch"]:
        new("Open_vSwitch", {"bridges": ()})
    if secured:
        for row in have["Open_vSwitch"].values():
            for uuid in members(row["ssl"]):
                mend("SSL", uuid, secured)
        if not have["SSL"]:
            operations.append(mutate("Open_vSwitch", {}, ("ssl", "insert", new("SSL", secured))))
    for name, bridge in want.items():
        uuid = have.bridges.get(name)
        held = members(have["Bridge"][uuid]["ports"]) if uuid else ()
        if uuid:
            mend("Bridge", uuid, bridge.columns)
        else:
            added = new("Bridge", {"name": name, **bridge.columns})
            operations.append(mutate("Open_vSwitch", {}, ("bridges", "insert", added)))

        for port_name, interface in bridge.ports.items():
            port = have.ports.get(port_name)
            if port is None:
                of = new("Interface", {"name": port_name, **interface})
                added = new("Port", {"name": port_name, "interfaces": of, **PORT})
                operations.append(mutate("Bridge", {"name": name}, ("ports", "insert", added)))
                continue
            mend("Port", port, PORT)
            if port_name in have.interfaces:
                mend("Interface", have.interfaces[port_name], interface)
            if port not in held:
                operations += [
                    mutate("Bridge", {"name": row["name"]}, ("ports", "delete", port))
                    for row in have["Bridge"].values() if port in members(row["ports"])
                ]
                operations.append(mutate("Bridge", {"name": name}, ("ports", "insert", port)))

        if bridge.controllers is None:
            continue
        set_now = members(have["Bridge"][uuid]["controller"]) if uuid else ()
        known = {plain(have["Controller"][row]["target"]): row for row in set_now}
        for row in known.values():
            mend("Controller", row, CONTROLLER)
        if known.keys() != set(bridge.controllers):
            rows = tuple(known.get(target) or new("Controller", {"target": target, **CONTROLLER})
                         for target in bridge.controllers)
            operations.append(update("Bridge", uuid, {"controller": rows}) if uuid else
                              mutate("Bridge", {"name": name}, ("controller", "insert", rows)))
    return operations


def redialled(have: Tables, controller: str) -> list[Operation]:
    """The operations that make all bridges dial this controller (its address and port) now, however long they would still wait:
    its target spelled in the other of two ways is a new one to Open vSwitch, while flows and other controllers stay."""
    operations = []
    for uuid, row in have["Controller"].items():
        first = plain(row["target"])
        if first.partition(":")[2] == controller:
            second = re.sub(r":(\d+)$", r":0\1", first)
            operations.append(update("Controller", uuid, {"target": second if row["target"] == first else first}))
    return operations


def plain(target: str) -> str:
    """A controller's target in the first of its two spellings."""
    return re.sub(r":0(\d+)$", r":\1", target)


def changed(have: Row, want: Row) -> Row:
    """The columns to write. Of a map other keys stay, except that a stray option would change what a port is."""
    full = {
        column: have[column] | value if isinstance(value, dict) and column != "options" else value
        for column, value in want.items()
    }
    return {column: value for column, value in full.items() if have[column] != value}
