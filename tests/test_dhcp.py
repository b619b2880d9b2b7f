"""DHCP and router advertisements with the clients that guests really have, the control plane alive, frozen and dead."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clouds import RunningCloud, eventually

pytestmark = pytest.mark.system

DHCLIENT = """\
option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
request subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, host-name, interface-mtu,
    rfc3442-classless-static-routes, dhcp6.name-servers, dhcp6.domain-search;
"""
FLOOD = """\
import signal, socket, threading
from scapy.all import BOOTP, DHCP, Ether, IP, UDP
line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
line.bind(("eth0", 0))
mac = open("/sys/class/net/eth0/address").read().strip()
frame = bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67)
              / BOOTP(chaddr=bytes.fromhex(mac.replace(":", ""))) / DHCP(options=[("message-type", "discover"), "end"]))
ended, sent = threading.Event(), 0
signal.signal(signal.SIGTERM, lambda *_: ended.set())
print("begun", flush=True)
while not ended.is_set():
    for _ in range(64):
        line.send(frame)
    sent += 64
print(sent)
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with RunningCloud(hosts=2) as running:
        yield running


class Bed:
    """A network, and ports with guests on it that are gone at the end."""

    def __init__(self, cloud: RunningCloud, folder: Path, **subnets: dict[str, Any]) -> None:
        self.cloud, self.folder, self.sdk = cloud, folder, cloud.connect()
        self.network = self.sdk.network.create_network(name="dhcp")
        self.subnets = {name: self.sdk.network.create_subnet(network_id=self.network.id, **of) for name, of in subnets.items()}
        self.guests: list[str] = []
        script = folder / "tell"
        script.write_text(f'#!/bin/sh\nenv > {folder}/$$.new\nmv {folder}/$$.new "{folder}/said-$(date +%s%N)-${{1:-$reason}}"\n')
        script.chmod(0o755)
        (folder / "dhclient.conf").write_text(DHCLIENT)

    def plug(self, name: str, host: str = "h1", *options: str, **port: Any) -> Any:
        made = self.sdk.network.create_port(network_id=self.network.id, name=name, **port)
        self.cloud.plug(made.id, host, name, *options)
        self.guests.append(name)
        return made

    def udhcpc(self, name: str, *words: str) -> dict[str, str]:
        """What one run of it is told: its script's environment."""
        self.cloud.exec(name, "udhcpc", "-i", "eth0", "-fqn", "-t20", "-T1", "-s", str(self.folder / "tell"), *words)
        return self.told("bound")

    def dhclient(self, name: str, *words: str) -> dict[str, str]:
        files = ("-sf", f"{self.folder}/tell", "-lf", f"{self.folder}/{name}.leases", "-pf", f"{self.folder}/{name}.pid",
                 "-cf", f"{self.folder}/dhclient.conf")
        (self.folder / f"{name}.leases").touch()
        self.cloud.exec(name, "timeout", "60", "dhclient", "-1", *files, *words, "eth0")
        return self.told("BOUND6" if "-6" in words else "BOUND")

    def told(self, event: str) -> dict[str, str]:
        [*_, last] = sorted(self.folder.glob(f"said-*-{event}"))
        return dict(line.split("=", 1) for line in last.read_text().splitlines() if "=" in line)

    def events(self) -> list[str]:
        return [path.name.rpartition("-")[2] for path in sorted(self.folder.glob("said-*"))]

    def end(self) -> None:
        for name in self.guests:
            self.cloud.unplug(name)
        for port in self.sdk.network.ports(network_id=self.network.id):
            self.sdk.network.delete_port(port.id)
        self.sdk.network.delete_network(self.network.id)


@pytest.fixture
def bed(cloud: RunningCloud, tmp_path: Path) -> Iterator[Callable[..., Bed]]:
    beds: list[Bed] = []

    def make(**subnets: dict[str, Any]) -> Bed:
        beds.append(Bed(cloud, tmp_path, **subnets))
        return beds[-1]

    yield make
    for each in beds:
        each.end()


def four(**more: Any) -> dict[str, Any]:
    return {"ip_version": 4, "cidr": "10.0.0.0/24", **more}


def six(mode: str, **more: Any) -> dict[str, Any]:
    return {"ip_version": 6, "cidr": "fd00::/64", "ipv6_ra_mode": mode, "ipv6_address_mode": mode, **more}


def fixed(port: Any, version: int) -> str:
    return str(next(f["ip_address"] for f in port.fixed_ips if (":" in f["ip_address"]) == (version == 6)))


def test_a_plugged_guest_has_its_addresses_and_routes_by_asking(cloud: RunningCloud, bed: Callable[..., Bed]) -> None:
    where = bed(v4=four(host_routes=[{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]), v6=six("slaac"))
    port = where.plug("asker")
    shown = cloud.exec("asker", "ip", "addr", "show", "dev", "eth0")
    assert re.search(rf"inet {fixed(port, 4)}/24 brd 10.0.0.255 scope global dynamic", shown)
    assert re.search(rf"inet6 {fixed(port, 6)}/64 scope global dynamic mngtmpaddr", shown), "made by its own kernel"
    routes = cloud.exec("asker", "ip", "route")
    assert "default via 10.0.0.1" in routes and "10.9.0.0/16 via 10.0.0.9" in routes
    assert "mtu 1450" in shown
    where.plug("silent", "h2", "--static")
    assert "dynamic" not in cloud.exec("silent", "ip", "addr", "show", "dev", "eth0")
    assert cloud.pings("silent", fixed(port, 4)) and cloud.pings("silent", fixed(port, 6))


def test_udhcpc_is_told_everything(bed: Callable[..., Bed]) -> None:
    where = bed(v4=four(dns_nameservers=["8.8.8.8", "9.9.9.9"],
                        host_routes=[{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]))
    port = where.plug("u", extra_dhcp_opts=[
        {"opt_name": "bootfile-name", "opt_value": "pxelinux.0"}, {"opt_name": "ntp-server", "opt_value": "10.0.0.7"},
        {"opt_name": "domain-search", "opt_value": "a.example,b.example"}, {"opt_name": "lease-time", "opt_value": "3600"}])
    said = where.udhcpc("u", "-O", "mtu", "-O", "staticroutes", "-O", "search", "-O", "ntpsrv", "-O", "bootfile")
    address = fixed(port, 4)
    wanted = {"ip": address, "subnet": "255.255.255.0", "router": "10.0.0.1", "dns": "8.8.8.8 9.9.9.9", "mtu": "1450",
              "broadcast": "10.0.0.255", "lease": "3600", "serverid": "10.0.0.1", "hostname": f"host-{address.replace('.', '-')}",
              "domain": "openstacklocal", "search": "a.example b.example", "ntpsrv": "10.0.0.7",
              "staticroutes": "10.9.0.0/16 10.0.0.9 0.0.0.0/0 10.0.0.1", "bootfile": "pxelinux.0"}
    assert {key: said.get(key) for key in wanted} == wanted
    # Asking for another address is refused, and the right one given after all.
    assert where.udhcpc("u", "-r", "10.0.0.77")["ip"] == address


def test_dhclient_takes_and_releases_v4_and_v6(bed: Callable[..., Bed]) -> None:
    where = bed(v4=four(gateway_ip=None), v6=six("dhcpv6-stateful", dns_nameservers=["fd00::53"]))
    port = where.plug("d")
    said = where.dhclient("d", "-4")
    assert said["new_ip_address"] == fixed(port, 4) and said["new_interface_mtu"] == "1450" and "new_routers" not in said
    assert said["new_dhcp_server_identifier"] == "10.0.0.1", "no gateway: the first address, which costs nobody one"
    said = where.dhclient("d", "-6")
    assert said["new_ip6_address"] == fixed(port, 6) and said["new_dhcp6_name_servers"] == "fd00::53"
    for version in ("-4", "-6"):
        where.cloud.exec("d", "timeout", "60", "dhclient", "-r", version, "-sf", f"{where.folder}/tell", "-lf",
                         f"{where.folder}/d.leases", "-pf", f"{where.folder}/d.pid", "eth0")
    assert where.dhclient("d", "-4")["new_ip_address"] == fixed(port, 4), "released is not lost: it stays the port's"


NETWORKD = """\
[Match]
Name=eth0
[Network]
DHCP=yes
IPv6AcceptRA=yes
[DHCPv4]
UseHostname=no
"""


def test_systemds_client_takes_both(cloud: RunningCloud, bed: Callable[..., Bed]) -> None:
    """Started as in a container: /run/systemd of its own, /sys read-only, no bus and no udev."""
    networkd = Path("/lib/systemd/systemd-networkd")
    if not networkd.exists():
        pytest.fail("Debian's systemd is not installed")
    where = bed(v4=four(host_routes=[{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]), v6=six("dhcpv6-stateful"))
    port = where.plug("n", "h1", "--static")
    cloud.exec("n", "ip", "addr", "flush", "dev", "eth0", "scope", "global")
    (where.folder / "10.network").write_text(NETWORKD)
    inside = ("mount --make-rprivate / && mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/network /run/systemd/netif && "
              f"cp {where.folder}/10.network /run/systemd/network && chown -R systemd-network /run/systemd && "
              f"mount -o remount,ro /sys && exec {networkd}")
    running = subprocess.Popen(["ip", "netns", "exec", _namespace(cloud, "n"), "unshare", "-m", "sh", "-c", inside])
    try:
        shown = ""

        def configured() -> bool:
            nonlocal shown
            shown = cloud.exec("n", "ip", "addr", "show", "dev", "eth0") + cloud.exec("n", "ip", "route")
            return f"inet {fixed(port, 4)}/24" in shown and f"inet6 {fixed(port, 6)}/128" in shown

        assert eventually(configured), shown
        assert "10.9.0.0/16 via 10.0.0.9" in shown and "default via 10.0.0.1" in shown
    finally:
        running.terminate()
        running.wait()


def test_stateless_dhcpv6_tells_names_and_leases_nothing(bed: Callable[..., Bed]) -> None:
    where = bed(v6=six("dhcpv6-stateless", dns_nameservers=["fd00::53", "fd00::54"]))
    port = where.plug("s")
    assert fixed(port, 6) in where.cloud.exec("s", "ip", "-6", "addr")
    (where.folder / "s.leases").touch()
    where.cloud.exec("s", "timeout", "60", "dhclient", "-6", "-S", "-1", "-sf", f"{where.folder}/tell", "-lf",
                     f"{where.folder}/s.leases", "-pf", f"{where.folder}/s.pid", "-cf", f"{where.folder}/dhclient.conf", "eth0")
    [said] = [path for path in where.folder.glob("said-*") if "new_dhcp6_name_servers" in path.read_text()]
    assert "new_dhcp6_name_servers=fd00::53 fd00::54" in said.read_text() and "new_ip6_address" not in said.read_text()


def test_a_lease_is_renewed_and_a_changed_address_arrives(bed: Callable[..., Bed]) -> None:
    where = bed(v4=four())
    port = where.plug("r", "h1", "--static")
    running = subprocess.Popen(
        ["ip", "netns", "exec", _namespace(where.cloud, "r"), "udhcpc", "-i", "eth0", "-f", "-s", str(where.folder / "tell")])
    try:
        assert eventually(lambda: where.events() == ["deconfig", "bound"])
        # By unicast to the server's own address, whose MAC the host answers. (By itself udhcpc never renews within a minute.)
        running.send_signal(signal.SIGUSR1)
        assert eventually(lambda: where.events()[-1] == "renew"), where.events()
        assert where.told("renew")["ip"] == fixed(port, 4)
        where.sdk.network.update_port(port.id, fixed_ips=[{"subnet_id": where.subnets["v4"].id, "ip_address": "10.0.0.200"}])
        assert where.cloud.settled()
        running.send_signal(signal.SIGUSR1)
        assert eventually(lambda: where.events()[-1] == "bound" and where.told("bound")["ip"] == "10.0.0.200"), where.events()
    finally:
        running.kill()
        running.wait()


def _namespace(cloud: RunningCloud, name: str) -> str:
    return next(str(guest["namespace"]) for guest in cloud.status()["guests"] if guest["name"] == name)


def test_leases_go_on_with_the_control_plane_frozen_and_dead(cloud: RunningCloud, bed: Callable[..., Bed]) -> None:
    """A new lease of a known port, a renewal, an advertisement; and the same of an agent that began meanwhile."""
    where = bed(v4=four(), v6=six("slaac"))
    port = where.plug("g")
    planes = [one["pid"] for one in cloud.status()["processes"] if one["host"] is None and one["name"] != "supervisor"]
    supervisor = cloud.pid("supervisor")
    assert supervisor and len(planes) >= 3

    def served() -> None:
        assert where.udhcpc("g")["ip"] == fixed(port, 4)
        cloud.exec("g", "ip", "link", "set", "eth0", "down")
        cloud.exec("g", "ip", "link", "set", "eth0", "up")
        assert eventually(lambda: fixed(port, 6) in cloud.exec("g", "ip", "-6", "addr"))

    for pid in planes:
        os.kill(pid, signal.SIGSTOP)
    try:
        served()
        agent = cloud.pid("agent", "h1")
        os.kill(agent or 0, signal.SIGKILL)
        assert eventually(lambda: cloud.pid("agent", "h1") not in (None, agent)), "the supervisor starts it again"
        log = cloud.state / "log" / "h1-agent.log"
        assert eventually(lambda: re.search(r"book: opened .*\n(.*\n)*.*device: open .*door", log.read_text())), "from its disk"
        served()
        os.kill(supervisor, signal.SIGSTOP)
        for pid in planes:
            os.kill(pid, signal.SIGKILL)
        served()
    finally:
        for pid in (*planes, supervisor):
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGCONT)
    assert cloud.settled()
    served()


def test_an_agent_that_is_away_holds_no_flow_up(cloud: RunningCloud, bed: Callable[..., Bed]) -> None:
    """Its host's switches obey; only what it should answer waits, and is there when it is."""
    where = bed(v4=four())
    port, _ = where.plug("a"), where.plug("b", "h2")
    agent = cloud.pid("agent", "h1") or 0
    os.kill(agent, signal.SIGSTOP)
    try:
        third = cloud.connect("admin").network.create_port(
            network_id=where.network.id, binding_host_id="h2", project_id=where.network.project_id)
        assert eventually(lambda: third.mac_address in cloud.ofctl("h1", "dump-flows", "br-tun")), "h1 knows the new neighbour"
        where.sdk.network.update_subnet(where.subnets["v4"].id, dns_nameservers=["8.8.4.4"])
        assert eventually(lambda: {s["host"] for s in cloud.switches() if s["realised"] < s["wanted"]} == {"h1"}), "and says so"
    finally:
        os.kill(agent, signal.SIGCONT)
    assert eventually(lambda: where.udhcpc("a").get("dns") == "8.8.4.4")
    assert where.udhcpc("a")["ip"] == fixed(port, 4)


def test_a_restarted_switch_has_its_door_again(cloud: RunningCloud, bed: Callable[..., Bed]) -> None:
    where = bed(v4=four())
    port = where.plug("v")
    os.kill(cloud.pid("ovs-vswitchd", "h1") or 0, signal.SIGSEGV)

    def leased() -> bool:
        try:
            return where.udhcpc("v")["ip"] == fixed(port, 4)
        except AssertionError:
            return False

    assert eventually(leased)


def test_a_flood_of_questions_costs_the_others_nothing(cloud: RunningCloud, bed: Callable[..., Bed]) -> None:
    where = bed(v4=four())
    for name in ("rogue", "good"):
        where.plug(name)
    words = ["ip", "netns", "exec", _namespace(cloud, "rogue"), sys.executable, "-c", FLOOD]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as flood:
        assert flood.stdout and flood.stdout.readline() == "begun\n"
        try:
            for _ in range(5):
                where.udhcpc("good")
            assert flood.poll() is None, "all the time"
        finally:
            flood.terminate()
        assert int(flood.stdout.read()) > 1000
    assert eventually(lambda: where.udhcpc("rogue")["ip"]), "and the flooder is heard again"
