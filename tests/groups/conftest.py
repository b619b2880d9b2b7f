"""The tenants and their guests: plugged once for all tests here."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clouds import RunningCloud
from tests.groups.rules import Words
from tests.groups.world import TENANTS, Guest, Tenant, World

PREFIXES = {4: ("10.0.0.0/24", "10.0.0.11/32", "10.0.0.12/31", "0.0.0.0/0"), 6: ("fd00::/64", "fd00::11/128", "fd00::10/125")}
OFFICE = ["10.0.0.10/32", "10.0.0.13/32", "fd00::12/127"]

@pytest.fixture(scope="package")
def world(cloud: RunningCloud) -> Iterator[World]:
    world = World(cloud, {}, [])
    made: list[tuple[Any, str, str]] = []
    for tenant in TENANTS:
        sdk = cloud.connect(tenant).network
        network = sdk.create_network(name="groups")
        subnets = {version: sdk.create_subnet(network_id=network.id, ip_version=version, cidr=cidr, gateway_ip=None,
                                              enable_dhcp=False).id
                   for version, cidr in ((4, "10.0.0.0/24"), (6, "fd00::/64"))}
        groups = [sdk.create_security_group(name=f"g{n}").id for n in range(3)]
        office = sdk.create_address_group(name="office", addresses=OFFICE).id
        world.tenants[tenant] = Tenant(sdk, Words(PREFIXES, groups, office, OFFICE))
        for n in range(4):
            addresses = {4: f"10.0.0.1{n}", 6: f"fd00::1{n}"}
            port = sdk.create_port(network_id=network.id, fixed_ips=[
                {"subnet_id": subnets[version], "ip_address": address} for version, address in addresses.items()])
            plugged = cloud.plug(port.id, f"h{1 + n % 2}", f"{tenant}{n}", "--static")
            world.guests.append(Guest(tenant, f"{tenant}{n}", port.id, plugged["namespace"], addresses))
        made += [(sdk, "network", network.id), (sdk, "address_group", office), *((sdk, "security_group", g) for g in groups)]
    yield world
    for guest in world.guests:
        cloud.unplug(guest.name)
        world.tenants[guest.tenant].network.delete_port(guest.port)
    for tenant in world.tenants.values():
        for group in tenant.words.groups:
            tenant.network.put(f"/security-groups/{group}/rules", json={"security_group_rules": []})
    for sdk, kind, id in made:
        getattr(sdk, f"delete_{kind}")(id)
