"""Addresses that move between guests: by announcement, across hosts, the controller dead or alive, among who may hold them."""

import itertools
import os
import re
import signal
import subprocess
import threading
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

from tests.attackers.scene import ALL, ALL6, Guest, gone, plugged
from tests.clouds import RunningCloud, eventually

pytestmark = pytest.mark.system

VIP, VIP6, VMAC = "10.67.0.100", "fd67::100", "00:00:5e:00:01:07"
VMAC6 = "00:00:5e:00:02:07"
LEARNED = re.compile(r"table=6[12],.* priority=100,")
FLOW = re.compile(r"cookie=(?P<cookie>\w+), duration=(?P<age>[\d.]+)s, table=(?P<table>\d+), n_packets=\d+, n_bytes=\d+, "
                  r"(?P<rest>.*)")


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
    yield Scene(cloud, *(plugged(cloud, network, host, name, group)
                         for name, host in (("one", "h1"), ("two", "h2"), ("client", "h1"), ("thief", "h2"))))
    gone(cloud, network, group)


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


def heard_by(scene: Scene, *expected: str) -> bool:
    """Whether just those hear what the client sends to the MAC; asked again, since what a switch had decided before lives on
    for a moment."""
    return bool(eventually(lambda: _heard_by(scene) == list(expected), 20))


def _heard_by(scene: Scene) -> list[str]:
    to = Ether(src=scene.client.mac, dst=VMAC) / IP(src=scene.client.four, dst=VIP)
    packets = [to / UDP(sport=1000, dport=2000) / Raw(b"hello")] * 2
    with scene.one.hearing() as one, scene.two.hearing() as two, scene.thief.hearing() as thief:
        scene.client.send(packets)
    return [name for name, heard in (("one", one), ("two", two), ("thief", thief)) if heard]


def learned(cloud: RunningCloud) -> list[str]:
    return [f"{host} {line}" for host in ("h1", "h2") for bridge in ("br-int", "br-tun")
            for line in cloud.ofctl(host, "dump-flows", bridge).splitlines() if LEARNED.search(line)
            and ("load" in line or "set_field" in line) and "resubmit" not in line]


def ages(cloud: RunningCloud) -> dict[tuple[str, str], float]:
    """How long each learned flow has been there: one that was taken away and learned again is young."""
    found = ((line.split()[0], FLOW.search(line)) for line in learned(cloud))
    return {(host, flow["cookie"]): float(flow["age"]) for host, flow in found if flow}


def teach_anew(cloud: RunningCloud) -> int:
    """Every flow that teaches is added once more in its own place; how many there are."""
    teachers = [(host, bridge, flow) for host in ("h1", "h2") for bridge in ("br-int", "br-tun")
                for flow in map(FLOW.search, cloud.ofctl(host, "dump-flows", bridge).splitlines())
                if flow and "learn(" in flow["rest"]]
    for host, bridge, flow in teachers:
        cloud.ofctl(host, "add-flow", bridge, f"cookie={flow['cookie']},table={flow['table']},{flow['rest']}")
    return len(teachers)


def test_a_mac_is_where_it_was_announced_last_and_only_among_who_may_hold_it(scene: Scene) -> None:
    cloud = scene.cloud
    allow(scene, {"ip_address": VIP, "mac_address": VMAC}, {"ip_address": VIP6, "mac_address": VMAC})
    assert heard_by(scene, "one", "two"), "nobody has said where it is"
    scene.one.send([garp(VMAC)])
    assert heard_by(scene, "one")
    scene.two.send([garp(VMAC)])
    assert heard_by(scene, "two")
    # The controller dead, and back by unsolicited NA.
    controller = cloud.pid("controller")
    assert controller
    os.kill(controller, signal.SIGSTOP)
    try:
        scene.one.send([na(VMAC)])
        assert heard_by(scene, "one")
    finally:
        os.kill(controller, signal.SIGCONT)
    # Who may not hold it moves nothing, whatever it says.
    scene.thief.send([garp(VMAC), garp(scene.thief.mac), na(VMAC),
                      Ether(src=VMAC, dst=ALL) / ARP(op=2, hwsrc=VMAC, psrc=scene.thief.four, pdst=scene.thief.four)])
    assert heard_by(scene, "one")
    # A controller that begins anew leaves alone what was learned.
    before = ages(cloud)
    assert before
    log = Path(cloud.state / "log" / "controller.log")
    told = len(log.read_text())
    old = cloud.pid("controller")
    assert old
    os.kill(old, signal.SIGKILL)
    assert eventually(lambda: cloud.pid("controller") not in (None, old))
    assert cloud.settled()
    after = ages(cloud)
    assert after.keys() == before.keys() and all(after[flow] > before[flow] for flow in before), (before, after)
    assert teach_anew(cloud)
    again = ages(cloud)
    assert again.keys() == after.keys() and all(again[flow] > after[flow] for flow in after), (after, again)
    assert heard_by(scene, "one")
    assert "a flow that nobody wants" not in log.read_text()[told:]
    # The pair is withdrawn, and its holder says it again and again: nothing of it comes out, nothing is learned.
    over = threading.Event()

    def talk() -> None:
        while not over.is_set():
            scene.one.send([garp(VMAC)] * 100)

    talking = threading.Thread(target=talk)
    talking.start()
    try:
        allow(scene)
        assert eventually(lambda: not learned(cloud)), learned(cloud)
        assert heard_by(scene) and not learned(cloud)
        assert talking.is_alive()
    finally:
        over.set()
        talking.join()


@dataclass(frozen=True)
class Move:
    """How keepalived holds the address, how its holder goes, and what is with the controller meanwhile."""

    vmac: bool
    six: bool
    death: str
    controller: str

    @property
    def vip(self) -> str:
        return VIP6 if self.six else VIP

    @property
    def prefix(self) -> str:
        return f"{self.vip}/{64 if self.six else 24}"

    @property
    def pairs(self) -> list[dict[str, Any]]:
        mac = VMAC6 if self.six else VMAC
        return [{"ip_address": self.vip}, *([{"ip_address": self.vip, "mac_address": mac}] if self.vmac else [])]

    def __str__(self) -> str:
        return (f"{'a MAC of its own' if self.vmac else 'own MAC'}, IPv{6 if self.six else 4}, {self.death}, "
                f"controller {self.controller}")


DEATHS = ("stopped", "both killed", "link down")
MOVES = [Move(*chosen) for chosen in itertools.product((False, True), (False, True), DEATHS, ("alive", "frozen", "killed"))]
if os.environ.get("UNRYU_MOVES") != "all":
    MOVES = [Move(False, False, "both killed", "killed"), Move(True, True, "link down", "frozen")]


def keepalived(guest: Guest, folder: Path, priority: int, move: Move) -> subprocess.Popen[bytes]:
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
  {"use_vmac vrrp.7" if move.vmac else ""}
  {"vmac_xmit_base" if move.vmac else ""}
  virtual_ipaddress {{ {move.prefix} }}
}}
""")
    words = ["ip", "netns", "exec", guest.namespace, "keepalived", "--dont-fork", "--log-console", "--vrrp",
             "-f", str(folder / "keepalived.conf"), "-p", str(folder / "pid"), "-r", str(folder / "vrrp.pid")]
    return subprocess.Popen(words, stdout=(folder / "log").open("ab"), stderr=subprocess.STDOUT)


def kill(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Both at once: its child would say good-bye if it saw its parent die, and the parent would start another."""
    if process.poll() is None:
        process.send_signal(signal.SIGSTOP)
        if (child := folder / "vrrp.pid").exists():
            os.kill(int(child.read_text()), signal.SIGKILL)
        process.kill()
    process.wait()
    for name in ("pid", "vrrp.pid"):
        (folder / name).unlink(missing_ok=True)


def bury(scene: Scene, guest: Guest, move: Move) -> None:
    """What a killed keepalived leaves behind."""
    for leftover in (("addr", "del", move.prefix, "dev", "eth0"), ("link", "del", "vrrp.7"), ("link", "set", "eth0", "up")):
        scene.cloud.run("ip", "-n", guest.namespace, *leftover, check=False)


def answered(log: Path) -> list[float]:
    return [float(at) for at in re.findall(r"^\[([\d.]+)\].*(?:ttl|hlim)", log.read_text(), re.MULTILINE)]


def gap(said: list[float], since: float, until: float) -> float:
    """The longest silence between two answers in this time."""
    return max(b - a for a, b in itertools.pairwise([since, *(at for at in said if since <= at <= until), until]))


def master(folder: Path, times: int, log: Path) -> None:
    """Wait until this one has become master so many times, and pings are answered after that."""
    assert eventually(lambda: (folder / "log").read_text().count("Entering MASTER") >= times), (folder / "log").read_text()
    since = time.time()
    assert eventually(lambda: [at for at in answered(log) if at > since + 0.5]), "it does not answer any more"


@pytest.mark.parametrize("move", MOVES, ids=str)
def test_keepalived_moves_its_address_across_hosts_and_back(scene: Scene, move: Move, tmp_path: Path) -> None:
    """Under a 10 ms ping. With a MAC of its own keepalived announces and hears under that, and the guest's own routes answer
    under the port's: it takes both pairs."""
    cloud, one, two, log = scene.cloud, tmp_path / "one", tmp_path / "two", tmp_path / "pings"
    allow(scene, *move.pairs)
    controller = cloud.pid("controller")
    assert controller
    first, second = keepalived(scene.one, one, 150, move), keepalived(scene.two, two, 100, move)
    ping = None
    try:
        words = ["ip", "netns", "exec", scene.client.namespace, "ping"]
        once = [*words, "-c1", "-W1", move.vip]
        assert eventually(lambda: not subprocess.run(once, capture_output=True, check=False).returncode), "".join(
            (folder / "log").read_text() for folder in (one, two))
        if move.controller != "alive":
            os.kill(controller, signal.SIGSTOP if move.controller == "frozen" else signal.SIGKILL)
        with log.open("wb") as out:
            ping = subprocess.Popen([*words, "-D", "-i", "0.01", move.vip], stdout=out)
        master(one, 1, log)
        away = time.time()
        if move.death == "stopped":
            first.terminate()
            first.wait()
        elif move.death == "both killed":
            kill(first, one)
        else:
            cloud.run("ip", "-n", scene.one.namespace, "link", "set", "eth0", "down")
        master(two, 1, log)
        back = time.time()
        kill(first, one)
        bury(scene, scene.one, move)
        first = keepalived(scene.one, one, 150, move)
        master(one, 2, log)
        end = time.time()
    finally:
        if move.controller == "frozen":
            os.kill(controller, signal.SIGCONT)
        for process, folder in ((first, one), (second, two)):
            kill(process, folder)
        if ping:
            ping.kill()
            ping.wait()
        for guest in (scene.one, scene.two):
            bury(scene, guest, move)
        if move.controller == "killed":
            assert eventually(lambda: cloud.pid("controller") not in (None, controller))
    gone, returned = gap(answered(log), away, back), gap(answered(log), back, end)
    print(f"{move}: away {gone * 1000:.0f} ms, back {returned * 1000:.0f} ms")
    assert gone < 10 and returned < 10, (two / "log").read_text()
