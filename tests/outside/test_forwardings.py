"""Forwarded ports with packets: whole, in pieces, and what is told about them, for guests on several hosts."""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.clouds import eventually
from tests.outside.test_floating_ips import answers
from tests.outside.world import ROUTER, Echo, Someone, World, asked, refused, streamed

pytestmark = pytest.mark.system

IP_MTU_DISCOVER, ALWAYS, IP_RECVERR = 10, 2, 11  # as Linux has them
SIZES = 10, 1400, 1475, 3000, 9000


@pytest.fixture(scope="module")
def address(world: World) -> Iterator[str]:
    """Of a floating IP: a port, a range that is another inside, and several that are one."""
    with world.floating() as floating, ExitStack() as held:
        for name, ports in (("c", {"protocol": "tcp", "internal_port": 80, "external_port": 8080}),
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


def test_datagrams_in_pieces_go_both_ways(world: World, address: str) -> None:
    """Also the first of all, and when the guest begins; and what is not forwarded leaves under the router's address."""
    c, d, internet = world.guests["c"], world.guests["d"], world.internet
    for size in reversed(SIZES):
        assert asked(internet, d, address, size, 6003, 7003) == ROUTER
        assert asked(internet, c, address, size, 9002, 53) == ROUTER
        assert asked(d, internet, ROUTER, size) == asked(c, internet, ROUTER, size) == world.own[0]
    assert asked(world.guests["a"], d, address, 3000, 6001, 7001) == world.own[0]
    for size in (3000, 10):
        with closing(d.socket(socket.SOCK_DGRAM)) as guest, closing(internet.socket(socket.SOCK_DGRAM)) as far:
            guest.bind(("", 7006))
            far.bind(("", 5006))
            guest.sendto(bytes(size), (ROUTER, 5006))
            said, peer = far.recvfrom(65535)
            assert said == bytes(size) and peer == (address, 6006)


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
