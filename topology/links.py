"""The wires of a cloud on one machine: namespaces, the management network, the underlay between hosts.

Everything here may be called at any time, on a cloud that runs as well: devices are made where they are missing, and their
settings said again, since whoever made them may have been killed before the next word.
"""

import json
from pathlib import Path
from typing import Any

from topology.cloud import PREFIX, TUNNEL_ENDS, Cloud, Host, run

UNDERLAY_MTU = 1600  # a tenant's 1500 bytes and any tunnel's headers
NIC = "eth1"  # of a host, on the provider's segment (topology/internet.py)
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


def underlay(cloud: Cloud) -> str:
    """The namespace that holds the switch between the hosts: on a real site, the data centre's network."""
    return f"{cloud.name}-underlay"


def management(cloud: Cloud) -> str:
    """The bridge by which hosts reach the controller, in the machine's own namespace."""
    return f"{cloud.name}-mgmt"


def namespaces(cloud: Cloud) -> list[str]:
    return sorted(path.name for path in Path("/run/netns").glob(f"{cloud.name}-*"))


def links(cloud: Cloud) -> list[str]:
    """The links of this cloud in the machine's own namespace."""
    return sorted(name for name in names() if name.startswith(f"{cloud.name}-"))


def wire_cloud(cloud: Cloud) -> None:
    if underlay(cloud) not in namespaces(cloud):
        run("ip", "netns", "add", underlay(cloud))
    if "br0" not in names(underlay(cloud)):
        batch(f"link add br0 mtu {UNDERLAY_MTU} type bridge", "link set br0 up", namespace=underlay(cloud))
    if management(cloud) not in names():
        batch(f"link add {management(cloud)} type bridge")
    addresses = [f"addr replace {one.address}/{PREFIX} dev {management(cloud)}" for one in cloud.controllers()]
    batch(*addresses, f"link set {management(cloud)} up")


def wire_host(host: Host) -> None:
    """A host's namespace with its three devices: `mgmt`, `underlay`, and `br-phys`, which carries the tunnel's address.

    br-phys is the local port of the bridge of that name. It is made here, before ovs-vswitchd takes it over, so that
    the address is there from the first moment and outlives every restart of the switch.
    """
    cloud, namespace = host.cloud, host.namespace
    if namespace not in namespaces(cloud):
        run("ip", "netns", "add", namespace)
    have = names(namespace)
    if "mgmt" not in have:
        batch(f"link add {namespace} type veth peer name mgmt netns {namespace}")
    batch(f"link set {namespace} master {management(cloud)} up")
    if "underlay" not in have:
        batch(
            f"link add {host.name} mtu {UNDERLAY_MTU} type veth"
            f" peer name underlay mtu {UNDERLAY_MTU} netns {namespace}", namespace=underlay(cloud),
        )
    batch(f"link set {host.name} master br0 up", namespace=underlay(cloud))
    if "br-phys" not in have:
        batch("tuntap add br-phys mode tap", namespace=namespace)
    batch(
        "link set lo up",
        "link set mgmt up", f"addr replace {host.address}/{PREFIX} dev mgmt",
        "link set underlay up",
        f"link set br-phys mtu {UNDERLAY_MTU} up", f"addr replace {host.tunnel_ip}/{TUNNEL_ENDS.prefixlen} dev br-phys",
        namespace=namespace,
    )


def make_database(host: Host) -> None:
    """An Open vSwitch database that holds br-phys already, so that nobody waits for the switch to configure it, and br-ex
    with the NIC that an operator would add to it."""
    file = host.dir / "conf.db"
    if file.exists():
        return
    host.dir.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    # The NIC's number leaves those free that the agent's own ports will ask for.
    for bridge, nic, more, wish in (("br-phys", "underlay", {}, {"mtu_request": UNDERLAY_MTU}),
                                    ("br-ex", NIC, {"fail_mode": "secure"}, {"ofport_request": 100})):
        for name, kind in ((bridge, "internal"), (nic, "system")):
            words = {} if (bridge, kind) == ("br-ex", "internal") else wish
            rows += [_row("Interface", f"interface_{name}", name=name, type=kind, **words),
                     _row("Port", f"port_{name}", name=name, interfaces=["named-uuid", f"interface_{_plain(name)}"])]
        ports = [["named-uuid", f"port_{_plain(name)}"] for name in (bridge, nic)]
        rows.append(_row("Bridge", f"bridge_{bridge}", name=bridge, datapath_type="netdev", ports=["set", ports], **more))
    bridges = [["named-uuid", row["uuid-name"]] for row in rows if row["table"] == "Bridge"]
    rows.append(_row("Open_vSwitch", "host", bridges=["set", bridges], external_ids=["map", [["system-id", host.name]]]))
    draft = file.with_name("conf.db.new")
    draft.unlink(missing_ok=True)
    run("ovsdb-tool", "create", str(draft), SCHEMA)
    run("ovsdb-tool", "transact", str(draft), json.dumps(["Open_vSwitch", *rows]))
    draft.replace(file)


def _row(table: str, uuid: str, **columns: Any) -> dict[str, Any]:
    return {"op": "insert", "table": table, "uuid-name": _plain(uuid), "row": columns}


def _plain(name: str) -> str:
    return name.replace("-", "_")


def unwire(cloud: Cloud) -> int:
    """Remove every namespace and link of this cloud, known or forgotten; say how many there were."""
    there = namespaces(cloud)
    run("ip", "-batch", "-", given="".join(f"netns del {name}\n" for name in there))
    # The kernel takes a dead namespace's veth ends away in its own time: ours must be gone when we say so.
    left = links(cloud)
    run("ip", "-force", "-batch", "-", given="".join(f"link del {name}\n" for name in left), check=False)
    return len(there) + len(left)


def names(namespace: str | None = None) -> set[str]:
    where = ("-n", namespace) if namespace else ()
    return {link["ifname"] for link in json.loads(run("ip", *where, "-j", "link", "show") or "[]")}


def batch(*commands: str, namespace: str | None = None) -> None:
    where = ("-n", namespace) if namespace else ()
    run("ip", *where, "-batch", "-", given="".join(f"{command}\n" for command in commands))
