"""The lab and the command line on a running cloud."""

import os
import pty
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clouds import BIN, RunningCloud
from topology import processes

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def blue(cloud: RunningCloud) -> Iterator[RunningCloud]:
    """A network of both address families with two ports, `web` and `db`."""
    sdk = cloud.connect()
    network = sdk.network.create_network(name="blue")
    for version, cidr in ((4, "10.0.0.0/24"), (6, "fd00:b1::/64")):
        sdk.network.create_subnet(name=f"blue-v{version}", network_id=network.id, ip_version=version, cidr=cidr)
    ports = [sdk.network.create_port(name=name, network_id=network.id) for name in ("web", "db")]
    yield cloud
    for port in ports:
        sdk.network.delete_port(port.id)
    sdk.network.delete_network(network.id)


def test_two_guests_on_two_hosts_reach_each_other(blue: RunningCloud) -> None:
    blue.plug("web", "h1", "vm1")
    other = blue.plug("db", "h2", "vm2")
    try:
        assert len(other["addresses"]) == 2
        for address in other["addresses"]:
            assert blue.pings("vm1", address.partition("/")[0])
        assert [guest["name"] for guest in blue.status()["guests"]] == ["vm1", "vm2"]
        ports = {port["Name"]: port["Status"] for port in blue.openstack_json("port", "list")}
        assert (ports["web"], ports["db"]) == ("ACTIVE", "ACTIVE")
    finally:
        blue.unplug("vm1")
        blue.unplug("vm2")
    assert blue.status()["guests"] == []
    assert not list(Path("/run/netns").glob(f"{blue.namespace('h1').partition('-')[0]}-vm*"))


def test_exec_is_the_command(blue: RunningCloud) -> None:
    guest = blue.plug("web", "h1", "vm1")
    try:
        words = [str(BIN / "unryu"), "--state", str(blue.state), "lab", "exec", "vm1", "--"]
        assert subprocess.run([*words, "sh", "-c", "exit 7"], check=False).returncode == 7
        assert subprocess.run([*words, "cat"], input=b"in and out", capture_output=True, check=False).stdout == b"in and out"
        assert f"link/ether {guest['mac_address']}" in blue.exec("vm1", "ip", "link", "show", "eth0")

        master, slave = pty.openpty()
        subprocess.run([*words, "tty"], stdin=slave, stdout=slave, check=True)
        assert os.read(master, 100).startswith(b"/dev/")

        # What a guest left running is ended with it.
        sleeper = subprocess.Popen([*words, "sleep", "600"])
        while sleeper.pid not in processes.inside([guest["namespace"]]):
            time.sleep(0.01)
    finally:
        blue.unplug("vm1")
    assert sleeper.wait(60) != 0


def test_a_guest_is_plugged_once(blue: RunningCloud) -> None:
    first = blue.plug("web", "h1", "vm1")
    try:
        assert blue.plug(first["port_id"], "h1", "vm1") == first
        for port, host, name, sentence in [
            ("web", "h1", "vm9", "Guest vm1 is on this port"), ("db", "h1", "vm1", "Guest vm1 is on another port"),
            ("nothing", "h1", "vm9", "No port of the name or id nothing"), ("db", "h9", "vm9", "No host h9 here"),
            ("db", "h1", "h2", "cannot name a guest"),
        ]:
            said = blue.run(str(BIN / "unryu"), "--state", str(blue.state), "lab", "plug", port, "--host", host,
                            "--as", name, check=False)
            assert said.returncode in (1, 2)
            assert sentence in said.stderr
        assert [guest["name"] for guest in blue.status()["guests"]] == ["vm1"]
    finally:
        blue.unplug("vm1")


def test_unknown_verbs_are_the_openstack_clients(blue: RunningCloud) -> None:
    assert "web" in blue.unryu("port", "list")
    assert "web" not in blue.unryu("port", "list", project="alt")
    said = blue.run(str(BIN / "unryu"), "--state", str(blue.state), "port", "show", "no-such-port", check=False)
    assert (said.returncode, "no-such-port" in said.stderr, "Traceback" in said.stderr) == (1, True, False)


def test_openrc_is_sourced_by_a_shell(blue: RunningCloud) -> None:
    for project, sees in (("demo", True), ("alt", False)):
        line = f'eval "$({BIN}/unryu --state {blue.state} openrc --project {project})"; {BIN}/openstack port list'
        assert ("web" in blue.run("bash", "-c", line).stdout) is sees


def test_the_demo_runs_and_cleans_up_when_it_is_interrupted() -> None:
    demo = subprocess.Popen([str(BIN / "python"), "-u", "-m", "topology.demo"], stdout=subprocess.PIPE, text=True)
    assert demo.stdout
    state = next(line.split()[3] for line in demo.stdout if "The cloud in" in line)
    demo.terminate()
    assert "Interrupted" in demo.stdout.read()
    assert demo.wait() != 0
    assert not Path(state).exists()
