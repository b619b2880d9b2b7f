"""What becomes of routers and their way out: hosts that are lost or cut off, addresses and wires that are not as they should."""

import contextlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from controller.pipeline import YIELDED_TO
from tests.clouds import RunningCloud, eventually
from tests.faults.hands import frozen, tagged, waits
from tests.faults.page import drill, lengths, log_of, said
from tests.outside.world import Someone, asked
from tests.ovs import run

pytestmark = pytest.mark.system

ROUTER, WEB = "203.0.113.1", "198.51.100.80"
HOSTS = ("h1", "h2")
UDP = socket.SOCK_DGRAM


@dataclass
class Way:
    """Out of the network of both guests."""

    cloud: RunningCloud
    admin: Any
    router: str
    port: Any
    """The router's, outside."""
    guests: dict[str, Someone]
    """By their hosts."""
    internet: Someone

    @property
    def address(self) -> str:
        return next(str(f["ip_address"]) for f in self.port.fixed_ips if ":" not in f["ip_address"])

    def gateway(self) -> str:
        """The host that it is on, as the API says."""
        agents = self.cloud.openstack_json("network", "agent", "list", "--router", self.router, "--long", project="admin")
        return next((agent["Host"] for agent in agents if agent["HA State"] == "active"), "")

    def translating(self) -> list[str]:
        """The hosts that translate, as their switches say."""
        return [host for host in HOSTS if f"nat(src={self.address})" in self.cloud.ofctl(host, "dump-flows", "br-int")]

    def reach(self, *hosts: str) -> bool:
        return all(self.guests[host].reaches(WEB) for host in hosts)


@pytest.fixture
def way(cloud: RunningCloud) -> Iterator[Way]:
    demo, admin = cloud.connect().network, cloud.connect("admin").network
    prefix = cloud.namespace("h1").rpartition("-")[0]
    router = demo.create_router(name="edge", external_gateway_info={"network_id": demo.find_network("internet").id})
    subnet = next(demo.subnets(cidr="10.0.0.0/24"))
    demo.add_interface_to_router(router, subnet=subnet.id)
    [port] = admin.ports(device_id=router.id, device_owner="network:router_gateway")
    made = Way(cloud, admin, router.id, port, {f"h{n}": Someone(f"{prefix}-vm{n}", f"10.0.0.1{n}") for n in (1, 2)},
               Someone(f"{prefix}-internet", ROUTER))
    assert cloud.settled() and eventually(made.gateway)
    for guest in made.guests.values():
        guest.run("ip", "neigh", "flush", "dev", "eth0")  # it may know another router by this address
    assert eventually(lambda: made.reach(*HOSTS))
    yield made
    demo.remove_interface_from_router(router, subnet=subnet.id)
    demo.delete_router(router)


def other(host: str) -> str:
    return HOSTS[host == HOSTS[0]]


@drill
def test_a_gateway_host_that_is_lost(cloud: RunningCloud, way: Way) -> None:
    since, old = lengths(cloud), way.gateway()
    assert way.translating() == [old]
    with frozen(cloud, "ovs-vswitchd", old):
        assert eventually(lambda: way.gateway() == other(old))
        assert eventually(lambda: way.reach(other(old)))
    assert cloud.settled() and eventually(lambda: way.translating() == [other(old)])
    assert way.gateway() == other(old) and eventually(lambda: way.reach(*HOSTS)), "nothing comes back by itself"
    said(cloud, "test_a_gateway_host_that_is_lost", since)


@drill
def test_a_gateway_host_that_no_controller_reaches(cloud: RunningCloud, way: Way) -> None:
    since, old = lengths(cloud), way.gateway()
    link = cloud.namespace(old)
    cloud.run("ip", "link", "set", link, "down")
    try:
        assert eventually(lambda: way.gateway() == other(old))
        assert eventually(lambda: way.translating() == list(HOSTS)), "the old one still has its flows"
        assert eventually(lambda: yielded(cloud, old)), "and has heard that they are another's to use"
        assert eventually(lambda: way.reach(*HOSTS))
        assert asked(way.guests[old], way.internet, ROUTER) == way.address
    finally:
        cloud.run("ip", "link", "set", link, "up")
    assert cloud.settled() and way.translating() == [other(old)]
    said(cloud, "test_a_gateway_host_that_no_controller_reaches", since)


def yielded(cloud: RunningCloud, host: str) -> bool:
    return "priority=100," in cloud.ofctl(host, "dump-flows", "br-int", f"table={YIELDED_TO.number}")


@contextlib.contextmanager
def impostor(way: Way, address: str) -> Iterator[str]:
    """A machine on the provider's wire that has taken an address of ours; its MAC."""
    name, mac = f"uf{os.getpid()}", "02:00:5e:00:53:77"
    run("ip", "netns", "add", name)
    try:
        for words in (f"-n {way.internet.namespace} link add impostor type veth peer name eth0 address {mac} netns {name}",
                      f"-n {way.internet.namespace} link set impostor master br0 up", f"-n {name} link set eth0 up",
                      f"-n {name} addr add {address}/24 dev eth0"):
            run("ip", *words.split())
        yield mac
    finally:
        run("ip", "netns", "del", name)


@drill
def test_an_address_that_another_machine_has(cloud: RunningCloud, way: Way) -> None:
    def known() -> str:
        return way.internet.run("ip", "neigh", "show", way.address)

    with impostor(way, way.address) as mac:
        way.internet.run("ip", "neigh", "flush", "dev", "br0")
        way.internet.run("ip", "neigh", "replace", way.address, "lladdr", mac, "dev", "br0", "nud", "stale")
        answers = way.internet.run(sys.executable, "-c", ASK, "br0", ROUTER, way.address).split()
        assert sorted(answers) == sorted([mac, way.port.mac_address]), "two MACs answer for it"
    way.internet.run("ip", "neigh", "replace", way.address, "lladdr", mac, "dev", "br0", "nud", "stale")
    assert eventually(lambda: way.port.mac_address in known(), 30), "by an announcement, within ten seconds"
    assert eventually(lambda: way.reach(*HOSTS))


# As `arping` does: each MAC that answers within three seconds.
ASK = """
import socket, struct, sys, time
device, own, address = sys.argv[1:]
line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)); line.bind((device, 0x0806))
mac, target = line.getsockname()[4], socket.inet_aton(address)
line.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + struct.pack(
    ">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, socket.inet_aton(own), bytes(6), target))
until, found = time.monotonic() + 3, set()
while (left := until - time.monotonic()) > 0:
    line.settimeout(left)
    try: frame = line.recv(100)
    except TimeoutError: break
    if frame[:6] == mac and frame[20:22] == b"\\0\\2" and frame[28:32] == target: found.add(frame[22:28].hex(":"))
print(*found)
"""


@drill
def test_a_router_that_remembers_too_much(cloud: RunningCloud, way: Way) -> None:
    host = way.gateway()
    zones = re.findall(rf"zone=(\d+),nat\(src={way.address}\)", cloud.ofctl(host, "dump-flows", "br-int"))
    zone = zones[0]
    guest = way.guests[other(host)]

    def limit(number: int) -> None:
        cloud.appctl(host, "dpctl/ct-set-limits", f"zone={zone},limit={number}")

    usual = cloud.appctl(host, "dpctl/ct-get-limits", f"zone={zone}")
    assert f"zone={zone},limit=262144,count=" in usual
    cloud.appctl(host, "dpctl/flush-conntrack", f"zone={zone}")
    limit(1)
    try:
        with guest.socket(UDP) as first, guest.socket(UDP) as second, way.internet.socket(UDP) as server:
            server.bind((ROUTER, 5000))
            server.settimeout(1)
            first.sendto(b"first", (ROUTER, 5000))
            assert server.recvfrom(10)[0] == b"first"
            second.sendto(b"second", (ROUTER, 5000))
            with pytest.raises(TimeoutError):
                server.recv(10)
            first.sendto(b"again", (ROUTER, 5000))
            assert server.recv(10) == b"again", "who was there goes on"
            assert "limit=1,count=1" in cloud.appctl(host, "dpctl/ct-get-limits", f"zone={zone}")
            limit(262144)
            second.sendto(b"second", (ROUTER, 5000))
            assert server.recv(10) == b"second"
    finally:
        limit(262144)


@drill
def test_a_meter_that_no_switch_takes(cloud: RunningCloud) -> None:
    since = lengths(cloud)
    with tagged(cloud, "unmeasured"):
        assert cloud.pings("vm1", "10.0.0.12"), "all else of the change went in"
        assert any("flows are refused" in words for words in waits(cloud, "h1"))
        said(cloud, "test_a_meter_that_no_switch_takes", since)


@drill
def test_a_wire_that_a_host_lacks(cloud: RunningCloud, way: Way) -> None:
    """A guest straight on it, a floating IP, and a router's gateway, which moves; and then no host has it."""
    since, admin = lengths(cloud), way.admin
    network = admin.create_network(name="wired", provider_network_type="vlan", provider_physical_network="physical1",
                                   provider_segmentation_id=300)
    admin.create_subnet(network_id=network.id, ip_version=4, cidr="10.9.0.0/24")
    port = admin.create_port(network_id=network.id)
    [guest] = admin.ports(fixed_ips="ip_address=10.0.0.11", network_id=admin.find_network("both").id)
    floating = admin.create_ip(floating_network_id=way.port.network_id, port_id=guest.id, project_id=guest.project_id)
    cloud.plug(port.id, "h1", "wired", "--static")

    def statuses() -> set[str]:
        return {admin.get_port(port.id).status, admin.get_ip(floating.id).status}

    def missing() -> dict[str, list[str]]:
        return {agent.host: agent.configuration["missing_wires"] for agent in admin.agents()}

    try:
        assert eventually(lambda: statuses() == {"ACTIVE"})
        cloud.vsctl("h1", "del-port", "br-ex", "eth1")
        assert eventually(lambda: statuses() == {"DOWN"})
        assert missing() == {"h1": ["physical1"], "h2": []}
        assert eventually(lambda: way.gateway() == "h2") and eventually(lambda: way.reach("h2"))
        assert admin.get_port(way.port.id).status == "ACTIVE"
        cloud.vsctl("h2", "del-port", "br-ex", "eth1")
        assert eventually(lambda: admin.get_port(way.port.id).status == "DOWN")
        admin.create_router(name="late", external_gateway_info={"network_id": way.port.network_id})
        assert eventually(lambda: "no host has a wire" in log_of(cloud, "controller")[since["controller"]:])
        for host in HOSTS:
            wire(cloud, host)
        assert eventually(lambda: statuses() == {"ACTIVE"} == {admin.get_port(way.port.id).status})
        assert missing() == dict.fromkeys(HOSTS, []) and eventually(lambda: way.reach(*HOSTS))
        said(cloud, "test_a_wire_that_a_host_lacks", since)
    finally:
        for host in HOSTS:
            wire(cloud, host)
        cloud.unplug("wired")
        for late in admin.routers(name="late"):
            admin.delete_router(late)
        admin.delete_ip(floating.id)
        admin.delete_port(port.id)
        admin.delete_network(network.id)


def wire(cloud: RunningCloud, host: str) -> None:
    cloud.vsctl(host, "--may-exist", "add-port", "br-ex", "eth1", "--", "set", "interface", "eth1", "ofport_request=100")
