"""What somebody outside may try, and a guest straight on the provider's wire, of routers, floating IPs and gateways."""

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_RA, ICMPv6ND_Redirect, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from controller.speaking import NEWER, spoken
from tests.attackers.routed import OUTSIDE, OUTSIDE6, WEB6, Scene, straight
from tests.attackers.scene import ALL
from tests.attackers.test_routers import NOWHERE, NOWHERE6, TIMES, WORDS
from tests.attackers.test_spoofing import ARPS
from tests.clouds import eventually
from tests.outside.world import Echo, Someone, streamed

pytestmark = pytest.mark.system


def asked(s: Scene, question: str, *values: str) -> list[Any]:
    """Of the rows, which nobody sees but the cloud itself."""
    with closing(sqlite3.connect(s.cloud.state / "unryu.db")) as rows:
        return rows.execute(question, values).fetchall()


def intrusions(s: Scene) -> Iterator[tuple[str, Packet]]:
    """To addresses inside by whatever way, and in the name of somebody inside, or of nobody. Each with the flow that drops it on
    h1, if it comes to something there."""
    me, gateway = s.outsider, s.macs["outside", 4]
    inside4, inside6 = (s.near.four, s.far.four, "10.67.0.1"), (s.near.six, s.far.six, "fd67::1")
    for mac in (gateway, s.floating["near"][1], s.floating["far"][1], s.macs["red", 4], s.near.mac, s.far.mac, ALL):
        yield from (("", Ether(src=me.mac, dst=mac) / IP(src=OUTSIDE, dst=target) / WORDS) for target in inside4)
    for mac in (s.macs["red", 6], s.near.mac, s.far.mac, ALL):
        yield from (("", Ether(src=me.mac, dst=mac) / IPv6(src=OUTSIDE6, dst=target) / WORDS) for target in inside6)
    [(number,)] = asked(s, "SELECT number FROM network JOIN port ON port.network_id = network.id WHERE port.id = ?", s.near.port)
    for tags in ([0], [1], [100], [4094], [number & 0xFFF], [1, 7]):    # the last but one as its network crosses inside
        frame = Ether(src=me.mac, dst=s.near.mac)
        for vlan in tags:
            frame = frame / Dot1Q(vlan=vlan, prio=number >> 12)
        yield "", frame / IP(src=OUTSIDE, dst=s.near.four) / WORDS
    address, mac = s.floating["near"]
    to = Ether(src=me.mac, dst=mac)
    for source in inside4:
        mirrored = f"90 202,ip,nw_src={source.rpartition('.')[0]}.0/24"
        yield mirrored, to / IP(src=source, dst=address) / WORDS
        yield mirrored, to / IP(src=source, dst=address) / ICMP(type=5, code=1, gw=OUTSIDE) / IP(src=s.near.four) / WORDS
        yield mirrored, to / IP(src=source, dst=address, ttl=1) / WORDS
    yield from ((f"94 200,ip,nw_src={prefix}", to / IP(src=source, dst=address) / WORDS) for source, prefix in NOWHERE.items())
    to = Ether(src=me.mac, dst=gateway)
    yield from (("", to / IPv6(src=source, dst=target) / WORDS) for source in (*inside6, *NOWHERE6) for target in inside6
                if source != target)
    yield "", to / IPv6(src="fe80::1", dst=s.near.six, hlim=255) / ICMPv6ND_RA()
    yield "", to / IPv6(src="fe80::1", dst=s.near.six, hlim=255) / ICMPv6ND_Redirect(tgt="fe80::1", dst=s.far.six)


def test_nobody_outside_reaches_what_has_no_address_there_or_speaks_as_who_is_inside(routed: Scene) -> None:
    tries = list(intrusions(routed))
    before, expected = routed.drops(), Counter(flow for flow, _ in tries if flow for _ in range(TIMES))
    with routed.near.hearing() as near, routed.far.hearing() as far:
        routed.outsider.send([packet for _, packet in tries for _ in range(TIMES)])
    assert not near and not far, [Ether(frame).summary() for frame in near + far]
    assert eventually(lambda: not expected - (routed.drops() - before), 30), expected - (routed.drops() - before)
    with routed.near.hearing() as near:     # the same words, in his own name, to who has an address outside
        address, mac = routed.floating["near"]
        routed.outsider.send([Ether(src=routed.outsider.mac, dst=mac) / IP(src=OUTSIDE, dst=address) / WORDS,
                              Ether(src=routed.outsider.mac, dst=routed.macs["outside", 6])
                              / IPv6(src=OUTSIDE6, dst=routed.near.six) / WORDS])
    assert len(near) == 2
    routed.serves()


def test_no_next_hop_has_the_mac_of_a_group(routed: Scene) -> None:
    """What is sent to it would be everybody's (RFC 1812, 3.3.2): whatever the wire says of a next hop that is known."""
    routed.serves()
    group, own, gateway = "33:33:00:00:00:05", routed.own[4], routed.macs["outside", 4]
    said = ICMPv6ND_NA(tgt=OUTSIDE6, R=1, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=group)
    routed.outsider.send([Ether(src=routed.outsider.mac, dst=to) / packet for to in (ALL, gateway) for packet in (
        ARP(op=2, hwsrc=group, psrc=OUTSIDE, hwdst=gateway, pdst=own), ARP(op=1, hwsrc=group, psrc=OUTSIDE, pdst=OUTSIDE),
        IPv6(src=OUTSIDE6, dst="ff02::1", hlim=255) / said)])
    routed.serves()
    for host in ("h1", "h2"):
        assert "0x333300000005" not in routed.cloud.ofctl(host, "dump-flows", "br-int", "table=102")


def test_who_is_far_away_says_nothing_of_neighbours(routed: Scene) -> None:
    """By an advertisement that was routed, anybody anywhere could cut a router off (RFC 4861, 7.1.2)."""
    routed.serves()
    to, lie = Ether(src=routed.outsider.mac, dst=routed.macs["outside", 6]), "02:00:00:00:66:66"
    said = ICMPv6ND_NA(tgt=OUTSIDE6, R=1, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=lie)
    routed.outsider.send([to / IPv6(src=WEB6, dst=routed.own[6], hlim=hops) / said for hops in (1, 63, 254)])
    routed.serves()
    for host in ("h1", "h2"):
        assert "0x200000006666" not in routed.cloud.ofctl(host, "dump-flows", "br-int", "table=102")


def announced(s: Scene, words: list[str], by: str) -> list[Packet]:
    """What a gateway says of itself, with these words."""
    mac = s.macs["outside", 4]
    return [Ether(src=by, dst=ALL) / ARP(op=1, hwsrc=mac, psrc=address, hwdst=word, pdst=address)
            for word in words for address in (s.own[4], "0.0.0.0")]


def yielded(s: Scene) -> bool:
    """Has its switch been told that there is another gateway? (That nobody takes back.)"""
    return "table=106, " in "".join(line for line in s.cloud.ofctl(s.gateway(), "dump-flows", "br-int", "table=106").splitlines()
                                   if "priority=0 " not in line)


def test_a_gateways_generation_is_nobodys_to_guess(routed: Scene) -> None:
    words = [f"02:00:00:00:00:{n:02x}" for n in range(32)] + [random.randbytes(6).hex(":") for _ in range(32)]
    routed.outsider.send(announced(routed, words, routed.macs["outside", 4]))
    assert not yielded(routed)
    routed.serves()


def test_a_guest_on_the_wire_is_no_gateway_and_has_no_floating_ip(routed: Scene) -> None:
    """Even if it knew what the next generation will say."""
    [(id, generation)] = asked(routed, "SELECT id, generation FROM router_gateway WHERE router_id = ?", routed.router)
    words = [spoken(id, generation + n) for n in range(1, NEWER + 1)]
    host = next(h for h in ("h1", "h2") if h != routed.gateway())
    claimed = routed.own[4], OUTSIDE, *(address for address, _ in routed.floating.values())
    with straight(routed, host) as me:
        lies = announced(routed, words, me.mac)
        lies += [Ether(src=me.mac, dst=ALL) / ARP(op=op, hwsrc=me.mac, psrc=address, hwdst=ALL, pdst=address)
                 for op in (1, 2) for address in claimed]
        before = routed.drops(host)
        with routed.outsider.hearing() as out:
            me.send([*lies, *announced(routed, words, routed.macs["outside", 4])])
        assert not out and not yielded(routed)
        assert eventually(lambda: (routed.drops(host) - before)[ARPS] >= len(lies), 10)
        routed.serves()


def errors(to: Packet, about: Packet) -> Iterator[Packet]:
    for kind, codes in ((3, range(16)), (4, (0,)), (5, range(4)), (11, (0, 1)), (12, (0,))):
        for code in codes:
            wrong = about.copy()
            wrong[TCP].seq = random.randrange(1 << 32)
            yield to / ICMP(type=kind, code=code, nexthopmtu=68 if code == 4 else 0) / wrong


def test_streams_outlive_the_errors_that_others_invent(routed: Scene) -> None:
    """Through the agent that translates them: from outside, and from a neighbour, in his own name."""
    near, (address, mac) = routed.near, routed.floating["near"]
    client, server = Someone(near.namespace, near.four), Someone(routed.outsider.namespace, OUTSIDE)
    with Echo(server) as _, closing(client.socket(1)) as line:
        line.settimeout(20)
        line.connect((OUTSIDE, 5001))
        sport = line.getsockname()[1]
        outside = Ether(src=routed.outsider.mac, dst=mac) / IP(src=OUTSIDE, dst=address)
        routed.outsider.send(list(errors(outside, IP(src=address, dst=OUTSIDE) / TCP(sport=sport, dport=5001))))
        beside = IP(src=routed.attacker.four, dst=near.four)
        for by in (Ether(src=routed.attacker.mac, dst=near.mac), Ether(src=routed.attacker.mac, dst=routed.macs["red", 4])):
            routed.attacker.send(list(errors(by / beside, IP(src=near.four, dst=OUTSIDE) / TCP(sport=sport, dport=5001))))
        for _ in range(20):
            line.sendall(bytes(1000))
            size = 1000
            while size:
                size -= len(line.recv(size))
        streamed(client, OUTSIDE)


def test_a_flood_from_outside_drowns_no_guest(routed: Scene) -> None:
    """What comes by the wire is at the expense of the router that it comes to; other routers, and its own guests, are heard.
    (Some 2,000 a second: more fill the wire itself, where nobody's answers find room.)"""
    me, near, (address, mac) = routed.outsider, routed.near, routed.floating["near"]
    to, gateway = Ether(src=me.mac, dst=mac), Ether(src=me.mac, dst=routed.macs["outside", 4])
    flood = [to / IP(src=OUTSIDE, dst=address, ttl=1) / WORDS,
             to / IP(src=OUTSIDE, dst=address) / ICMP(type=3, code=3) / Raw(bytes(40)),
             gateway / IPv6(src=OUTSIDE6, dst=near.six, hlim=1) / WORDS, gateway / IPv6(src=OUTSIDE6, dst="fd67::1") / WORDS,
             *(gateway / IPv6(src=OUTSIDE6, dst=f"fd67::{last}") / WORDS for last in range(100, 150)),
             *(Ether(src=me.mac, dst=mac) / ARP(op=2, hwsrc=me.mac, psrc=f"203.0.113.{last}", hwdst=mac, pdst=address)
               for last in range(100, 150))]
    with me.flooding(flood, 0.05):
        routed.serves()
        assert eventually(lambda: routed.says(near, "Time to live exceeded", "ping", "-c1", "-W1", "-t1", routed.far.four), 60)
