"""Networks on the provider's wires, and in tunnels of every type: packets of guests that are straight on them."""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from tests.attackers.scene import ALL, ALL6, MARK, STRANGER, Guest
from tests.clouds import RunningCloud, eventually

pytestmark = pytest.mark.system

ROUTER, ROUTER6 = "203.0.113.1", "2001:db8:cafe::1"
WEB, WEB6 = "198.51.100.80", "2001:db8:80::80"
HOSTS = ("h1", "h2")


@dataclass
class Bed:
    """A cloud, and a group that lets everybody in."""

    cloud: RunningCloud
    group: str

    def __post_init__(self) -> None:
        self.admin = self.cloud.connect("admin").network

    def network(self, cidr: str, **provider: Any) -> Any:
        words = {f"provider_{name}": value for name, value in provider.items()}
        network = self.admin.create_network(name=f"wire-{cidr}", shared=True, **words)
        self.admin.create_subnet(network_id=network.id, ip_version=4, cidr=cidr)
        return network

    def guest(self, name: str, network: Any, host: str) -> Guest:
        port = self.cloud.connect().network.create_port(name=name, network_id=network.id, security_group_ids=[self.group])
        plugged = self.cloud.plug(port.id, host, name)
        four, six = [*(f["ip_address"] for f in sorted(port.fixed_ips, key=lambda f: ":" in f["ip_address"])), ""][:2]
        return Guest(name, plugged["namespace"], port.id, port.mac_address, four, six)

    def remove(self, *guests: Guest) -> None:
        for guest in guests:
            self.cloud.unplug(guest.name)
            self.admin.delete_port(guest.port)

    def outside(self, *command: str, check: bool = True) -> str:
        return self.cloud.exec("internet", *command, check=check)

    def mtu(self, guest: Guest) -> int:
        return int(re.findall(r"mtu (\d+)", self.cloud.exec(guest.name, "ip", "link", "show", "eth0"))[0])


@pytest.fixture(scope="module")
def bed(cloud: RunningCloud) -> Iterator[Bed]:
    demo = cloud.connect().network
    group = demo.create_security_group(name="wire")
    for ethertype in ("IPv4", "IPv6"):
        demo.create_security_group_rule(security_group_id=group.id, direction="ingress", ethertype=ethertype)
    bed = Bed(cloud, group.id)
    yield bed
    for network in bed.admin.networks():
        if network.name.startswith("wire-"):
            bed.admin.delete_network(network.id)
    demo.delete_security_group(group.id)


@dataclass
class Wire:
    bed: Bed
    near: Guest
    far: Guest
    internet: Guest
    """Not one of ours: the router out there."""


@pytest.fixture(scope="module")
def wire(bed: Bed) -> Iterator[Wire]:
    """Guests on both hosts, straight on the internet: which is for routers only, unless it is shared with them."""
    internet = next(bed.admin.networks(name="internet"))
    grant = bed.admin.create_rbac_policy(object_type="network", object_id=internet.id, action="access_as_shared",
                                         target_project_id=bed.cloud.connect().current_project_id)
    near, far = (bed.guest(f"wire-{host}", internet, host) for host in HOSTS)
    namespace = f"{bed.cloud.namespace('h1').partition('-')[0]}-internet"
    yield Wire(bed, near, far, Guest("internet", namespace, "", "02:00:5e:00:53:01", ROUTER, ROUTER6, device="br0"))
    bed.remove(near, far)
    bed.admin.delete_rbac_policy(grant)


def test_guests_reach_the_internet_and_are_reached(wire: Wire) -> None:
    cloud = wire.bed.cloud
    for guest in (wire.near, wire.far):
        for address in (ROUTER, ROUTER6, WEB, WEB6):
            assert cloud.pings(guest.name, address), address
        for address in (guest.four, guest.six):
            assert cloud.pings("internet", address), address
        assert "dynamic" in cloud.exec(guest.name, "ip", "-4", "addr", "show", "eth0"), "by DHCP"
        assert wire.bed.mtu(guest) == 1500
        assert cloud.exec(guest.name, "curl", "-s", f"http://{WEB}").split()[0] == guest.four
        assert cloud.exec(guest.name, "curl", "-s", f"http://[{WEB6}]").split()[0] == guest.six
    assert " 2 received" in cloud.exec(wire.near.name, "ping", "-c2", "-i0.1", "-W1", "-Mdo", "-s1472", WEB)


def test_guests_reach_each_other_by_the_wire_not_by_a_tunnel(wire: Wire) -> None:
    cloud = wire.bed.cloud
    for address in (wire.far.four, wire.far.six):
        assert cloud.pings(wire.near.name, address)
    assert wire.far.mac not in cloud.ofctl("h1", "dump-flows", "br-tun"), "no tunnel knows of it"


def test_a_question_on_the_wire_is_answered_once_and_by_its_owners_host(wire: Wire) -> None:
    def answers(frames: list[bytes]) -> list[tuple[str, str]]:
        heard = [Ether(frame) for frame in frames]
        return [(p[ARP].psrc, p[ARP].hwsrc) for p in heard if ARP in p and (p[ARP].op, p[ARP].pdst) == (2, ROUTER)] + [
            (p[ICMPv6ND_NA].tgt, p.src) for p in heard if ICMPv6ND_NA in p and p[IPv6].dst == ROUTER6]

    asker, guests = wire.internet, (wire.near, wire.far)
    questions = [Ether(src=asker.mac, dst=ALL) / ARP(op=1, hwsrc=asker.mac, psrc=ROUTER, pdst=g.four) for g in guests]
    questions += [Ether(src=asker.mac, dst=ALL6) / IPv6(src=ROUTER6, dst="ff02::1", hlim=255) / ICMPv6ND_NS(tgt=g.six)
                  / ICMPv6NDOptSrcLLAddr(lladdr=asker.mac) for g in guests]
    with asker.hearing(lambda frame: bool(answers([frame])), least=4) as heard:
        asker.send(questions)
    assert sorted(answers(heard)) == sorted((address, g.mac) for g in guests for address in (g.four, g.six))
    # Nobody but its owner's guest heard it, if anybody: flows answered.
    with wire.far.hearing() as heard:
        asker.send(questions)
    assert heard == []


def test_who_pretends_is_dropped_before_the_wire(wire: Wire) -> None:
    def ping(**said: str) -> Any:
        return Ether(src=said.get("mac", wire.near.mac), dst=wire.internet.mac) / IP(
            src=said.get("address", wire.near.four), dst=ROUTER) / ICMP() / Raw(MARK)

    with wire.internet.hearing() as heard:
        wire.near.send([ping(mac=STRANGER), ping(address=wire.far.four), ping(mac=wire.far.mac, address=wire.far.four),
                        Ether(src=wire.near.mac, dst=ALL) / ARP(op=2, hwsrc=wire.near.mac, psrc=ROUTER, pdst=wire.far.four)])
    assert heard == []
    with wire.internet.hearing(least=1) as heard:
        wire.near.send([ping()])
    assert len(heard) == 1


def test_a_vlan_has_its_tag_on_the_wire_and_is_a_world_of_its_own(bed: Bed, wire: Wire) -> None:
    """(No VLAN devices where these tests may have to run, so frames stand for a machine out there.)"""
    network = bed.network("192.0.2.0/24", network_type="vlan", physical_network="physical1", segmentation_id=100)
    near, far = (bed.guest(f"tagged-{host}", network, host) for host in HOSTS)
    outside = wire.internet

    def answers(vlan: int, *questions: Any, least: int = 0) -> list[Ether]:
        """To the machine out there alone: a guest just plugged is announced to everybody, too."""
        with outside.hearing(lambda frame: (Ether(frame).src, Ether(frame).dst) == (near.mac, outside.mac), least) as heard:
            outside.send([Ether(src=outside.mac, dst=near.mac) / Dot1Q(vlan=vlan) / question for question in questions])
        return [Ether(frame) for frame in heard]

    try:
        assert bed.cloud.pings(near.name, far.four) and bed.mtu(near) == 1500
        stranger = next(each for each in ("192.0.2.77", "192.0.2.78", "192.0.2.79") if each not in (near.four, far.four))
        ping = IP(src=stranger, dst=near.four) / ICMP(id=7) / Raw(MARK)
        bed.cloud.exec(near.name, "ip", "neigh", "replace", stranger, "lladdr", outside.mac, "dev", "eth0")
        asked, answered = answers(100, ARP(op=1, hwsrc=outside.mac, psrc=stranger, pdst=near.four), ping, least=2)
        assert (asked[Dot1Q].vlan, asked[ARP].hwsrc, asked[ARP].op) == (100, near.mac, 2)
        assert (answered[Dot1Q].vlan, answered[ICMP].type, answered[ICMP].id) == (100, 0, 7)
        assert answers(101, ping) == [] and answers(0, ping) == []
        routed(bed, network, far)
    finally:
        bed.remove(near, far)


def routed(bed: Bed, network: Any, far: Guest) -> None:
    """From a tunnel's network on h1 to the VLAN's on h2: it leaves h1 by the wire, with a MAC that no other host's router has."""
    inner = bed.network("10.6.0.0/24", network_type="vxlan")
    router = bed.admin.create_router(name="wire")
    subnets = [subnet for each in (inner, network) for subnet in bed.admin.subnets(network_id=each.id)]
    for subnet in subnets:
        bed.admin.add_interface_to_router(router, subnet=subnet.id)
    guest = bed.guest("behind", inner, "h1")
    try:
        assert bed.cloud.pings(guest.name, far.four)

        def said() -> list[tuple[int, str]]:
            flows = bed.cloud.ofctl("h1", "dump-flows", "br-ex")
            return [(int(n), mac) for n, mac in re.findall(r"n_packets=(\d+),.*set_field:([0-9a-f:]{17})->eth_src", flows)]

        assert eventually(lambda: sum(n for n, _ in said()) >= 3) and all(mac.startswith("0e:") for _, mac in said())
    finally:
        bed.remove(guest)
        for subnet in subnets:
            bed.admin.remove_interface_from_router(router, subnet=subnet.id)
        bed.admin.delete_router(router)


@pytest.mark.parametrize(("network_type", "mtu"), [("geneve", 1442), ("gre", 1458)])
def test_tunnels_of_other_types(bed: Bed, network_type: str, mtu: int) -> None:
    network = bed.network(f"10.{len(network_type)}.0.0/24", network_type=network_type)
    near, far = (bed.guest(f"{network_type}-{host}", network, host) for host in HOSTS)
    try:
        assert bed.cloud.pings(near.name, far.four) and bed.mtu(far) == mtu
        assert " 2 received" in bed.cloud.exec(
            near.name, "ping", "-c2", "-i0.1", "-W1", "-Mdo", f"-s{mtu - 28}", far.four)
        number = bed.cloud.vsctl("h2", "get", "interface", network_type, "ofport").strip()

        def arrived() -> int:
            flows = bed.cloud.ofctl("h2", "dump-flows", "br-tun", f"table=20,in_port={number}")
            return sum(int(n) for n in re.findall(r"n_packets=(\d+)", flows))

        assert eventually(lambda: arrived() > 4), "by its own port"
    finally:
        bed.remove(near, far)


def test_a_local_network_never_leaves_its_host(bed: Bed) -> None:
    network = bed.network("10.7.0.0/24", network_type="local")
    near, far = (bed.guest(f"local-{host}", network, host) for host in HOSTS)
    try:
        assert not bed.cloud.pings(near.name, far.four, count=1, patience=1)
        with far.hearing() as heard:
            near.send([Ether(src=near.mac, dst=ALL) / ARP(op=1, hwsrc=near.mac, psrc=near.four, pdst=near.four)])
        assert heard == []
    finally:
        bed.remove(near, far)


@pytest.fixture
def second(bed: Bed) -> Iterator[None]:
    """A second physical network, by a bridge of its own on each host, made while the cloud runs."""
    cloud, file = bed.cloud, bed.cloud.state / "unryu.toml"
    before = file.read_text()

    def mapped(text: str, count: int) -> None:
        file.write_text(text)
        cloud.unryu("up")  # the supervisor looks again, and starts with that whom it starts
        for host in HOSTS:
            os.kill(cloud.pid("agent", host) or 0, signal.SIGTERM)
        assert eventually(lambda: all(len(a.configuration["bridge_mappings"]) == count for a in bed.admin.agents()))

    mapped(before.replace('physical1 = "br-ex"', 'physical1 = "br-ex", physical2 = "br-second"'), 2)
    namespaces = [cloud.namespace(host) for host in HOSTS]
    cloud.run("ip", "-n", namespaces[0], "link", "add", "eth2", "type", "veth", "peer", "name", "eth2", "netns", namespaces[1])
    for host, namespace in zip(HOSTS, namespaces, strict=True):
        cloud.run("ip", "-n", namespace, "link", "set", "eth2", "up")
        cloud.vsctl(host, "add-port", "br-second", "eth2")
    yield
    mapped(before, 1)
    for host in HOSTS:
        cloud.vsctl(host, "del-br", "br-second", "--", "del-port", "ex-br-second")
    cloud.run("ip", "-n", namespaces[0], "link", "del", "eth2")


def test_a_second_physical_network_by_a_bridge_of_its_own(bed: Bed, second: None) -> None:
    flat = bed.network("10.8.0.0/24", network_type="flat", physical_network="physical2")
    near, far = (bed.guest(f"second-{host}", flat, host) for host in HOSTS)
    try:
        assert bed.cloud.pings(near.name, far.four)
    finally:
        bed.remove(near, far)


def test_as_an_administrator_types_it(bed: Bed) -> None:
    words = ("--provider-network-type", "vlan", "--provider-physical-network", "physical1", "--provider-segment", "7",
             "--external")
    made = bed.cloud.openstack_json("network", "create", "wire-typed", *words, project="admin")
    assert (made["provider:network_type"], made["provider:segmentation_id"], made["router:external"]) == ("vlan", 7, True)
    seen = {network.name for network in bed.cloud.connect().network.networks(is_router_external=True)}
    assert {"internet", "wire-typed"} <= seen, "by a tenant"
    assert all(agent.configuration["missing_wires"] == [] for agent in bed.admin.agents())
