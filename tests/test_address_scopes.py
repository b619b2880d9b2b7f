"""Address scopes on two hosts, with packets: who reaches whom by a router, and as whom, inside and outside."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.clouds import RunningCloud, eventually
from tests.outside.world import Someone, asked, refused

pytestmark = pytest.mark.system

POOLS = {"wide": ("10.160.0.0/16", "fd60:1::/56"), "more": ("10.161.0.0/16", "fd60:2::/56"),
         "far": ("10.162.0.0/16", "fd60:3::/56")}
"""`wide` and `more` are of one scope of each IP version, `far` of others."""
NETWORKS = {"outside": "wide", "near": "wide", "next": "more", "far": "far", "plain": ""}
PLAIN = "10.163.0.0/24", "fd60:4::/64"
HOSTS = {"outside": "h1", "near": "h1", "next": "h2", "far": "h2", "plain": "h1"}
VLAN = 160
WITHIN = set(itertools.permutations(("outside", "near", "next"), 2))
"""Of one scope. (Who is in none is in the scope of no other here.)"""


@dataclass
class Scene:
    cloud: RunningCloud
    demo: Any
    admin: Any
    router: str
    networks: dict[str, str]
    guests: dict[str, Someone]

    @property
    def own(self) -> list[str]:
        """The router's addresses outside, that of IPv4 first."""
        info = self.demo.get_router(self.router).external_gateway_info
        return sorted((f["ip_address"] for f in info["external_fixed_ips"]), key=lambda address: ":" in address)

    def reach(self, expected: set[tuple[str, str]], version: int) -> bool:
        """Each of these, and nobody else: asked until it is so, since what a switch had decided before lives on for a moment."""
        def reached(pair: tuple[str, str]) -> bool:
            one, other = (self.guests[name] for name in pair)
            return " 0 received" not in one.ping(other.four if version == 4 else other.six, count=2, patience=2)

        pairs = list(itertools.permutations(self.guests, 2))
        with ThreadPoolExecutor(len(pairs)) as crowd:
            return bool(eventually(lambda: set(itertools.compress(pairs, crowd.map(reached, pairs))) == expected))


def subnets(sdk: Any, network: str, pool: str, pools: dict[str, list[str]]) -> Iterator[str]:
    for version, cidr, at in ((4, PLAIN[0], 0), (6, PLAIN[1], 1)):
        where = {"subnetpool_id": pools[pool][at]} if pool else {"cidr": cidr}
        yield sdk.create_subnet(network_id=network, ip_version=version, **where).id


@pytest.fixture(scope="module")
def scene(cloud: RunningCloud) -> Iterator[Scene]:
    demo, admin = cloud.connect().network, cloud.connect("admin").network
    scopes = {name: [admin.create_address_scope(name=name, ip_version=version, shared=True).id for version in (4, 6)]
              for name in ("wide", "far")}
    pools = {name: [admin.create_subnet_pool(name=name, prefixes=[prefix], default_prefixlen=length, shared=True,
                                             address_scope_id=scope).id
                    for prefix, length, scope in zip(prefixes, (24, 64), scopes["wide" if name == "more" else name], strict=True)]
             for name, prefixes in POOLS.items()}
    group = demo.create_security_group(name="scopes")
    for version in ("IPv4", "IPv6"):
        demo.create_security_group_rule(security_group_id=group.id, direction="ingress", ethertype=version)
    wire = {"is_router_external": True, "provider_network_type": "vlan", "provider_physical_network": "physical1",
            "provider_segmentation_id": VLAN}
    networks = {name: (admin.create_network(name=name, **wire) if name == "outside" else demo.create_network(name=name)).id
                for name in NETWORKS}
    parts = {name: list(subnets(admin if name == "outside" else demo, networks[name], pool, pools))
             for name, pool in NETWORKS.items()}
    router = demo.create_router(name="scopes", external_gateway_info={"network_id": networks["outside"]})
    guests = {}
    for name, host in HOSTS.items():
        mine = {"port_security_enabled": False} if name == "outside" else {"security_group_ids": [group.id]}
        port = (admin if name == "outside" else demo).create_port(name=f"scope-{name}", network_id=networks[name], **mine)
        plugged = cloud.plug(port.id, host, f"scope-{name}", "--static")
        four, six = sorted((f["ip_address"] for f in port.fixed_ips), key=lambda address: ":" in address)
        guests[name] = Someone(plugged["namespace"], four, six, port.id, port.mac_address, host)
        if name != "outside":
            for subnet in parts[name]:
                demo.add_interface_to_router(router, subnet=subnet)
    scene = Scene(cloud, demo, admin, router.id, networks, guests)
    assert cloud.settled()
    for guest in guests.values():   # who is outside knows the way to everybody, whether it leads there or not
        for address, own in zip((guest.four, guest.six), scene.own, strict=True):
            if guest is not guests["outside"]:
                guests["outside"].run("ip", "route", "add", address, "via", own)
    yield scene
    for name, guest in guests.items():
        cloud.unplug(f"scope-{name}")
        admin.delete_port(guest.port)
    for name, those in parts.items():
        for subnet in those if name != "outside" else ():
            demo.remove_interface_from_router(router, subnet=subnet)
    demo.delete_router(router.id)
    for id in networks.values():
        admin.delete_network(id)
    for of in pools.values():
        for id in of:
            admin.delete_subnet_pool(id)
    for of in scopes.values():
        for id in of:
            admin.delete_address_scope(id)
    demo.delete_security_group(group.id)


def test_networks_say_which_scopes_they_are_in(scene: Scene) -> None:
    said = {name: [getattr(scene.demo.get_network(id), f"ipv{version}_address_scope_id") for version in (4, 6)]
            for name, id in scene.networks.items()}
    assert said["near"] == said["next"] == said["outside"] and said["plain"] == [None, None]
    assert None not in said["near"] and not set(said["near"]) & set(said["far"])


def test_who_reaches_whom(scene: Scene) -> None:
    out = {(name, "outside") for name in ("far", "plain")}
    assert scene.reach(WITHIN | out, 4), "others reach who is outside under the router's address"
    assert scene.reach(WITHIN, 6)


def test_as_whom(scene: Scene) -> None:
    near, far, plain, out = (scene.guests[name] for name in ("near", "far", "plain", "outside"))
    assert asked(near, out, out.four) == near.four and asked(near, out, out.six) == near.six
    assert asked(out, near, near.four) == out.four and asked(out, near, near.six) == out.six
    for guest in (far, plain):
        assert asked(guest, out, out.four) == scene.own[0]
    assert refused(near, out.four) and refused(out, near.four) and refused(plain, out.four), "and told"
    assert asked(near, out, out.four, size=3000) == near.four and asked(out, near, near.four, size=3000) == out.four
    assert asked(far, out, out.four, size=3000) == scene.own[0]


def test_a_floating_ip_is_reached_from_any_scope(scene: Scene) -> None:
    far, out = scene.guests["far"], scene.guests["outside"]
    floating = scene.demo.create_ip(floating_network_id=scene.networks["outside"], port_id=far.port)
    try:
        assert scene.cloud.settled()
        address = floating.floating_ip_address
        for name, seen in ("outside", out.four), ("next", scene.own[0]), ("plain", scene.own[0]):
            assert asked(scene.guests[name], far, address) == seen, name
        assert asked(far, out, out.four) == address and asked(out, far, address, size=3000) == out.four
        assert refused(out, address) and refused(far, out.four), "and told"
    finally:
        scene.demo.delete_ip(floating.id)


def test_who_has_a_floating_ip_in_the_scope_outside_is_reached_by_both_addresses(scene: Scene) -> None:
    near, out = scene.guests["near"], scene.guests["outside"]
    floating = scene.demo.create_ip(floating_network_id=scene.networks["outside"], port_id=near.port)
    try:
        assert scene.cloud.settled()
        for address in (near.four, floating.floating_ip_address):
            assert asked(out, near, address) == out.four
    finally:
        scene.demo.delete_ip(floating.id)


@pytest.mark.parametrize("outer", ["7000", "7000:7003"])    # one port for one; of many to one conntrack remembers which
def test_forwarded_ports_are_reached_from_any_scope(scene: Scene, outer: str) -> None:
    far, out = scene.guests["far"], scene.guests["outside"]
    floating = scene.demo.create_ip(floating_network_id=scene.networks["outside"])
    path = f"/floatingips/{floating.id}/port_forwardings"
    answer = scene.demo.post(path, json={"port_forwarding": {
        "protocol": "udp", "internal_port_id": far.port, "internal_ip_address": far.four, "external_port_range": outer,
        "internal_port_range": "5000"}})
    try:
        assert answer.status_code == 201 and scene.cloud.settled(), answer.text
        for name, seen in ("outside", out.four), ("next", scene.own[0]), ("plain", scene.own[0]):
            assert asked(scene.guests[name], far, floating.floating_ip_address, port=7000) == seen, name
        assert asked(out, far, floating.floating_ip_address, port=7000, size=3000) == out.four
    finally:
        scene.demo.delete(f"{path}/{answer.json()['port_forwarding']['id']}")
        scene.demo.delete_ip(floating.id)


def test_without_snat_who_is_in_another_scope_stays_inside(scene: Scene) -> None:
    def snat(on: bool) -> None:
        info = {"network_id": scene.networks["outside"], "enable_snat": on}
        scene.admin.update_router(scene.router, external_gateway_info=info)
        assert scene.cloud.settled()

    far, near, out = (scene.guests[name] for name in ("far", "next", "outside"))
    floating = scene.demo.create_ip(floating_network_id=scene.networks["outside"])
    snat(False)
    try:
        assert scene.reach(WITHIN, 4)
        scene.demo.update_ip(floating, port_id=far.port)
        assert scene.cloud.settled()
        for one in (near, out):     # but a floating IP leads out, and in
            assert asked(one, far, floating.floating_ip_address) == one.four
        assert asked(far, out, out.four) == floating.floating_ip_address
    finally:
        scene.demo.delete_ip(floating.id)
        snat(True)


def test_a_pool_that_leaves_its_scope_takes_its_subnets_along(scene: Scene) -> None:
    pool = next(scene.admin.subnet_pools(name="far", ip_version=4))
    scene.admin.update_subnet_pool(pool, address_scope_id=None)
    try:
        assert scene.cloud.settled()
        assert scene.reach(WITHIN | {(name, "outside") for name in ("far", "plain")} | {("far", "plain"), ("plain", "far")}, 4)
    finally:
        scene.admin.update_subnet_pool(pool, address_scope_id=next(scene.admin.address_scopes(name="far", ip_version=4)).id)
