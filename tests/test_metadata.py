"""The metadata address in a whole cloud: everybody is told of itself, by both IP versions, and nobody reaches more than that."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.attackers.scene import Guest
from tests.clouds import RunningCloud, eventually

pytestmark = pytest.mark.system

FOUR, SIX = "http://169.254.169.254", "http://[fe80::a9fe:a9fe%25eth0]"
DOOR_MAC = "fa:16:3f:ff:ff:fe"
FLOOD = """\
import socket, sys, time
until, made = time.monotonic() + float(sys.argv[1]), 0
held = []
while time.monotonic() < until:
    line = socket.socket()
    line.setblocking(False)
    line.connect_ex(("169.254.169.254", 80))
    held.append(line)
    made += 1
    if len(held) > 500:
        held.pop(0).close()
print(made)
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with RunningCloud(hosts=1) as running:
        yield running


Plug = Callable[..., Guest]


@pytest.fixture(scope="module")
def plug(cloud: RunningCloud) -> Plug:
    """A guest on a network of its own, all of which have the same addresses."""
    sdk = cloud.connect().network

    def make(name: str, addresses: tuple[str, ...] = ("10.0.0.5",), gateway: str | None = "10.0.0.1", **port: Any) -> Guest:
        network = sdk.create_network(name=name)
        four = sdk.create_subnet(network_id=network.id, ip_version=4, cidr="10.0.0.0/24", gateway_ip=gateway,
                                 dns_nameservers=["10.0.0.53"])
        sdk.create_subnet(network_id=network.id, ip_version=6, cidr="fd00::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac")
        fixed = [{"subnet_id": four.id, "ip_address": address} for address in addresses]
        made = sdk.create_port(network_id=network.id, name=name, fixed_ips=fixed, **port)
        plugged = cloud.plug(made.id, "h1", name)
        return Guest(name, plugged["namespace"], made.id, made.mac_address, addresses[0],
                     next(f["ip_address"] for f in made.fixed_ips if ":" in f["ip_address"]))

    return make


@pytest.fixture(scope="module")
def red(plug: Plug) -> Guest:
    return plug("red")


@pytest.fixture(scope="module")
def blue(plug: Plug) -> Guest:
    """On a network that has no gateway."""
    return plug("blue", gateway=None)


def curl(cloud: RunningCloud, guest: Guest, path: str, of: str = FOUR, *options: str) -> str:
    return cloud.run("ip", "netns", "exec", guest.namespace, "curl", "-s", "-m", "20", *options, of + path, check=False).stdout


def told(cloud: RunningCloud, guest: Guest, path: str = "/openstack/latest/meta_data.json", of: str = FOUR, *options: str) -> Any:
    said = curl(cloud, guest, path, of, *options)
    return json.loads(said) if path.endswith(".json") else said


def test_each_is_told_of_itself(cloud: RunningCloud, red: Guest, blue: Guest) -> None:
    for guest in (red, blue):
        for of in (FOUR, SIX):
            assert told(cloud, guest, of=of)["uuid"] == guest.port
            assert told(cloud, guest, "/latest/meta-data/instance-id", of) == guest.port
            assert told(cloud, guest, "/2009-04-04/meta-data/mac", of) == guest.mac
    assert told(cloud, red, "/latest/meta-data/local-ipv4") == "10.0.0.5"
    assert told(cloud, red, "/latest/meta-data/hostname") == "host-10-0-0-5.openstacklocal"
    assert told(cloud, red)["project_id"] == cloud.connect().current_project_id
    network = told(cloud, red, "/openstack/latest/network_data.json")
    [link] = network["links"]
    assert (link["vif_id"], link["ethernet_mac_address"], link["mtu"]) == (red.port, red.mac, 1450)
    assert {n["type"] for n in network["networks"]} == {"ipv4_dhcp", "ipv6_slaac"}
    assert network["services"] == [{"type": "dns", "address": "10.0.0.53"}]
    routes = cloud.exec(blue.name, "ip", "route")
    assert "default" not in routes and "169.254.169.254 via 10.0.0.1" in routes, "told by DHCP, where there is no other way"
    cloud.run("ip", "-n", red.namespace, "route", "add", "169.254.169.254", "dev", "eth0")
    assert told(cloud, red)["uuid"] == red.port, "asked for its MAC, it has one"
    cloud.run("ip", "-n", red.namespace, "route", "del", "169.254.169.254")
    assert curl(cloud, red, "/openstack/latest/user_data", FOUR, "-i").startswith("HTTP/1.1 404")


def test_whatever_address_a_port_speaks_from(cloud: RunningCloud, plug: Plug) -> None:
    """Several of its own, a pair's, and, without port security, any."""
    many = plug("many", ("10.0.0.5", "10.0.0.6", "10.0.0.1"), allowed_address_pairs=[{"ip_address": "10.0.0.77"}])
    free = plug("free", port_security_enabled=False, security_groups=[])
    for guest, own in ((many, ("10.0.0.5", "10.0.0.6", "10.0.0.1", "10.0.0.77")),
                       (free, ("10.0.0.5", "203.0.113.7", "255.255.255.254", "240.0.0.1", "1.0.0.1"))):
        for address in own:
            cloud.run("ip", "-n", guest.namespace, "addr", "replace", f"{address}/32", "dev", "eth0")
            assert told(cloud, guest, "/latest/meta-data/instance-id", FOUR, "--interface", address) == guest.port, address


def test_a_router_is_passed_over(cloud: RunningCloud, red: Guest) -> None:
    """Its MAC is the next hop's, and it would have no way there; it may come and go."""
    sdk = cloud.connect().network
    [network] = sdk.networks(name="red")
    [subnet] = sdk.subnets(network_id=network.id, ip_version=4)
    router = sdk.create_router(name="red")
    sdk.add_interface_to_router(router, subnet=subnet.id)
    [port] = sdk.ports(device_id=router.id)

    def next_hop() -> bool:
        cloud.run("ip", "-n", red.namespace, "neigh", "flush", "dev", "eth0")
        assert told(cloud, red)["uuid"] == red.port
        return port.mac_address in cloud.run("ip", "-n", red.namespace, "neigh", "show", "10.0.0.1").stdout

    assert eventually(next_hop), "it is sent to the router"
    outside = sdk.find_network("internet")
    sdk.update_router(router, external_gateway_info={"network_id": outside.id})
    floating = sdk.create_ip(floating_network_id=outside.id, port_id=red.port, fixed_ip_address=red.four)
    asked = "/latest/meta-data/public-ipv4"
    assert eventually(lambda: curl(cloud, red, asked) == floating.floating_ip_address) and next_hop()
    sdk.delete_ip(floating)
    assert eventually(lambda: "There is nothing here" in curl(cloud, red, asked))
    sdk.update_router(router, external_gateway_info={})
    sdk.remove_interface_from_router(router, subnet=subnet.id)
    sdk.delete_router(router)
    assert eventually(lambda: not next_hop())


def received(cloud: RunningCloud) -> int:
    """Packets that the host's kernel has had of its guests."""
    said = cloud.run("ip", "-n", cloud.namespace("h1"), "-s", "-j", "link", "show", "metadata").stdout
    return int(json.loads(said)[0]["stats64"]["rx"]["packets"])


def quiet(cloud: RunningCloud) -> int:
    """The same, when what was said before has ended: connections, too, are taken leave of."""
    def still() -> bool:
        before = received(cloud)
        time.sleep(1)
        return received(cloud) == before

    assert eventually(still)
    return received(cloud)


def attacks(me: Guest, it: Guest, host: str) -> Iterator[Packet]:
    to = Ether(src=me.mac, dst=DOOR_MAC)
    for port in (22, 443, 16254, 6681):
        yield to / IP(src=me.four, dst="169.254.169.254") / TCP(dport=port, flags="S")
        yield to / IPv6(src=me.local, dst="fe80::a9fe:a9fe") / TCP(dport=port, flags="S")
    for other in ("248.0.128.100", "248.0.128.101", "169.254.169.253", "127.0.0.1", "240.0.0.5", host):
        for port in (80, 16254, 6681):
            yield to / IP(src=me.four, dst=other) / TCP(dport=port, flags="S")
    for six in ("fe80::a9fe:0:0:64", "fe80::a9fe:a9fd", "ff02::1"):
        yield to / IPv6(src=me.local, dst=six) / TCP(dport=80, flags="S")
    yield to / IP(src=me.four, dst="169.254.169.254") / UDP(dport=80) / Raw(b"hello")
    yield to / IP(src=me.four, dst="169.254.169.254") / ICMP()
    yield from fragment(to / IP(src=me.four, dst="169.254.169.254") / TCP(dport=80, flags="S") / Raw(bytes(2000)), 1000)
    # In the name of another; the victim would get the answer, or the attacker what is the victim's.
    for forged in ("10.0.0.6", "203.0.113.1", "0.0.0.0", "240.0.0.5"):
        yield to / IP(src=forged, dst="169.254.169.254") / TCP(dport=80, flags="S")
    yield Ether(src=it.mac, dst=DOOR_MAC) / IP(src=it.four, dst="169.254.169.254") / TCP(dport=80, flags="S")
    for forged in (it.local, me.six, "fd00::99", "::"):
        yield to / IPv6(src=forged, dst="fe80::a9fe:a9fe") / TCP(dport=80, flags="S")


def test_nothing_else_reaches_the_host(cloud: RunningCloud, red: Guest, blue: Guest) -> None:
    words = cloud.run("ip", "-n", cloud.namespace("h1"), "-o", "-4", "addr", "show", "scope", "global").stdout
    host = re.findall(r"inet ([0-9.]+)/", words)[0]
    before = quiet(cloud)
    with blue.hearing(lambda frame: b"\x00P" in frame[34:60]) as heard:
        red.send(list(attacks(red, blue, host)))
    assert received(cloud) == before and not heard
    red.send([Ether(src=red.mac, dst=DOOR_MAC) / IP(src=red.four, dst="169.254.169.254") / TCP(dport=80, flags="S")])
    assert eventually(lambda: received(cloud) > before), "what may pass does: so the count is right"


def test_from_outside_nobody_is_there(cloud: RunningCloud, red: Guest) -> None:
    """Who is on the host learns nothing, and nothing but answers comes to a guest from there."""
    inside = ["ip", "netns", "exec", cloud.namespace("h1"), sys.executable, "-c"]
    for address in ("248.0.128.100", "127.0.0.1"):
        tried = cloud.run(*inside, f"import urllib.request as u; u.urlopen('http://{address}:16254/', timeout=20)", check=False)
        assert tried.returncode and not tried.stdout and re.search("refused|reset|without response", tried.stderr)
    with red.hearing(lambda frame: b"from the host" in frame) as heard:
        cloud.run(*inside, "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                  "[s.sendto(b'from the host', (to, 80)) for to in ('242.0.0.5', '10.0.0.5')]", check=False)
    assert not heard


def test_a_flood_of_one_leaves_the_others_served(cloud: RunningCloud, red: Guest, blue: Guest) -> None:
    words = ["ip", "netns", "exec", red.namespace, sys.executable, "-c", FLOOD, "2"]
    flood = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    for _ in range(10):
        assert told(cloud, blue)["uuid"] == blue.port
    made = int(flood.communicate(timeout=60)[0])
    assert made > 200, f"{made} tried"
    assert eventually(lambda: curl(cloud, red, "/latest/") == "meta-data/")


def test_it_goes_on_without_controller_and_after_the_agent_and_the_switch_died(cloud: RunningCloud, red: Guest) -> None:
    def served() -> bool:
        return curl(cloud, red, "/latest/meta-data/instance-id") == red.port

    planes = [one["pid"] for one in cloud.status()["processes"] if one["host"] is None and one["name"] != "supervisor"]
    supervisor = cloud.pid("supervisor") or 0
    agent = cloud.pid("agent", "h1") or 0
    for pid in planes:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert served()
        os.kill(agent, signal.SIGKILL)
        assert eventually(lambda: cloud.pid("agent", "h1") not in (None, agent)) and eventually(served), "from its disk"
        os.kill(supervisor, signal.SIGSTOP)
        for pid in planes:
            os.kill(pid, signal.SIGKILL)
        assert served()
    finally:
        for pid in (*planes, supervisor):
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGCONT)
    assert cloud.settled()
    os.kill(cloud.pid("ovs-vswitchd", "h1") or 0, signal.SIGSEGV)
    time.sleep(0.5)
    assert eventually(served)
