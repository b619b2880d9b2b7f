"""Whoever is plugged is announced: neighbours that had talked to another under this address go on with the new one at once."""

import pytest

from tests.clouds import eventually
from tests.outside.world import World

pytestmark = pytest.mark.system
ADDRESSES = "10.91.0.77", "fd91::77"


def plugged(world: World, name: str, host: str) -> tuple[str, str]:
    """A guest with those addresses; its port and MAC."""
    subnets = {s.ip_version: s.id for s in world.demo.subnets(network_id=world.networks["blue"])}
    fixed = [{"subnet_id": subnets[6 if ":" in a else 4], "ip_address": a} for a in ADDRESSES]
    groups = world.demo.get_port(world.guests["d"].port).security_group_ids
    port = world.demo.create_port(network_id=world.networks["blue"], fixed_ips=fixed, security_group_ids=groups)
    world.cloud.plug(port.id, host, name, "--static")
    return port.id, port.mac_address


def test_an_address_given_to_another_guest_is_its_own_at_once(world: World) -> None:
    d = world.guests["d"]
    before, _ = plugged(world, "before", "h2")
    assert all(d.reaches(address) for address in ADDRESSES)
    world.cloud.unplug("before")
    world.demo.delete_port(before)
    after, mac = plugged(world, "after", "h3")
    assert eventually(lambda: mac in d.run("ip", "neigh", "show", ADDRESSES[0]), 3), "without a question of its own"
    assert d.reaches(ADDRESSES[0])
    assert eventually(lambda: mac in d.run("ip", "neigh", "show", ADDRESSES[1]), 8) and d.reaches(ADDRESSES[1])
    world.cloud.unplug("after")
    world.demo.delete_port(after)
