"""docs/deploy.md, command by command, on machines that share nothing but a network."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clouds import eventually
from tests.machines import ROOT, Machines

pytestmark = pytest.mark.system

PAGE = (ROOT / "docs" / "deploy.md").read_text()
LINKS: dict[str, list[str | None]] = {
    "db": ["192.0.2.10"], "ctl": ["192.0.2.11"], "api1": ["192.0.2.12"], "api2": ["192.0.2.13"], "lb": ["192.0.2.14"],
    "host1": ["192.0.2.21", None, None], "host2": ["192.0.2.22", None, None],
}
# A tenant's first steps, by the SDK, as whoever `unryu openrc` on that machine says.
TENANT = """
import json, openstack
net = openstack.connect().network
network = net.create_network(name="blue")
net.create_subnet(network_id=network.id, ip_version=4, cidr="10.0.0.0/24")
ports = [net.create_port(network_id=network.id, fixed_ips=[{"ip_address": f"10.0.0.1{n}"}], binding_host_id=f"host{n}")
         for n in (1, 2)]
print(json.dumps([[port.id, port.mac_address] for port in ports]))
"""
# What compute will do, with the certificate of a service.
PLUG = """
import json, sys
from unryu import tls
from unryu.tls import authority
host, door, port, mac = sys.argv[1:]
authority.make(authority.home(), tls.LAB)
line = tls.Line(door, authority.own(authority.home(), tls.LAB), tls.of_host(host), 10)
line.request("PUT", f"/vifs/{port}", json.dumps({"mac_address": mac, "mtu": 1450, "netns": "guest", "ifname": "eth0"}))
answer = line.getresponse()
print(answer.status, answer.read().decode())
"""
LIST = """
import openstack
net = openstack.connect().network
print(sum(len([n for n in net.networks() if n.name == "blue"]) for _ in range(20)))
"""


def openstack(machines: Machines, script: str) -> str:
    return machines.run("api2", 'eval "$(unryu openrc --project admin)"\n.venv/bin/python -W ignore -', given=script)


def logs(machines: Machines) -> str:
    files = [file for file in machines.folder.glob("*/upper-var/log/**/*.log") if file.is_file()]
    return "\n".join(f"--- {file}\n{file.read_text(errors='replace')[-1500:]}" for file in sorted(files))


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    if not any(Path("/usr/lib/postgresql").glob("15/bin/postgres")):
        pytest.fail("the page is written for PostgreSQL 15 of Debian 12")
    with Machines(LINKS) as machines:
        # What the packages' own installation does.
        machines.run("db", "chown postgres: /etc/postgresql /var/lib/postgresql /run/postgresql\n"
                           "pg_createcluster 15 main -- --no-sync")
        try:
            for name, block in re.findall(r"```sh (\w+)\n(.*?)```", PAGE, re.DOTALL):
                machines.run(name, block)
            yield machines
        except AssertionError as error:
            raise AssertionError(f"{error}\n{logs(machines)}") from None


def test_the_page_makes_a_cloud_in_which_guests_reach_each_other(machines: Machines) -> None:
    def both() -> list[bool]:
        rows = json.loads(machines.run("ctl", "unryu host list -o json"))
        return [row["alive"] for row in rows if row["host"] in ("host1", "host2")]

    assert eventually(lambda: both() == [True, True]), logs(machines)
    for host in ("host1", "host2"):  # the wire that the page adds
        wired = "ovs-ofctl -O OpenFlow13 show unix:/run/openvswitch/br-ex.mgmt"
        assert "(eth2)" in machines.run(host, wired) and "(patch-ex-int)" in machines.run(host, wired)
    ports = json.loads(openstack(machines, TENANT))
    for number, (port, mac) in enumerate(ports, start=1):
        host = f"host{number}"
        machines.run(host, "ip netns add guest")
        said = machines.run("ctl", f".venv/bin/python - {host} {LINKS[host][0]}:6681 {port} {mac}", given=PLUG)
        assert said.startswith("200 "), said
        machines.run(host, f"ip -n guest addr add 10.0.0.1{number}/24 dev eth0 && ip -n guest link set eth0 up")
    assert eventually(lambda: " 0% packet loss" in machines.run(
        "host1", "ip netns exec guest ping -c 2 -i 0.2 -W 1 10.0.0.12", check=False), 20), logs(machines)


def test_an_api_node_dies_and_clients_go_on(machines: Machines) -> None:
    machines.kill("api1", "unryu-api")
    assert openstack(machines, LIST).strip() == "20"


def test_tokens_are_good_once_and_a_host_that_was_removed_is_out(machines: Machines) -> None:
    token = machines.run("ctl", "unryu host token --host host3").strip()
    join = ("UNRYU_STATE=/root/other unryu host join --controller 192.0.2.11:6680 --tunnel-ip 198.51.100.3 "
            "--name {} --token {} 2>&1")
    for name, word in (("host4", token), ("host3", token[:-1]), ("host3", f"{'0' * 64}.{token.partition('.')[2]}")):
        said = machines.run("host2", join.format(name, word), check=False)
        assert "does not let" in said or "is not the cloud" in said, said
    assert "host3 is a host" in machines.run("host2", join.format("host3", token))
    assert "does not let" in machines.run("host2", join.format("host3", token), check=False)
    assert "ports are bound to host2" in machines.run("ctl", "unryu host remove host2 2>&1", check=False)
    openstack(machines, "import openstack\nnet = openstack.connect().network\nfor port in net.ports():\n"
                        "    net.update_port(port, binding_host_id='')")
    machines.run("ctl", "unryu host remove host2")
    assert "host2" not in machines.run("ctl", "unryu host list")
    assert eventually(lambda: "was removed from this cloud" in machines.run("host2", "cat /var/log/unryu-agent.log"))
    connected = "ovs-vsctl --format=csv --no-headings --columns=is_connected list controller"
    assert eventually(lambda: "true" not in machines.run("host2", connected))
    assert "host2" not in machines.run("ctl", "unryu host list"), "it does not come back by itself"


def test_no_secret_of_a_machine_can_be_read_by_others(machines: Machines) -> None:
    for name in ("ctl", "api1", "api2", "host1"):
        assert not machines.run(name, "find /var/lib/unryu/secrets /var/lib/unryu/unryu.toml -perm /077")
