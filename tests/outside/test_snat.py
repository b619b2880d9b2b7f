"""The shared way out with packets, and what becomes of it when its host is gone, or only out of the controllers' sight."""

import os
import re
import signal
import socket
import struct
import time
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Any

import pytest

from bench.streams import Session, Streams
from ovsagent.links import inside
from tests.clouds import eventually
from tests.outside.test_floating_ips import refused
from tests.outside.world import FOUR, ROUTER, ROUTER6, SILENCE, WEB, WEB6, Echo, Someone, Wire, World, asked, streamed
from topology import api
from topology.cloud import Cloud

pytestmark = pytest.mark.system
STREAMS = 5  # of each kind


def test_guests_of_every_host_leave_under_the_routers_address(world: World) -> None:
    shared = world.own[0]
    for name in "bcd":
        guest = world.guests[name]
        for size in (10, 1400, 3000):
            assert asked(guest, world.internet, ROUTER, size) == shared
        with Echo(world.internet) as echo:
            streamed(guest, ROUTER)
            assert echo.seen == [shared]
        assert guest.reaches(WEB, "-s", "3000") and refused(guest, ROUTER)
        assert "Time to live exceeded" in guest.ping(WEB, "-t", "1", count=1)


def test_with_ipv6_every_guest_is_itself(world: World) -> None:
    for name in "bc":
        guest = world.guests[name]
        assert asked(guest, world.internet, ROUTER6, 3000) == guest.six
        assert asked(world.internet, guest, guest.six, 3000) == ROUTER6
        assert guest.reaches(WEB6) and world.internet.reaches(guest.six)


def test_of_what_comes_from_outside_only_pings_of_the_router_are_answered(world: World) -> None:
    for address in world.own:
        assert world.internet.reaches(address) and world.internet.reaches(address, "-s", "3000")
        assert world.guests["c"].reaches(address)
    assert not refused_or_answered(world.internet, world.own[0])
    assert not world.internet.reaches(world.guests["d"].four, count=1, patience=1)


def refused_or_answered(client: Someone, address: str) -> bool:
    with closing(client.socket(socket.SOCK_DGRAM)) as line:
        line.settimeout(0.3)
        line.connect((address, 9))
        line.send(b"x")
        try:
            line.recv(1)
        except TimeoutError:
            return False
        except ConnectionRefusedError:
            return True
    return True


def test_without_snat_every_guest_is_itself(world: World) -> None:
    c = world.guests["c"]
    with world.without_snat():
        assert asked(c, world.internet, ROUTER) == c.four
        assert asked(world.internet, c, c.four, 3000) == ROUTER
    assert asked(c, world.internet, ROUTER) == world.own[0]


def lead_out(world: World, info: dict[str, Any] | None) -> None:
    answer = world.admin.put(f"/routers/{world.router}", json={"router": {"external_gateway_info": info}})
    assert answer.status_code == 200, answer.text


def test_a_session_ends_with_its_way_out(world: World) -> None:
    """Measured, within milliseconds (`python -m bench routers`); bounded for slow machines."""
    as_it_is = {"network_id": world.external, "enable_snat": True, "external_fixed_ips": [
        {"ip_address": address} for address in world.own]}
    for info in ({**as_it_is, "enable_snat": False}, None):
        session = Session(world.guests["c"], world.internet, ROUTER)
        try:
            assert session.ended(partial(lead_out, world, info)) < 5000
        finally:
            lead_out(world, as_it_is)
            assert eventually(world.gateway) and world.settled()


def test_a_gateway_out_of_the_controllers_sight_falls_silent(world: World) -> None:
    """Its switch hears its successor, and nobody tells it: its own guests leave by the other host from then on, and all streams
    live."""
    old = world.gateway()
    guest = world.guests[{"h1": "d", "h2": "b", "h3": "c"}[old]]
    with Wire(world, ("h1", "h2", "h3"), *world.own) as wire, Echo(world.internet) as _, \
            closing(guest.socket(socket.SOCK_STREAM)) as line:
        line.connect((ROUTER, 5001))
        world.cloud.run("ip", "-n", world.cloud.namespace(old), "link", "set", "mgmt", "down")
        try:
            assert eventually(lambda: wire.announced(old))
            for _ in range(5 * SILENCE):
                line.sendall(b"x")
                assert line.recv(10) == b"x"
                time.sleep(0.2)
            assert not wire.late(old)
            assert guest.reaches(WEB), "a new connection"
        finally:
            world.cloud.run("ip", "-n", world.cloud.namespace(old), "link", "set", "mgmt", "up")
    assert world.settled()
    # Until its agent has a book again, it may announce once more what is another's, and take an answer.
    assert world.gateway() != old and eventually(lambda: guest.reaches(ROUTER), 20)
    assert asked(guest, world.internet, ROUTER) == world.own[0]


@pytest.mark.parametrize("back", [True, False], ids=["that comes back at once", "that does not come back"])
def test_streams_of_each_kind_live_through_the_end_of_their_gateway(world: World, back: bool) -> None:
    """Its switch killed, and whoever would start it again held back, or not: ports stay as they are, so the next one goes on;
    with who only listens, too, since its own host makes it speak."""
    old = world.gateway()
    guest = world.guests["d" if old != "h1" else "c"]
    monitor, daemon = (world.cloud.pid(name, old) for name in ("ovs-vswitchd-monitor", "ovs-vswitchd"))
    supervisor = world.cloud.pid("supervisor")
    assert monitor and daemon and supervisor
    held = () if back else (monitor, supervisor)
    with Streams(guest.namespace, world.internet.namespace, ROUTER, STREAMS) as streams:
        assert eventually(lambda: all(streams.heard))
        try:
            for pid in reversed(held):
                os.kill(pid, signal.SIGSTOP)
            os.kill(daemon, signal.SIGKILL)
            dead = time.monotonic() + 0.2   # what was on its way has come
            assert eventually(lambda: [len(of) for of in streams.went_on(dead).values()] == [STREAMS] * 3, 60), \
                streams.went_on(dead)
        finally:
            for pid in held:
                os.kill(pid, signal.SIGCONT)
    assert back or world.gateway() not in ("", old)
    assert world.settled()
    # A switch that began anew asks where its tunnels lead: the first packet by each may be lost until that is answered.
    assert eventually(lambda: all(world.guests[name].reaches(ROUTER) for name in "bcd"))


def test_guests_with_the_same_source_port_are_told_apart(world: World) -> None:
    """Who comes first keeps it."""
    with ExitStack() as held:
        far = held.enter_context(closing(world.internet.socket(socket.SOCK_DGRAM)))
        far.bind(("", 5008))
        came = []
        for name in "bcd":
            line = held.enter_context(closing(world.guests[name].socket(socket.SOCK_DGRAM)))
            line.bind(("", 7777))
            line.sendto(name.encode(), (ROUTER, 5008))
            came.append((line, *far.recvfrom(10)))
        assert came[0][2] == (world.own[0], 7777)
        assert [said for _, said, _ in came] == [b"b", b"c", b"d"] and len({peer for *_, peer in came}) == 3
        for line, said, peer in came:
            far.sendto(said, peer)
            assert line.recv(10) == said
        with Echo(world.internet, 5009):
            for name in "bcd":
                line = held.enter_context(closing(world.guests[name].socket(socket.SOCK_STREAM)))
                line.bind(("", 7777))
                line.connect((ROUTER, 5009))
                line.sendall(name.encode())
                assert line.recv(10) == name.encode()


LOW = range(600, 1024)
"""Ports that Open vSwitch 3.1 gives to who comes from one of them: few enough to take them all."""


def test_without_a_port_left_new_connections_wait_and_the_others_go_on(world: World) -> None:
    """What finds none is counted, and never leaves as it is. (docs/operate.md)"""
    gateway, shared = world.gateway(), world.own[0]
    with ExitStack() as held:
        far, other, first, many, late = (held.enter_context(closing(line)) for line in (
            *(world.internet.socket(socket.SOCK_DGRAM) for _ in range(2)), world.guests["b"].socket(socket.SOCK_DGRAM),
            raw(world.guests["b"]), raw(world.guests["c"])))
        far.bind(("", 5010))
        other.bind(("", 5012))
        first.bind(("", LOW[0]))
        first.sendto(b"first", (ROUTER, 5010))
        assert far.recvfrom(10) == (b"first", (shared, LOW[0]))
        taken = {LOW[0]}

        def all_taken() -> bool:
            send(many, 5010, set(LOW) - taken)
            taken.update(heard(far))
            return taken == set(LOW)

        assert eventually(all_taken)
        before = turned_away(world, gateway)
        send(many, 5010, set(LOW))  # so that none has ended
        heard(far)
        wire = held.enter_context(closing(Wire.line(world.internet.namespace, "br0")))
        send(late, 5010, set(LOW[:40]))
        assert eventually(lambda: turned_away(world, gateway) >= before + 40)
        assert not heard(far)
        far.sendto(b"more", (shared, LOW[0]))
        assert first.recv(10) == b"more"
        send(late, 5012, set(LOW[:40]))
        assert eventually(lambda: heard(other)), "to another port there are as many again"
        sources = set[bytes]()
        wire.setblocking(False)
        with suppress(BlockingIOError):
            while frame := wire.recv(2000):
                sources |= {frame[26:30]} if frame[12:14] == FOUR and frame[23] == socket.IPPROTO_UDP else set()
        assert socket.inet_aton(shared) in sources and socket.inet_aton(world.guests["c"].four) not in sources


def raw(guest: Someone) -> socket.socket:
    with inside(guest.namespace):
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)


def send(line: socket.socket, port: int, sources: set[int]) -> None:
    """A datagram of no bytes from each, as slowly as a switch takes them."""
    for own in sorted(sources):
        line.sendto(struct.pack(">HHHH", own, port, 8, 0), (ROUTER, 0))
        time.sleep(0.001)


def heard(far: socket.socket) -> set[int]:
    """From which ports, until a moment passes without one."""
    found = set[int]()
    far.settimeout(0.5)
    with suppress(TimeoutError):
        while True:
            found.add(far.recvfrom(10)[1][1])
    return found


def turned_away(world: World, host: str) -> int:
    figures = str(api.agent(Cloud(world.cloud.state).host(host), "GET", "/metrics"))
    return int(float(re.findall(r"^unryu_agent_snat_refused_total (\S+)$", figures, re.MULTILINE)[0]))
