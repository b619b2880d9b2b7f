"""Machines on a provider's VLAN of which the API knows nothing: they have a gateway there, and guests behind it find them."""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from ovsagent.links import inside
from tests.clouds import eventually
from tests.outside.world import ROUTER, Echo, Someone, World, asked, streamed
from tests.ovs import OvsHost, run

pytestmark = pytest.mark.system
CIDRS = "10.95.0.0/24", "fd95::/64"
GATEWAY, GATEWAY6 = "10.95.0.1", "fd95::1"
MACHINE, MACHINE6, MAC = "10.95.0.200", "fd95::200", "02:00:00:95:02:00"
BEHIND, BEHIND6 = "10.96.0.1", "fd96::1"
VLAN = 95
HOSTS = "h1", "h2", "h3"


@dataclass
class Site:
    world: World
    machine: Someone
    guest: Someone
    """Straight on the VLAN, on h2."""
    macs: list[str]
    """Of the router there, with IPv4 and with IPv6."""

    def speaker(self) -> str:
        """The host that lets out what the router says of itself, if it is one."""
        found = []
        for host in HOSTS:
            socket = f"unix:{self.world.cloud.state}/hosts/{host}/br-ex.mgmt"
            dump = self.world.cloud.run("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", socket, "table=0", check=False).stdout
            found += [host] if re.search(f"priority=151,arp,.*dl_src={self.macs[0]}", dump) else []
        return found[0] if len(found) == 1 else ""

    def found_at(self, mac: str) -> str:
        """The host behind whose NIC the switch out there would look for this MAC."""
        known = run("bridge", "-n", self.world.internet.namespace, "fdb", "show", "br", "br0")
        found = re.search(f"{mac} dev (\\S+) ", known)
        return found[1] if found else ""

    def far(self, *but: str) -> Someone:
        """A guest behind the router, on none of these hosts."""
        return next(self.world.guests[name] for name, host in (("d", "h1"), ("b", "h2"), ("c", "h3")) if host not in but)

    def line(self) -> socket.socket:
        """All that comes to the machine, and frames out of it."""
        with inside(self.machine.namespace):
            line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        line.bind(("eth0", 3))
        line.settimeout(0.3)
        return line


@contextmanager
def machine(world: World) -> Iterator[Someone]:
    """A namespace behind a switch that gives it the VLAN without a tag, as one out there would: no VLAN devices here."""
    space = f"{world.internet.namespace}-m"
    with OvsHost("switch") as switch:
        switch.add_bridge("sw")
        switch.vsctl("set", "bridge", "sw", "fail_mode=standalone")
        run("ip", "netns", "add", space)
        try:
            run("ip", "link", "add", "eth0", "netns", space, "address", MAC, "type", "veth", "peer", "name", "machine", "netns",
                switch.ns)
            run("ip", "link", "add", "switch", "netns", world.internet.namespace, "type", "veth", "peer", "name", "trunk",
                "netns", switch.ns)
            run("ip", "-n", world.internet.namespace, "link", "set", "switch", "master", "br0", "up")
            for port, more in (("machine", [f"tag={VLAN}"]), ("trunk", [f"trunks={VLAN}"])):
                run("ip", "-n", switch.ns, "link", "set", port, "up")
                switch.vsctl("add-port", "sw", port, *more)
            one = Someone(space, MACHINE, MACHINE6, mac=MAC)
            one.run("ethtool", "-K", "eth0", "tx", "off")
            one.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.eth0.accept_dad=0",
                    "net.ipv6.conf.eth0.accept_ra=0")
            for device, addresses in (("eth0", (f"{MACHINE}/24", f"{MACHINE6}/64")), ("lo", (BEHIND, BEHIND6))):
                for address in addresses:
                    one.run("ip", "addr", "add", address, "dev", device)
                one.run("ip", "link", "set", device, "up")
            for gateway in (GATEWAY, GATEWAY6):
                one.run("ip", "route", "add", "default", "via", gateway)
            yield one
        finally:
            run("ip", "netns", "del", space)


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[Site]:
    demo, group = world.demo, world.demo.get_port(world.guests["d"].port).security_group_ids
    network = world.admin.create_network(name="wire", project_id=demo.get_project_id(), provider_network_type="vlan",
                                         provider_physical_network="physical1", provider_segmentation_id=VLAN)
    subnets = [demo.create_subnet(network_id=network.id, ip_version=version, cidr=cidr)
               for version, cidr in zip((4, 6), CIDRS, strict=True)]
    for subnet in subnets:
        demo.add_interface_to_router(world.router, subnet=subnet.id)
    port = demo.create_port(name="wire", network_id=network.id, security_group_ids=group)
    plugged = world.cloud.plug(port.id, "h2", "wire", "--static")
    four, six = sorted((f["ip_address"] for f in port.fixed_ips), key=lambda address: ":" in address)
    doors = list(demo.ports(device_id=world.router, network_id=network.id))
    with machine(world) as one:
        site = Site(world, one, Someone(plugged["namespace"], four, six, port.id, port.mac_address),
                    [next(p.mac_address for p in doors for f in p.fixed_ips if sign in f["ip_address"]) for sign in ".:"])
        assert eventually(site.speaker) and world.settled()
        yield site
    world.cloud.unplug("wire")
    demo.delete_port(port.id)
    for subnet in subnets:
        demo.remove_interface_from_router(world.router, subnet=subnet.id)
    demo.delete_network(network.id)


def test_guests_find_a_machine_that_nobody_has_told_of(site: Site) -> None:
    for name in "bcd":
        guest = site.world.guests[name]
        assert guest.reaches(MACHINE) and guest.reaches(MACHINE6), name
        assert asked(guest, site.machine, MACHINE) == guest.four and asked(guest, site.machine, MACHINE6) == guest.six
    for address in (MACHINE, MACHINE6):
        assert guest.reaches(address, "-s", "3000")
    with Echo(site.machine):
        streamed(guest, MACHINE)


def test_a_machine_finds_guests_by_the_router(site: Site) -> None:
    for name in "bcd":
        guest = site.world.guests[name]
        assert site.machine.reaches(guest.four) and site.machine.reaches(guest.six), name
        with Echo(guest), Echo(guest, port=5002, six=True):
            streamed(site.machine, guest.four)
            streamed(site.machine, guest.six, port=5002)
    assert all(site.machine.reaches(address) for address in (GATEWAY, GATEWAY6, site.guest.four, site.guest.six))
    assert "Time to live exceeded" in site.machine.ping(site.far().four, "-t", "1", count=1)


def test_both_lead_out_by_the_router(site: Site) -> None:
    for one in (site.machine, site.guest):
        assert asked(one, site.world.internet, ROUTER) == site.world.own[0]


def test_routes_by_a_machine(site: Site) -> None:
    change(site.world, [{"destination": "10.96.0.0/24", "nexthop": MACHINE}, {"destination": "fd96::/64", "nexthop": MACHINE6}])
    try:
        guest = site.far()
        assert guest.reaches(BEHIND) and guest.reaches(BEHIND6)
        assert " 2 received" in site.machine.ping(guest.four, "-I", BEHIND)
    finally:
        change(site.world, [])


def change(world: World, routes: list[dict[str, str]]) -> None:
    answer = world.demo.put(f"/routers/{world.router}", json={"router": {"routes": routes}})
    assert answer.status_code == 200 and world.settled()


def test_switches_out_there_see_no_mac_move(site: Site) -> None:
    """The router's own MAC comes from one host and says only what it is; whatever is routed comes from its host's."""
    with closing(site.line()) as line:
        assert all(site.world.guests[name].reaches(MACHINE) for name in "bcd")
        assert site.guest.reaches(GATEWAY) and site.machine.reaches(site.far().four)
        heard = []
        while len(heard) < 10_000:
            try:
                frame, (_, _, kind, *_) = line.recvfrom(2000)
            except TimeoutError:
                break
            heard += [Ether(frame)] if kind != socket.PACKET_OUTGOING else []
    assert {frame.src[:3] for frame in heard if IP in frame and frame[IP].src != site.guest.four} == {"0e:"}
    assert all(ARP in frame or ICMPv6ND_NA in frame for frame in heard if frame.src in site.macs)
    assert not [frame for frame in heard if ARP in frame and frame[ARP].pdst == GATEWAY != frame[ARP].psrc], "asked at home"
    assert eventually(lambda: [site.found_at(mac) for mac in site.macs] == [site.speaker()] * 2, 15)


def test_a_machine_is_nobody_else(site: Site) -> None:
    """Neither one of our guests, through the router, nor the router itself."""
    victim, others = site.far(), [site.world.guests["b"].four, site.guest.four, GATEWAY, site.world.own[0], "198.51.100.9"]
    with closing(victim.socket(socket.SOCK_DGRAM)) as there, closing(site.line()) as line:
        there.bind(("", 6000))
        for source in (*others, MACHINE):
            line.send(bytes(Ether(src=MAC, dst=site.macs[0]) / IP(src=source, dst=victim.four) / UDP(sport=6000, dport=6000)
                            / source.encode()))
        assert there.recvfrom(100)[0] == MACHINE.encode()
        assert site.guest.reaches(GATEWAY) and site.guest.reaches(GATEWAY6)
        all4, all6 = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"
        lies: list[Packet] = [Ether(src=MAC, dst=all4) / ARP(op=op, hwsrc=MAC, psrc=GATEWAY, pdst=GATEWAY) for op in (1, 2)]
        lies.append(Ether(src=MAC, dst=all6) / IPv6(src=GATEWAY6, dst="ff02::1", hlim=255) / ICMPv6ND_NA(
            tgt=GATEWAY6, R=1, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=MAC))
        lies.append(Ether(src=MAC, dst=site.guest.mac) / ARP(op=2, hwsrc=MAC, psrc=GATEWAY, hwdst=site.guest.mac,
                                                             pdst=site.guest.four))
        for lie in lies:
            line.send(bytes(lie))
        time.sleep(0.3)
        for address, mac in zip((GATEWAY, GATEWAY6), site.macs, strict=True):
            assert mac in site.guest.run("ip", "neigh", "show", address)


def test_a_host_without_the_wire_reaches_machines_by_one_that_has_it(site: Site) -> None:
    world, guests = site.world, {"h1": "d", "h2": "b", "h3": "c"}
    host = next(host for host in guests if host not in (site.speaker(), world.gateway()))
    guest = world.guests[guests[host]]
    world.cloud.vsctl(host, "del-port", "br-ex", "eth1")
    try:
        assert eventually(lambda: guest.reaches(MACHINE) and guest.reaches(MACHINE6), 10)
        assert site.machine.reaches(guest.four) and asked(guest, site.machine, MACHINE) == guest.four
        assert "Time to live exceeded" in guest.ping(MACHINE, "-t", "1", count=1)
        assert "ttl=63" in guest.ping(MACHINE, count=1), "one hop, whichever hosts they are on"
    finally:
        world.cloud.vsctl(host, "add-port", "br-ex", "eth1")
    assert eventually(lambda: guest.reaches(MACHINE), 10) and world.settled()


def test_its_gateway_outlives_the_host_that_spoke_for_it(site: Site) -> None:
    world, old = site.world, site.speaker()
    guest = site.far(old, world.gateway())
    monitor, daemon = (world.cloud.pid(name, old) for name in ("ovs-vswitchd-monitor", "ovs-vswitchd"))
    supervisor = world.cloud.pid("supervisor")
    assert monitor and daemon and supervisor and site.machine.reaches(guest.four)
    said: list[str] = []
    pinging = threading.Thread(target=lambda: said.append(site.machine.run(
        "ping", "-n", "-D", "-i", "0.1", "-w", "6", guest.four, check=False)))
    try:
        for pid in (supervisor, monitor):
            os.kill(pid, signal.SIGSTOP)
        pinging.start()
        time.sleep(0.5)
        os.kill(daemon, signal.SIGKILL)
        assert eventually(lambda: site.speaker() not in ("", old), 20)
        assert eventually(lambda: all(site.machine.reaches(a, count=1) for a in (guest.four, guest.six, GATEWAY)), 10)
        pinging.join()
    finally:
        for pid in (monitor, supervisor):
            os.kill(pid, signal.SIGCONT)
    at = [float(when) for when in re.findall(r"\[([\d.]+)\] 64 bytes", said[0])]
    print("silent for", max(later - sooner for sooner, later in zip(at, at[1:], strict=False)), "s")
    assert world.settled()
    assert site.speaker() not in ("", old), "nobody comes back by himself"


@pytest.mark.skipif("UNRYU_SILENCE" not in os.environ, reason="in make drill: gateways are cut off in test_snat.py")
def test_a_speaker_out_of_the_controllers_sight_falls_silent(site: Site) -> None:
    world, old = site.world, site.speaker()
    world.cloud.run("ip", "-n", world.cloud.namespace(old), "link", "set", "mgmt", "down")
    question = bytes(Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=MAC, psrc=MACHINE, pdst=GATEWAY))
    try:
        assert eventually(lambda: site.found_at(site.macs[0]) not in ("", old), 20)
        time.sleep(1)
        with closing(site.line()) as line:
            for _ in range(30):
                line.send(question)
                time.sleep(0.1)
            answers = 0
            with pytest.raises(TimeoutError):
                while True:
                    frame, (_, _, kind, *_) = line.recvfrom(2000)
                    answer = Ether(frame)
                    answers += kind != socket.PACKET_OUTGOING and ARP in answer and (
                        answer[ARP].op, answer[ARP].pdst) == (2, MACHINE)
        assert 0 < answers <= 30
        assert all(site.machine.reaches(world.guests[name].four) for name in "bcd"), "those of the host that is cut off, too"
    finally:
        world.cloud.run("ip", "-n", world.cloud.namespace(old), "link", "set", "mgmt", "up")
    assert world.settled()
    assert site.speaker() not in ("", old)
