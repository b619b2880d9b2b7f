"""Tunnel neighbours on the real thing: known before any guest sends, and again after whatever made a switch forget."""

import itertools
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.clouds import RunningCloud, eventually

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
    """Two fresh guests on two hosts, both ports ACTIVE; the second's address."""
    sdk = cloud.connect()
    ports = [sdk.network.create_port(network_id=network) for _ in range(2)]
    names = f"a{number}", f"b{number}"
    for port, host, name in zip(ports, ("h1", "h2"), names, strict=True):
        cloud.plug(port.id, host, name)
    return *names, ports[1].fixed_ips[0]["ip_address"]


def test_both_know_each_other_before_any_guest_sent(own: RunningCloud) -> None:
    assert eventually(lambda: all_know(own), 3), [known(own, host) for host in PEER]
    assert own.status()["guests"] == []


def test_the_very_first_ping_of_five_pairs_is_answered(own: RunningCloud, network: str) -> None:
    for number in range(5):
        one, other, address = pair(own, network, number)
        assert own.pings(one, address, count=1), f"pair {number}"
        own.unplug(one)
        own.unplug(other)
