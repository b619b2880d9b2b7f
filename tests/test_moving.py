"""Addresses that move between guests: by announcement, across hosts, the controller dead or alive, among who may hold them."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from tests.attackers.scene import ALL, ALL6, Guest
from tests.clouds import RunningCloud, eventually

pytestmark = pytest.mark.system

VIP, VIP6, VMAC = "10.67.0.100", "fd67::100", "00:00:5e:00:01:07"
LEARNED = re.compile(r"table=6[12],.* priority=100,")


@dataclass
class Scene:
    """Two guests that may hold the address, on two hosts; one who asks for it; one who would like to have it."""

    cloud: RunningCloud
    one: Guest
    two: Guest
    client: Guest
    thief: Guest


@pytest.fixture(scope="module")
def scene(cloud: RunningCloud) -> Iterator[Scene]:
    sdk = cloud.connect()
    network = sdk.network.create_network(name="moving")
    for version, cidr in ((4, "10.67.0.0/24"), (6, "fd67::/64")):
        sdk.network.create_subnet(network_id=network.id, ip_version=version, cidr=cidr)
    group = sdk.network.create_security_group(name="let-in")
    for ethertype in ("IPv4", "IPv6"):
        sdk.network.create_security_group_rule(security_group_id=group.id, direction="ingress", ethertype=ethertype)
    guests = []
    for name, host in (("one", "h1"), ("two", "h2"), ("client", "h1"), ("thief", "h2")):
        port = sdk.network.create_port(name=name, network_id=network.id, security_group_ids=[group.id])
        plugged = cloud.plug(port.id, host, name)
        four, six = (f["ip_address"] for f in port.fixed_ips)
        guests.append(Guest(name, plugged["namespace"], port.id, port.mac_address, four, six))
    yield Scene(cloud, *guests)
    for guest in guests:
        cloud.unplug(guest.name)
    for port in sdk.network.ports(network_id=network.id):
        sdk.network.delete_port(port.id)
    sdk.network.delete_network(network.id)
    sdk.network.delete_security_group(group.id)


def allow(scene: Scene, *pairs: dict[str, Any]) -> None:
    """Both holders may, and nobody else."""
    sdk = scene.cloud.connect()
    for guest in (scene.one, scene.two):
        sdk.network.update_port(guest.port, allowed_address_pairs=list(pairs))
    assert eventually(lambda: all(sdk.network.get_port(g.port).status == "ACTIVE" for g in (scene.one, scene.two)))


def garp(mac: str) -> Packet:
    return Ether(src=mac, dst=ALL) / ARP(op=1, hwsrc=mac, psrc=VIP, pdst=VIP)


def na(mac: str) -> Packet:
    says = ICMPv6ND_NA(tgt=VIP6, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    return Ether(src=mac, dst=ALL6) / IPv6(src=VIP6, dst="ff02::1") / says


def heard_by(scene: Scene) -> list[str]:
    """Who hears what the client sends to the MAC."""
    to = Ether(src=scene.client.mac, dst=VMAC) / IP(src=scene.client.four, dst=VIP)
    packets = [to / UDP(sport=1000, dport=2000) / Raw(b"hello")] * 2
    with scene.one.hearing() as one, scene.two.hearing() as two, scene.thief.hearing() as thief:
        scene.client.send(packets)
    return [name for name, heard in (("one", one), ("two", two), ("thief", thief)) if heard]


def learned(cloud: RunningCloud) -> list[str]:
    return [f"{host} {line}" for host in ("h1", "h2") for bridge in ("br-int", "br-tun")
            for line in cloud.ofctl(host, "dump-flows", bridge).splitlines() if LEARNED.search(line)
            and ("load" in line or "set_field" in line) and "resubmit" not in line]


def test_a_mac_is_where_it_was_announced_last_and_only_among_who_may_hold_it(scene: Scene) -> None:
    cloud = scene.cloud
    allow(scene, {"ip_address": VIP, "mac_address": VMAC}, {"ip_address": VIP6, "mac_address": VMAC})
    assert heard_by(scene) == ["one", "two"], "nobody has said where it is"
    scene.one.send([garp(VMAC)])
    assert heard_by(scene) == ["one"]
    scene.two.send([garp(VMAC)])
    assert heard_by(scene) == ["two"]
    # The controller dead, and back by unsolicited NA.
    controller = cloud.pid("controller")
    assert controller
    os.kill(controller, signal.SIGSTOP)
    try:
        scene.one.send([na(VMAC)])
        assert heard_by(scene) == ["one"]
    finally:
        os.kill(controller, signal.SIGCONT)
    # Who may not hold it moves nothing, whatever it says.
    scene.thief.send([garp(VMAC), garp(scene.thief.mac), na(VMAC),
                      Ether(src=VMAC, dst=ALL) / ARP(op=2, hwsrc=VMAC, psrc=scene.thief.four, pdst=scene.thief.four)])
    assert heard_by(scene) == ["one"]
    # A controller that begins anew leaves alone what was learned.
    before = learned(cloud)
    assert before
    old = cloud.pid("controller")
    assert old
    os.kill(old, signal.SIGKILL)
    assert eventually(lambda: cloud.pid("controller") not in (None, old))
    assert eventually(lambda: all(s["connected"] and s["realised"] == s["wanted"] for s in cloud.status()["switches"]), 20)
    assert heard_by(scene) == ["one"] and len(learned(cloud)) == len(before)
    log = Path(cloud.state / "log" / "controller.log").read_text()
    assert "a flow that nobody wants" not in log
    allow(scene)
    assert eventually(lambda: not learned(cloud)), learned(cloud)
    assert heard_by(scene) == []


def keepalived(scene: Scene, guest: Guest, folder: Path, priority: int, vmac: bool) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    (folder / "keepalived.conf").write_text(f"""
global_defs {{ router_id {guest.name} }}
vrrp_instance v {{
  state BACKUP
  interface eth0
  virtual_router_id 7
  priority {priority}
  version 3
  advert_int 0.2
  {"use_vmac vrrp.7" if vmac else ""}
  {"vmac_xmit_base" if vmac else ""}
  virtual_ipaddress {{ {VIP}/24 }}
}}
""")
    words = ["ip", "netns", "exec", guest.namespace, "keepalived", "--dont-fork", "--log-console", "--vrrp",
             "-f", str(folder / "keepalived.conf"), "-p", str(folder / "pid"), "-r", str(folder / "vrrp.pid")]
    return subprocess.Popen(words, stdout=(folder / "log").open("wb"), stderr=subprocess.STDOUT)


@pytest.mark.parametrize("vmac", [False, True], ids=["own MAC", "a MAC of its own"])
def test_keepalived_moves_its_address_across_hosts(scene: Scene, vmac: bool, tmp_path: Path) -> None:
    """Under a 10 ms ping, the controller frozen: its holder dies on one host, and it is on the other. With a MAC of its own
    keepalived announces and hears under that, and the guest's own routes answer under the port's: it takes both pairs."""
    cloud = scene.cloud
    allow(scene, {"ip_address": VIP}, *([{"ip_address": VIP, "mac_address": VMAC}] if vmac else []))
    controller = cloud.pid("controller")
    assert controller
    first = keepalived(scene, scene.one, tmp_path / "one", 150, vmac)
    second = keepalived(scene, scene.two, tmp_path / "two", 100, vmac)
    os.kill(controller, signal.SIGSTOP)
    ping = None
    try:
        words = ["ip", "netns", "exec", scene.client.namespace]
        once = [*words, "ping", "-c1", "-W1", VIP]
        assert eventually(lambda: not subprocess.run(once, capture_output=True, check=False).returncode, 20), "".join(
            (tmp_path / name / "log").read_text() for name in ("one", "two"))
        time.sleep(1)
        ping = subprocess.Popen([*words, "ping", "-D", "-i", "0.01", VIP], stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        first.kill()
        first.wait()
        subprocess.run(["ip", "netns", "exec", scene.one.namespace, "ip", "link", "set", "eth0", "down"], check=True)
        time.sleep(3)
        subprocess.run(["ip", "netns", "exec", scene.one.namespace, "ip", "link", "set", "eth0", "up"], check=False)
        ping.send_signal(signal.SIGINT)
        said = ping.communicate(timeout=10)[0]
    finally:
        os.kill(controller, signal.SIGCONT)
        for process in (first, second, *([ping] if ping else [])):
            process.kill()
            process.wait()
        for guest in (scene.one, scene.two):  # what a killed keepalived leaves behind
            for leftover in (("addr", "del", f"{VIP}/24", "dev", "eth0"), ("link", "del", "vrrp.7")):
                cloud.run("ip", "-n", guest.namespace, *leftover, check=False)
    answered = [float(at) for at in re.findall(r"^\[([\d.]+)\].*ttl", said, re.MULTILINE)]
    gap = max(b - a for a, b in zip(answered, answered[1:], strict=False))
    print(f"gap {gap * 1000:.0f} ms (VMAC: {vmac})")
    assert answered[-1] - answered[0] > 3 and gap < 5, (tmp_path / "two" / "log").read_text()
