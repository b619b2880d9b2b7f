"""Tunnel neighbours on the real thing: known before any guest sends, and again after whatever made a switch forget."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from ovsagent import links
from ovsagent.underlay import question
from tests.clouds import PATIENCE, RunningCloud, eventually

pytestmark = pytest.mark.system
PEER = {"h1": "198.18.0.2", "h2": "198.18.0.1"}


def known(cloud: RunningCloud, host: str) -> dict[str, str]:
    """Address → MAC, as the host's switch has them."""
    lines = cloud.appctl(host, "tnl/neigh/show").splitlines()
    return {words[0]: words[1] for words in map(str.split, lines) if len(words) == 3 and words[2] == "br-phys"}


def mac(cloud: RunningCloud, host: str) -> str:
    return cloud.run("ip", "netns", "exec", cloud.namespace(host), "cat", "/sys/class/net/br-phys/address").stdout.strip()


def all_know(cloud: RunningCloud) -> bool:
    return known(cloud, "h1").get(PEER["h1"]) == mac(cloud, "h2") and known(cloud, "h2").get(PEER["h2"]) == mac(cloud, "h1")


@pytest.fixture(scope="module")
def own() -> Iterator[RunningCloud]:
    """A fresh cloud, in which nobody has sent anything."""
    with RunningCloud(hosts=2) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def network(own: RunningCloud) -> Iterator[str]:
    sdk = own.connect()
    made = sdk.network.create_network(name="ahead")
    sdk.network.create_subnet(network_id=made.id, ip_version=4, cidr="10.7.0.0/24")
    yield made.id


def pair(cloud: RunningCloud, network: str, number: int) -> tuple[str, str, str]:
    """Two fresh guests on two hosts, both ports ACTIVE; the second's address. They have not sent a packet: without IPv6
    no guest reports its multicast groups, from which the switches would learn of each other."""
    sdk = cloud.connect()
    ports = [sdk.network.create_port(network_id=network) for _ in range(2)]
    names = f"a{number}", f"b{number}"
    for port, host, name in zip(ports, ("h1", "h2"), names, strict=True):
        namespace = cloud.namespace(host).replace(f"-{host}", f"-{name}")
        cloud.run("ip", "netns", "add", namespace)
        cloud.run("ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        cloud.plug(port.id, host, name)
    return *names, ports[1].fixed_ips[0]["ip_address"]


def heard(cloud: RunningCloud, target: str) -> set[str]:
    """The MACs that answer for an address on the wire between the hosts."""
    with links.inside(cloud.namespace("h1").replace("-h1", "-underlay")):
        wire = links.find("br0")
        assert wire
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as line:
            line.bind(("br0", 0x0806))
            line.settimeout(PATIENCE)
            line.send(question(wire.mac, "198.18.99.99", target))
            answers = set()
            with contextlib.suppress(TimeoutError):
                while frame := line.recv(100):
                    if frame[20:22] == b"\0\2" and frame[28:32] == socket.inet_aton(target):
                        answers.add(frame[22:28].hex(":"))
                        line.settimeout(0.5)
    return answers


def test_both_know_each_other_before_any_guest_sent(own: RunningCloud) -> None:
    assert eventually(lambda: all_know(own)), [known(own, host) for host in PEER]
    assert own.status()["guests"] == []


def test_the_very_first_ping_of_five_pairs_is_answered(own: RunningCloud, network: str) -> None:
    for number in range(5):
        one, other, address = pair(own, network, number)
        assert own.pings(one, address, count=1), f"pair {number}"
        own.unplug(one)
        own.unplug(other)


def test_only_the_device_with_the_address_answers_for_it(own: RunningCloud) -> None:
    """Not the NIC beneath the switch, which hears each question too: who learned that MAC would send into the void."""
    for host, asker in (("h1", "h2"), ("h2", "h1")):
        assert heard(own, PEER[asker]) == {mac(own, host)}


def test_a_switch_that_started_anew_knows_again_unasked(own: RunningCloud) -> None:
    old = own.pid("ovs-vswitchd", "h1")
    assert old
    os.kill(old, signal.SIGKILL)
    assert eventually(lambda: own.pid("ovs-vswitchd", "h1") not in (None, old))
    assert eventually(lambda: all_know(own)), [known(own, host) for host in PEER]


def test_a_cable_put_back_ends_a_silence_under_traffic(own: RunningCloud, network: str) -> None:
    """A first packet to a peer that did not answer leaves a flow that drops; traffic keeps it, so nobody asks again."""
    one, _, address = pair(own, network, 9)
    underlay = own.namespace("h1").replace("-h1", "-underlay")
    own.run("ip", "-n", underlay, "link", "set", "h2", "down")
    own.appctl("h1", "tnl/neigh/flush")
    try:
        assert not own.pings(one, address, count=5, patience=1)
    finally:
        own.run("ip", "-n", underlay, "link", "set", "h2", "up")
    assert eventually(lambda: own.pings(one, address, count=1, patience=1), 30)
