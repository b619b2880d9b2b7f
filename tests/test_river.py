"""The main job on the real thing: API to packet, and what must not disturb it."""

import contextlib
import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from tests.clouds import BIN, RunningCloud, eventually

pytestmark = pytest.mark.system
BRIDGES = ("br-int", "br-tun", "br-ex")


@dataclass
class River:
    """A network of both IP versions, a guest on each of two hosts."""

    cloud: RunningCloud
    network: str
    addresses: list[str]
    """Of the guest on h2."""


@pytest.fixture(scope="module")
def river(cloud: RunningCloud) -> Iterator[River]:
    sdk = cloud.connect()
    network = sdk.network.create_network(name="river")
    for version, cidr in ((4, "10.9.0.0/24"), (6, "fd09::/64")):
        sdk.network.create_subnet(network_id=network.id, ip_version=version, cidr=cidr)
    ports = [sdk.network.create_port(name=f"river{n}", network_id=network.id) for n in (1, 2)]
    cloud.plug(ports[0].id, "h1", "up")
    cloud.plug(ports[1].id, "h2", "down")
    yield River(cloud, network.id, [f["ip_address"] for f in ports[1].fixed_ips])
    for name in ("up", "down"):
        cloud.unplug(name)
    for port in sdk.network.ports(network_id=network.id):
        sdk.network.delete_port(port.id)
    sdk.network.delete_network(network.id)


def test_packets_of_every_size_cross_both_ways(river: River) -> None:
    four, six = river.addresses
    for address in (four, six):
        assert river.cloud.pings("up", address)
    # The largest that fits the tenants' MTU, unfragmented, and one byte more, refused by the guest's own stack.
    assert " 2 received" in river.cloud.exec("up", "ping", "-c2", "-i0.1", "-W5", "-Mdo", "-s1422", four)
    assert " 0 received" in river.cloud.exec("up", "ping", "-c1", "-W1", "-Mdo", "-s1423", four, check=False)
    assert " 2 received" in river.cloud.exec("up", "ping", "-c2", "-i0.1", "-W5", "-s4000", four)


def test_neighbours_are_answered_on_the_askers_host_and_probes_are_not(river: River) -> None:
    """ARP and ND for the other guest never reach it; a probe for a free address hears nobody, for a held one its owner."""
    four, six = river.addresses
    cloud = river.cloud
    held = f"reg15={int(ip_address(four)):#x}"
    assert held in cloud.ofctl("h2", "dump-flows", "br-int"), "h2 answers its own guests, too"
    for _ in range(3):
        cloud.exec("up", "ip", "neigh", "flush", "dev", "eth0")
        assert cloud.pings("up", four, count=1) and cloud.pings("up", six, count=1)
    flows: list[str] = []

    def counted() -> bool:
        flows[:] = cloud.ofctl("h1", "dump-flows", "br-int").splitlines()
        answered = [line for line in flows if "table=22," in line and "priority=100" in line
                    and "push_vlan" not in line]  # that is for wires
        return len(answered) == 2 and all(int(re.findall(r"n_packets=(\d+)", line)[0]) >= 3 for line in answered)

    assert eventually(counted), "(counters lag)"
    assert len([line for line in flows if held in line]) == 1, "one flow for all that an address is asked for"
    assert "FAILED" not in cloud.exec("up", "ip", "neigh")
    # IPv6 DAD in the guest ended well, or its address would not answer above; an address of its own is not `dadfailed`.
    assert "dadfailed" not in cloud.exec("down", "ip", "-6", "addr")


@contextlib.contextmanager
def pinging(cloud: RunningCloud, guest: str, address: str) -> Iterator[list[str]]:
    """A ping every 10 ms for as long as the block runs; what it said is in the list afterwards."""
    words = [str(BIN / "unryu"), "--state", str(cloud.state), "lab", "exec", guest, "--", "ping", "-i", "0.01", address]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    said: list[str] = []
    time.sleep(0.7)
    try:
        yield said
        time.sleep(0.7)
    finally:
        running.send_signal(signal.SIGINT)
        said.append(running.communicate(timeout=60)[0])


def lost(said: list[str]) -> list[int]:
    """The pings that were not answered though a later one was. (The last may still be on its way when ping is stopped.)"""
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", said[0])}
    assert len(answered) > 100, said[0][-500:]
    return sorted(set(range(1, max(answered))) - answered)


def test_the_control_plane_dead_packets_go_on_and_changes_wait(river: River) -> None:
    """Controller and API stopped for a while (frozen, so that nobody restarts them): flows stay as they are."""
    cloud = river.cloud
    pids = [cloud.pid(name) for name in ("controller", "api")]
    with pinging(cloud, "up", river.addresses[0]) as said:
        for pid in pids:
            assert pid
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2)
        for pid in pids:
            os.kill(pid or 0, signal.SIGCONT)
    assert lost(said) == []
    assert cloud.settled()


def test_a_hung_switch_is_noticed_and_holds_no_port_elsewhere(river: River) -> None:
    """h2's vswitchd is frozen: within a second it counts as dead, and a new port on h1 becomes ACTIVE without it."""
    cloud = river.cloud
    sdk = cloud.connect()
    frozen = cloud.pid("ovs-vswitchd", "h2")
    assert frozen
    os.kill(frozen, signal.SIGSTOP)
    try:
        assert eventually(lambda: not any(s["connected"] for s in cloud.switches() if s["host"] == "h2"))
        port = sdk.network.create_port(name="river3", network_id=river.network)
        cloud.plug(port.id, "h1", "third")  # waits for ACTIVE
        assert sdk.network.get_port(port.id).status == "ACTIVE"
        cloud.unplug("third")
        sdk.network.delete_port(port.id)
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert cloud.settled()
    assert cloud.pings("up", river.addresses[0])


def test_a_strangers_vtep_is_dropped_and_counted(river: River) -> None:
    """VXLAN with the right VNI from an address that is no host of ours; from one that is, the same frame is let in."""
    cloud = river.cloud
    admin = cloud.connect("admin")
    vni = admin.network.get_network(river.network).provider_segmentation_id
    target = cloud.vsctl("h1", "get", "interface", "vxlan", "options:local_ip").strip().strip('"')
    underlay = cloud.namespace("h1").replace("-h1", "-underlay")
    frame = bytes.fromhex("ffffffffffff" "0a0000000001" "0800") + b"stranger".ljust(60, b".")
    packet = (0x08000000 << 32 | vni << 8).to_bytes(8, "big") + frame

    def counted(priority: int, words: str) -> int:
        lines = [line for line in cloud.ofctl("h1", "dump-flows", "br-tun").splitlines()
                 if f"priority={priority}," in line and words in line]
        return sum(int(re.findall(r"n_packets=(\d+)", line)[0]) for line in lines)

    def dropped() -> int:
        return counted(10, "in_port=vxlan") + counted(10, "in_port=2")

    def arrived() -> int:
        return counted(100, f"tun_id={vni:#x}")

    cloud.run("ip", "-n", underlay, "addr", "add", "198.18.99.99/16", "dev", "br0")
    try:
        begun = dropped()
        while dropped() == begun:  # the first may wait for ARP and be lost
            send_from(underlay, "198.18.99.99", target, packet)
            time.sleep(1)  # counters lag
        strange, known = dropped(), arrived()
        send_from(underlay, "198.18.99.99", target, packet, 50)
        assert eventually(lambda: dropped() >= strange + 50), (strange, dropped())
        assert arrived() < known + 50  # guests' own multicast from h2 comes in meanwhile, now and then
        # The same frame in the name of h2 passes that door: it was the address alone that shut it.
        cloud.run("ip", "-n", underlay, "addr", "add", "198.18.0.2/32", "dev", "lo")
        send_from(underlay, "198.18.0.2", target, packet)
        assert eventually(lambda: arrived() > known)
    finally:
        cloud.run("ip", "-n", underlay, "addr", "del", "198.18.99.99/16", "dev", "br0")
        cloud.run("ip", "-n", underlay, "addr", "del", "198.18.0.2/32", "dev", "lo", check=False)


def send_from(namespace: str, source: str, target: str, packet: bytes, times: int = 1) -> None:
    # SO_NO_CHECK (11): a veth leaves the sum to hardware that is not there, and the switch would drop it for that.
    code = f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, 11, 1); " \
           f"s.bind(('{source}', 0)); [s.sendto(bytes.fromhex('{packet.hex()}'), ('{target}', 4789)) for _ in range({times})]"
    subprocess.run(["ip", "netns", "exec", namespace, str(BIN / "python"), "-c", code], check=True)


def test_no_bridge_holds_a_flow_of_anybody_else(river: River) -> None:
    """Not even the hidden ones that in-band control adds; and a flow of a stranger's hand goes when it is read back."""
    cloud = river.cloud
    for host in ("h1", "h2"):
        for bridge in BRIDGES:
            hidden = [line for line in cloud.appctl(host, "bridge/dump-flows", bridge).splitlines()
                      if int((re.findall(r"priority=(\d+)", line) or ["0"])[0]) > 65535]
            # Open vSwitch's own table 254 holds its four internal rules, which no packet of a bridge meets.
            assert not [line for line in hidden if "table_id=254" not in line], hidden
    cloud.ofctl("h1", "add-flow", "br-int", "table=60,priority=7,actions=NORMAL")
    old = cloud.pid("controller")
    os.kill(old or 0, signal.SIGTERM)
    assert eventually(lambda: cloud.pid("controller") not in (None, old) and cloud.in_sync())
    assert "NORMAL" not in cloud.ofctl("h1", "dump-flows", "br-int")


def test_a_tagged_frame_from_a_guest_names_no_network(river: River) -> None:
    cloud = river.cloud
    code = "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0)); " \
           "s.send(bytes.fromhex('ffffffffffff' '0a0000000001' '81000064' '0800') + bytes(60))"

    def refused() -> int:
        [line] = [line for line in cloud.ofctl("h1", "dump-flows", "br-int").splitlines()
                  if "table=0," in line and "priority=0 " in line]
        return int(re.findall(r"n_packets=(\d+)", line)[0])

    before = refused()
    cloud.exec("up", str(BIN / "python"), "-c", code)
    assert eventually(lambda: refused() == before + 1)


def test_the_unmodified_client(cloud: RunningCloud) -> None:
    """The command itself, a process each time; every verb of every noun is in clients/, which starts it once."""
    name = f"net-{uuid.uuid4().hex[:6]}"
    types = {service["Type"] for service in cloud.openstack_json("catalog", "list")}
    assert {"identity", "network"} <= types
    assert cloud.openstack_json("token", "issue")["project_id"]
    made = cloud.openstack_json("network", "create", name, "--description", "a river")
    assert made["name"] == name and made["mtu"] == 1450
    cloud.openstack("network", "set", "--name", f"{name}-x", name)
    assert cloud.openstack_json("network", "show", f"{name}-x")["revision_number"] == 1
    assert f"{name}-x" not in cloud.openstack("network", "list", project="alt"), "another project's"
    cloud.openstack("network", "delete", f"{name}-x")
    assert f"{name}-x" not in cloud.openstack("network", "list")
    agents = cloud.openstack_json("network", "agent", "list", project="admin")
    assert {(a["Host"], a["Alive"]) for a in agents} == {("h1", True), ("h2", True)}
    refusal = cloud.run(str(BIN / "openstack"), "network", "create", "x", "--share", check=False, OS_CLOUD="unryu",
                        OS_CLIENT_CONFIG_FILE=str(cloud.state / "clouds.yaml"))
    assert refusal.returncode == 1 and "Only an administrator may set shared" in refusal.stderr
