"""The attacker and its victims: plugged once for all tests here."""

from collections.abc import Iterator

import pytest

from tests.attackers import routed as behind
from tests.attackers.scene import Scene, gone, plugged
from tests.clouds import RunningCloud


@pytest.fixture(scope="package")
def scene(cloud: RunningCloud) -> Iterator[Scene]:
    sdk = cloud.connect()
    network = sdk.network.create_network(name="attacked")
    sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.66.0.0/24")
    sdk.network.create_subnet(network_id=network.id, ip_version=6, cidr="fd66::/64",
                              ipv6_ra_mode="dhcpv6-stateful", ipv6_address_mode="dhcpv6-stateful")
    # What the victims hear is not for their groups to say: these let everything in.
    open_to_all = sdk.network.create_security_group(name="open-to-all")
    for ethertype in ("IPv4", "IPv6"):
        sdk.network.create_security_group_rule(security_group_id=open_to_all.id, direction="ingress", ethertype=ethertype)
    yield Scene(cloud, network, *(plugged(cloud, network, host, name, open_to_all)
                                  for name, host in (("attacker", "h1"), ("near", "h1"), ("far", "h2"))))
    gone(cloud, network, open_to_all)


@pytest.fixture(scope="package")
def routed(cloud: RunningCloud) -> Iterator[behind.Scene]:
    with behind.built(cloud) as scene:
        yield scene
