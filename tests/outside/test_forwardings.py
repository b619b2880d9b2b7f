"""Forwarded ports with packets: whole, in pieces, and what is told about them, for guests on several hosts."""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, fragment
from scapy.layers.l2 import Ether

from ovsagent.links import inside
from tests.clouds import PATIENCE, eventually
from tests.outside.test_floating_ips import answers
from tests.outside.world import ROUTER, ROUTER6, Echo, Someone, World, asked, refused, streamed
from tests.ovs import run

pytestmark = pytest.mark.system

IP_MTU_DISCOVER, ALWAYS, IP_RECVERR = 10, 2, 11  # as Linux has them
SIZES = 10, 1400, 1475, 3000, 9000


@pytest.fixture(scope="module")
def address(world: World) -> Iterator[str]:
    """Of a floating IP: a port, a range that is another inside, and several that are one."""
    with world.floating() as floating, ExitStack() as held:
        for name, ports in (("c", {"protocol": "tcp", "internal_port": 80, "external_port": 8080}),
                            ("d", {"protocol": "tcp", "internal_port": 81, "external_port_range": "9100:9101"}),
                            ("d", {"protocol": "udp", "internal_port_range": "7001:7006", "external_port_range": "6001:6006"}),
                            ("c", {"protocol": "udp", "internal_port": 53, "external_port_range": "9000:9003"})):
            held.enter_context(world.forwarding(floating, name, **ports))
        yield floating.floating_ip_address


def test_they_lead_to_guests_on_several_hosts(world: World, address: str) -> None:
    c, d, internet = world.guests["c"], world.guests["d"], world.internet
    assert len(answers(world, address)) == 1
    with Echo(c, 80) as echo:
        streamed(internet, address, 8080)
        assert echo.seen == [ROUTER]
    for port in range(6001, 6007):
        assert asked(internet, d, address, port=port, at=port + 1000) == ROUTER
    for port in (9000, 9003):
        assert asked(internet, c, address, port=port, at=53) == ROUTER
    assert asked(world.guests["a"], d, address, port=6001, at=7001) == world.own[0], "from inside, too"
    assert asked(d, internet, ROUTER) == world.own[0], "what is not forwarded leaves as ever"


@contextmanager
def begun(guest: Someone, own: int, other: Someone, size: int) -> Iterator[tuple[socket.socket, socket.socket, Any]]:
    """A datagram that a guest sends out from its port: both ends, and from whom it came there."""
    with closing(guest.socket(socket.SOCK_DGRAM)) as near, closing(other.socket(socket.SOCK_DGRAM)) as far:
        near.bind(("", own))
        far.bind(("", 5006))
        near.sendto(bytes(size), (ROUTER, 5006))
        said, peer = far.recvfrom(65535)
        assert said == bytes(size)
        yield near, far, peer


def test_datagrams_in_pieces_go_both_ways(world: World, address: str) -> None:
    """Also the first of all, and when the guest begins; and what is not forwarded leaves under the router's address."""
    c, d, internet = world.guests["c"], world.guests["d"], world.internet
    for size in reversed(SIZES):
        assert asked(internet, d, address, size, 6003, 7003) == ROUTER
        assert asked(internet, c, address, size, 9002, 53) == ROUTER
        assert asked(d, internet, ROUTER, size) == asked(c, internet, ROUTER, size) == world.own[0]
    assert asked(world.guests["a"], d, address, 3000, 6001, 7001) == world.own[0]
    for size in (3000, 10):
        with begun(d, 7006, internet, size) as (_, _, peer):
            assert peer == (address, 6006)


def test_what_a_guest_begins_from_a_port_that_several_lead_to_is_answered(world: World, address: str) -> None:
    """It leaves under the router's address, as what is not forwarded; who came by one of them is answered by that one."""
    c, internet = world.guests["c"], world.internet
    for size in (10, 3000):
        with begun(c, 53, internet, size) as (guest, far, peer):
            assert peer[0] == world.own[0]
            far.sendto(bytes(size), peer)
            assert guest.recvfrom(65535) == (bytes(size), (ROUTER, far.getsockname()[1]))
            far.sendto(bytes(size), (address, 9001))
            assert guest.recvfrom(65535)[1][0] == ROUTER


@pytest.mark.parametrize(("name", "own", "port"), [("c", 80, 8080), ("d", 81, 9101)], ids=["one to one", "several to one"])
def test_tcp_in_pieces_goes_both_ways(world: World, address: str, name: str, own: int, port: int) -> None:
    guest, internet = world.guests[name], world.internet
    with closing(guest.socket(socket.SOCK_STREAM)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("", own))
        listening.listen()
        for out in False, True:
            with closing(internet.socket(socket.SOCK_STREAM)) as far:
                far.connect((address, port))
                near, _ = listening.accept()
                with closing(near):
                    if out:
                        said_in_pieces(guest, "eth0", near, far)
                    else:
                        said_in_pieces(internet, "br0", far, near)


def said_in_pieces(mouth: Someone, device: str, line: socket.socket, ear: socket.socket) -> None:
    """A segment of 3,000 bytes, made after the one that the kernel sends before: no kernel would send it like this, but routers
    on the way may cut it."""
    with closing(packets(mouth, device)) as wire:
        line.sendall(b"x")
        assert ear.recv(10) == b"x"
        for frame in iter(lambda: Ether(wire.recv(2000)), None):
            if TCP in frame and frame[TCP].sport == line.getsockname()[1] and bytes(frame[TCP].payload) == b"x":
                break
        ip, tcp, payload = frame[IP], frame[TCP], bytes(range(250)) * 12
        segment = TCP(sport=tcp.sport, dport=tcp.dport, seq=tcp.seq + 1, ack=tcp.ack, flags="PA", window=1000)
        whole = IP(src=ip.src, dst=ip.dst, id=77) / segment / payload
        for piece in fragment(IP(bytes(whole)), 1000):
            wire.send(bytes(Ether(src=frame.src, dst=frame.dst) / piece))
        ear.settimeout(PATIENCE)
        heard = b""
        while len(heard) < len(payload):
            heard += ear.recv(65536)
    assert heard == payload


def packets(one: Someone, device: str) -> socket.socket:
    with inside(one.namespace):
        line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    line.bind((device, 3))
    line.settimeout(PATIENCE)
    return line


def told(line: socket.socket) -> tuple[int, int, int, str]:
    """Type, code, MTU and sender of the error that came for what it sent."""
    found: list[bytes] = []

    def heard() -> bool:
        try:
            _, more, _, _ = line.recvmsg(100, 512, socket.MSG_ERRQUEUE)
        except OSError:
            return False
        found.extend(data for _, kind, data in more if kind == IP_RECVERR)
        return bool(found)

    assert eventually(heard, 5)
    _, _, kind, code, _, mtu, _ = struct.unpack_from("=IBBBBII", found[0])
    return kind, code, mtu, socket.inet_ntoa(found[0][20:24])


def asker(client: Someone, address: str, port: int, *options: tuple[int, Any]) -> socket.socket:
    line = client.socket(socket.SOCK_DGRAM)
    for option, value in (IP_RECVERR, 1), *options:
        line.setsockopt(socket.IPPROTO_IP, option, value)
    line.connect((address, port))
    return line


def test_errors_are_about_what_their_recipient_had_sent(world: World, address: str) -> None:
    c, d, internet = world.guests["c"], world.guests["d"], world.internet
    for port in (6002, 9001):
        assert refused(internet, address, port) and refused(world.guests["a"], address, port)
    assert refused(d, ROUTER, own=7002), "about what left by a forwarded port"
    assert refused(d, ROUTER, own=7100) and refused(c, ROUTER), "and about what did not"
    with closing(asker(internet, address, 6002, (socket.IP_TTL, 1))) as line:
        line.send(b"x")
        assert told(line) == (11, 0, 0, address)
    with closing(asker(internet, address, 6002, (IP_MTU_DISCOVER, ALWAYS))) as line:
        internet.run("ip", "route", "flush", "cache")
        try:
            line.send(bytes(1440))
            assert told(line)[:3] == (3, 4, 1450)
        except OSError as error:
            assert error.errno == 90, "it has learned that before"


FAR, FAR6 = "192.0.2.2", "2001:db8:77::2"
NARROW, NARROWEST = 1300, 1280  # of a network inside, and of a link outside
PROBE = 3  # as Linux has it: never in pieces, whatever was told before


@pytest.fixture(scope="module")
def narrow(world: World) -> Iterator[Someone]:
    """A guest in a network that takes less than the others."""
    demo = world.demo
    network = demo.create_network(name="narrow", mtu=NARROW)
    subnets = [demo.create_subnet(network_id=network.id, ip_version=ip, cidr=cidr)
               for ip, cidr in ((4, "10.93.0.0/24"), (6, "fd93::/64"))]
    for subnet in subnets:
        demo.add_interface_to_router(world.router, subnet=subnet.id)
    port = demo.create_port(network_id=network.id, security_group_ids=[next(demo.security_groups(name="outside")).id])
    plugged = world.cloud.plug(port.id, "h3", "narrow", "--static")
    four, six = sorted((f["ip_address"] for f in port.fixed_ips), key=lambda address: ":" in address)
    world.internet.run("ip", "route", "add", "fd93::/64", "via", world.own[1])
    yield Someone(plugged["namespace"], four, six, port.id, port.mac_address, "h3")
    world.cloud.unplug("narrow")
    demo.delete_port(port)
    for subnet in subnets:
        demo.remove_interface_from_router(world.router, subnet=subnet.id)
    demo.delete_network(network)


@pytest.fixture(scope="module")
def beyond(world: World) -> Iterator[Someone]:
    """A machine outside, behind a link that takes less than anything else."""
    far, router = f"{world.internet.namespace}-far", world.internet.namespace
    run("ip", "netns", "add", far)
    for words in (f"-n {router} link add far mtu {NARROWEST} type veth peer name eth0 mtu {NARROWEST} netns {far}",
                  f"-n {router} addr add 192.0.2.1/24 dev far", f"-n {router} addr add 2001:db8:77::1/64 dev far nodad",
                  f"-n {router} link set far up", f"-n {far} link set eth0 up", f"-n {far} addr add {FAR}/24 dev eth0",
                  f"-n {far} addr add {FAR6}/64 dev eth0 nodad", f"-n {far} route add default via 192.0.2.1",
                  f"-n {far} -6 route add default via 2001:db8:77::1"):
        run("ip", *words.split())
    yield Someone(far, FAR, FAR6)
    run("ip", "netns", "del", far)


def too_big(client: Someone, to: str, port: int, size: int, own: int = 0) -> tuple[int, str]:
    """The MTU that it is told of for a packet of that size, and by whom."""
    six = ":" in to
    level, probing, errors, family, at = (socket.IPPROTO_IPV6, 23, 25, socket.AF_INET6, 24) if six else (
        socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_RECVERR, socket.AF_INET, 20)
    with closing(client.socket(socket.SOCK_DGRAM, six)) as line:
        line.setsockopt(level, probing, PROBE)
        line.setsockopt(level, errors, 1)
        line.setblocking(False)
        line.bind(("", own))
        line.connect((to, port))

        def heard() -> tuple[int, str] | None:
            with suppress(OSError):  # what was told of the one before
                line.send(bytes(size - (48 if six else 28)))
            try:
                data = next(data for _, kind, data in line.recvmsg(100, 512, socket.MSG_ERRQUEUE)[1] if kind == errors)
            except OSError:
                return None
            mtu = struct.unpack_from("=I", data, 8)[0]
            return (mtu, socket.inet_ntop(family, data[at:at + len(socket.inet_pton(family, to))])) if mtu else None

        return eventually(heard) or (0, "")


def test_who_calls_is_told_what_the_way_to_the_guest_takes(world: World, address: str, narrow: Someone) -> None:
    """Each forwarded port, and floating IP, for its own guest; by IPv6, the guest itself."""
    world.guests["narrow"], internet = narrow, world.internet
    with ExitStack() as held:
        [floating] = world.demo.ips(floating_ip_address=address)
        for ports in {"internal_port": 53, "external_port": 5300}, {"internal_port": 54, "external_port_range": "5400:5403"}:
            held.enter_context(world.forwarding(floating, "narrow", protocol="udp", **ports))
        for port, mtu in ((5300, NARROW), (5402, NARROW), (6002, 1450), (9001, 1450)):
            assert too_big(internet, address, port, mtu + 1) == (mtu, address), port
        assert too_big(world.guests["a"], address, 5300, NARROW + 1) == (NARROW, address), "from inside, too"
    with world.floating("narrow") as floating:
        own = floating.floating_ip_address
        assert too_big(internet, own, 7000, NARROW + 1) == (NARROW, own)
        assert too_big(world.guests["a"], own, 7000, NARROW + 1) == (NARROW, own)
    assert too_big(internet, narrow.six, 7000, NARROW + 1)[0] == NARROW
    del world.guests["narrow"]


def test_guests_are_told_what_ways_outside_take(world: World, address: str, narrow: Someone, beyond: Someone) -> None:
    """By a router out there, of packets that left as somebody else's."""
    world.guests["narrow"], size = narrow, NARROWEST + 1
    with ExitStack() as held:
        for own in 7002, 53, 7200:  # by a forwarded port, by one that several lead to, and by none
            guest = world.guests["c" if own == 53 else "d"]
            assert too_big(guest, FAR, 7000, size, own) == (NARROWEST, ROUTER), own
        held.enter_context(world.floating("b"))
        assert too_big(world.guests["b"], FAR, 7000, size) == (NARROWEST, ROUTER)
        held.enter_context(world.floating("narrow"))
        assert too_big(narrow, FAR, 7000, size) == (NARROWEST, ROUTER)
    for guest in narrow, world.guests["c"]:
        assert too_big(guest, FAR6, 7000, size) == (NARROWEST, ROUTER6)
    del world.guests["narrow"]
