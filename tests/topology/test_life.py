"""A cloud's whole life, with real switches: up, more hosts, death of any process, down, and nothing left."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.clouds import RunningCloud, eventually
from tests.ovs import OvsHost
from topology import internet, links, processes
from topology.cloud import Cloud, run

pytestmark = pytest.mark.system


def left(state: Path) -> list[object]:
    """Everything of a cloud that is on this machine."""
    cloud = Cloud(state)
    files = list(state.rglob("*")) if state.exists() else []
    return [*processes.find(cloud), *links.namespaces(cloud), *links.links(cloud), *files]


def pids(cloud: RunningCloud) -> dict[tuple[str, str | None], int]:
    """By name and host; of several workers, one."""
    return {(one["name"], one["host"]): one["pid"] for one in cloud.status()["processes"]}


def kill_and_see_it_back(cloud: RunningCloud, name: str, host: str | None, how: int = signal.SIGKILL) -> None:
    before = cloud.pid(name, host)
    assert before, name
    os.kill(before, how)
    assert eventually(lambda: cloud.pid(name, host) not in (None, before)), name


def test_up_again_touches_nothing_and_adds_hosts() -> None:
    with RunningCloud(hosts=1) as cloud:
        before = pids(cloud)
        names = {"supervisor", "api", "controller", "agent", "ovs-vswitchd", "ovsdb-server"}
        assert names <= {name for name, _ in before}
        outside = "ip", "netns", "exec", internet.namespace(Cloud(cloud.state)), "ethtool"
        run(*outside, "-K", "br0", "tx", "on")  # as who was killed before he said so left it
        cloud.unryu("up")
        assert pids(cloud) == before and "tx-checksumming: off" in run(*outside, "-k", "br0")
        cloud.unryu("up", "--hosts", "2")
        after = pids(cloud)
        assert before.items() <= after.items()
        assert {host for _, host in after} == {None, "h1", "h2", "internet"}
        assert [host["name"] for host in cloud.status()["hosts"]] == ["h1", "h2"]
        for host in cloud.status()["hosts"]:
            assert {"br-int", "br-tun", "br-ex", "br-phys"} <= set(host["bridges"])
            assert Path(host["ovsdb"]).is_socket()
        assert cloud.settled()
        assert len(cloud.status()["switches"]) == 6
        memory = Path(f"/proc/{after['supervisor', None]}/status").read_text()
        assert int(memory.partition("VmRSS:")[2].split()[0]) < 30_000
    assert left(cloud.state) == []


def test_whatever_is_killed_comes_back() -> None:
    with RunningCloud(hosts=2) as cloud:
        sdk = cloud.connect()
        network = sdk.network.create_network(name="blue")
        sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.0.0.0/24")
        for number in (1, 2):
            address = [{"ip_address": f"10.0.0.1{number}"}]
            sdk.network.create_port(name=f"p{number}", network_id=network.id, fixed_ips=address)
            cloud.plug(f"p{number}", f"h{number}", f"vm{number}")
        assert cloud.pings("vm1", "10.0.0.12")

        for name, host in [("api", None), ("controller", None), ("agent", "h1"), ("ovsdb-server", "h1"),
                           ("ovs-vswitchd", "h1"), ("api-worker", None), ("successor-1", None), ("supervisor", None),
                           ("website", "internet")]:
            kill_and_see_it_back(cloud, name, host)
            # Forwarding lives in the one: it needs its flows and its neighbours first. It rests while the other is away.
            if name in ("ovs-vswitchd", "ovsdb-server"):
                assert eventually(lambda: cloud.pings("vm1", "10.0.0.12", count=1))
            assert cloud.pings("vm1", "10.0.0.12"), f"packets lost after {name} was killed"
        cloud.unryu("up")

        # A crash is the monitor's to answer; without its monitor the switch goes on working.
        before = pids(cloud)
        kill_and_see_it_back(cloud, "ovs-vswitchd", "h1", signal.SIGSEGV)
        assert cloud.pid("ovs-vswitchd-monitor", "h1") == before["ovs-vswitchd-monitor", "h1"]
        working = cloud.pid("ovs-vswitchd", "h1")
        os.kill(before["ovs-vswitchd-monitor", "h1"], signal.SIGKILL)
        assert eventually(lambda: cloud.pid("ovs-vswitchd-monitor", "h1") is None)
        assert cloud.pid("ovs-vswitchd", "h1") == working

        # The supervisor's own death changes nothing: its successor adopts what lives, and starts what died meanwhile.
        line = ("successor-1", "successor-2")
        assert eventually(lambda: all(cloud.pid(name) for name in line))
        before = pids(cloud)
        os.kill(before["supervisor", None], signal.SIGKILL)
        os.kill(before["agent", "h1"], signal.SIGKILL)
        assert eventually(lambda: all(cloud.pid(name) for name in line) and cloud.pid("agent", "h1"))
        after = pids(cloud)
        assert after["supervisor", None] in {before[name, None] for name in line}
        changed = {key for key in before if before[key] != after.get(key)} - {(name, None) for name in line}
        assert changed == {("supervisor", None), ("agent", "h1")}
        # All dead at once, `unryu up` is the way out.
        for name in (*line, "supervisor"):
            os.kill(after[name, None], signal.SIGKILL)
        cloud.unryu("up")
        assert eventually(lambda: pids(cloud).keys() >= after.keys())
        assert cloud.pings("vm1", "10.0.0.12")
    assert left(cloud.state) == []


def test_down_needs_no_records_and_ends_guests_too() -> None:
    with RunningCloud(hosts=1) as cloud:
        lives_inside = subprocess.Popen(["ip", "netns", "exec", cloud.namespace("h1"), "sleep", "600"])
        os.kill(cloud.pid("supervisor") or 0, signal.SIGKILL)
        shutil.rmtree(cloud.state)
        assert left(cloud.state)
        cloud.unryu("down")
        assert left(cloud.state) == []
        assert lives_inside.wait(60) != 0


def test_down_keeps_and_up_goes_on() -> None:
    with RunningCloud(hosts=1) as cloud:
        def networks() -> set[str]:
            return {network.name for network in cloud.connect().network.networks()}

        assert networks() == {"internet"}
        cloud.openstack("network", "create", "kept")
        sdk = cloud.connect("admin").network
        sdk.delete_network(sdk.find_network("internet"))
        cloud.unryu("down", "--keep")
        assert not processes.find(Cloud(cloud.state))
        assert {path.name for path in cloud.state.iterdir()} >= {"unryu.toml", "unryu.db", "secrets"}
        cloud.unryu("up", "--hosts", "1")
        assert networks() == {"kept"}, "nobody brings back what an administrator took away"
    assert left(cloud.state) == []


def test_clouds_side_by_side_and_another_open_vswitch(cloud: RunningCloud) -> None:
    with OvsHost("other") as other:
        other.add_bridge("br0")
        other.ofctl("add-flow", "br0", "priority=7,arp,actions=NORMAL")
        before = (other.ofctl("dump-flows", "br0", "--no-stats"), (other.dir / "vswitchd.pid").read_text())
        with RunningCloud(hosts=1) as second:
            assert second.unryu("status")
            assert cloud.status()["hosts"][0]["namespace"] != second.namespace("h1")
            second.openstack("network", "create", "of-the-second")
            assert "of-the-second" not in cloud.openstack("network", "list")
        assert left(second.state) == []
        assert (other.ofctl("dump-flows", "br0", "--no-stats"), (other.dir / "vswitchd.pid").read_text()) == before
        other.appctl("version")
    assert cloud.status()["switches"]
