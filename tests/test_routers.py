"""Routers on two hosts, with packets: every hop is on the host of who sends, and none of it needs a controller."""

import contextlib
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ovsagent.links import inside
from tests.clouds import PATIENCE, RunningCloud, eventually
from tests.ovs import run

pytestmark = pytest.mark.system

NETS = {"red": ("10.81.0.0/24", "fd81::/64", 1450), "green": ("10.82.0.0/24", "fd82::/64", 1450),
        "blue": ("10.84.0.0/24", "fd84::/64", 1300)}
GUESTS = {"red1": "h1", "green1": "h1", "green2": "h2", "blue2": "h2"}
BEHIND = "10.83.0.0/24"     # behind green1, and a part of it behind green2
SHARED = "10.82.0.250", "fd82::250"     # either of them may have these
MEGABYTE = 1 << 20


@dataclass
class Guest:
    name: str
    port: str
    namespace: str
    four: str
    six: str

    def run(self, *command: str, check: bool = True) -> str:
        return run("ip", "netns", "exec", self.namespace, *command, check=check)

    def ping(self, address: str, *options: str, count: int = 2, patience: int = 5) -> str:
        return self.run("ping", "-n", "-c", str(count), "-i", "0.1", "-W", str(patience), *options, address, check=False)

    def reaches(self, address: str, *options: str, count: int = 2) -> bool:
        """Asked twice before the answer is no: on a machine that does other things a switch may be away for a second."""
        return any(f" {count} received" in self.ping(address, *options, count=count) for _ in range(2))

    def misses(self, address: str) -> bool:
        """No answer; asked until there is none, since what a switch had decided before lives on for a moment."""
        return bool(eventually(lambda: " 0 received" in self.ping(address, patience=1), 20))

    def socket(self, family: int, kind: int) -> socket.socket:
        with inside(self.namespace):
            return socket.socket(family, kind)


@dataclass
class Scene:
    cloud: RunningCloud
    sdk: Any
    router: str
    ports: dict[str, str]
    """Of the router, by network: the MACs of those with IPv6."""
    guests: dict[str, Guest] = field(default_factory=dict)

    def settled(self) -> bool:
        return self.cloud.settled()

    def change(self, **values: Any) -> None:
        answer = self.sdk.network.put(f"/routers/{self.router}", json={"router": values})
        assert answer.status_code == 200, answer.text
        assert self.settled()


def network(sdk: Any, name: str, mtu: int = 1450) -> tuple[str, list[str]]:
    made = sdk.network.create_network(name=name, mtu=mtu)
    four, six, _ = NETS[name]
    return made.id, [sdk.network.create_subnet(network_id=made.id, ip_version=version, cidr=cidr).id
                     for version, cidr in ((4, four), (6, six))]


def guest(cloud: RunningCloud, sdk: Any, name: str, network_id: str, host: str, **values: Any) -> Guest:
    port = sdk.network.create_port(network_id=network_id, name=name, **values)
    plugged = cloud.plug(port.id, host, name, "--static")
    four, six = sorted((f["ip_address"] for f in port.fixed_ips), key=lambda a: ":" in a)
    return Guest(name, port.id, plugged["namespace"], four, six)


@contextlib.contextmanager
def standing(cloud: RunningCloud, project: str, prefix: str, hosts: dict[str, str]) -> Iterator[Scene]:
    """Networks that a router joins, with guests that let everything in; gone at the end."""
    sdk = cloud.connect(project)
    group = sdk.network.create_security_group(name=f"{prefix}open")
    for version in ("IPv4", "IPv6"):
        sdk.network.create_security_group_rule(security_group_id=group.id, direction="ingress", ethertype=version)
    networks = {name: network(sdk, name, mtu) for name, (_, _, mtu) in NETS.items() if any(g.startswith(name) for g in hosts)}
    router = sdk.network.create_router(name=f"{prefix}router")
    for _, subnets in networks.values():
        for subnet in subnets:
            sdk.network.add_interface_to_router(router, subnet=subnet)
    ports = {n: p.mac_address for n, (id, _) in networks.items() for p in sdk.network.ports(device_id=router.id, network_id=id)
             if ":" in p.fixed_ips[0]["ip_address"]}
    scene = Scene(cloud, sdk, router.id, ports)
    for name, host in hosts.items():
        pairs = [{"ip_address": each} for each in (BEHIND, *SHARED)] if name.startswith("green") else []
        scene.guests[name] = guest(cloud, sdk, f"{prefix}{name}", networks[name[:-1]][0], host, security_group_ids=[group.id],
                                   allowed_address_pairs=pairs)
    assert scene.settled()
    yield scene
    for name in scene.guests:
        cloud.unplug(f"{prefix}{name}")
    sdk.network.put(f"/routers/{router.id}", json={"router": {"routes": []}})
    for one in scene.guests.values():
        sdk.network.delete_port(one.port)
    for id, subnets in networks.values():
        for subnet in subnets:
            sdk.network.remove_interface_from_router(router, subnet=subnet)
        sdk.network.delete_network(id)
    sdk.network.delete_router(router.id)
    sdk.network.delete_security_group(group.id)


@pytest.fixture(scope="module")
def scene(cloud: RunningCloud) -> Iterator[Scene]:
    with standing(cloud, "demo", "rt-", GUESTS) as scene:
        yield scene


@pytest.fixture
def red(scene: Scene) -> Guest:
    return scene.guests["red1"]


def gateways(network: str) -> tuple[str, str]:
    four, six, _ = NETS[network]
    return four.replace("0/24", "1"), six.replace("/64", "1")


def test_everybody_reaches_everybody(scene: Scene) -> None:
    for one, other in itertools.permutations(scene.guests.values(), 2):
        for address in (one.four, one.six):
            assert other.reaches(address), f"{other.name} to {one.name}"
    assert "ttl=63" in scene.guests["red1"].ping(scene.guests["green2"].four), "one hop, whichever hosts they are on"


@pytest.mark.parametrize("far", ["green1", "green2"])
def test_a_megabyte_each_way(scene: Scene, red: Guest, far: str) -> None:
    assert exchanged(red, scene.guests[far], scene.guests[far].four) == exchanged(
        red, scene.guests[far], scene.guests[far].six) == (MEGABYTE, MEGABYTE)


def exchanged(client: Guest, server: Guest, address: str) -> tuple[int, int]:
    """Bytes that TCP brought there and back."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.socket(family, socket.SOCK_STREAM) as listener, client.socket(family, socket.SOCK_STREAM) as line:
        listener.bind((address, 0))
        listener.listen()

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted:
                got = accepted.makefile("rb").read(MEGABYTE)
                accepted.sendall(got)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        line.settimeout(PATIENCE)
        line.connect((address, listener.getsockname()[1]))
        line.sendall(os.urandom(MEGABYTE))
        back = len(line.makefile("rb").read(MEGABYTE))
        thread.join(PATIENCE)
        return MEGABYTE, back


def test_datagrams_in_pieces(scene: Scene, red: Guest) -> None:
    """The first as well as later ones; and pings of routers that are as large."""
    for far in ("green1", "green2"):
        for address in (scene.guests[far].four, scene.guests[far].six):
            assert red.reaches(address, "-s", "4000")
    for address in (*gateways("red"), *gateways("green")):
        assert red.reaches(address, "-s", "4000"), address


def test_every_address_of_the_router_answers(scene: Scene) -> None:
    for one in scene.guests.values():
        for address in (a for name in NETS for a in gateways(name)):
            assert "ttl=64" in one.ping(address), f"{one.name} to {address}"
    red = scene.guests["red1"]
    m = bytes.fromhex(scene.ports["red"].replace(":", ""))
    local = f"fe80::{m[0] ^ 2:x}{m[1]:02x}:{m[2]:x}ff:fe{m[3]:02x}:{m[4]:x}{m[5]:02x}%eth0"
    assert red.reaches(local)
    assert "router" in red.run("ip", "-6", "neigh", "show"), "an advertisement that says it is a router's"


def test_hops_are_counted(scene: Scene, red: Guest) -> None:
    far = scene.guests["green2"]
    assert "From 10.81.0.1 icmp_seq=1 Time to live exceeded" in red.ping(far.four, "-t", "1")
    assert "From fd81::1 icmp_seq=1 Time exceeded: Hop limit" in red.ping(far.six, "-t", "1")
    assert red.reaches(gateways("green")[0], "-t", "1"), "the router itself is no hop"
    # One by one: what is sent at once is answered in any order, and a guest's kernel tells of no more than six errors at once.
    for address, gateway in ((far.four, "10.81.0.1"), (far.six, "fd81::1")):
        hops = red.run("traceroute", "-n", "-N", "1", "-q", "2", "-w", "20", address).splitlines()[1:]
        assert [line.split()[1] for line in hops] == [gateway, address], hops
    hops = red.run("traceroute", "-n", "-N", "1", "-q", "1", "-w", "20", gateways("green")[0]).splitlines()[1:]
    assert [line.split()[1] for line in hops] == ["10.81.0.1"], "which is asked for its other side"


def test_what_leads_nowhere_is_said(scene: Scene, red: Guest) -> None:
    assert "From 10.81.0.1 icmp_seq=1 Destination Net Unreachable" in red.ping("10.99.0.1")
    assert "From fd81::1 icmp_seq=1 Destination unreachable: No route" in red.ping("fd99::1")
    for address in gateways("green"):
        with red.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.settimeout(PATIENCE)
            line.connect((address, 9))
            line.send(b"anybody?")
            with pytest.raises(ConnectionRefusedError):
                line.recv(10)
    # Of IPv4, and outside: tests/test_next_hops.py.
    assert "Address unreachable" in red.run("ping", "-n", "-c", "1", "-W", "20", "fd82::200", check=False)
    assert "Unreachable" not in red.ping("10.82.0.255", patience=1), "nobody is told of what was for everybody"


def test_extra_routes_and_the_longest_prefix(scene: Scene, red: Guest) -> None:
    one, other = scene.guests["green1"], scene.guests["green2"]
    scene.change(routes=[{"destination": BEHIND, "nexthop": one.four}, {"destination": "10.83.0.128/25", "nexthop": other.four}])
    try:
        for where, address in ((one, "10.83.0.1"), (other, "10.83.0.129")):
            where.run("ip", "addr", "add", f"{address}/32", "dev", "lo")
            assert red.reaches(address), address
        assert scene.guests["blue2"].reaches("10.83.0.1")
        scene.change(routes=[{"destination": BEHIND, "nexthop": one.four}])
        assert red.misses("10.83.0.129") and red.reaches("10.83.0.1")
    finally:
        scene.change(routes=[])
    assert "Net Unreachable" in red.ping("10.83.0.1")


def test_an_address_that_moves_between_guests(scene: Scene, red: Guest) -> None:
    for holder in ("green2", "green1"):
        for address in SHARED:
            scene.guests[holder].run("ip", "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
            try:
                for asker in ("red1", "blue2"):
                    assert scene.guests[asker].reaches(address), f"{asker} to {address} at {holder}"
                assert exchanged(red, scene.guests[holder], address) == (MEGABYTE, MEGABYTE)
            finally:
                scene.guests[holder].run("ip", "addr", "del", f"{address}/{128 if ':' in address else 32}", "dev", "eth0")


def test_members_of_a_group_behind_the_router(scene: Scene, red: Guest) -> None:
    """Who is in a group is known on both sides of a router."""
    sdk, far, stranger = scene.sdk, scene.guests["green2"], scene.guests["blue2"]
    friends, strict = (sdk.network.create_security_group(name=f"rt-{name}") for name in ("friends", "strict"))
    for version in ("IPv4", "IPv6"):
        sdk.network.create_security_group_rule(
            security_group_id=strict.id, direction="ingress", ethertype=version, remote_group_id=friends.id)
    before = sdk.network.get_port(far.port).security_group_ids
    sdk.network.update_port(far.port, security_group_ids=[strict.id])
    sdk.network.update_port(red.port, security_group_ids=[*before, friends.id])
    try:
        assert scene.settled()
        for address in (far.four, far.six):
            assert red.reaches(address) and stranger.misses(address)
    finally:
        for one in (far, red):
            sdk.network.update_port(one.port, security_group_ids=before)
        for group in (strict, friends):
            sdk.network.delete_security_group(group.id)
        assert scene.settled()


def test_tenants_with_the_same_addresses_have_their_own(scene: Scene, cloud: RunningCloud) -> None:
    with standing(cloud, "alt", "alt-", {"red1": "h2", "green1": "h1"}) as theirs:
        one, other = theirs.guests["red1"], theirs.guests["green1"]
        with other.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear, one.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            ear.bind((other.four, 7000))
            ear.settimeout(PATIENCE)
            line.sendto(b"of alt", (other.four, 7000))
            assert ear.recv(10) == b"of alt"
        assert one.reaches(other.six) and scene.guests["red1"].reaches(scene.guests["green1"].four)


def test_a_router_that_is_down_is_not_there(scene: Scene, red: Guest) -> None:
    scene.change(admin_state_up=False)
    try:
        assert red.misses(scene.guests["green1"].four) and red.misses(gateways("red")[0])
    finally:
        scene.change(admin_state_up=True)
    assert eventually(lambda: red.reaches(scene.guests["green1"].four) and red.reaches(gateways("red")[0]))


def test_a_network_that_takes_less(scene: Scene, red: Guest) -> None:
    """Who forbids to cut is told the MTU; for who allows it, the agent cuts; IPv6 senders cut themselves."""
    small = scene.guests["blue2"]
    assert red.reaches(small.four, "-M", "do", "-s", "1272")
    red.run("ip", "route", "flush", "cache")
    assert "Frag needed and DF set (mtu = 1300)" in red.ping(small.four, "-M", "do", "-s", "1273", count=1)
    red.run("ip", "route", "flush", "cache")
    with red.socket(socket.AF_INET, socket.SOCK_DGRAM) as line, small.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        line.setsockopt(socket.IPPROTO_IP, 10, 0)   # IP_MTU_DISCOVER: never forbid
        ear.bind((small.four, 7000))
        ear.settimeout(PATIENCE)
        for size in (1400, 4000):
            line.sendto(bytes(size), (small.four, 7000))
            assert len(ear.recv(5000)) == size
    assert eventually(lambda: red.reaches(small.six, "-s", "1380"))
    assert exchanged(red, small, small.four) == exchanged(red, small, small.six) == (MEGABYTE, MEGABYTE)


def test_the_controller_dead_routers_go_on(scene: Scene, red: Guest) -> None:
    pids = [scene.cloud.pid(name) for name in ("controller", "api")]
    for pid in pids:
        os.kill(pid or 0, signal.SIGSTOP)
    try:
        time.sleep(0.5)
        for far in ("green1", "green2"):
            assert red.reaches(scene.guests[far].four) and red.reaches(scene.guests[far].six)
        assert exchanged(red, scene.guests["green2"], scene.guests["green2"].four) == (MEGABYTE, MEGABYTE)
        assert red.reaches(gateways("green")[0])
        assert "Time to live exceeded" in red.ping(scene.guests["green2"].four, "-t", "1")
        assert "Net Unreachable" in red.ping("10.99.0.2")
    finally:
        for pid in pids:
            os.kill(pid or 0, signal.SIGCONT)
    assert scene.settled()
