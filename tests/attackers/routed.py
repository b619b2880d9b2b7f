"""A router with an attacker and its victims behind it, another tenant's beside it, and who is outside."""

import functools
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.attackers.scene import Guest
from tests.clouds import RunningCloud, eventually

OUTSIDE, OUTSIDE6, WEB, WEB6 = "203.0.113.1", "2001:db8:cafe::1", "198.51.100.80", "2001:db8:80::80"
RED, GREEN = ("10.67.0.0/24", "fd67::/64"), ("10.68.0.0/24", "fd68::/64")


@dataclass
class Scene:
    """The attacker and `near` are behind one interface of the router, `far` behind the other, on another host; `other` is another
    tenant's."""

    cloud: RunningCloud
    router: str
    macs: dict[tuple[str, int], str]
    """Of the router, by network and IP version; outside likewise."""
    own: dict[int, str]
    """Its addresses outside."""
    attacker: Guest
    near: Guest
    far: Guest
    other: Guest
    floating: dict[str, tuple[str, str]]
    """Of near and far: address and MAC."""

    def __post_init__(self) -> None:
        space = self.cloud.namespace("h1").removesuffix("-h1") + "-internet"
        self.outsider = Guest("internet", space, "", "02:00:5e:00:53:01", OUTSIDE, OUTSIDE6, "br0")

    def gateway(self) -> str:
        """The host that it is on."""
        snat = f"nat(src={self.own[4]})"
        return next((h for h in ("h1", "h2") if snat in self.cloud.ofctl(h, "dump-flows", "br-int", "table=97")), "")

    def drops(self, host: str = "h1") -> Counter[str]:
        """What flows that only drop have counted there, by table and match; registers and conntrack's states left out."""
        said = self.cloud.ofctl(host, "dump-flows", "br-int")
        found = re.findall(r"table=(\d+), n_packets=(\d+),.*? priority=(\S+) actions=drop", said)
        counts: Counter[str] = Counter()
        for table, packets, match in found:
            counts[f"{table} {re.sub(',(reg[0-9]+|ct_state)=[^,]+', '', match)}"] += int(packets)
        return counts

    def serves(self) -> None:
        """What its neighbours, and other tenants, have of the cloud: that they are routed, and find the way out."""
        for guest, address in (*((self.near, each) for each in (self.far.four, self.far.six, WEB, WEB6)), (self.other, WEB)):
            ping = functools.partial(self.says, guest, " 3 received", "ping", "-c3", "-i0.1", "-W1", address)
            assert eventually(ping, 60), f"{guest.name} to {address}"

    def says(self, guest: Guest, wanted: str, *command: str, times: int = 1) -> bool:
        """Does this command, where that guest is, print these words so often?"""
        done = self.cloud.run("ip", "netns", "exec", guest.namespace, *command, check=False)
        return (done.stdout + done.stderr).count(wanted) >= times


def plugged(cloud: RunningCloud, sdk: Any, network: str, group: str, name: str, host: str) -> Guest:
    port = sdk.create_port(name=name, network_id=network, security_group_ids=[group])
    there = cloud.plug(port.id, host, name, "--static")
    four, six = sorted((f["ip_address"] for f in port.fixed_ips), key=lambda a: ":" in a)
    return Guest(name, there["namespace"], port.id, port.mac_address, four, six)


@contextmanager
def standing(cloud: RunningCloud, project: str, networks: dict[str, tuple[str, str]], guests: dict[str, tuple[str, str]]
             ) -> Iterator[tuple[Any, Any, dict[str, str], dict[str, Guest]]]:
    """A router with a gateway, its networks and who is on them; gone at the end."""
    sdk = cloud.connect(project).network
    external = next(n.id for n in sdk.networks() if n.name == "internet")
    group = sdk.create_security_group(name="routers-open")
    for version in ("IPv4", "IPv6"):
        sdk.create_security_group_rule(security_group_id=group.id, direction="ingress", ethertype=version)
    router = sdk.create_router(name="attacked", external_gateway_info={"network_id": external})
    made, subnets, there = {}, [], {}
    for name, cidrs in networks.items():
        made[name] = sdk.create_network(name=f"attacked-{name}").id
        for cidr in cidrs:
            subnets.append(sdk.create_subnet(network_id=made[name], ip_version=6 if ":" in cidr else 4, cidr=cidr).id)
            sdk.add_interface_to_router(router, subnet=subnets[-1])
    for name, (network, host) in guests.items():
        there[name] = plugged(cloud, sdk, made[network], group.id, name, host)
    yield sdk, sdk.get_router(router.id), made, there
    for name, guest in there.items():
        cloud.unplug(name)
        for floating in sdk.ips(port_id=guest.port):
            sdk.delete_ip(floating.id)
        sdk.delete_port(guest.port)
    for subnet in subnets:
        sdk.remove_interface_from_router(router, subnet=subnet)
    sdk.delete_router(router.id)
    for network in made.values():
        sdk.delete_network(network)
    sdk.delete_security_group(group.id)


@contextmanager
def built(cloud: RunningCloud) -> Iterator[Scene]:
    guests = {"intruder": ("red", "h1"), "nearby": ("red", "h1"), "across": ("green", "h2")}
    with standing(cloud, "demo", {"red": RED, "green": GREEN}, guests) as (sdk, router, networks, there), \
            standing(cloud, "alt", {"red": RED}, {"other": ("red", "h1")}) as (_, _, _, theirs):
        admin = cloud.connect("admin").network
        ports = list(admin.ports(device_id=router.id))
        macs = {(name, 6 if ":" in p.fixed_ips[0]["ip_address"] else 4): p.mac_address
                for name, id in networks.items() for p in ports if p.network_id == id}
        out = next(p for p in ports if p.device_owner == "network:router_gateway")
        macs |= {("outside", version): out.mac_address for version in (4, 6)}
        own = {6 if ":" in f["ip_address"] else 4: f["ip_address"] for f in out.fixed_ips}
        floating = {}
        for name in ("nearby", "across"):
            made = sdk.create_ip(floating_network_id=out.network_id, port_id=there[name].port)
            port = next(iter(admin.ports(device_id=made.id)))
            floating[name] = made.floating_ip_address, port.mac_address
        it = Scene(cloud, router.id, macs, own, there["intruder"], there["nearby"], there["across"], theirs["other"],
                   {"near": floating["nearby"], "far": floating["across"]})
        outside(it, "-6", "route", "replace", GREEN[1], "via", own[6])
        outside(it, "-6", "route", "replace", RED[1], "via", own[6])
        it.serves()
        yield it


def outside(scene: Scene, *words: str) -> None:
    scene.cloud.run("ip", "-n", scene.outsider.namespace, *words)


@contextmanager
def trusted(scene: Scene) -> Iterator[Guest]:
    """The attacker, with a port that nobody guards: its owner's doing, on a network of his own."""
    sdk, me = scene.cloud.connect().network, scene.attacker
    groups = sdk.get_port(me.port).security_group_ids
    try:
        sdk.update_port(me.port, port_security_enabled=False, security_group_ids=[])
        assert eventually(lambda: sdk.get_port(me.port).status == "ACTIVE")
        yield me
    finally:
        sdk.update_port(me.port, port_security_enabled=True, security_group_ids=groups)
        assert eventually(lambda: sdk.get_port(me.port).status == "ACTIVE")


@contextmanager
def straight(scene: Scene, host: str) -> Iterator[Guest]:
    """A guest on the provider's network itself."""
    admin = scene.cloud.connect("admin").network
    network = next(n for n in admin.networks() if n.name == "internet")
    port = admin.create_port(network_id=network.id, name="straight")
    try:
        there = scene.cloud.plug(port.id, host, "straight", "--static")
        four, six = sorted((f["ip_address"] for f in port.fixed_ips), key=lambda a: ":" in a)
        yield Guest("straight", there["namespace"], port.id, port.mac_address, four, six)
    finally:
        scene.cloud.unplug("straight")
        admin.delete_port(port.id)
