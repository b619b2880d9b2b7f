"""README's first session, and docs/routers.md, typed as they stand there."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.pipeline import table_named
from tests.clouds import BIN, RunningCloud

pytestmark = pytest.mark.system
ROOT = Path(__file__).parent.parent
README, ROUTERS = ROOT / "README.md", ROOT / "docs" / "routers.md"
SAID = "203.0.113.58"  # the floating IP of the page
APART = ("make up", ". .venv", "unryu down")  # the cloud is there already, and stays


def lines() -> list[str]:
    session = README.read_text().partition("## A first session")[2].partition("\n\n`openstack` itself")[0]
    typed = [line.strip().partition("  #")[0].strip() for line in session.splitlines() if line.startswith("    ")]
    return [line for line in typed if line and not line.startswith(APART)]


@pytest.fixture
def environment(cloud: RunningCloud) -> Iterator[dict[str, str]]:
    """Of a shell in which the pages are typed. What they made is gone afterwards."""
    yield {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "UNRYU_STATE": str(cloud.state)}
    sdk, admin = cloud.connect().network, cloud.connect("admin").network
    for guest in ("vm1", "vm2", "web", "db"):
        cloud.unryu("lab", "unplug", guest, check=False)
    for address in sdk.ips():
        for forwarding in sdk.floating_ip_port_forwardings(address):
            sdk.delete_floating_ip_port_forwarding(address, forwarding)
        sdk.delete_ip(address)
    for router in (router for name in ("edge", "gate") for router in sdk.routers(name=name)):
        for port in admin.ports(device_id=router.id, device_owner="network:router_interface"):
            sdk.remove_interface_from_router(router, port_id=port.id)
        sdk.delete_router(router)
    for network in (network for name in ("blue", "front", "back", "rack", "apart") for network in admin.networks(name=name)):
        for port in admin.ports(network_id=network.id):
            admin.delete_port(port)
        admin.delete_network(network)
    for pool in sdk.subnet_pools(name="campus"):
        sdk.delete_subnet_pool(pool)
    for scope in sdk.address_scopes(name="campus"):
        sdk.delete_address_scope(scope)
    for group in sdk.security_groups(name="lab"):
        sdk.delete_security_group(group)
    for rule in sdk.security_group_rules(direction="ingress", protocol="icmp"):
        sdk.delete_security_group_rule(rule)


def test_the_first_session_goes_as_the_page_says(cloud: RunningCloud, environment: dict[str, str]) -> None:
    floating = SAID
    for line in lines():
        done = subprocess.run(["/bin/bash", "-c", line.replace(SAID, floating)], capture_output=True, text=True,
                              env=environment, check=False)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        if line.startswith("unryu floating ip create"):
            floating = next(cloud.connect().network.ips()).floating_ip_address
        if "curl" in line:
            assert done.stdout.startswith("203.0.113."), "who the server out there sees is the router"


def test_the_ways_of_packets_are_as_the_page_shows_them(environment: dict[str, str], tmp_path: Path) -> None:
    typed = "".join(re.findall(r"^```sh\n(.*?)^```", ROUTERS.read_text(), re.DOTALL | re.MULTILINE))
    done = subprocess.run(["/bin/bash", "-exc", typed], capture_output=True, text=True, env=environment, check=False,
                          cwd=tmp_path, timeout=1200)
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"


def test_the_page_calls_tables_by_their_numbers() -> None:
    said = re.findall(r"`(\w+)` \((\d+)\)", ROUTERS.read_text())
    assert len(said) > 10 and all(table_named("br-int", name).number == int(number) for name, number in said)
