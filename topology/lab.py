"""Guests of the lab: a namespace on a port of the cloud, as small as a guest can be."""

import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from topology import api, processes
from topology.cloud import Cloud, run, write_private

DEVICE = "eth0"


@dataclass(frozen=True)
class Guest:
    name: str
    port_id: str
    host: str
    namespace: str
    mac_address: str
    addresses: list[str]


def guests(cloud: Cloud) -> list[Guest]:
    return [Guest(**json.loads(path.read_text())) for path in sorted((cloud.state / "guests").glob("*.json"))]


def guest(cloud: Cloud, name: str) -> Guest:
    path = _record(cloud, name)
    if not path.exists():
        raise click.ClickException(f"No guest {name} here; `unryu lab list` shows them.")
    return Guest(**json.loads(path.read_text()))


def plug(cloud: Cloud, port: str, host: str, name: str, patience: float) -> Guest:
    """Bind a port to a host and put a guest on it; wait, at most `patience` seconds, until the port is ACTIVE."""
    if not re.fullmatch(r"(?!(h[0-9]+|underlay)$)[a-z][a-z0-9-]{0,30}", name):
        raise click.UsageError(f"{name!r} cannot name a guest: small letters, digits and dashes, and no host's name.")
    where, network = cloud.host(host), api.Network(cloud)
    found = network.port(port)
    for other in guests(cloud):
        if other.name == name and other.port_id != found["id"]:
            raise click.ClickException(f"Guest {name} is on another port: `unryu lab unplug {name}` first.")
        if other.name != name and other.port_id == found["id"]:
            raise click.ClickException(f"Guest {other.name} is on this port: `unryu lab unplug {other.name}` first.")
    addresses = {
        fixed["ip_address"]: network.get(f"subnets/{fixed['subnet_id']}")["subnet"] for fixed in found["fixed_ips"]
    }
    new = Guest(
        name, found["id"], host, f"{cloud.name}-{name}", found["mac_address"],
        [f"{address}/{subnet['cidr'].partition('/')[2]}" for address, subnet in addresses.items()],
    )
    # Remembered first, so that whatever happens next, `unplug` finds it.
    write_private(_record(cloud, name), json.dumps(asdict(new), indent=2))
    if not Path(f"/run/netns/{new.namespace}").exists():
        run("ip", "netns", "add", new.namespace)
    network.put(f"ports/{new.port_id}", {"port": {"binding:host_id": host}})
    mtu = network.get(f"networks/{found['network_id']}")["network"].get("mtu", 1450)
    vif = {"mac_address": new.mac_address, "mtu": mtu, "kind": "veth", "netns": new.namespace, "ifname": DEVICE}
    api.agent(where, "PUT", f"/vifs/{new.port_id}", vif)
    _configure(new, {subnet["gateway_ip"] for subnet in addresses.values()} - {None})
    _wait_active(network, new, patience)
    return new


def _configure(guest: Guest, gateways: set[str]) -> None:
    """Addresses and default routes, as a guest would set them that was told by hand."""
    if any(":" in address for address in guest.addresses):
        words = [f"net.ipv6.conf.{DEVICE}.{switch}=0" for switch in ("accept_ra", "accept_dad")]
        run("ip", "netns", "exec", guest.namespace, "sysctl", "-qw", *words)
    lines = ["link set lo up", f"link set {DEVICE} up"]
    lines += [f"addr replace {address} dev {DEVICE}{' nodad' if ':' in address else ''}" for address in guest.addresses]
    lines += [f"route replace default via {gateway}" for gateway in gateways]
    run("ip", "-n", guest.namespace, "-batch", "-", given="\n".join(lines) + "\n")


def _wait_active(network: api.Network, guest: Guest, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        status = network.get(f"ports/{guest.port_id}")["port"]["status"]
        if status == "ACTIVE":
            return
        if status == "ERROR":
            raise click.ClickException(f"The port of {guest.name} is in ERROR; the controller's log says why.")
        time.sleep(0.05)
    if patience:
        raise click.ClickException(f"{guest.name} is plugged, but its port was not ACTIVE within {patience:.0f} s.")


def execute(guest: Guest, command: tuple[str, ...]) -> NoReturn:
    """Become the command, inside the guest: its terminal and its exit code are ours."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNRYU_")}
    words = ("ip", "netns", "exec", guest.namespace, *(command or (os.environ.get("SHELL", "/bin/bash"),)))
    os.execvpe(words[0], words, environment)


def unplug(cloud: Cloud, guest: Guest) -> list[str]:
    """Take a guest away, whatever of the cloud still answers; the sentences say what did not."""
    complaints = []
    for step in (_withdraw, _unbind):
        try:
            step(cloud, guest)
        except click.ClickException as error:
            complaints.append(error.message)
    processes.end(processes.inside([guest.namespace]))
    if Path(f"/run/netns/{guest.namespace}").exists():
        run("ip", "netns", "del", guest.namespace)
    _record(cloud, guest.name).unlink(missing_ok=True)
    return complaints


def _withdraw(cloud: Cloud, guest: Guest) -> None:
    _unless_gone(lambda: api.agent(cloud.host(guest.host), "DELETE", f"/vifs/{guest.port_id}"))


def _unbind(cloud: Cloud, guest: Guest) -> None:
    _unless_gone(lambda: api.Network(cloud).put(f"ports/{guest.port_id}", {"port": {"binding:host_id": ""}}))


def _unless_gone(ask: Any) -> None:
    try:
        ask()
    except api.Refused as error:
        if error.status != 404:
            raise


def _record(cloud: Cloud, name: str) -> Path:
    return cloud.state / "guests" / f"{name}.json"
