"""Guests of the lab: a namespace on a port of the cloud, as small as a guest can be."""

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from topology import api, processes
from topology.cloud import Cloud, run
from unryu.files import write_private

DEVICE = "eth0"
# Nothing but this link is touched: names and resolvers are the machine's own, which a namespace shares.
SCRIPT = """\
#!/bin/sh
# What a guest of the lab makes of its lease; written by `unryu lab plug`.
case "$1" in
deconfig)
    ip -4 addr flush dev "$interface" dynamic
    ip link set "$interface" up
    ;;
bound|renew)
    [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
    ip addr replace "$ip/$mask" brd + dev "$interface" valid_lft "$lease" preferred_lft "$lease"
    set -- ${staticroutes:-${router:+0.0.0.0/0 ${router%% *}}}
    while [ $# -ge 2 ]; do
        if [ "$2" = 0.0.0.0 ]; then ip route replace "$1" dev "$interface"; else ip route replace "$1" via "$2"; fi
        shift 2
    done
    ;;
esac
"""


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


def plug(cloud: Cloud, port: str, host: str, name: str, patience: float, static: bool = False) -> Guest:
    """Bind a port to a host and put a guest on it; wait, at most `patience` seconds, until the port is ACTIVE. The guest
    asks for its addresses where its subnets say that somebody answers; with `static` it is told them by hand."""
    if not re.fullmatch(r"(?!(h[0-9]+|underlay|internet)$)[a-z][a-z0-9-]{0,30}", name):
        raise click.UsageError(f"{name!r} cannot name a guest: small letters, digits and dashes, and neither a host's name nor "
                               f"`internet`.")
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
        # No IPv6 before it is of use: what the kernel asks routers first is answered, and it asks at once.
        words = {"disable_ipv6": 1, "accept_dad": 0, "accept_ra": 0 if static else 2, "router_solicitation_delay": 0}
        run("ip", "netns", "exec", new.namespace, "sysctl", "-qw",
            *(f"net.ipv6.conf.default.{word}={value}" for word, value in words.items()))
    network.put(f"ports/{new.port_id}", {"port": {"binding:host_id": host}})
    mtu = network.get(f"networks/{found['network_id']}")["network"].get("mtu", 1450)
    vif = {"mac_address": new.mac_address, "mtu": mtu, "kind": "veth", "netns": new.namespace, "ifname": DEVICE}
    api.agent(where, "PUT", f"/vifs/{new.port_id}", vif)
    told = {} if static else _told(addresses)
    by_hand = {address: subnet for address, subnet in addresses.items() if address not in told}
    _wait_active(network, new, patience)
    _configure(new, by_hand)
    if any(subnet["ip_version"] == 4 for subnet in told.values()):
        lease(cloud, new, wait=bool(patience))
    if patience:
        _hear(new, {address for address in told if ":" in address})
    return new


def _told(addresses: dict[str, Any]) -> dict[str, Any]:
    """Those that the guest will be given: one by DHCP, and what routers advertise. Of stateful DHCPv6 the lab has no client."""
    v4 = [address for address, subnet in addresses.items() if subnet["ip_version"] == 4 and subnet["enable_dhcp"]][:1]
    v6 = [address for address, subnet in addresses.items() if subnet["ipv6_ra_mode"] in ("slaac", "dhcpv6-stateless")]
    return {address: addresses[address] for address in v4 + v6}


def lease(cloud: Cloud, guest: Guest, wait: bool = True) -> None:
    """Start the guest's DHCP client, which renews its lease for as long as it lives."""
    if shutil.which("udhcpc") is None:
        raise click.ClickException("`udhcpc` is not installed; `make setup` installs it, `--static` does without.")
    script = cloud.state / "guests" / "udhcpc.sh"
    if not script.exists():
        write_private(script, SCRIPT)
        script.chmod(0o700)
    pid = _record(cloud, guest.name).with_suffix(".pid")
    if pid.exists():  # plugged again: one client is enough
        processes.end({int(pid.read_text())} & set(processes.inside([guest.namespace])))
    words = ["udhcpc", "-i", DEVICE, "-s", str(script), "-p", str(pid), "-t", "15", "-T", "1",
             "-A", "3", "-O", "mtu", "-O", "staticroutes", "-n" if wait else "-b"]
    with (cloud.state / "log" / f"guest-{guest.name}.log").open("ab") as log:  # no pipe: it lives on behind us
        done = subprocess.run(["ip", "netns", "exec", guest.namespace, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              env=_outside(), check=False)
    if done.returncode:
        raise click.ClickException(f"{guest.name} is plugged, but nobody answered its DHCP client; its log: {log.name}")


def _hear(guest: Guest, addresses: set[str]) -> None:
    """Wait until a router's advertisement has given the guest these: it asked when its IPv6 began, and again after 4 s."""
    deadline = time.monotonic() + 30
    while addresses and time.monotonic() < deadline:
        links = json.loads(run("ip", "-n", guest.namespace, "-j", "-6", "addr", "show", "dev", DEVICE, "scope", "global"))
        if addresses <= {one.get("local") for link in links for one in link.get("addr_info", ())}:
            return
        time.sleep(0.01)
    if addresses:
        raise click.ClickException(f"{guest.name} is plugged, but no router told it of {', '.join(sorted(addresses))}.")


def _configure(guest: Guest, by_hand: dict[str, Any]) -> None:
    """Addresses and default routes, as a guest would set them that was told by hand."""
    run("ip", "netns", "exec", guest.namespace, "sysctl", "-qw", f"net.ipv6.conf.{DEVICE}.disable_ipv6=0")
    lines = ["link set lo up", f"link set {DEVICE} up"]
    lines += [f"addr replace {address}/{subnet['cidr'].partition('/')[2]} dev {DEVICE}{' nodad' if ':' in address else ''}"
              for address, subnet in by_hand.items()]
    gateways = {subnet["gateway_ip"] for subnet in by_hand.values()} - {None}
    lines += [f"route replace default via {gateway}" for gateway in sorted(gateways)]
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


def execute(namespace: str, command: tuple[str, ...]) -> NoReturn:
    """Become the command, inside a guest or in the internet: its terminal and its exit code are ours."""
    words = ("ip", "netns", "exec", namespace, *(command or (os.environ.get("SHELL", "/bin/bash"),)))
    os.execvpe(words[0], words, _outside())


def _outside() -> dict[str, str]:
    """An environment by which no process of a guest is taken for one of the cloud."""
    return {name: value for name, value in os.environ.items() if not name.startswith("UNRYU_")}


def unplug(cloud: Cloud, guest: Guest) -> list[str]:
    """Take a guest away, whatever of the cloud still answers; the sentences say what did not, and the guest is remembered
    until a second call finds it answering: its port on the switch would be nobody's."""
    complaints = []
    for step in (_withdraw, _unbind):
        try:
            step(cloud, guest)
        except click.ClickException as error:
            complaints.append(error.message)
    processes.end(processes.inside([guest.namespace]))
    if Path(f"/run/netns/{guest.namespace}").exists():
        run("ip", "netns", "del", guest.namespace)
    record = _record(cloud, guest.name)
    for left in (record.with_suffix(".pid"), cloud.state / "log" / f"guest-{guest.name}.log", *([] if complaints else [record])):
        left.unlink(missing_ok=True)
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
