"""Floating IPs with packets: translated both ways on the host of the port, whoever is at the other end."""

import os
import re
import signal
import socket
import struct
import time
from contextlib import closing

import pytest

from ovsagent.links import inside
from tests.clouds import PATIENCE, eventually
from tests.outside.world import ROUTER, SILENCE, WEB, Echo, Wire, World, asked, refused, streamed

pytestmark = pytest.mark.system


def test_datagrams_of_every_size_and_streams_both_ways(world: World) -> None:
    """Also in pieces, of which Open vSwitch would spoil all but the first, did it translate them as whole ones."""
    a, internet = world.guests["a"], world.internet
    with world.floating("a") as floating:
        address = floating.floating_ip_address
        for size in (10, 1400, 1450, 1472, 3000, 9000):
            assert asked(internet, a, address, size) == ROUTER
            assert asked(a, internet, ROUTER, size) == address
        with Echo(a) as near, Echo(internet) as far:
            streamed(internet, address)
            streamed(a, ROUTER)
            assert near.seen == [ROUTER] and far.seen == [address]
        assert a.reaches(WEB, "-s", "4000") and internet.reaches(address, "-s", "4000")


def test_whoever_calls_a_floating_ip_is_seen_as_who_he_is_outside(world: World) -> None:
    """Its own, a neighbour's of the same subnet, one on another host; from guests with and without one."""
    a, b, c, d = (world.guests[name] for name in "abcd")
    with world.floating("a") as first, world.floating("b") as second:
        one, two = first.floating_ip_address, second.floating_ip_address
        shared = world.own[0]
        for client, seen in ((a, one), (b, two), (c, shared), (d, shared), (world.internet, ROUTER)):
            assert asked(client, a, one) == seen
            assert asked(client, b, two, 3000 if client is not b else 1400) == seen
        with Echo(b) as echo:
            for client in (a, b, c, d):
                streamed(client, two, size=50_000)
            assert echo.seen == [one, two, shared, shared]


def test_who_is_called_by_his_own_address_answers_by_it(world: World) -> None:
    """Where addresses inside are known outside. Also from one port, now by one address and now by the other; in pieces; of
    errors about it; and what he begins himself leaves as ever."""
    a, internet = world.guests["a"], world.internet
    with world.without_snat(), world.floating("a") as floating, closing(internet.socket(socket.SOCK_DGRAM)) as caller, \
            closing(a.socket(socket.SOCK_DGRAM)) as called:
        addresses = floating.floating_ip_address, a.four
        called.bind(("", 5002))
        for address in addresses * 2:
            for size in (10, 3000):
                assert asked(internet, a, address, size) == ROUTER
                assert internet.reaches(address, "-s", str(size))
            caller.sendto(b"x", (address, 5002))
            called.sendto(*called.recvfrom(10))
            assert caller.recvfrom(10)[1] == (address, 5002)
            assert refused(internet, address)
            assert asked(a, internet, ROUTER) == floating.floating_ip_address
        with Echo(a) as echo:
            for address in addresses:
                streamed(internet, address)
            assert echo.seen == [ROUTER] * 2
        for size in (10, 1400, 3000):
            assert asked(world.guests["c"], a, floating.floating_ip_address, size) == world.guests["c"].four
        assert refused(world.guests["c"], floating.floating_ip_address) and asked(world.guests["c"], a, a.four)


def test_it_is_of_one_address_of_its_port_only(world: World) -> None:
    subnet = next(s for s in world.demo.subnets(network_id=world.networks["blue"], ip_version=4))
    b = world.guests["b"]
    world.demo.update_port(b.port, fixed_ips=[*world.demo.get_port(b.port).fixed_ips, {
        "subnet_id": subnet.id, "ip_address": "10.91.0.200"}])
    b.run("ip", "addr", "add", "10.91.0.200/24", "dev", "eth0")
    try:
        with world.floating("b", fixed_ip_address="10.91.0.200") as floating, \
                closing(b.socket(socket.SOCK_DGRAM)) as there, closing(world.internet.socket(socket.SOCK_DGRAM)) as here:
            there.bind(("10.91.0.200", 5002))
            here.bind(("", 5003))
            here.sendto(b"x", (floating.floating_ip_address, 5002))
            assert there.recv(10) == b"x"
            for own, seen in ((b.four, world.own[0]), ("10.91.0.200", floating.floating_ip_address)):
                with closing(b.socket(socket.SOCK_DGRAM)) as speaker:
                    speaker.bind((own, 0))
                    speaker.sendto(b"y", (ROUTER, 5003))
                    assert here.recvfrom(10)[1][0] == seen
    finally:
        b.run("ip", "addr", "del", "10.91.0.200/24", "dev", "eth0")
        world.demo.update_port(b.port, fixed_ips=[f for f in world.demo.get_port(b.port).fixed_ips
                                                  if f["ip_address"] != "10.91.0.200"])


def test_errors_are_about_what_their_recipient_had_sent(world: World) -> None:
    """Port unreachable both ways; time exceeded, for hops before the guest and behind it; and too large for the way in."""
    a = world.guests["a"]
    with world.floating("a") as floating:
        address = floating.floating_ip_address
        assert refused(world.internet, address) and refused(a, ROUTER)
        assert refused(world.guests["c"], address) and refused(a, address)
        assert f"From {address} icmp_seq=1 Time to live exceeded" in world.internet.ping(address, "-t", "1", count=1)
        assert "Time to live exceeded" in a.ping(WEB, "-t", "1", count=1)
        said = world.internet.ping(address, "-M", "do", "-s", "1440", count=1)
        assert "mtu = 1450" in said or "mtu=1450" in said, said


def answers(world: World, address: str, patience: float = 0.3) -> list[str]:
    """The MACs that answer one question for the address on the wire: the first of them within so long, others soon."""
    with inside(world.internet.namespace):
        line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    with closing(line):
        line.bind(("br0", 0x0806))
        mac, own = line.getsockname()[4], socket.inet_aton(ROUTER)
        line.send(b"\xff" * 6 + mac + b"\x08\x06" + struct.pack(
            ">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, own, bytes(6), socket.inet_aton(address)))
        line.settimeout(patience)
        found = []
        try:
            while True:
                frame = line.recv(100)
                if frame[:6] == mac and frame[20:22] == b"\0\2" and frame[28:32] == socket.inet_aton(address):
                    found.append(frame[22:28].hex(":"))
                    line.settimeout(0.3)
        except TimeoutError:
            return found


def test_on_the_wire_one_host_answers_for_it(world: World) -> None:
    with world.floating("a") as floating:
        [mac] = answers(world, floating.floating_ip_address, PATIENCE)
        assert mac != world.guests["a"].mac
        assert len(answers(world, world.own[0], PATIENCE)) == 1
    assert eventually(lambda: not answers(world, floating.floating_ip_address))


def test_moved_it_is_the_others_and_taken_away_its_sessions_end(world: World) -> None:
    a, b, internet = world.guests["a"], world.guests["b"], world.internet
    with world.floating("a") as floating:
        address = floating.floating_ip_address
        lines = {}
        for name, guest in (("a", a), ("b", b)):
            lines[name] = guest.socket(socket.SOCK_DGRAM)
            lines[name].bind(("", 5004))
            lines[name].settimeout(0.02)
        caller = internet.socket(socket.SOCK_DGRAM)

        def arrives() -> str:
            caller.sendto(b"x", (address, 5004))
            return next((name for name, line in lines.items() if _heard(line)), "")

        assert eventually(arrives) == "a"
        world.demo.update_ip(floating.id, port_id=b.port)
        moved = time.monotonic()
        assert eventually(lambda: arrives() == "b") and time.monotonic() - moved < 10
        world.demo.update_ip(floating.id, port_id=None)
        taken = time.monotonic()
        while arrives():
            assert time.monotonic() - taken < 10
        for line in (*lines.values(), caller):
            line.close()


def _heard(line: socket.socket) -> bool:
    try:
        return bool(line.recv(10))
    except TimeoutError:
        return False


def test_a_host_out_of_the_controllers_sight_hears_that_it_has_moved(world: World) -> None:
    """Its switch answers for it no more, and its guest says nothing in its name; and it is its own again when it comes back."""
    a, b = world.guests["a"], world.guests["b"]
    mgmt = "ip", "-n", world.cloud.namespace("h1"), "link", "set", "mgmt"
    with world.floating("a") as floating, closing(world.internet.socket(socket.SOCK_DGRAM)) as outside:
        address = floating.floating_ip_address
        outside.bind(("", 5003))
        with Wire(world, ("h1", "h2"), address) as wire:
            assert eventually(lambda: wire.heard["h1"])
            world.cloud.run(*mgmt, "down")
            try:
                world.demo.update_ip(floating.id, port_id=b.port)
                assert eventually(lambda: wire.announced("h1"))
                assert eventually(lambda: wire.heard["h2"][-1][0] > wire.announced("h1") + SILENCE)
                assert not wire.late("h1")
                assert asked(world.internet, b, address) == ROUTER
                with closing(a.socket(socket.SOCK_DGRAM)) as line:
                    line.sendto(b"x", (ROUTER, 5003))
                outside.settimeout(1)
                with pytest.raises(TimeoutError):
                    outside.recv(10)
                world.demo.update_ip(floating.id, port_id=a.port)
            finally:
                world.cloud.run(*mgmt, "up")
        assert eventually(lambda: world.demo.get_ip(floating.id).status == "ACTIVE", 60)
        # Its agent may have announced it before its switch knew better, which said nothing then: it says so again, for 3 seconds.
        assert eventually(lambda: world.internet.reaches(address), 20) and asked(world.internet, a, address) == ROUTER


def test_with_the_control_plane_dead_all_of_it_goes_on(world: World) -> None:
    """New connections too. (Frozen, so that nobody starts another.)"""
    a, c, internet = world.guests["a"], world.guests["c"], world.internet
    with world.floating("a") as floating:
        pids = [pid for name in ("controller", "api") if (pid := world.cloud.pid(name))]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            with Echo(a) as echo, Echo(internet, 5005):
                for _ in range(3):
                    streamed(internet, floating.floating_ip_address, size=10_000)
                    streamed(c, ROUTER, 5005, size=10_000)
                assert echo.seen == [ROUTER] * 3
            assert refused(internet, floating.floating_ip_address)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def test_what_a_floating_ip_costs(world: World) -> None:
    """Flows on the host of its port, and none on any other. (Beside next hops that were heard of meanwhile.)"""
    def count() -> dict[str, int]:
        assert world.settled()
        return {h: len(re.findall(r", table=(?!102)", world.cloud.ofctl(h, "dump-flows", "br-int"))) for h in ("h1", "h2", "h3")}

    with world.floating("a"):
        before = count()
        with world.floating("d"):
            after = count()
    assert after["h1"] - before["h1"] <= 11 and after["h2"] == before["h2"], (before, after)
