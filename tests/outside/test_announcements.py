"""An address given back and given to another at once is the other's: neighbours that had talked to the first go on with it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.clouds import eventually
from tests.outside.world import Someone, World

pytestmark = pytest.mark.system
ADDRESSES = "10.91.0.77", "fd91::77"


@contextmanager
def plugged(world: World, name: str, host: str) -> Iterator[str]:
    """A guest with those addresses, once it is ACTIVE; its MAC."""
    subnets = {s.ip_version: s.id for s in world.demo.subnets(network_id=world.networks["blue"])}
    fixed = [{"subnet_id": subnets[6 if ":" in a else 4], "ip_address": a} for a in ADDRESSES]
    groups = world.demo.get_port(world.guests["d"].port).security_group_ids
    port = world.demo.create_port(network_id=world.networks["blue"], fixed_ips=fixed, security_group_ids=groups)
    world.cloud.plug(port.id, host, name, "--static")
    assert eventually(lambda: world.demo.get_port(port.id).status == "ACTIVE")
    try:
        yield port.mac_address
    finally:
        world.cloud.unplug(name)
        world.demo.delete_port(port.id)


def first(client: Someone, address: str) -> bool:
    """Whether the first packet is answered."""
    return client.reaches(address, "-W", "5", count=1)


def heard(client: Someone, address: str, mac: str, seconds: float) -> bool:
    """Whether it learns of the MAC without a question of its own. (It may ask about what it has used lately: not within that.)"""
    return bool(eventually(lambda: mac in client.run("ip", "neigh", "show", address), seconds))


def test_an_address_given_to_another_guest_is_its_own_at_once(world: World) -> None:
    """In its network and across a router; on another host, and on the same one."""
    near, far = world.guests["d"], world.guests["c"]
    with plugged(world, "first", "h2"):
        assert all(client.reaches(address) for client in (near, far) for address in ADDRESSES)
    with plugged(world, "second", "h3") as mac:
        assert first(far, ADDRESSES[0]) and first(far, ADDRESSES[1])
        assert heard(near, ADDRESSES[0], mac, 10) and first(near, ADDRESSES[0])
        assert heard(near, ADDRESSES[1], mac, 15) and first(near, ADDRESSES[1])
    with plugged(world, "third", "h3") as mac:
        assert first(far, ADDRESSES[0]) and heard(near, ADDRESSES[0], mac, 10) and first(near, ADDRESSES[0])


def test_a_floating_ip_given_to_another_guest_is_its_own_at_once(world: World) -> None:
    """Another's floating IP has another MAC. Outside it is announced, to machines and to gateways alike."""
    inside, one, other = sorted((world.guests[name] for name in "abc"), key=lambda guest: guest.host != world.gateway())
    old = world.admin.create_ip(floating_network_id=world.external, port_id=one.port)
    address = old.floating_ip_address
    assert eventually(lambda: world.admin.get_ip(old.id).status == "ACTIVE")
    assert world.internet.reaches(address) and inside.reaches(address)
    world.admin.delete_ip(old.id)
    new = world.admin.create_ip(floating_network_id=world.external, port_id=other.port, floating_ip_address=address)
    try:
        assert eventually(lambda: world.admin.get_ip(new.id).status == "ACTIVE")
        [port] = world.admin.ports(device_id=new.id)
        assert heard(world.internet, address, port.mac_address, 10) and first(world.internet, address)
        assert first(inside, address)
    finally:
        world.admin.delete_ip(new.id)
