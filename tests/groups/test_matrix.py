"""Security groups with real packets: every guest to every guest, against a plain model of the rules.

UNRYU_MATRICES says how many random sets of groups and rules to try (a few in `make test`), UNRYU_SEED where to begin,
UNRYU_HOSTS on how many hosts; after every ten the guests change theirs.
"""

import errno
import os
import random
import selectors
import socket
import struct
import time
from ipaddress import ip_address, ip_network
from itertools import permutations, product
from typing import Any

import pytest

from ovsagent.links import inside
from tests.groups.world import TCP, UDP, Guest, Packet, Probe, Tenant, World, echo_request

pytestmark = pytest.mark.system

PORTS = (80, 83, 443)
PREFIXES = {4: ("10.0.0.0/24", "10.0.0.11/32", "10.0.0.12/31", "0.0.0.0/0"), 6: ("fd00::/64", "fd00::11/128", "fd00::10/125")}
PATIENCE = 0.9  # seconds: under a second, when a SYN is sent again and would hide that the first was lost
PACKETS = [Packet(version, protocol, port) for version, protocol, port in product((4, 6), (TCP, UDP), PORTS)] + [
    Packet(4, 1, 8), Packet(6, 58, 128)]


# The model: what the words of the API mean, without a thought of how it is done.


NUMBERS = {"tcp": TCP, "udp": UDP, "icmp": 1, "ipv6-icmp": 58, "6": TCP, "17": UDP}
OFFICE = ("10.0.0.10/32", "10.0.0.13/32", "fd00::12/127")


def allows(rule: dict[str, Any], packet: Packet, remote: Guest) -> bool:
    if rule["ethertype"] != f"IPv{packet.version}":
        return False
    if rule.get("protocol") and NUMBERS[rule["protocol"]] != packet.protocol:
        return False
    low, high = rule.get("port_range_min"), rule.get("port_range_max")
    if packet.protocol in (TCP, UDP):
        if low is not None and not low <= packet.port <= high:
            return False
    elif (low, high) not in ((None, None), (packet.port, None), (packet.port, 0)):
        return False
    address = ip_address(remote.addresses[packet.version])
    if rule.get("remote_ip_prefix"):
        return address in ip_network(rule["remote_ip_prefix"])
    if rule.get("remote_address_group_id"):
        return any(address in ip_network(cidr) for cidr in OFFICE)
    return not rule.get("remote_group_id") or rule["remote_group_id"] in remote.groups


def passes(world: World, packet: Packet, source: Guest, target: Guest) -> bool:
    return all(any(rule["direction"] == direction and allows(rule, packet, remote)
                   for group in guest.groups for rule in world.rules[group])
               for guest, remote, direction in ((source, target, "egress"), (target, source, "ingress")))


def random_rule(choose: random.Random, tenant: Tenant) -> dict[str, Any]:
    version = choose.choice((4, 6))
    rule: dict[str, Any] = {"direction": choose.choice(("ingress", "egress")), "ethertype": f"IPv{version}"}
    match choose.choice(("any", "tcp", "udp", "6", "17", "icmp")):
        case "any":
            pass
        case "icmp":
            rule["protocol"] = "icmp" if version == 4 else "ipv6-icmp"
            rule |= choose.choice(({}, {"port_range_min": {4: 8, 6: 128}[version]}, {"port_range_min": 3},
                                   {"port_range_min": {4: 8, 6: 128}[version], "port_range_max": 0}))
        case protocol:
            low = choose.choice((1, 79, 80, 82, 83, 400))
            rule |= {"protocol": protocol}
            rule |= choose.choice(({}, {"port_range_min": low, "port_range_max": choose.choice((83, 442, 443, 65535))
                                        if low < 83 else 443}))
    rule |= choose.choice(({}, {}, {"remote_ip_prefix": choose.choice(PREFIXES[version])}, {"remote_group_id": choose.choice(
        tenant.groups)}, {"remote_group_id": choose.choice(tenant.groups)}, {"remote_address_group_id": tenant.office}))
    return rule


def random_rules(choose: random.Random, tenant: Tenant) -> list[dict[str, Any]]:
    rules = [random_rule(choose, tenant) for _ in range(choose.randint(2, 9))]
    if choose.random() < 0.6:  # or hardly anything would ever leave
        rules += [{"direction": "egress", "ethertype": f"IPv{version}"} for version in (4, 6)]
    return list({meaning(rule): rule for rule in rules}.values())  # the same twice is refused, in whatever words


def meaning(rule: dict[str, Any]) -> tuple[Any, ...]:
    remotes = (rule.get(name) for name in ("remote_ip_prefix", "remote_group_id", "remote_address_group_id"))
    return (rule["direction"], rule["ethertype"], NUMBERS.get(rule.get("protocol", "")), rule.get("port_range_min"),
            rule.get("port_range_max"), next((r for r in remotes if r not in (None, "0.0.0.0/0")), None))


# The packets.


class Probes:
    """Everybody sends everything to everybody of its tenant, at once; what arrived and what was answered is written down."""

    def __init__(self, guests: list[Guest]) -> None:
        self.guests = guests
        self.eyes = selectors.DefaultSelector()
        self.answered: set[Probe] = set()
        self.strangers: list[str] = []
        self.open: list[socket.socket] = []

    def opened(self, guest: Guest, version: int, kind: int, protocol: int = 0) -> socket.socket:
        with inside(guest.namespace):
            made = socket.socket({4: socket.AF_INET, 6: socket.AF_INET6}[version], kind, protocol)
        made.setblocking(False)
        self.open.append(made)
        return made

    def listen(self) -> None:
        for guest, version, port in product(self.guests, (4, 6), PORTS):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                ear = self.opened(guest, version, kind)
                ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                ear.bind((guest.addresses[version], port))
                if kind == socket.SOCK_STREAM:
                    ear.listen(64)
                else:
                    self.eyes.register(ear, selectors.EVENT_READ, (self.echo, guest))

    def echo(self, ear: socket.socket, guest: Guest) -> None:
        said, sender = ear.recvfrom(100)
        if not said.decode().startswith(guest.tenant):
            self.strangers.append(f"{said.decode()} at {guest.name}")
        ear.sendto(said, sender)

    def connected(self, probe: socket.socket, about: Probe) -> None:
        self.eyes.unregister(probe)
        if probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            self.answered.add(about)

    def replied(self, probe: socket.socket, about: Probe) -> None:
        try:
            said = probe.recv(200)
        except OSError:
            return  # an ICMP error came back: the packet was let in, and that is for others to test
        if about[2].protocol in (TCP, UDP) or said[-8:] == about_bytes(about):
            self.answered.add(about)

    def send(self, source: Guest, target: Guest, packet: Packet) -> None:
        about, address = (source.name, target.name, packet), target.addresses[packet.version]
        if packet.protocol == TCP:
            probe = self.opened(source, packet.version, socket.SOCK_STREAM)
            assert probe.connect_ex((address, packet.port)) in (0, errno.EINPROGRESS)
            self.eyes.register(probe, selectors.EVENT_WRITE, (self.connected, about))
        elif packet.protocol == UDP:
            probe = self.opened(source, packet.version, socket.SOCK_DGRAM)
            probe.connect((address, packet.port))
            probe.send(f"{source.tenant} {source.name}".encode())
            self.eyes.register(probe, selectors.EVENT_READ, (self.replied, about))
        else:
            probe = self.opened(source, packet.version, socket.SOCK_RAW, packet.protocol)
            if packet.version == 6:
                probe.setsockopt(socket.IPPROTO_ICMPV6, 1, REPLIES_ONLY)
            probe.sendto(echo_request(packet, about_bytes(about)), (address, 0))
            self.eyes.register(probe, selectors.EVENT_READ, (self.replied, about))

    def look(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in self.eyes.select(left):
                call, about = key.data
                call(key.fileobj, about)

    def run(self, probes: set[Probe]) -> set[Probe]:
        """Those that were answered."""
        guests = {guest.name: guest for guest in self.guests}
        try:
            self.listen()
            for count, (source, target, packet) in enumerate(sorted(probes, key=str)):
                self.send(guests[source], guests[target], packet)
                if count % 20 == 0:
                    self.look(0.02)  # paced: a burst would be lost before the switch
            self.look(PATIENCE)
            return self.answered
        finally:
            self.eyes.close()
            for one in self.open:
                one.close()


REPLIES_ONLY = b"".join(struct.pack("=I", 0xFFFFFFFF ^ (1 << 129 % 32 if word == 129 // 32 else 0)) for word in range(8))
"""ICMP6_FILTER: nothing but echo replies (RFC 3542, 3.2)."""
ROUND = random.randrange(1 << 16)


def about_bytes(about: Probe) -> bytes:
    return struct.pack("!Q", hash((ROUND, *about)) & (1 << 63) - 1)


def test_everybody_to_everybody_is_as_the_rules_say(world: World) -> None:
    first = int(os.environ.get("UNRYU_SEED", "1"))
    let_in = asked = 0
    for seed in range(first, first + int(os.environ.get("UNRYU_MATRICES", "4"))):
        choose = random.Random(seed)
        if (seed - first) % 10 == 9:
            world.scatter(choose)
        for name, tenant in world.tenants.items():
            for group in tenant.groups:
                world.say(name, group, random_rules(choose, tenant))
        for guest in world.guests:
            world.join(guest, choose.sample(world.tenants[guest.tenant].groups, choose.choice((0, 1, 1, 1, 2, 2))))
        world.settle()
        matrix = {(source.name, target.name, packet): passes(world, packet, source, target)
                  for source, target in permutations(world.guests, 2) if source.tenant == target.tenant for packet in PACKETS}
        expected = {probe for probe, passed in matrix.items() if passed}
        probes = Probes(world.guests)
        came = probes.run(set(matrix))
        assert not probes.strangers
        assert not came - expected, f"seed {seed}: let in {sorted(map(str, came - expected))[:9]}"
        lost = expected - came
        for _ in range(5):  # a packet in a thousand, on a machine that does other things, too
            lost -= Probes(world.guests).run(lost) if lost else set()
        assert not lost, f"seed {seed}: lost {sorted(map(str, lost))[:9]}"
        let_in, asked = let_in + len(expected), asked + len(matrix)
    assert 0.1 * asked < let_in < 0.9 * asked, "a matrix of one colour shows nothing"
