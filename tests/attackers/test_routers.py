"""What a guest may try of its router: spoofs, odd packets, floods. Its neighbours, and other tenants, are served as ever."""

import functools
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6NDOptDstLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from tests.attackers.routed import OUTSIDE, OUTSIDE6, WEB, WEB6, Scene, outside, trusted
from tests.attackers.scene import ALL, ALL6
from tests.attackers.test_spoofing import ARPS, FOUR, NA, OTHER_MAC, RA, REDIRECT, REDIRECT4, SIX
from tests.clouds import eventually

pytestmark = pytest.mark.system

TIMES = 2
NOWHERE = {"0.0.0.1": "0.0.0.0/8", "127.0.0.1": "127.0.0.0/8", "169.254.9.9": "169.254.0.0/16", "224.0.0.5": "224.0.0.0/3",
           "240.0.0.1": "224.0.0.0/3", "248.0.0.100": "224.0.0.0/3", "255.255.255.255": "224.0.0.0/3"}
NOWHERE6 = {"::": "::/96", "::1": "::/96", "::ffff:10.68.0.9": "::ffff:0.0.0.0/96", "fe80::1": "fe80::/10", "ff02::1": "ff00::/8"}
"""Addresses of no single host on another link, and the prefixes by which they are refused."""
WORDS = UDP(sport=1000, dport=2000) / Raw(b"hello")


def to_router(s: Scene) -> tuple[Packet, Packet]:
    """What the attacker sends it begins with this, by IP version."""
    return Ether(src=s.attacker.mac, dst=s.macs["red", 4]), Ether(src=s.attacker.mac, dst=s.macs["red", 6])


def spoofs(s: Scene) -> Iterator[tuple[str, Packet]]:
    """What a guest may not say to a router, or in its name, each with the flow that has to drop it."""
    me, (to4, to6) = s.attacker, to_router(s)
    cast, cast6 = Ether(src=me.mac, dst=ALL), Ether(src=me.mac, dst=ALL6)
    floating, mac = s.floating["near"]
    others = s.near.four, s.far.four, floating, s.floating["far"][0], "10.67.0.1", "10.68.0.1", s.own[4], OUTSIDE
    others6 = s.near.six, s.far.six, "fd67::1", "fd68::1", s.own[6], OUTSIDE6
    yield from ((FOUR, to4 / IP(src=source, dst=target) / WORDS)
                for source in (*others, *NOWHERE, "0.0.0.0") for target in (s.far.four, WEB))
    yield from ((SIX, to6 / IPv6(src=source, dst=target) / WORDS)
                for source in (*others6, *NOWHERE6) for target in (s.far.six, WEB6))
    yield FOUR, to4 / IP(src=floating, dst=floating) / TCP(sport=80, dport=80, flags="S")
    yield FOUR, to4 / IP(src=s.near.four, dst=s.far.four) / ICMP(type=3, code=1) / IP(src=s.far.four, dst=s.near.four) / WORDS
    for another in (s.macs["red", 4], s.macs["outside", 4], mac):
        yield OTHER_MAC, Ether(src=another, dst=s.near.mac) / IP(src=me.four, dst=s.near.four) / WORDS
        yield OTHER_MAC, Ether(src=another, dst=ALL) / ARP(op=2, hwsrc=another, psrc="10.67.0.1", pdst=me.four)
    yield OTHER_MAC, Ether(src=s.macs["red", 6], dst=s.near.mac) / IPv6(src=me.six, dst=s.near.six) / WORDS
    yield from ((ARPS, cast / ARP(op=op, hwsrc=me.mac, psrc=claimed, pdst=target or claimed))
                for claimed in others for op, target in ((1, ""), (1, me.four), (2, "")))
    mine = ICMPv6NDOptDstLLAddr(lladdr=me.mac)
    yield from ((NA, cast6 / IPv6(src=me.six, dst="ff02::1") / ICMPv6ND_NA(tgt=claimed, R=1, O=1) / mine) for claimed in others6)
    yield RA, cast6 / IPv6(src=me.local, dst="ff02::1") / ICMPv6ND_RA()
    yield RA, to6 / IPv6(src=me.six, dst=s.far.six, hlim=255) / ICMPv6ND_RA()
    yield REDIRECT4, to4 / IP(src=me.four, dst=s.far.four) / ICMP(type=5, code=1, gw=me.four)
    yield REDIRECT, to6 / IPv6(src=me.six, dst=s.far.six, hlim=255) / ICMPv6ND_Redirect(tgt=me.local, dst=s.near.six)


def nowhere(s: Scene) -> Iterator[tuple[str, Packet]]:
    """What no router takes on, whoever sends it."""
    me, (to4, to6) = s.attacker, to_router(s)
    for address, prefix in NOWHERE.items():
        yield f"94 200,ip,nw_src={prefix}", to4 / IP(src=address, dst=s.far.four) / WORDS
        yield f"94 200,ip,nw_dst={prefix}", to4 / IP(src=me.four, dst=address) / WORDS
    for address, prefix in NOWHERE6.items():
        yield f"94 200,ipv6,ipv6_src={prefix}", to6 / IPv6(src=address, dst=s.far.six) / WORDS
        yield f"94 200,ipv6,ipv6_dst={prefix}", to6 / IPv6(src=me.six, dst=address) / WORDS


def refused(s: Scene, tries: list[tuple[str, Packet]]) -> None:
    """Nobody hears of these, and each is counted by its flow."""
    before, expected = s.drops(), Counter(flow for flow, _ in tries for _ in range(TIMES))
    with s.near.hearing() as near, s.far.hearing() as far, s.outsider.hearing() as out:
        s.attacker.send([packet for _, packet in tries for _ in range(TIMES)])
    assert not near and not far and not out, [Ether(frame).summary() for frame in near + far + out]
    assert eventually(lambda: not expected - (s.drops() - before), 30), expected - (s.drops() - before)


def test_no_spoof_passes_a_router_and_each_is_counted(routed: Scene) -> None:
    refused(routed, list(spoofs(routed)))
    routed.serves()


def test_what_no_router_carries_even_for_whom_its_owner_trusts(routed: Scene) -> None:
    with trusted(routed):
        refused(routed, list(nowhere(routed)))
    routed.serves()


def odd(s: Scene) -> Iterator[Packet]:
    """In its own name, but not as packets should be: source routes, chains of headers, pieces that overlap or never end."""
    me, (to4, to6) = s.attacker, to_router(s)
    four, six = to4 / IP(src=me.four, dst=s.far.four), to6 / IPv6(src=me.six, dst=s.far.six)
    hops = IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(6))])
    yield six / IPv6ExtHdrRouting(type=0, addresses=[s.near.six], segleft=1) / WORDS
    yield six / hops / WORDS
    yield six / hops / hops / hops / WORDS
    for number in range(100):
        content, at = Raw(bytes(UDP(sport=1, dport=2, len=2000)) + bytes(16)), number % 3   # in steps of 8 bytes: of 24
        yield to4 / IP(src=me.four, dst=s.far.four, id=number // 3, frag=at, flags="MF", proto=17) / content
        yield six / IPv6ExtHdrFragment(nh=17, offset=at, m=1, id=number // 3) / content
    yield four / TCP(sport=1, dport=2, flags="SFRPAU", dataofs=15)
    yield four / UDP(sport=1, dport=2, len=7)


def test_odd_packets_hurt_nobody_else(routed: Scene) -> None:
    with routed.near.hearing() as near:
        routed.attacker.send(list(odd(routed)))
    assert not near
    routed.serves()
    assert eventually(lambda: routed.says(routed.near, "1 received", "ping", "-c1", "-W2", "-s3000", routed.far.four), 60), \
        "pieces of others are put together"


def floods(s: Scene) -> Iterator[Packet]:
    """What must be told, asked for, answered, or looked for."""
    me, (to4, to6) = s.attacker, to_router(s)
    for last in range(100, 200):    # hops; next hops inside and outside, and what has none
        yield to4 / IP(src=me.four, dst=f"10.68.0.{last}", ttl=1) / WORDS
        yield to6 / IPv6(src=me.six, dst=f"fd68::{last}", hlim=1) / WORDS
        yield from (to4 / IP(src=me.four, dst=f"{net}.{last}") / WORDS for net in ("10.68.0", "203.0.113", "10.99.0"))
        yield from (to6 / IPv6(src=me.six, dst=f"{net}::{last}") / WORDS for net in ("fd68", "2001:db8:cafe", "fd99"))
    yield to4 / IP(src=me.four, dst="10.67.0.1") / ICMP()
    yield to6 / IPv6(src=me.six, dst="fd67::1") / ICMPv6EchoRequest()
    yield to4 / IP(src=me.four, dst="10.68.0.1") / WORDS
    yield to4 / IP(src=me.four, dst="10.67.0.1", flags="MF") / ICMP() / Raw(bytes(1000))
    yield to6 / IPv6(src=me.six, dst=s.far.six) / IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(6))]) / WORDS
    metadata = Ether(src=me.mac, dst="fa:16:3f:ff:ff:fe") / IP(src=me.four, dst="169.254.169.254")
    yield from (metadata / TCP(sport=port, dport=80, flags="S") for port in range(5000, 5020))
    yield metadata / UDP(dport=80) / Raw(b"x")


def mangled(s: Scene, chance: Random) -> Iterator[Packet]:
    """The like of these, with bytes that are others, but still in its own name; and first pieces of nothing."""
    me, (to4, to6) = s.attacker, to_router(s)
    own = {b"\x08\0": range(26, 30), b"\x86\xdd": range(22, 38)}
    whole = [bytes(packet) for packet in (*odd(s), *floods(s))]
    for number in range(300):
        frame = bytearray(chance.choice(whole))
        for place in chance.choices(range(14, len(frame)), k=chance.randrange(4)):
            if place not in own[bytes(frame[12:14])]:
                frame[place] = chance.randrange(256)
        yield Raw(bytes(frame[:chance.choice([len(frame)] * 4 + [chance.randrange(14, len(frame))])]))
        if number % 30 == 0:
            yield to4 / IP(src=me.four, dst="10.67.0.1", id=number, flags="MF", len=28) / ICMP()
            yield to6 / IPv6(src=me.six, dst="fd67::1", plen=8) / IPv6ExtHdrFragment(nh=58, m=1, id=number)


def test_what_is_mangled_leaves_the_agents_alive(routed: Scene) -> None:
    agents = [routed.cloud.pid("agent", host) for host in ("h1", "h2")]
    routed.attacker.send(list(mangled(routed, Random(6))))
    routed.serves()
    assert [routed.cloud.pid("agent", host) for host in ("h1", "h2")] == agents


def test_a_flood_at_the_router_drowns_nobody(routed: Scene) -> None:
    """The agent is deaf to the flooder alone. Those behind the same router go on: they are routed, leave, are told of errors,
    find next hops that nobody has asked for, and have leases and metadata."""
    near, says = routed.near, functools.partial(routed.says, routed.near)
    with routed.attacker.flooding(list(floods(routed))):
        routed.serves()
        for told, address in (("Time to live exceeded", routed.far.four), ("Hop limit", routed.far.six)):
            command = "ping", "-c20", "-i0.1", "-W1", "-t1", address
            assert eventually(functools.partial(says, told, *command, times=15), 60), "mostly, not now and then"
        for words in (("1 received", "ping", "-c1", "-W1", "-s3000", "10.67.0.1"),
                      (near.port, "curl", "-sm3", "http://169.254.169.254/openstack/latest/meta_data.json"),
                      (f"lease of {near.four} obtained", "udhcpc", "-i", "eth0", "-fqn", "-t5", "-T1", "-s", "/bin/true")):
            assert eventually(functools.partial(says, *words), 60), words
        outside(routed, "addr", "add", "203.0.113.251/24", "dev", "br0")
        try:
            assert eventually(lambda: says("1 received", "ping", "-c1", "-W1", "203.0.113.251"), 60)
        finally:
            outside(routed, "addr", "del", "203.0.113.251/24", "dev", "br0")
