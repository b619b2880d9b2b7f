"""What a guest may try: every spoof is dropped and counted under its reason, and its neighbours neither hear nor suffer it."""

import re
import time
from collections import Counter
from collections.abc import Iterator
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
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw

from tests.attackers.scene import ALL, ALL6, MARK, STRANGER, Guest, Scene
from tests.clouds import RunningCloud, eventually

pytestmark = pytest.mark.system

TIMES = 3


def drops(cloud: RunningCloud) -> Counter[str]:
    """What h1 dropped of its guests', by the table and match of the flow that did."""
    found = re.findall(r"table=(\d+), n_packets=(\d+),.*? priority=(\S+) actions=drop", cloud.ofctl("h1", "dump-flows", "br-int"))
    return Counter({f"{table} {re.sub(',reg0=[^,]+', '', match)}": int(packets) for table, packets, match in found
                    if int(table) in (0, 10, 14)})


# The flows that count them: table and match, as Open vSwitch says them; without what the table before noted.
TAGGED, OTHER_MAC = "0 0", "0 10,vlan_tci=0x0000/0x1fff"
SAP, SNAP = Raw(b"\x42\x42\x03"), Raw(b"\xaa\xaa\x03\0\0\x0c\x20\0")
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
    for kind in (0x88CC, 0x8035, 0x88E5, 0x9000, 0x8847, 0x8848, 0x1234, 0xFFFF):  # MPLS among them
        yield NO_IP, Ether(src=me.mac, dst=ALL, type=kind) / Raw(b"\0\1\x01\x40" + bytes(50))
        yield NO_IP, Ether(src=me.mac, dst=it.mac, type=kind) / Raw(b"\0\1\x01\x40" + bytes(50))
    for kind in (SAP, SNAP):  # 802.3: a length where others have their type
        for target in (it.mac, ALL, "01:80:c2:00:00:00"):  # spanning tree's is no exception
            yield NO_IP, Dot3(src=me.mac, dst=target, len=46 + len(MARK)) / kind / Raw(bytes(43))


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
    eventually(lambda: drops(scene.cloud) - before == expected)
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
    with it.hearing(least=len(said) + 1) as heard:
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

    def arrive(*expected: bool) -> bool:
        """Whether just those come; asked again, since what a switch had decided before lives on for a moment."""
        def once() -> bool:
            with it.hearing() as heard:
                me.send([lie, vrrp, ra])
            return [any(bytes(p)[:40] == frame[:40] for frame in heard) for p in (lie, vrrp, ra)] == list(expected)

        return bool(eventually(once, 20))

    def change(**values: Any) -> None:
        sdk.network.update_port(me.port, **values)
        assert eventually(lambda: sdk.network.get_port(me.port).status == "ACTIVE")

    assert arrive(False, False, False)
    try:
        change(allowed_address_pairs=[{"ip_address": "10.66.0.96/29"}, {"ip_address": "10.66.0.99", "mac_address": virtual}])
        assert arrive(True, True, False)
        change(allowed_address_pairs=[])
        assert arrive(False, False, False)
        change(port_security_enabled=False, security_group_ids=[])
        assert arrive(True, True, True)
    finally:
        change(port_security_enabled=True, allowed_address_pairs=[], security_group_ids=groups)
    assert arrive(False, False, False)


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
