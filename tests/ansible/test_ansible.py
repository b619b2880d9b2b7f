"""Ansible's openstack.cloud modules make, change and take away a small site; told the same again they change nothing."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.clouds import RunningCloud

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
# The PyPI package is 20,000 files of collections; it carries the one we want, and a wheel is a zip file.
COLLECTIONS, OURS = "ansible==12.3.0", "ansible_collections/openstack/cloud/"

INSIDE = ["network", "subnet", "subnet of IPv6", "group", "port"]
OUTSIDE = ["network outside", "grant", "subnet outside", "router", "floating IP"]
GONE = [f"no {task}" for task in ("floating IP", "router", "network outside", *reversed(INSIDE))]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, beside our own: 10 s and 100 MB."""
    place = Path(sys.prefix) / "ansible"
    wanted = hashlib.sha256((HERE / "requirements.txt").read_bytes() + COLLECTIONS.encode()).hexdigest()
    stamp = place / "stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return place
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    pip = (place / "bin" / "pip", "--disable-pip-version-check", "-q")
    subprocess.run([*pip, "install", "-r", HERE / "requirements.txt"], check=True)
    wheels = tmp_path_factory.mktemp("wheels")
    subprocess.run([*pip, "download", "--no-deps", "-d", wheels, COLLECTIONS], check=True)
    [wheel] = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place, [name for name in archive.namelist() if name.startswith(OURS)])
    stamp.write_text(wanted)
    return place


def test_a_site_by_ansible(cloud: RunningCloud, environment: Path, tmp_path: Path) -> None:
    def changes(**words: object) -> list[str]:
        """The tasks that changed something; all went well."""
        said = cloud.run(
            str(environment / "bin" / "ansible-playbook"), "-i", "localhost,", str(HERE / "playbook.yml"),
            "-e", json.dumps(words),
            ANSIBLE_COLLECTIONS_PATH=str(environment), ANSIBLE_HOME=str(tmp_path), ANSIBLE_NOCOLOR="1",
            OS_CLIENT_CONFIG_FILE=str(cloud.state / "clouds.yaml")).stdout
        return re.findall(r"TASK \[(.+?)\] \**\nchanged:", said)

    sdk = cloud.connect()
    assert changes() == INSIDE + OUTSIDE
    assert changes() == []
    [port] = sdk.network.ports(name="ansible")
    assert port.fixed_ips[0]["ip_address"] == "192.0.2.7" and port.description == "a web server"
    [subnet] = sdk.network.subnets(name="ansible")
    assert subnet.dns_nameservers == ["192.0.2.53"] and subnet.gateway_ip == "192.0.2.1"

    [floating], router = sdk.network.ips(port_id=port.id), sdk.network.find_router("ansible")
    assert floating.fixed_ip_address == "192.0.2.7" and floating.router_id == router.id
    assert router.external_gateway_info["network_id"] == floating.floating_network_id

    other = {"mtu": 1300, "dns": ["192.0.2.54"], "description": "web", "web_port": 8080, "joined": ["ansible", "ansible6"]}
    assert changes(**other) == ["network", "subnet", "group", "port", "router"]
    assert changes(**other) == []
    assert sdk.network.find_network("ansible").mtu == 1300
    assert sdk.network.find_subnet("ansible").dns_nameservers == ["192.0.2.54"]
    assert sdk.network.get_port(port.id).description == "web"
    group = sdk.network.find_security_group("ansible")
    assert port.security_group_ids == [group.id] and group.description == "web"
    assert {r["port_range_min"] for r in group.security_group_rules} == {None, 8080}

    six = sdk.network.find_subnet("ansible6")
    assert six.id in {f["subnet_id"] for p in sdk.network.ports(device_id=router.id) for f in p.fixed_ips}

    assert changes(state="absent") == GONE
    assert changes(state="absent") == []
    assert not list(sdk.network.networks(name="ansible"))
