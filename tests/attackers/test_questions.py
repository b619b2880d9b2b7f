"""Questions for the host's door, mangled and by the thousand: none is answered wrongly, and nobody else suffers."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_RS,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ovsagent.links import inside
from tests.attackers.scene import ALL, Guest, Scene
from tests.clouds import BIN, PATIENCE, RunningCloud, eventually

pytestmark = pytest.mark.system


def dhcp4(me: Guest, options: bytes, *, magic: bytes = b"\x63\x82\x53\x63", **fields: Any) -> Packet:
    """A question whose options are these bytes, whatever they are."""
    asks = BOOTP(**{"chaddr": bytes.fromhex(me.mac.replace(":", "")), "xid": 66} | fields)
    head = bytes(asks)[:236] + magic + options
    return Ether(src=me.mac, dst=ALL) / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / Raw(head)


def mangled(me: Guest) -> Iterator[Packet]:
    """Questions for the host's door that deserve no answer."""
    discover, end = b"\x35\x01\x01", b"\xff"
    yield dhcp4(me, discover + end, hlen=16)
    yield dhcp4(me, discover + end, hlen=0)
    yield dhcp4(me, discover + end, htype=6)
    yield dhcp4(me, discover + end, op=2)
    yield dhcp4(me, discover + end, giaddr="10.66.0.9")
    yield dhcp4(me, discover + end, magic=bytes(4))
    yield dhcp4(me, b"")
    yield dhcp4(me, end)
    yield dhcp4(me, b"\x35\xff\x01")  # longer than the packet
    yield dhcp4(me, b"\x0c\xff" + discover + end)  # it swallows what follows
    yield dhcp4(me, b"\x35\x00" + end)
    yield dhcp4(me, b"\x35\x01\x63" + end)
    yield dhcp4(me, bytes(1000))
    yield dhcp4(me, b"\x37\xff" + bytes(255))
    long = dhcp4(me, discover + end)
    long[UDP].len = 60000
    yield long
    short = dhcp4(me, discover + end)
    short[UDP].len = 9
    yield short
    six = Ether(src=me.mac, dst="33:33:00:01:00:02") / IPv6(src=me.local, dst="ff02::1:2") / UDP(sport=546, dport=547)
    yield six / Raw(b"")
    yield six / Raw(b"\x01ab")
    yield six / Raw(b"\x01abc\0\1")
    yield six / Raw(b"\x01abc\0\1\xff\xff\0")
    yield six / Raw(b"\x01abc\0\3\0\x0c" + bytes(12))  # nobody asks
    yield six / Raw(b"\x0c\0" + bytes(32) + b"\0\x09\0\4\1abc")  # relayed
    yield six / Raw(b"\x0d\0" + bytes(32))
    whole, its_mac = b"\1\1", bytes.fromhex(me.mac.replace(":", ""))
    for options in (b"\1\0" + its_mac, b"\1\2" + its_mac, b"\1\xff" + its_mac, b"\1", bytes(8), whole + its_mac + b"\0\0"):
        yield solicitation(me) / Raw(options)
    # A client that found another at its address. It is nobody else's here: the next lease has it again.
    yield dhcp4(me, b"\x35\x01\x04\x32\x04" + socket.inet_aton(me.four) + b"\x36\x04" + socket.inet_aton("10.66.0.1") + end)


def solicitation(me: Guest) -> Packet:
    return Ether(src=me.mac, dst="33:33:00:00:00:02") / IPv6(src=me.local, dst="ff02::2") / ICMPv6ND_RS()


def from_the_door(frame: bytes) -> bool:
    """DHCP of either version, and advertisements to one alone: those to all go out unasked, too. Who leases asks for the
    server's MAC."""
    told = frame[12:14] == b"\x86\xdd" and frame[54] == 134 and not frame[0] & 1
    udp = frame[12:14] == b"\x08\0" and frame[23] == 17 or frame[12:14] == b"\x86\xdd" and frame[20] == 17
    return (udp or told) and frame[6:12] == bytes.fromhex("fa163ffffffe")


def cpu(pid: int) -> float:
    """Seconds of it so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def leases(cloud: RunningCloud, guest: Guest) -> bool:
    client = ("udhcpc", "-i", "eth0", "-fqn", "-t10", "-T1", "-s", "/bin/true")
    said = cloud.run("ip", "netns", "exec", guest.namespace, *client, check=False)
    return f"lease of {guest.four} obtained" in said.stderr + said.stdout


def test_mangled_questions_get_no_answer_and_hurt_nobody(scene: Scene) -> None:
    """Slow enough for the meter, so that each is read. Sixty options are many, not wrong: that one is answered, and
    so is a solicitation as it should be."""
    agent = scene.cloud.pid("agent", "h1")
    time.sleep(3)  # the bucket is full
    with scene.attacker.hearing(from_the_door) as heard:
        scene.attacker.send(list(mangled(scene.attacker)))
        assert leases(scene.cloud, scene.near)
    assert not heard, [Ether(frame).summary() for frame in heard]
    many = b"\x35\x01\x01" + b"".join(bytes([code, 4, 1, 2, 3, 4]) for code in range(140, 200)) + b"\xff"
    with scene.attacker.hearing(from_the_door, least=2) as heard:
        scene.attacker.send([dhcp4(scene.attacker, many), solicitation(scene.attacker)])
    assert len(heard) == 2
    assert scene.cloud.pid("agent", "h1") == agent and leases(scene.cloud, scene.attacker)


FLOOD = """import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
frames = [bytes.fromhex(line) for line in sys.stdin]
until, sent = time.monotonic() + 6, 0
while time.monotonic() < until:
    for frame in frames: s.send(frame)
    sent += len(frames)
print(sent)"""


def carries(client: Guest, server: Guest, size: int) -> bool:
    """So many bytes over TCP."""
    with inside(server.namespace):
        ear = socket.create_server((server.four, 5000))
    with inside(client.namespace):
        line = socket.socket()
    with ear, line:
        for end in (ear, line):
            end.settimeout(PATIENCE)
        line.connect((server.four, 5000))
        threading.Thread(target=line.sendall, args=(bytes(size),), daemon=True).start()
        heard, _ = ear.accept()
        with heard:
            heard.settimeout(PATIENCE)
            while size > 0 and (part := heard.recv(1 << 16)):
                size -= len(part)
    return size == 0


def test_a_flood_of_questions_of_every_kind_drowns_nobody(scene: Scene) -> None:
    """As fast as one guest can: it is muted by its own meter. The agent stays idle, the neighbour has its lease,
    its pings and its TCP."""
    me = scene.attacker
    discover = dhcp4(me, b"\x35\x01\x01\xff")
    agent = scene.cloud.pid("agent", "h1") or 0
    words = ["ip", "netns", "exec", me.namespace, str(BIN / "python"), "-c", FLOOD]
    flood = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert flood.stdin
    flood.stdin.write("".join(f"{bytes(p).hex()}\n" for p in (discover, solicitation(me))))
    flood.stdin.close()
    time.sleep(1)
    before, began = cpu(agent), time.monotonic()
    assert leases(scene.cloud, scene.near)
    assert scene.cloud.pings(scene.near.name, scene.far.four, count=5)
    assert carries(scene.near, scene.far, 1_000_000)
    used = (cpu(agent) - before) / (time.monotonic() - began)
    assert flood.stdout
    sent = int(flood.stdout.read())
    flood.wait()
    print(f"{sent} questions in 6 s; the agent took {used:.0%} of a core")
    assert sent > 1000 and used < 0.8
    assert scene.cloud.pid("agent", "h1") == agent
    assert eventually(lambda: leases(scene.cloud, me)), "and the flooder is heard again"


def test_where_no_router_is_told_of_a_solicitation_goes_to_the_neighbours(scene: Scene) -> None:
    """One of them may be a router of its own. With advertisements of ours, the host's door takes it."""
    sdk = scene.cloud.connect().network
    network = sdk.create_network(name="no-advice")
    sdk.create_subnet(network_id=network.id, ip_version=4, cidr="10.67.0.0/24", enable_dhcp=False)
    guests = []
    try:
        for name in ("asker", "router"):
            port = sdk.create_port(network_id=network.id, port_security_enabled=False, security_group_ids=[])
            plugged = scene.cloud.plug(port.id, "h1", name, "--static")
            guests.append(Guest(name, plugged["namespace"], port.id, port.mac_address, port.fixed_ips[0]["ip_address"], ""))
        asker, router = guests
        with router.hearing(lambda frame: frame.startswith(bytes(solicitation(asker))), least=1) as heard:
            asker.send([solicitation(asker)])
        assert heard
    finally:
        for guest in guests:
            scene.cloud.unplug(guest.name)
            sdk.delete_port(guest.port)
        sdk.delete_network(network.id)
