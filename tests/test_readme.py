"""README's first session, typed line by line."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.clouds import BIN, RunningCloud

pytestmark = pytest.mark.system
README = Path(__file__).parent.parent / "README.md"
SAID = "203.0.113.58"  # the floating IP of the page
APART = ("make up", ". .venv", "unryu down")  # the cloud is there already, and stays


def lines() -> list[str]:
    session = README.read_text().partition("## A first session")[2].partition("\n\n`openstack` itself")[0]
    typed = [line.strip().partition("  #")[0].strip() for line in session.splitlines() if line.startswith("    ")]
    return [line for line in typed if line and not line.startswith(APART)]


def test_the_first_session_goes_as_the_page_says(cloud: RunningCloud) -> None:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "UNRYU_STATE": str(cloud.state)}
    sdk, admin = cloud.connect().network, cloud.connect("admin").network
    floating = SAID
    try:
        for line in lines():
            done = subprocess.run(["/bin/bash", "-c", line.replace(SAID, floating)], capture_output=True, text=True,
                                  env=environment, check=False)
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
            if line.startswith("unryu floating ip create"):
                floating = next(sdk.ips()).floating_ip_address
            if "curl" in line:
                assert done.stdout.startswith("203.0.113."), "who the server out there sees is the router"
    finally:
        for guest in ("vm1", "vm2"):
            cloud.unryu("lab", "unplug", guest, check=False)
        for address in sdk.ips():
            sdk.delete_ip(address)
        for router in sdk.routers(name="edge"):
            for port in admin.ports(device_id=router.id, device_owner="network:router_interface"):
                sdk.remove_interface_from_router(router, port_id=port.id)
            sdk.delete_router(router)
        for network in sdk.networks(name="blue"):
            for port in sdk.ports(network_id=network.id):
                sdk.delete_port(port)
            sdk.delete_network(network)
        for rule in sdk.security_group_rules(direction="ingress", protocol="icmp"):
            sdk.delete_security_group_rule(rule)
