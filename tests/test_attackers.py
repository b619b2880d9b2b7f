"""What a guest may try: every spoof is dropped and counted under its reason, and its neighbours neither hear nor suffer it."""

import contextlib
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Advertise
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_SSRR
from scapy.layers.inet6 import (
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.clouds import BIN, RunningCloud, eventually

pytestmark = pytest.mark.system

MARK = b"an attacker's own"
TIMES = 3
STRANGER = "fa:16:3e:de:ad:01"
ALL, ALL6 = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"

# A packet of each line of standard input, at a pace that nothing on the way loses.
SEND = """import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
for line in sys.stdin:
    s.send(bytes.fromhex(line)); time.sleep(0.01)"""
# A line of output for each packet that comes in.
HEAR = """import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3)); s.bind(('eth0', 3)); print('ready', flush=True)
while True:
    data, (_, _, kind, *_) = s.recvfrom(65535)
    if kind != 4: print(data.hex(), flush=True)"""


@dataclass
class Guest:
    name: str
    namespace: str
    port: str
    mac: str
    four: str
    six: str

    @property
    def local(self) -> str:
        """Its link-local address (RFC 4291, appendix A)."""
        m = bytes.fromhex(self.mac.replace(":", ""))
        return f"fe80::{m[0] ^ 2:x}{m[1]:02x}:{m[2]:x}ff:fe{m[3]:02x}:{m[4]:x}{m[5]:02x}"

    def send(self, packets: list[Packet]) -> None:
        frames = "".join(f"{(bytes(p).ljust(60, bytes(1)) + MARK).hex()}\n" for p in packets)
        words = ["ip", "netns", "exec", self.namespace, str(BIN / "python"), "-c", SEND]
        subprocess.run(words, input=frames, text=True, check=True)

    @contextlib.contextmanager
    def hearing(self, wanted: Callable[[bytes], bool] = lambda frame: frame.endswith(MARK)) -> Iterator[list[bytes]]:
        """What comes in meanwhile, of itself that which has our mark; complete when the block is left."""
        words = ["ip", "netns", "exec", self.namespace, str(BIN / "python"), "-c", HEAR]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout and process.stdout.readline() == "ready\n"
        heard: list[bytes] = []
        try:
            yield heard
            time.sleep(0.5)
        finally:
            process.terminate()
            heard.extend(frame for line in process.communicate()[0].split() if wanted(frame := bytes.fromhex(line)))


@dataclass
class Scene:
    """An attacker and a victim on h1, another victim on h2."""

    cloud: RunningCloud
    network: Any
    attacker: Guest
    near: Guest
    far: Guest


@pytest.fixture(scope="module")
def scene(cloud: RunningCloud) -> Iterator[Scene]:
    sdk = cloud.connect()
    network = sdk.network.create_network(name="attacked")
    sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.66.0.0/24")
    sdk.network.create_subnet(network_id=network.id, ip_version=6, cidr="fd66::/64",
                              ipv6_ra_mode="dhcpv6-stateful", ipv6_address_mode="dhcpv6-stateful")
    # What the victims hear is not for their groups to say: these let everything in.
    open_to_all = sdk.network.create_security_group(name="open-to-all")
    for ethertype in ("IPv4", "IPv6"):
        sdk.network.create_security_group_rule(security_group_id=open_to_all.id, direction="ingress", ethertype=ethertype)
    guests = []
    for name, host in (("attacker", "h1"), ("near", "h1"), ("far", "h2")):
        port = sdk.network.create_port(name=name, network_id=network.id, security_group_ids=[open_to_all.id])
        plugged = cloud.plug(port.id, host, name)
        four, six = (f["ip_address"] for f in port.fixed_ips)
        guests.append(Guest(name, plugged["namespace"], port.id, port.mac_address, four, six))
    yield Scene(cloud, network, *guests)
    for guest in guests:
        cloud.unplug(guest.name)
    for port in sdk.network.ports(network_id=network.id):
        sdk.network.delete_port(port.id)
    sdk.network.delete_network(network.id)
    sdk.network.delete_security_group(open_to_all.id)


def drops(cloud: RunningCloud) -> Counter[str]:
    """What h1 dropped of its guests', by the table and match of the flow that did."""
    found = re.findall(r"table=(\d+), n_packets=(\d+),.*? priority=(\S+) actions=drop", cloud.ofctl("h1", "dump-flows", "br-int"))
    return Counter({f"{table} {re.sub(',reg0=[^,]+', '', match)}": int(packets) for table, packets, match in found
                    if int(table) in (0, 10, 14)})


# The flows that count them: table and match, as Open vSwitch says them; without what the table before noted.
TAGGED, OTHER_MAC = "0 0", "0 10,vlan_tci=0x0000/0x1fff"
NO_IP, DHCP4, DHCP6 = "10 0", "10 200,udp,tp_dst=68", "10 200,udp6,tp_dst=546"
RA, REDIRECT, REDIRECT4 = "10 200,icmp6,icmp_type=134", "10 200,icmp6,icmp_type=137", "10 200,icmp,icmp_type=5"
TWICE = "10 200,icmp6,icmp_type=135,icmp_code=0,nd_target=::"
ODD_NS, ODD_NA = "10 50,icmp6,icmp_type=135", "10 50,icmp6,icmp_type=136"
FOUR, SIX = "14 10,ip", "14 10,ipv6"
ARPS = "14 10,arp"
NS = "14 150,icmp6,icmp_type=135,icmp_code=0"
NA = "14 150,icmp6,icmp_type=136,icmp_code=0"


def attacks(me: Guest, it: Guest, third: Guest) -> Iterator[tuple[str, Packet]]:
    """Each with the flow that has to drop it; `it` is the victim, `third` is whom the attacker pretends to be."""
    to = Ether(src=me.mac, dst=it.mac)
    cast = Ether(src=me.mac, dst=ALL)
    cast6 = Ether(src=me.mac, dst=ALL6)
    words = UDP(sport=1000, dport=2000) / Raw(b"hello")
    # another MAC, another network
    yield OTHER_MAC, Ether(src=third.mac, dst=it.mac) / IP(src=me.four, dst=it.four) / words
    yield OTHER_MAC, Ether(src=third.mac, dst=it.mac) / IP(src=third.four, dst=it.four) / words
    yield OTHER_MAC, Ether(src=STRANGER, dst=ALL) / ARP(op=2, hwsrc=STRANGER, psrc=me.four, pdst=it.four)
    yield TAGGED, to / Dot1Q(vlan=7) / IP(src=me.four, dst=it.four) / words
    yield TAGGED, to / Dot1Q(vlan=0, prio=7) / IP(src=me.four, dst=it.four) / words
    yield TAGGED, to / Dot1AD(vlan=7) / Dot1Q(vlan=7) / IP(src=me.four, dst=it.four) / words
    # another's address
    for source in (third.four, "10.66.0.1", "8.8.8.8", "0.0.0.0", "127.0.0.1", "255.255.255.255"):
        yield FOUR, to / IP(src=source, dst=it.four) / words
    yield FOUR, to / IP(src=third.four, dst=it.four) / ICMP()
    yield FOUR, to / IP(src=third.four, dst=it.four) / TCP(flags="R")
    yield FOUR, to / IP(src=third.four, dst=it.four, frag=100) / Raw(b"a later piece")
    for source in (third.six, third.local, "fe80::1", "2001:db8::1", "::"):
        yield SIX, to / IPv6(src=source, dst=it.six) / words
    # ARP
    for victim in (third.four, "10.66.0.1", it.four):
        yield ARPS, cast / ARP(op=2, hwsrc=me.mac, psrc=victim, hwdst=ALL, pdst=victim)
        yield ARPS, cast / ARP(op=1, hwsrc=me.mac, psrc=victim, pdst=victim)
        yield ARPS, cast / ARP(op=1, hwsrc=me.mac, psrc=victim, pdst="10.66.0.77")
    yield ARPS, to / ARP(op=2, hwsrc=me.mac, psrc=third.four, hwdst=it.mac, pdst=it.four)
    yield ARPS, to / ARP(op=2, hwsrc=third.mac, psrc=me.four, hwdst=it.mac, pdst=it.four)
    yield ARPS, cast / ARP(op=1, hwsrc=me.mac, psrc="0.0.0.0", pdst=it.four)  # a probe keeps its owner from it
    yield ARPS, cast / ARP(op=2, hwsrc=me.mac, psrc="0.0.0.0", pdst=it.four)
    # neighbour discovery
    ns, na = IPv6(src=me.local, dst=it.local), IPv6(src=me.six, dst=it.six)
    mine, other = ICMPv6NDOptSrcLLAddr(lladdr=me.mac), ICMPv6NDOptSrcLLAddr(lladdr=third.mac)
    yield NS, to / IPv6(src=third.six, dst=it.six) / ICMPv6ND_NS(tgt=it.six) / mine
    yield NS, to / IPv6(src=third.six, dst=it.six) / ICMPv6ND_NS(tgt=it.six)
    yield NS, to / ns / ICMPv6ND_NS(tgt="fd66::77") / other
    yield NS, cast6 / IPv6(src="::", dst="ff02::1") / ICMPv6ND_NS(tgt=it.six)  # keeps its owner from it
    yield NS, cast6 / IPv6(src="::", dst="ff02::1") / ICMPv6ND_NS(tgt=me.six) / mine
    yield TWICE, to / ns / ICMPv6ND_NS(tgt="fd66::77") / other / mine
    yield ODD_NS, to / ns / ICMPv6ND_NS(tgt="fd66::77", code=1) / mine
    told = ICMPv6NDOptDstLLAddr(lladdr=me.mac)
    yield NA, to / na / ICMPv6ND_NA(tgt=third.six, R=0, S=1, O=1) / told
    yield NA, to / na / ICMPv6ND_NA(tgt=third.six, R=0, S=1, O=1)
    yield NA, cast6 / IPv6(src=third.six, dst="ff02::1") / ICMPv6ND_NA(tgt=me.six, O=1) / told
    yield NA, cast6 / IPv6(src=me.six, dst="ff02::1") / ICMPv6ND_NA(tgt=me.six) / ICMPv6NDOptDstLLAddr(lladdr=third.mac)
    yield NA, to / na / ICMPv6ND_NA(tgt=me.six) / ICMPv6NDOptDstLLAddr(lladdr=third.mac) / told
    yield ODD_NA, to / na / ICMPv6ND_NA(tgt=third.six, code=1) / told
    # a router, a DHCP server
    prefix = ICMPv6NDOptPrefixInfo(prefix="2001:db8::", prefixlen=64)
    yield RA, cast6 / IPv6(src=me.local, dst="ff02::1") / ICMPv6ND_RA() / prefix
    yield RA, to / IPv6(src=third.local, dst=it.local) / ICMPv6ND_RA() / prefix
    yield REDIRECT, to / IPv6(src=me.local, dst=it.six) / ICMPv6ND_Redirect(tgt=me.local, dst=third.six)
    yield REDIRECT4, to / IP(src=me.four, dst=it.four) / ICMP(type=5, code=1, gw=me.four)
    offer = BOOTP(op=2, yiaddr="10.66.0.77", chaddr=bytes.fromhex(it.mac.replace(":", "")))
    for port in (67, 1067):
        yield DHCP4, cast / IP(src=me.four, dst="255.255.255.255") / UDP(sport=port, dport=68) / offer / DHCP(
            options=[("message-type", "offer"), ("server_id", me.four), "end"])
    yield DHCP4, to / IP(src="10.66.0.1", dst=it.four) / UDP(sport=67, dport=68) / offer
    yield DHCP6, to / IPv6(src=me.local, dst=it.local) / UDP(sport=547, dport=546) / DHCP6_Advertise(trid=1)
    # what is neither ARP nor IP
    for kind in (0x88CC, 0x8035, 0x88E5, 0x9000):
        yield NO_IP, Ether(src=me.mac, dst=ALL, type=kind) / Raw(bytes(50))


def legitimate(me: Guest, it: Guest) -> Iterator[Packet]:
    """What a guest may send to another: the same words, in its own name."""
    to, cast6 = Ether(src=me.mac, dst=it.mac), Ether(src=me.mac, dst=ALL6)
    words = UDP(sport=1000, dport=2000) / Raw(b"hello")
    yield to / IP(src=me.four, dst=it.four) / words
    yield to / IPv6(src=me.six, dst=it.six) / words
    yield to / IPv6(src=me.local, dst=it.local) / words
    yield to / ARP(op=2, hwsrc=me.mac, psrc=me.four, hwdst=it.mac, pdst=it.four)
    yield cast6 / IPv6(src=me.six, dst="ff02::1") / ICMPv6ND_NA(tgt=me.six, O=1) / ICMPv6NDOptDstLLAddr(lladdr=me.mac)
    yield to / IPv6(src=me.local, dst=it.local) / ICMPv6ND_NS(tgt=it.local) / ICMPv6NDOptSrcLLAddr(lladdr=me.mac)
    yield to / IPv6(src=me.six, dst=it.six) / ICMPv6ND_NA(tgt=me.six) / ICMPv6NDOptDstLLAddr(lladdr=me.mac)
    yield to / IPv6(src=me.local, dst=it.six) / ICMPv6ND_NA(tgt=me.six)
    yield cast6 / IPv6(src="::", dst="ff02::16") / ICMPv6MLReport2()
    mdns, igmp = (Ether(src=me.mac, dst=f"01:00:5e:00:00:{last}") for last in ("fb", "16"))
    yield mdns / IP(src=me.four, dst="224.0.0.251") / UDP(sport=5353, dport=5353) / Raw(b"who is printer.local?")
    yield igmp / IP(src="0.0.0.0", dst="224.0.0.22", proto=2) / Raw(bytes.fromhex("2200f9fd0000000104000000e00000fb"))


@pytest.mark.parametrize("where", ["near", "far"])
def test_no_spoof_gets_through_and_each_is_counted(scene: Scene, where: str) -> None:
    it, third = (scene.near, scene.far) if where == "near" else (scene.far, scene.near)
    tries = list(attacks(scene.attacker, it, third))
    before = drops(scene.cloud)
    with it.hearing() as heard, third.hearing() as overheard:
        scene.attacker.send([packet for _, packet in tries for _ in range(TIMES)])
        assert scene.cloud.pings(scene.near.name, scene.far.four), "the others' service stays"
    assert not heard and not overheard, [Ether(frame).summary() for frame in heard + overheard]
    expected = Counter(flow for flow, _ in tries for _ in range(TIMES))
    eventually(lambda: drops(scene.cloud) - before == expected, 5)
    assert drops(scene.cloud) - before == expected


def unheard(me: Guest) -> Iterator[Packet]:
    """What it may say and nobody need hear: whoever else had such an address would be asked alone; but nobody has."""
    cast, cast6 = Ether(src=me.mac, dst=ALL), Ether(src=me.mac, dst=ALL6)
    yield cast / ARP(op=1, hwsrc=me.mac, psrc="0.0.0.0", pdst=me.four)
    yield cast6 / IPv6(src="::", dst="ff02::1") / ICMPv6ND_NS(tgt=me.six)
    yield cast6 / IPv6(src="::", dst="ff02::1") / ICMPv6ND_NS(tgt=me.local)
    for stranger in ("10.66.0.77", "8.8.8.8"):
        yield cast / ARP(op=1, hwsrc=me.mac, psrc=me.four, pdst=stranger)
    yield cast6 / IPv6(src=me.six, dst="ff02::1") / ICMPv6ND_NS(tgt="fd66::77") / ICMPv6NDOptSrcLLAddr(lladdr=me.mac)
    yield Ether(src=me.mac, dst=STRANGER) / IP(src=me.four, dst="10.66.0.77") / UDP(sport=1000, dport=2000) / Raw(b"hello")


@pytest.mark.parametrize("where", ["near", "far"])
def test_what_is_its_own_it_may_say(scene: Scene, where: str) -> None:
    it = scene.near if where == "near" else scene.far
    me = scene.attacker
    said = list(legitimate(me, it))
    quiet = list(unheard(me))
    asked, told = (Ether(src=me.mac, dst=ALL) / ARP(op=op, hwsrc=me.mac, psrc=me.four, hwdst=hwdst, pdst=me.four)
                   for op, hwdst in ((1, "00:00:00:00:00:00"), (2, me.mac)))
    before = drops(scene.cloud)
    with it.hearing() as heard:
        me.send([*said, *quiet, asked])
    assert any(frame[14:42] == bytes(told)[14:42] for frame in heard), "a gratuitous request arrives as a gratuitous reply"
    assert not [p.summary() for p in (*quiet, asked) if any(frame[14:len(p)] == bytes(p)[14:] for frame in heard)]
    sent = {bytes(p)[14:40]: p.summary() for p in said}
    assert not [words for start, words in sent.items() if not any(frame[14:40] == start for frame in heard)]
    time.sleep(0.5)
    assert drops(scene.cloud) == before


def test_a_trusted_port_may_say_what_it_likes_and_a_pair_what_it_names(scene: Scene) -> None:
    """The same frames; so it was port security that kept them from the victim."""
    sdk, me, it = scene.cloud.connect(), scene.attacker, scene.near
    groups = sdk.network.get_port(me.port).security_group_ids
    lie = Ether(src=me.mac, dst=it.mac) / IP(src="10.66.0.99", dst=it.four) / UDP(sport=1000, dport=2000) / Raw(b"hello")
    virtual = "00:00:5e:00:01:07"
    vrrp = Ether(src=virtual, dst=ALL) / ARP(op=2, hwsrc=virtual, psrc="10.66.0.99", hwdst=ALL, pdst="10.66.0.99")
    ra = Ether(src=me.mac, dst=ALL6) / IPv6(src=me.local, dst="ff02::1") / ICMPv6ND_RA()

    def arrive(*packets: Packet) -> list[bool]:
        with it.hearing() as heard:
            me.send(list(packets))
        return [any(bytes(p)[:40] == frame[:40] for frame in heard) for p in packets]

    def change(**values: Any) -> None:
        sdk.network.update_port(me.port, **values)
        assert eventually(lambda: sdk.network.get_port(me.port).status == "ACTIVE")

    assert arrive(lie, vrrp, ra) == [False, False, False]
    try:
        change(allowed_address_pairs=[{"ip_address": "10.66.0.96/29"}, {"ip_address": "10.66.0.99", "mac_address": virtual}])
        assert arrive(lie, vrrp, ra) == [True, True, False]
        change(allowed_address_pairs=[])
        assert arrive(lie, vrrp, ra) == [False, False, False]
        change(port_security_enabled=False, security_group_ids=[])
        assert arrive(lie, vrrp, ra) == [True, True, True]
    finally:
        change(port_security_enabled=True, allowed_address_pairs=[], security_group_ids=groups)
    assert arrive(lie, vrrp, ra) == [False, False, False]


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


def from_the_door(frame: bytes) -> bool:
    """DHCP of either version. Advertisements go out unasked, too, and who leases asks for the server's MAC."""
    udp = frame[12:14] == b"\x08\0" and frame[23] == 17 or frame[12:14] == b"\x86\xdd" and frame[20] == 17
    return udp and frame[6:12] == bytes.fromhex("fa163ffffffe")


def cpu(pid: int) -> float:
    """Seconds of it so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def leases(cloud: RunningCloud, guest: Guest) -> bool:
    client = ("udhcpc", "-i", "eth0", "-fqn", "-t5", "-T1", "-s", "/bin/true")
    said = cloud.run("ip", "netns", "exec", guest.namespace, *client, check=False)
    return f"lease of {guest.four} obtained" in said.stderr + said.stdout


def test_mangled_questions_get_no_answer_and_hurt_nobody(scene: Scene) -> None:
    """Slow enough for the meter, so that each is read. Sixty options are many, not wrong: that one is answered."""
    agent = scene.cloud.pid("agent", "h1")
    time.sleep(3)  # the bucket is full
    with scene.attacker.hearing(from_the_door) as heard:
        scene.attacker.send(list(mangled(scene.attacker)))
        assert leases(scene.cloud, scene.near)
    assert not heard, [Ether(frame).summary() for frame in heard]
    many = b"\x35\x01\x01" + b"".join(bytes([code, 4, 1, 2, 3, 4]) for code in range(140, 200)) + b"\xff"
    with scene.attacker.hearing(from_the_door) as heard:
        scene.attacker.send([dhcp4(scene.attacker, many)])
    assert len(heard) == 1
    assert scene.cloud.pid("agent", "h1") == agent and leases(scene.cloud, scene.attacker)


def test_source_routes_lead_nowhere(scene: Scene) -> None:
    """IPv4's loose and strict routes and IPv6's routing header of type 0. Open vSwitch matches on neither, so no flow can
    refuse them: they go as any packet goes, by the destination in the header, which is the victim; the victim's
    kernel accepts no source routes and no such header. Nobody else hears of it."""
    me, it, third = scene.attacker, scene.near, scene.far
    words = UDP(sport=1000, dport=2000) / Raw(b"round about")
    to = Ether(src=me.mac, dst=it.mac)
    routed = [to / IP(src=me.four, dst=it.four, options=[kind(routers=[third.four])]) / words
              for kind in (IPOption_LSRR, IPOption_SSRR)]
    routed.append(to / IPv6(src=me.six, dst=it.six) / IPv6ExtHdrRouting(type=0, addresses=[third.six], segleft=1) / words)
    with third.hearing() as overheard:
        me.send(routed)
    assert not overheard


FLOOD = """import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
frames = [bytes.fromhex(line) for line in sys.stdin]
until, sent = time.monotonic() + 6, 0
while time.monotonic() < until:
    for frame in frames: s.send(frame)
    sent += len(frames)
print(sent)"""


def test_a_flood_of_questions_of_every_kind_drowns_nobody(scene: Scene) -> None:
    """As fast as one guest can: it is muted by its own meter. The agent stays idle, the neighbour has its lease and its pings."""
    me = scene.attacker
    discover = dhcp4(me, b"\x35\x01\x01\xff")
    solicit = Ether(src=me.mac, dst=ALL6) / IPv6(src=me.local, dst="ff02::2") / ICMPv6ND_RS()
    agent = scene.cloud.pid("agent", "h1") or 0
    words = ["ip", "netns", "exec", me.namespace, str(BIN / "python"), "-c", FLOOD]
    flood = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert flood.stdin
    flood.stdin.write("".join(f"{bytes(p).hex()}\n" for p in (discover, solicit)))
    flood.stdin.close()
    time.sleep(1)
    before, began = cpu(agent), time.monotonic()
    assert leases(scene.cloud, scene.near)
    assert scene.cloud.pings(scene.near.name, scene.far.four, count=5)
    used = (cpu(agent) - before) / (time.monotonic() - began)
    assert flood.stdout
    sent = int(flood.stdout.read())
    flood.wait()
    print(f"{sent} questions in 6 s; the agent took {used:.0%} of a core")
    assert sent > 5000 and used < 0.8
    assert scene.cloud.pid("agent", "h1") == agent
    assert eventually(lambda: leases(scene.cloud, me), 10), "and the flooder is heard again"
