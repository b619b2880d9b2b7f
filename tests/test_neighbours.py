"""Neighbours on two hosts: who is asked for an address that is nobody's own, who answers for it, who hears multicast."""

import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6, in6_getnsma, in6_getnsmac
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.pton_ntop import inet_ntop, inet_pton

from ovsagent.links import inside
from tests.attackers.scene import ALL, STRANGER, Guest, gone, plugged
from tests.clouds import PATIENCE, RunningCloud, eventually

pytestmark = pytest.mark.system

PAIR, PAIR6 = "10.68.0.100", "fd68::100"
ETH_P_ALL = 0x0003
NOBODYS, NOBODYS6 = "10.68.0.99", "fd68::99"
TIMES = 5
KINDS = [re.compile(pattern) for pattern in (",arp,", ",icmp6,", "^0$")]


@dataclass
class Scene:
    """Two guests on each of two hosts, each with a security group of its own name, but for two that are in `mdns`."""

    cloud: RunningCloud
    sdk: Any
    asker: Guest   # h1; may send only ICMP, and only to members of `holder`
    near: Guest    # h1; in `mdns`
    holder: Guest  # h2; lets ICMP in
    far: Guest     # h2; in `mdns`

    def change(self, guest: Guest, **values: Any) -> None:
        self.sdk.network.update_port(guest.port, **values)
        assert eventually(lambda: self.sdk.network.get_port(guest.port).status == "ACTIVE")

    def heard(self, sender: Guest, *packets: Packet) -> list[list[str]]:
        """The names of those who are given each of them."""
        others = [guest for guest in (self.asker, self.near, self.holder, self.far) if guest != sender]
        frames = [bytes(packet).ljust(60, b"\0") + b"%04d" % number for number, packet in enumerate(packets)]
        heard: dict[bytes, list[str]] = {frame[-4:]: [] for frame in frames}
        with contextlib.ExitStack() as lines:
            line, *ears = (lines.enter_context(listening(guest)) for guest in (sender, *others))
            for frame in frames:
                line.send(frame)
            # What is said to each of them in the end, comes last: each switch on the way takes what comes in in order. The
            # first time it may overtake what was taken with it; the second time all of that has gone out.
            for end in (b"end1", b"end2"):
                for guest in others:
                    line.send(bytes(Ether(src=sender.mac, dst=guest.mac) / ARP(
                        op=2, hwsrc=sender.mac, psrc=sender.four, hwdst=guest.mac, pdst=guest.four)).ljust(60, b"\0") + end)
                for guest, ear in zip(others, ears, strict=True):
                    while (mark := ear.recv(2048)[-4:]) != end:
                        if mark in heard:
                            heard[mark].append(guest.name)
        return list(heard.values())


@contextlib.contextmanager
def listening(guest: Guest) -> Iterator[socket.socket]:
    with inside(guest.namespace):
        line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        line.bind(("eth0", ETH_P_ALL))
    with line:
        line.settimeout(PATIENCE)
        yield line


@pytest.fixture(scope="module")
def scene(cloud: RunningCloud) -> Iterator[Scene]:
    sdk = cloud.connect()
    network = sdk.network.create_network(name="neighbours")
    for version, cidr, low, high in ((4, "10.68.0.0/24", "10.68.0.10", "10.68.0.50"), (6, "fd68::/64", "fd68::10", "fd68::50")):
        sdk.network.create_subnet(network_id=network.id, ip_version=version, cidr=cidr,
                                  allocation_pools=[{"start": low, "end": high}])
    groups = {name: sdk.network.create_security_group(name=f"neighbours-{name}") for name in ("asker", "holder", "mdns")}
    for every in groups["asker"].security_group_rules:
        sdk.network.delete_security_group_rule(every["id"])

    def rule(name: str, direction: str, ethertype: str, protocol: str, **more: Any) -> None:
        sdk.network.create_security_group_rule(security_group_id=groups[name].id, direction=direction, ethertype=ethertype,
                                               protocol=protocol, **more)

    for ethertype, ping in (("IPv4", "icmp"), ("IPv6", "ipv6-icmp")):
        rule("asker", "egress", ethertype, ping, remote_group_id=groups["holder"].id)
        rule("holder", "ingress", ethertype, ping)
        rule("mdns", "ingress", ethertype, ping)
    rule("mdns", "ingress", "IPv4", "udp", port_range_min=5353, port_range_max=5353, remote_group_id=groups["mdns"].id)
    # Not by group: a port's link-local address is in none.
    rule("mdns", "ingress", "IPv6", "udp", port_range_min=5353, port_range_max=5353, remote_ip_prefix="fe80::/64")
    yield Scene(cloud, sdk, *(
        plugged(cloud, network, host, name, groups[group], "--static") for name, group, host in (
            ("asker", "asker", "h1"), ("near", "mdns", "h1"), ("holder", "holder", "h2"), ("far", "mdns", "h2"))))
    gone(cloud, network, *groups.values())


def questions(sender: Guest, four: str, six: str) -> tuple[Packet, Packet]:
    """ARP and NS, as a kernel asks for an address that it knows nothing of."""
    group = in6_getnsma(inet_pton(socket.AF_INET6, six))
    return (Ether(src=sender.mac, dst=ALL) / ARP(op=1, hwsrc=sender.mac, psrc=sender.four, pdst=four),
            Ether(src=sender.mac, dst=in6_getnsmac(group)) / IPv6(src=sender.six, dst=inet_ntop(socket.AF_INET6, group))
            / ICMPv6ND_NS(tgt=six) / ICMPv6NDOptSrcLLAddr(lladdr=sender.mac))


def ip(guest: Guest, *words: str) -> str:
    return subprocess.run(["ip", "-n", guest.namespace, *words], capture_output=True, text=True, check=True).stdout


def pings(guest: Guest, address: str, patience: int = 5) -> bool:
    """Asked anew: for a guest whose kernel knows no neighbour."""
    ip(guest, "neigh", "flush", "dev", "eth0")
    words = ["ip", "netns", "exec", guest.namespace, "ping", "-qc1", f"-W{patience}", address]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_a_pairs_holder_alone_is_asked_and_its_address_is_in_its_groups(scene: Scene) -> None:
    asker, holder, far = scene.asker, scene.holder, scene.far
    asked = questions(asker, PAIR, PAIR6)
    pairs = [{"ip_address": PAIR}, {"ip_address": "fd68::100/124"}]
    for guest in (holder, far):
        for address in (f"{PAIR}/24", f"{PAIR6}/64"):
            ip(guest, "addr", "add", address, "dev", "eth0", "nodad")
    try:
        assert scene.heard(asker, *asked) == [[], []], "nobody may hold it"
        scene.change(holder, allowed_address_pairs=pairs)
        assert scene.heard(asker, *asked) == [["holder"], ["holder"]]
        assert scene.heard(scene.near, *questions(scene.near, PAIR, PAIR6)) == [["holder"], ["holder"]]
        assert pings(asker, PAIR) and pings(asker, PAIR6)
        scene.change(holder, allowed_address_pairs=[])
        assert eventually(lambda: not pings(asker, PAIR, 1) and not pings(asker, PAIR6, 1))
        # Now one holds it whose groups no rule of the asker names. The asker finds it, and may not send to it; a neighbour may.
        scene.change(far, allowed_address_pairs=pairs)
        for address in (PAIR, PAIR6):
            # (The kernel may have given up just now, and asks again for the next ping only.)
            assert eventually(lambda a=address: pings(asker, a, 1) or far.mac in ip(asker, "neigh", "show", a))
            assert not pings(asker, address, 1)
            assert pings(scene.near, address)
    finally:
        for guest in (holder, far):
            scene.change(guest, allowed_address_pairs=[])
            for address in (f"{PAIR}/24", f"{PAIR6}/64"):
                ip(guest, "addr", "del", address, "dev", "eth0")


def dropped(cloud: RunningCloud) -> list[int]:
    """What h2's br-tun took to no other host: questions of ARP, of ND, and the rest."""
    found = re.findall(r"table=60, n_packets=(\d+),.* priority=(\S+) actions=drop", cloud.ofctl("h2", "dump-flows", "br-tun"))
    return [sum(int(packets) for packets, match in found if asked.search(match)) for asked in KINDS]


def test_trusted_ports_of_either_host_hear_what_is_for_nobody_and_guarded_ones_never(scene: Scene) -> None:
    asker, near, holder, far = scene.asker, scene.near, scene.holder, scene.far

    def unknown(sender: Guest) -> tuple[Packet, ...]:
        stranger = Ether(src=sender.mac, dst=STRANGER) / IP(src=sender.four, dst=NOBODYS) / UDP(sport=1, dport=2) / Raw(b"hello")
        return *questions(sender, NOBODYS, NOBODYS6), stranger

    groups = scene.sdk.network.get_port(far.port).security_group_ids
    before = dropped(scene.cloud)
    assert scene.heard(holder, *unknown(holder) * TIMES) == [[]] * 3 * TIMES
    assert eventually(lambda: [now - then for now, then in zip(dropped(scene.cloud), before, strict=True)] == [TIMES] * 3)
    try:
        scene.change(near, port_security_enabled=False, security_group_ids=[])
        assert scene.heard(holder, *unknown(holder)) == [["near"]] * 3
        scene.change(far, port_security_enabled=False, security_group_ids=[])
        assert scene.heard(holder, *unknown(holder)) == [["near", "far"]] * 3
        assert scene.heard(far, *unknown(far)) == [["near"]] * 3
        known = Ether(src=holder.mac, dst=asker.mac) / IP(src=holder.four, dst=asker.four) / UDP(sport=1, dport=2)
        assert scene.heard(holder, known) == [[]], "not even what a group keeps from the one that it is for"
    finally:
        for guest in (near, far):
            scene.change(guest, port_security_enabled=True, security_group_ids=groups)


def mdns(sender: Guest, words: bytes, to: Guest | None = None) -> tuple[Packet, Packet]:
    """Over IPv4 and IPv6: to all, or to whom asked for an answer of his own (RFC 6762, 5.4)."""
    said = UDP(sport=5353, dport=5353) / Raw(words)
    if to:
        head = Ether(src=sender.mac, dst=to.mac)
        return head / IP(src=sender.four, dst=to.four) / said, head / IPv6(src=sender.local, dst=to.local) / said
    return (Ether(src=sender.mac, dst="01:00:5e:00:00:fb") / IP(src=sender.four, dst="224.0.0.251", ttl=255) / said,
            Ether(src=sender.mac, dst="33:33:00:00:00:fb") / IPv6(src=sender.local, dst="ff02::fb", hlim=255) / said)


def test_mdns_crosses_hosts_both_ways_to_those_whose_groups_allow_it(scene: Scene) -> None:
    near, far = scene.near, scene.far
    for one, other in ((near, far), (far, near)):
        asked = scene.heard(one, *mdns(one, b"who is printer.local?"))
        answered = scene.heard(other, *mdns(other, b"I am"))
        alone = scene.heard(other, *mdns(other, b"I am", one))
        assert asked == [[other.name]] * 2 and answered == alone == [[one.name]] * 2
