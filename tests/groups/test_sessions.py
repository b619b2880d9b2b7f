"""Connections that are there already: rules and members come and go, errors, fragments, and what conntrack cannot follow."""

import socket
import time
from typing import Any

import pytest
from scapy.layers.sctp import SCTP, SCTPChunkInit, SCTPChunkInitAck
from scapy.packet import Packet as ScapyPacket

from ovsagent.links import inside
from tests.clouds import PATIENCE, eventually
from tests.groups.world import Guest, World
from tests.probes import TCP, UDP, echo_request

pytestmark = pytest.mark.system

class Talk:
    """A TCP connection or a UDP conversation between two guests: does what either says arrive?"""

    def __init__(self, client: Guest, server: Guest, protocol: int, port: int, version: int = 4) -> None:
        kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
        family = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
        with inside(server.namespace):
            ear = socket.socket(family, kind)
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.bind((server.addresses[version], port))
        with inside(client.namespace):
            self.client = socket.socket(family, kind)
        self.client.settimeout(PATIENCE)
        if protocol == TCP:
            ear.listen()
            self.client.connect((server.addresses[version], port))
            self.server, _ = ear.accept()
            ear.close()
        else:
            self.client.connect((server.addresses[version], port))
            self.client.send(b"hello")
            ear.settimeout(PATIENCE)
            _, caller = ear.recvfrom(100)
            ear.connect(caller)
            self.server = ear
        self.number = 0

    def says(self, speaker: socket.socket, listener: socket.socket, seconds: float) -> bool:
        """TCP says what it said before, too, when it may again: the newest word counts."""
        self.number += 1
        word = b"<%d>" % self.number
        listener.settimeout(0.05)
        deadline, heard = time.monotonic() + seconds, b""
        speaker.send(word)
        while word not in heard and time.monotonic() < deadline:
            try:
                heard += listener.recv(1000)
            except TimeoutError:
                if speaker.type == socket.SOCK_DGRAM:
                    speaker.send(word)
        return word in heard

    def both(self, seconds: float = PATIENCE) -> tuple[bool, bool]:
        """(the client is heard, the server is heard)"""
        return self.says(self.client, self.server, seconds), self.says(self.server, self.client, seconds)

    def close(self) -> None:
        self.client.close()
        self.server.close()


def tcp(port: int, **words: Any) -> dict[str, Any]:
    return {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp",
            "port_range_min": port, "port_range_max": port, **words}


WIDE = [{"direction": "egress", "ethertype": "IPv4"}, {"direction": "egress", "ethertype": "IPv6"}]


@pytest.fixture
def pair(world: World) -> tuple[World, Guest, Guest, list[str]]:
    """A client on h1 and a server on h2, of no groups yet, and the groups of their tenant, without rules."""
    for guest in world.guests[:4]:
        world.join(guest, [])
    groups = world.tenants["demo"].words.groups
    for group in groups:
        world.say("demo", group, [])
    return world, world.guests[0], world.guests[1], groups


def test_a_port_of_no_groups_hears_nothing_and_is_not_heard(pair: tuple[World, Guest, Guest, list[str]]) -> None:
    world, client, server, groups = pair
    world.settle()
    assert heard(client, server, 5000, 100, 4, wait=0.7) == 0
    world.join(server, [groups[1]])
    world.say("demo", groups[1], [tcp(5000, protocol="udp")])
    world.settle()
    assert heard(client, server, 5000, 100, 4, wait=0.7) == 0, "the client may still not speak"


def test_a_rule_that_goes_ends_its_connections_and_no_others(pair: tuple[World, Guest, Guest, list[str]]) -> None:
    world, client, server, (clients, servers, _) = pair
    udp = [tcp(5000, protocol="udp"), tcp(5001, protocol="udp")]
    world.say("demo", clients, WIDE)
    world.say("demo", servers, [tcp(80), tcp(83), *udp])
    world.join(client, [clients])
    world.join(server, [servers])
    world.settle()
    doomed = [Talk(client, server, TCP, 80), Talk(client, server, UDP, 5000)]
    spared = [Talk(client, server, TCP, 83), Talk(client, server, UDP, 5001)]
    try:
        assert all(talk.both() == (True, True) for talk in doomed + spared)
        world.say("demo", servers, [tcp(83), udp[1]])
        world.settle()
        assert eventually(lambda: [talk.both(0.7) for talk in doomed] == [(False, False)] * 2, 20)
        assert [talk.both() for talk in spared] == [(True, True)] * 2
        world.say("demo", servers, [tcp(80), tcp(83), *udp])
        assert [talk.both() for talk in doomed + spared] == [(True, True)] * 4
        # The way out is asked as the way in is; and what a server may not begin, it may answer.
        world.say("demo", clients, [])
        world.settle()
        assert eventually(lambda: [talk.both(0.7) for talk in doomed + spared] == [(False, False)] * 4, 20)
        world.say("demo", clients, WIDE)
        assert [talk.both() for talk in doomed + spared] == [(True, True)] * 4
    finally:
        for talk in doomed + spared:
            talk.close()


def test_a_member_that_leaves_ends_what_only_it_was_allowed(pair: tuple[World, Guest, Guest, list[str]]) -> None:
    world, client, server, (friends, servers, _) = pair
    other = world.guests[2]  # on the client's host
    world.say("demo", friends, WIDE)
    world.say("demo", servers, [tcp(80, remote_group_id=friends)])
    for guest, group in ((client, friends), (other, friends), (server, servers)):
        world.join(guest, [group])
    world.settle()
    talks = [Talk(one, server, TCP, 80) for one in (client, other)]
    try:
        assert [talk.both() for talk in talks] == [(True, True)] * 2
        world.join(client, [])
        world.settle()
        assert eventually(lambda: [talk.both(0.7) for talk in talks] == [(False, False), (True, True)], 20)
        world.join(client, [friends])
        assert [talk.both() for talk in talks] == [(True, True)] * 2
    finally:
        for talk in talks:
            talk.close()


@pytest.mark.parametrize("version", [4, 6])
def test_errors_about_a_connection_come_back_and_others_do_not(pair: tuple[World, Guest, Guest, list[str]],
                                                               version: int) -> None:
    """UDP to a port where nobody listens: the server's ICMP error passes both groups, which know nothing of ICMP."""
    world, client, server, (clients, servers, _) = pair
    rule = tcp(5999, protocol="udp", ethertype=f"IPv{version}")
    world.say("demo", clients, [{**rule, "direction": "egress"}])
    world.say("demo", servers, [rule])
    world.join(client, [clients])
    world.join(server, [servers])
    world.settle()
    with inside(client.namespace):
        probe = socket.socket({4: socket.AF_INET, 6: socket.AF_INET6}[version], socket.SOCK_DGRAM)
    probe.settimeout(PATIENCE)
    with probe:
        probe.connect((server.addresses[version], 5999))
        probe.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            probe.recv(10)
    assert not world.cloud.pings(client.name, server.addresses[version], count=1, patience=1)


def heard(client: Guest, server: Guest, port: int, size: int, version: int, wait: float = PATIENCE) -> int:
    """How many of three datagrams of this size arrive."""
    family = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
    with inside(server.namespace):
        ear = socket.socket(family, socket.SOCK_DGRAM)
    with inside(client.namespace):
        mouth = socket.socket(family, socket.SOCK_DGRAM)
    with ear, mouth:
        ear.bind((server.addresses[version], port))
        ear.settimeout(wait)
        mouth.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: no DF
        for _ in range(3):
            mouth.sendto(bytes(size), (server.addresses[version], port))
            time.sleep(0.05)
        count = 0
        try:
            while count < 3 and len(ear.recv(65535)) == size:
                count += 1
        except TimeoutError:
            pass
        return count


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("same_host", [True, False], ids=["one host", "two hosts"])
def test_fragments(pair: tuple[World, Guest, Guest, list[str]], version: int, same_host: bool) -> None:
    """4,000 bytes pass from the first datagram on, to a forbidden port never; so do pieces of 600 bytes."""
    world, client, server, (clients, servers, _) = pair
    server = world.guests[2] if same_host else server
    world.say("demo", clients, WIDE)
    world.say("demo", servers, [tcp(5000, protocol="udp", ethertype=f"IPv{version}")])
    world.join(client, [clients])
    world.join(server, [servers])
    world.settle()
    assert heard(client, server, 5000, 4000, version) == 3
    assert heard(client, server, 5001, 4000, version, wait=0.7) == 0
    if version == 4:  # IPv6 knows no smaller MTU than 1,280
        narrow = ("ip", "route", "replace", f"{server.addresses[4]}/32", "dev", "eth0", "mtu", "lock", "600")
        world.cloud.exec(client.name, *narrow)
        try:
            assert heard(client, server, 5000, 1500, version) == 3
            assert heard(client, server, 5001, 1500, version, wait=0.7) == 0
        finally:
            world.cloud.exec(client.name, "ip", "route", "del", f"{server.addresses[4]}/32")


def test_a_stateless_group_judges_each_packet_by_itself(pair: tuple[World, Guest, Guest, list[str]]) -> None:
    world, client, server, (clients, _, _) = pair
    network = world.tenants["demo"].network
    group = network.post("/security-groups", json={"security_group": {"name": "plain", "stateful": False}}).json()
    plain = group["security_group"]["id"]
    try:
        world.say("demo", clients, WIDE)
        back = {"direction": "egress", "ethertype": "IPv4", "protocol": "udp"}
        world.say("demo", plain, [tcp(5000, protocol="udp"), back])
        world.join(client, [clients])
        world.join(server, [plain])
        world.settle()
        talk = Talk(client, server, UDP, 5000)
        assert talk.both() == (True, True)
        world.say("demo", plain, [tcp(5000, protocol="udp")])
        world.settle()
        assert eventually(lambda: talk.both(0.7) == (True, False), 20), "an answer needs a rule of its own"
        talk.close()
    finally:
        world.join(server, [])
        network.delete_security_group(plain)
        world.rules.pop(plain, None)


def test_protocols_that_conntrack_does_not_follow(pair: tuple[World, Guest, Guest, list[str]]) -> None:
    """GRE: let in by its number and by "any", and by nothing else."""
    world, client, server, (clients, servers, _) = pair
    world.say("demo", clients, WIDE)
    world.join(client, [clients])
    world.join(server, [servers])

    def arrives(rules: list[dict[str, Any]], wait: float = PATIENCE) -> bool:
        world.say("demo", servers, rules)
        world.settle()
        with inside(server.namespace):
            ear = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
        with inside(client.namespace):
            mouth = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
        with ear, mouth:
            ear.settimeout(wait)
            mouth.sendto(b"\0\0\x08\0" + bytes(40), (server.addresses[4], 0))
            try:
                return bool(ear.recv(100))
            except TimeoutError:
                return False

    assert arrives([{"direction": "ingress", "ethertype": "IPv4", "protocol": "gre"}])
    assert arrives([{"direction": "ingress", "ethertype": "IPv4"}])
    assert arrives([{"direction": "ingress", "ethertype": "IPv4", "remote_ip_prefix": f"{client.addresses[4]}/32"}])
    for words in ({"remote_ip_prefix": "10.0.0.99/32"}, {"protocol": "tcp"}):
        rule = {"direction": "ingress", "ethertype": "IPv4", **words}
        assert eventually(lambda rule=rule: not arrives([rule], 0.5), 20)  # type: ignore[misc]


def test_sctp_is_let_in_by_its_number_and_by_the_ports_that_each_packet_says(
        pair: tuple[World, Guest, Guest, list[str]]) -> None:
    """Open vSwitch 3.1 follows SCTP by address: the tuple has no ports."""
    world, client, server, (clients, servers, _) = pair
    world.say("demo", clients, WIDE)
    any_port = {"direction": "ingress", "ethertype": "IPv4", "protocol": "sctp"}
    world.say("demo", servers, [any_port])
    world.join(client, [clients])
    world.join(server, [servers])
    world.settle()

    def passes(speaker: Guest, listener: Guest, ports: tuple[int, int], chunk: ScapyPacket, wait: float = PATIENCE) -> bool:
        with inside(listener.namespace):
            ear = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
        with inside(speaker.namespace):
            mouth = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
        with ear, mouth:
            ear.settimeout(wait)
            said = bytes(SCTP(sport=ports[0], dport=ports[1]) / chunk)
            mouth.sendto(said, (listener.addresses[4], 0))
            try:
                return ear.recv(1000)[20:] == said
            except TimeoutError:
                return False

    assert not passes(server, client, (5000, 4000), SCTPChunkInit(init_tag=1), 0.7), "the client lets nobody in"
    assert passes(client, server, (4000, 5000), SCTPChunkInit(init_tag=1))
    assert passes(server, client, (5000, 4000), SCTPChunkInitAck(init_tag=2)), "an answer needs no rule"
    world.say("demo", servers, [{**any_port, "port_range_min": 5000, "port_range_max": 5002}])
    world.settle()
    assert eventually(lambda: not passes(client, server, (4000, 6000), SCTPChunkInit(init_tag=1), 0.7), 20)
    assert passes(client, server, (4000, 5002), SCTPChunkInit(init_tag=1))
    assert passes(server, client, (5002, 4000), SCTPChunkInitAck(init_tag=2))
    assert not passes(client, server, (4000, 6000), SCTPChunkInit(init_tag=1), 0.7), "whatever else they say to each other"
    assert not passes(server, client, (6000, 4000), SCTPChunkInit(init_tag=1), 0.7)


def test_what_conntrack_calls_invalid_is_dropped_and_counted(pair: tuple[World, Guest, Guest, list[str]]) -> None:
    """An echo reply that nobody asked for, though every rule would let it pass."""
    world, client, server, (clients, _, _) = pair
    world.say("demo", clients, [*WIDE, {"direction": "ingress", "ethertype": "IPv4"}])
    for guest in (client, server):
        world.join(guest, [clients])
    world.settle()

    def counted() -> int:
        lines = world.cloud.ofctl("h1", "dump-flows", "br-int", "table=35,icmp,icmp_type=0").splitlines()
        return sum(int(line.split("n_packets=")[1].split(",")[0]) for line in lines if "+inv" in line)

    before = counted()
    with inside(client.namespace):
        mouth = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
    with mouth:
        mouth.sendto(echo_request(0, b"nobody's"), (server.addresses[4], 0))
    assert eventually(lambda: counted() == before + 1)
