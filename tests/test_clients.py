"""The unmodified `openstack` command and openstacksdk do every verb on every noun of the network and of identity.

The SDK goes wide, the command goes through the life of each noun. Every command has a process of its own, forked from one
that has read the client's modules already: starting Python anew for each of hundreds would take minutes.
"""

import contextlib
import io
import json
import multiprocessing
import multiprocessing.pool
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from openstack import exceptions
from openstackclient.shell import OpenStackShell

from tests.clouds import BIN, RunningCloud, eventually

pytestmark = pytest.mark.system


def run(words: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """The command, in the process that it has for itself: exit code, output, complaint."""
    os.environ.update(environment)
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as complained:
        code = OpenStackShell().run(words)
    return code, said.getvalue(), complained.getvalue()


class Client:
    """The command as one of the cloud's first users; `more`: options before the verb, who else and where else."""

    def __init__(self, cloud: RunningCloud, pool: multiprocessing.pool.Pool, user: str = "demo") -> None:
        self.cloud, self.pool, self.user = cloud, pool, user
        self.more: tuple[str, ...] = ()

    def __call__(self, *words: object, fails: str = "") -> str:
        """What it prints; where it should fail, with these words in its complaint."""
        options = ["--os-cloud", "unryu" if self.user == "demo" else f"unryu-{self.user}", *self.more]
        environment = {"OS_CLIENT_CONFIG_FILE": str(self.cloud.state / "clouds.yaml")}
        code, said, complained = self.pool.apply(run, ([*options, *map(str, words)], environment))
        assert bool(code) == bool(fails), f"{words}: {said}{complained}"
        assert fails in complained
        return said

    def said(self, *words: object) -> Any:
        return json.loads(self(*words, "-f", "json"))

    def column(self, *words: object, column: str = "Name") -> list[Any]:
        return [row[column] for row in self.said(*words)]

    def as_user(self, user: str, *more: str) -> "Client":
        other = Client(self.cloud, self.pool, user)
        other.more = more
        return other


@pytest.fixture(scope="module")
def pool() -> Iterator[multiprocessing.pool.Pool]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Pool(1, maxtasksperchild=1) as pool:
        yield pool


@pytest.fixture
def openstack(cloud: RunningCloud, pool: multiprocessing.pool.Pool) -> Client:
    return Client(cloud, pool)


@pytest.fixture
def admin(openstack: Client) -> Client:
    return openstack.as_user("admin")


@pytest.fixture
def name() -> str:
    return f"c-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def sdk(cloud: RunningCloud) -> Any:
    return cloud.connect()


@pytest.fixture
def root(cloud: RunningCloud) -> Any:
    return cloud.connect("admin")


@pytest.fixture
def network(sdk: Any, name: str) -> Iterator[Any]:
    made = sdk.network.create_network(name=name)
    yield made
    for port in sdk.network.ports(network_id=made.id):
        sdk.network.delete_port(port)
    sdk.network.delete_network(made)  # its subnets go with it


@pytest.fixture
def subnet(sdk: Any, network: Any) -> Any:
    return sdk.network.create_subnet(network_id=network.id, name=network.name, ip_version=4, cidr="10.7.0.0/24")


# The SDK: every call it has for a noun.


def life(proxy: Any, noun: str, words: dict[str, Any], changes: dict[str, Any]) -> None:
    """create, get, find, list, update, delete: as the SDK spells them."""
    plural = "address_scopes" if noun == "address_scope" else "rbac_policies" if noun == "rbac_policy" else f"{noun}s"

    def call(verb: str, *given: Any, **more: Any) -> Any:
        return getattr(proxy, f"{verb}_{noun}")(*given, **more)

    made = call("create", **words)
    try:
        for key, value in words.items():
            assert getattr(made, key) == value, key
        assert call("get", made.id).to_dict() == made.to_dict()
        assert made.id in [one.id for one in getattr(proxy, plural)()]
        if "name" in words:
            assert call("find", words["name"]).id == made.id
            assert [one.id for one in getattr(proxy, plural)(name=words["name"])] == [made.id]
        if changes:
            call("update", made, **changes)
            changed = call("get", made.id)
            assert {key: getattr(changed, key) for key in changes} == changes
    finally:
        call("delete", made, ignore_missing=False)
    with pytest.raises(exceptions.NotFoundException):
        call("get", made.id)
    assert call("delete", made) is None  # the SDK leaves alone what is gone


def test_networks_by_the_sdk(sdk: Any, root: Any, name: str) -> None:
    life(sdk.network, "network", {"name": name, "description": "d", "mtu": 1400},
         {"name": f"{name}x", "mtu": 1300, "is_admin_state_up": False, "description": ""})
    life(root.network, "network", {"name": name, "provider_network_type": "vxlan", "is_shared": True}, {"is_shared": False})


def test_subnets_by_the_sdk(sdk: Any, network: Any, name: str) -> None:
    life(sdk.network, "subnet",
         {"name": name, "network_id": network.id, "ip_version": 4, "cidr": "10.7.0.0/24", "gateway_ip": "10.7.0.9",
          "allocation_pools": [{"start": "10.7.0.10", "end": "10.7.0.20"}], "dns_nameservers": ["192.0.2.1"]},
         {"name": f"{name}x", "gateway_ip": None, "is_dhcp_enabled": False, "dns_nameservers": ["192.0.2.2", "192.0.2.3"],
          "host_routes": [{"destination": "192.0.2.0/24", "nexthop": "10.7.0.5"}],
          "allocation_pools": [{"start": "10.7.0.30", "end": "10.7.0.40"}]})
    life(sdk.network, "subnet", {"name": name, "network_id": network.id, "ip_version": 6, "cidr": "2001:db8::/64",
                                 "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}, {"name": f"{name}x"})


def test_ports_by_the_sdk(sdk: Any, network: Any, subnet: Any, name: str) -> None:
    life(sdk.network, "port",
         {"name": name, "network_id": network.id, "mac_address": "fa:16:3e:00:00:07", "device_id": "d", "device_owner": "o",
          "fixed_ips": [{"subnet_id": subnet.id, "ip_address": "10.7.0.7"}]},
         {"name": f"{name}x", "fixed_ips": [{"subnet_id": subnet.id, "ip_address": "10.7.0.8"}], "is_admin_state_up": False})
    made = list(sdk.network.create_ports([{"network_id": network.id, "name": f"{name}{n}"} for n in range(5)]))
    assert len(made) == 5 and len({port.fixed_ips[0]["ip_address"] for port in made}) == 5
    port = made[3]
    [found] = sdk.network.ports(fixed_ips=f"ip_address={port.fixed_ips[0]['ip_address']}", network_id=network.id)
    assert found.id == port.id
    assert len(list(sdk.network.ports(network_id=network.id, limit=2))) == 5  # page by page
    shown = list(sdk.network.ports(network_id=network.id, fields=["id"], sort_key="name", sort_dir="desc"))
    assert [one.id for one in shown] == [one.id for one in reversed(made)]
    with pytest.raises(exceptions.PreconditionFailedException):
        sdk.network.update_port(port, if_revision=port.revision_number + 7, name="no")
    assert sdk.network.get_subnet_ports(subnet.id) is not None


def test_tags_by_the_sdk(sdk: Any, network: Any, subnet: Any) -> None:
    port = sdk.network.create_port(network_id=network.id)
    for thing, plural in ((network, "networks"), (subnet, "subnets"), (port, "ports")):
        sdk.network.set_tags(thing, ["red", "blue"])
        sdk.network.add_tag(thing, "green") if hasattr(sdk.network, "add_tag") else thing.add_tag(sdk.network, "green")
        listed = getattr(sdk.network, plural)
        for words, there in (({"tags": "red,blue"}, True), ({"any_tags": "red,white"}, True), ({"not_tags": "red,blue"}, False),
                             ({"not_any_tags": "white"}, True), ({"tags": "red,white"}, False)):
            assert (thing.id in [one.id for one in listed(**words)]) == there, words
        thing.check_tag(sdk.network, "green")
        thing.remove_tag(sdk.network, "green")
        thing.remove_all_tags(sdk.network)
        assert thing.id not in [one.id for one in listed(any_tags="red,blue,green")]


def test_address_scopes_and_pools_by_the_sdk(sdk: Any, network: Any, name: str) -> None:
    life(sdk.network, "address_scope", {"name": name, "ip_version": 4}, {"name": f"{name}x"})
    life(sdk.network, "subnet_pool", {"name": name, "prefixes": ["10.64.0.0/16"], "default_prefix_length": 26},
         {"name": f"{name}x", "prefixes": ["10.64.0.0/15"], "description": "d"})
    scope = sdk.network.create_address_scope(name=name, ip_version=4)
    pool = sdk.network.create_subnet_pool(name=name, prefixes=["10.66.0.0/16"], address_scope_id=scope.id,
                                          default_prefix_length=26)
    first, second = (sdk.network.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id) for _ in range(2))
    assert first.cidr != second.cidr and first.cidr.endswith("/26") and second.subnet_pool_id == pool.id
    assert sdk.network.get_network(network.id).ipv4_address_scope_id == scope.id
    with pytest.raises(exceptions.ConflictException):
        sdk.network.delete_subnet_pool(pool)
    for made in (first, second):
        sdk.network.delete_subnet(made)
    sdk.network.delete_subnet_pool(pool)
    sdk.network.delete_address_scope(scope)


def test_security_groups_by_the_sdk(sdk: Any, root: Any, network: Any, name: str) -> None:
    life(sdk.network, "security_group", {"name": name, "description": "d"}, {"name": f"{name}x", "description": ""})
    group = sdk.network.create_security_group(name=name)
    life(sdk.network, "security_group_rule", {
        "security_group_id": group.id, "direction": "ingress", "ether_type": "IPv4", "protocol": "tcp", "port_range_min": 22,
        "port_range_max": 23, "remote_ip_prefix": "192.0.2.0/24"}, {})
    rules = list(sdk.network.create_security_group_rules([
        {"security_group_id": group.id, "direction": "ingress", "ethertype": "IPv4", "protocol": "udp", "port_range_min": n,
         "port_range_max": n} for n in range(1, 6)]))
    assert len(rules) == 5 == len(list(sdk.network.security_group_rules(security_group_id=group.id, direction="ingress")))
    port = sdk.network.create_port(network_id=network.id, security_groups=[group.id])
    with pytest.raises(exceptions.ConflictException):
        sdk.network.delete_security_group(group)
    assert [p.id for p in sdk.network.ports(security_groups=group.id)] == [port.id]
    sdk.network.update_port(port, security_groups=[])
    sdk.network.delete_security_group(group, ignore_missing=False)
    default = sdk.network.find_security_group("default")
    with pytest.raises(exceptions.ConflictException):
        sdk.network.delete_security_group(default)
    life(root.network, "default_security_group_rule", {
        "direction": "ingress", "ether_type": "IPv6", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22,
        "used_in_default_sg": True, "used_in_non_default_sg": False}, {})


def test_address_groups_by_the_sdk(sdk: Any, name: str) -> None:
    life(sdk.network, "address_group", {"name": name, "description": "d", "addresses": ["192.0.2.0/24"]}, {"name": f"{name}x"})
    group = sdk.network.create_address_group(name=name, addresses=["192.0.2.0/24"])
    sdk.network.add_addresses_to_address_group(group, ["2001:db8::/32"])
    assert sorted(sdk.network.get_address_group(group.id).addresses) == ["192.0.2.0/24", "2001:db8::/32"]
    sdk.network.remove_addresses_from_address_group(group, ["192.0.2.0/24"])
    assert sdk.network.get_address_group(group.id).addresses == ["2001:db8::/32"]
    sdk.network.delete_address_group(group)


def test_sharing_by_the_sdk(cloud: RunningCloud, sdk: Any, network: Any) -> None:
    other = cloud.connect("alt")
    words = {"object_type": "network", "object_id": network.id, "action": "access_as_shared"}
    assert other.network.find_network(network.id) is None
    life(sdk.network, "rbac_policy", {**words, "target_project_id": other.current_project_id},
         {"target_project_id": sdk.current_project_id})
    policy = sdk.network.create_rbac_policy(**words, target_project_id=other.current_project_id)
    port = other.network.create_port(network_id=network.id)
    with pytest.raises(exceptions.ConflictException):
        sdk.network.delete_rbac_policy(policy)
    other.network.delete_port(port)
    sdk.network.delete_rbac_policy(policy)
    assert other.network.find_network(network.id) is None


def test_quotas_by_the_sdk(root: Any, sdk: Any, name: str) -> None:
    project = root.identity.create_project(name=name, domain_id="default")
    assert root.network.get_quota(project.id).networks == root.network.get_quota_default(project.id).networks
    root.network.update_quota(project.id, networks=3, ports=-1)
    assert (root.network.get_quota(project.id).networks, root.network.get_quota(project.id).ports) == (3, -1)
    assert project.id in [quota.project_id for quota in root.network.quotas()]
    details = root.network.get_quota(project.id, details=True)
    assert details.networks["limit"] == 3 and details.networks["used"] == 0
    root.network.delete_quota(project.id)
    assert root.network.get_quota(project.id).networks != 3
    assert sdk.network.get_quota(sdk.current_project_id, details=True).networks["limit"] > 0
    with pytest.raises(exceptions.ForbiddenException):
        sdk.network.update_quota(sdk.current_project_id, networks=1000)
    root.identity.delete_project(project)


def test_agents_zones_and_availability_by_the_sdk(root: Any, sdk: Any, network: Any, subnet: Any) -> None:
    agents = list(root.network.agents())
    assert {agent.host for agent in agents} == {"h1", "h2"} and all(agent.is_alive for agent in agents)
    root.network.update_agent(agents[0], description="the first")
    assert root.network.get_agent(agents[0].id).description == "the first"
    root.network.update_agent(agents[0], description="")
    assert not list(root.network.agents(host="h3"))
    zones = list(sdk.network.availability_zones())
    assert ("default", "network") in {(zone.name, zone.resource) for zone in zones}
    sdk.network.create_port(network_id=network.id)
    found = root.network.find_network_ip_availability(network.id)
    assert found.used_ips == 1 and found.total_ips == 253
    assert network.id in [one.network_id for one in root.network.network_ip_availabilities()]
    assert {"project-id", "pagination", "standard-attr-tag"} <= {extension.alias for extension in sdk.network.extensions()}


def test_identity_by_the_sdk(root: Any, name: str) -> None:
    proxy = root.identity
    domain = proxy.create_domain(name=name, is_enabled=True)
    for noun, words, changes in (
        ("project", {"name": name, "domain_id": domain.id, "description": "d"}, {"name": f"{name}x", "is_enabled": False}),
        ("user", {"name": name, "domain_id": domain.id, "email": "a@b"}, {"email": "c@d", "description": "d"}),
        ("group", {"name": name, "domain_id": domain.id, "description": "d"}, {"description": "e", "name": f"{name}x"}),
        ("role", {"name": name, "description": "d"}, {"name": f"{name}x"}),
    ):
        life(proxy, noun, words, changes)
    user, group = proxy.create_user(name=name, domain_id=domain.id), proxy.create_group(name=name, domain_id=domain.id)
    project, role = proxy.create_project(name=name, domain_id=domain.id), proxy.find_role("reader")
    proxy.add_user_to_group(user, group)
    assert proxy.check_user_in_group(user, group) and [u.id for u in proxy.group_users(group)] == [user.id]
    for actor, who in (("user", user), ("group", group)):
        for place, given in (("project", (project, who, role)), ("domain", (domain, who, role)), ("system", (who, role, "all"))):
            getattr(proxy, f"assign_{place}_role_to_{actor}")(*given)
            assert len(list(proxy.role_assignments(**{f"{actor}_id": who.id}))) == 1, (actor, place)
            getattr(proxy, f"unassign_{place}_role_from_{actor}")(*given)
            assert not list(proxy.role_assignments(**{f"{actor}_id": who.id})), (actor, place)
    proxy.remove_user_from_group(user, group)
    assert not proxy.check_user_in_group(user, group)
    proxy.update_domain(domain, is_enabled=False)
    proxy.delete_domain(domain)
    assert proxy.find_user(name) is None and proxy.find_group(name) is None


# The command: the life of each noun.


def gone(openstack: Client, noun: str, name: str) -> None:
    openstack(*noun.split(), "delete", name)
    assert name not in openstack.column(*noun.split(), "list")
    openstack(*noun.split(), "show", name, fails=name)


def test_networks_by_the_command(openstack: Client, name: str) -> None:
    made = openstack.said("network", "create", name, "--description", "d", "--mtu", 1400, "--tag", "red", "--disable")
    assert (made["name"], made["mtu"], made["tags"], made["admin_state_up"]) == (name, 1400, ["red"], False)
    openstack("network", "set", name, "--enable", "--description", "e", "--tag", "blue")
    openstack("network", "unset", name, "--tag", "red")
    shown = openstack.said("network", "show", name)
    assert (shown["description"], shown["tags"], shown["admin_state_up"]) == ("e", ["blue"], True)
    assert openstack.column("network", "list", "--tags", "blue", "--name", name, "--long") == [name]
    gone(openstack, "network", name)


def test_subnets_and_ports_by_the_command(openstack: Client, name: str) -> None:
    openstack("network", "create", name)
    made = openstack.said("subnet", "create", name, "--network", name, "--subnet-range", "10.7.0.0/24", "--gateway", "10.7.0.9",
                          "--allocation-pool", "start=10.7.0.10,end=10.7.0.20", "--dns-nameserver", "192.0.2.1",
                          "--host-route", "destination=192.0.2.0/24,gateway=10.7.0.5", "--no-dhcp", "--tag", "red")
    assert (made["gateway_ip"], made["dns_nameservers"], made["enable_dhcp"]) == ("10.7.0.9", ["192.0.2.1"], False)
    openstack("subnet", "set", name, "--dns-nameserver", "192.0.2.2", "--dhcp", "--description", "e", "--gateway", "none")
    openstack("subnet", "unset", name, "--dns-nameserver", "192.0.2.1", "--tag", "red",
              "--host-route", "destination=192.0.2.0/24,gateway=10.7.0.5")
    shown = openstack.said("subnet", "show", name)
    assert (shown["dns_nameservers"], shown["host_routes"], shown["gateway_ip"]) == (["192.0.2.2"], [], None)
    assert openstack.column("subnet", "list", "--network", name, "--ip-version", 4) == [name]

    port = openstack.said("port", "create", name, "--network", name, "--fixed-ip", f"subnet={name},ip-address=10.7.0.11",
                          "--mac-address", "fa:16:3e:00:00:07", "--device", "d", "--tag", "red")
    assert port["fixed_ips"][0]["ip_address"] == "10.7.0.11" and port["mac_address"] == "fa:16:3e:00:00:07"
    openstack("port", "set", name, "--description", "e", "--fixed-ip", f"subnet={name},ip-address=10.7.0.12", "--disable")
    openstack("port", "unset", name, "--fixed-ip", f"subnet={name},ip-address=10.7.0.11", "--device")
    shown = openstack.said("port", "show", name)
    assert [f["ip_address"] for f in shown["fixed_ips"]] == ["10.7.0.12"] and shown["device_id"] == ""
    assert openstack.column("port", "list", "--network", name, "--fixed-ip", "ip-address=10.7.0.12", "--tags", "red") == [name]
    openstack("subnet", "delete", name, fails="409")
    for noun in ("port", "subnet", "network"):
        gone(openstack, noun, name)


def test_security_groups_by_the_command(openstack: Client, name: str) -> None:
    made = openstack.said("security", "group", "create", name, "--description", "d", "--tag", "red")
    assert len(made["rules"]) == 2
    openstack("security", "group", "set", name, "--description", "e", "--tag", "blue")
    openstack("security", "group", "unset", name, "--tag", "red")
    openstack("address", "group", "create", name, "--address", "192.0.2.0/24")
    for words in (("--protocol", "tcp", "--dst-port", "22:23", "--remote-ip", "192.0.2.0/24"), ("--remote-group", name),
                  ("--protocol", "icmp", "--icmp-type", 8), ("--ethertype", "IPv6", "--egress", "--protocol", "udp"),
                  ("--remote-address-group", name)):
        rule = openstack.said("security", "group", "rule", "create", name, *words)
        assert openstack.said("security", "group", "rule", "show", rule["id"])["id"] == rule["id"]
    rules = openstack.column("security", "group", "rule", "list", name, column="ID")
    assert len(rules) == 7
    openstack("security", "group", "rule", "create", name, "--remote-group", name, fails="409")
    openstack("address", "group", "delete", name, fails="409")
    openstack("security", "group", "rule", "delete", *rules)
    shown = openstack.said("security", "group", "show", name)
    assert (shown["description"], shown["tags"], shown["rules"]) == ("e", ["blue"], [])

    openstack("address", "group", "set", name, "--address", "2001:db8::/32", "--description", "d")
    openstack("address", "group", "unset", name, "--address", "192.0.2.0/24")
    assert openstack.said("address", "group", "show", name)["addresses"] == ["2001:db8::/32"]
    gone(openstack, "address group", name)

    openstack("network", "create", name)
    openstack("port", "create", name, "--network", name, "--security-group", name)
    openstack("security", "group", "delete", name, fails="409")
    openstack("port", "set", name, "--no-security-group")
    for noun in ("port", "security group", "network"):
        gone(openstack, noun, name)


def test_default_rules_by_the_command(admin: Client) -> None:
    words = "default", "security", "group", "rule"
    made = admin.said(*words, "create", "--protocol", "tcp", "--dst-port", 22, "--ingress")
    assert admin.said(*words, "show", made["id"])["protocol"] == "tcp"
    assert made["id"] in admin.column(*words, "list", column="ID")
    admin(*words, "delete", made["id"])
    assert made["id"] not in admin.column(*words, "list", column="ID")


def test_pools_and_scopes_by_the_command(openstack: Client, name: str) -> None:
    openstack("address", "scope", "create", name, "--ip-version", 4)
    made = openstack.said("subnet", "pool", "create", name, "--pool-prefix", "10.64.0.0/16", "--default-prefix-length", 26,
                          "--address-scope", name, "--tag", "red")
    assert made["prefixes"] == ["10.64.0.0/16"] and made["default_prefixlen"] == 26
    openstack("subnet", "pool", "set", name, "--pool-prefix", "10.65.0.0/16", "--description", "d", "--max-prefix-length", 28)
    openstack("subnet", "pool", "unset", name, "--tag", "red")
    shown = openstack.said("subnet", "pool", "show", name)
    assert shown["prefixes"] == ["10.64.0.0/15"] and shown["max_prefixlen"] == 28 and shown["tags"] == []
    openstack("network", "create", name)
    assert openstack.said("subnet", "create", name, "--network", name, "--subnet-pool", name)["cidr"].endswith("/26")
    assert openstack.said("subnet", "create", f"{name}-2", "--network", name, "--subnet-pool", name, "--prefix-length", 28)[
        "cidr"].endswith("/28")
    openstack("subnet", "pool", "delete", name, fails="409")
    openstack("network", "delete", name)
    openstack("subnet", "pool", "set", name, "--no-address-scope")
    openstack("address", "scope", "set", name, "--name", f"{name}-x")
    gone(openstack, "subnet pool", name)
    gone(openstack, "address scope", f"{name}-x")


def test_sharing_by_the_command(openstack: Client, admin: Client, name: str) -> None:
    alt = openstack.as_user("alt")
    projects = {row["Name"]: row["ID"] for row in admin.said("project", "list")}
    openstack("network", "create", name)
    alt("network", "show", name, fails=name)
    made = openstack.said("network", "rbac", "create", name, "--type", "network", "--action", "access_as_shared",
                          "--target-project", projects["alt"])
    assert alt.said("network", "show", name)["name"] == name
    assert openstack.said("network", "rbac", "show", made["id"])["target_project_id"] == projects["alt"]
    assert made["id"] in openstack.column("network", "rbac", "list", "--type", "network", column="ID")
    openstack("network", "rbac", "set", made["id"], "--target-project", projects["demo"])
    alt("network", "show", name, fails=name)
    openstack("network", "rbac", "delete", made["id"])
    openstack("network", "set", name, "--share", fails="403")
    admin("network", "set", name, "--share")
    assert name in alt.column("network", "list", "--share")
    admin("network", "set", name, "--no-share")
    gone(openstack, "network", name)


def test_quotas_by_the_command(openstack: Client, admin: Client, name: str) -> None:
    def limit(client: Client, *words: str) -> Any:
        return {row["Resource"]: row["Limit"] for row in client.said("quota", "show", "--network", *words)}["networks"]

    admin("project", "create", name)
    before = limit(admin, name)
    assert before == limit(admin, "--default", name) == limit(openstack)
    admin("quota", "set", "--networks", 3, "--secgroup-rules", 5, name)
    assert limit(admin, name) == 3
    usage = {row["Resource"]: row for row in admin.said("quota", "show", "--network", "--usage", name)}
    assert (usage["networks"]["Limit"], usage["networks"]["In Use"]) == (3, 0)
    assert admin.said("quota", "list", "--network")
    admin("quota", "delete", "--network", name)
    assert limit(admin, name) == before
    openstack("quota", "set", "--networks", 1000, "demo", fails="403")
    admin("project", "delete", name)


def test_agents_zones_and_availability_by_the_command(openstack: Client, admin: Client, name: str) -> None:
    agents = {row["Host"]: row["ID"] for row in admin.said("network", "agent", "list")}
    assert set(agents) == {"h1", "h2"}
    admin("network", "agent", "set", agents["h1"], "--description", "the first", "--enable")
    assert admin.said("network", "agent", "show", agents["h1"])["description"] == "the first"
    admin("network", "agent", "set", agents["h1"], "--description", "")
    openstack("network", "agent", "list", fails="403")
    assert "default" in openstack.column("availability", "zone", "list", "--network", column="Zone Name")
    assert "pagination" in openstack.column("extension", "list", "--network", column="Alias")
    openstack("network", "create", name)
    openstack("subnet", "create", name, "--network", name, "--subnet-range", "10.7.0.0/24")
    openstack("port", "create", name, "--network", name)
    assert name in admin.column("ip", "availability", "list", column="Network Name")
    assert admin.said("ip", "availability", "show", name)["used_ips"] == 1
    openstack("port", "delete", name)
    openstack("network", "delete", name)


def test_identity_by_the_command(admin: Client, name: str) -> None:
    admin("domain", "create", name, "--description", "d")
    admin("domain", "set", name, "--description", "e")
    assert admin.said("domain", "show", name)["description"] == "e" and name in admin.column("domain", "list")
    inside = "--domain", name
    admin("project", "create", name, *inside, "--tag", "red")
    admin("project", "set", name, *inside, "--description", "e")
    admin("user", "create", name, *inside, "--password", "right", "--project", name, "--project-domain", name)
    admin("user", "set", name, *inside, "--email", "a@b")
    admin("group", "create", name, *inside, "--description", "d")
    admin("group", "set", name, *inside, "--description", "e")
    assert admin.said("group", "show", name, *inside)["description"] == "e"
    members = "--group-domain", name, "--user-domain", name
    admin("group", "add", "user", name, name, *members)
    assert "in group" in admin("group", "contains", "user", name, name, *members)
    domain = admin.said("domain", "show", name)["id"]  # the command takes its name for an id when it looks for the group
    assert admin.column("user", "list", "--group", name, "--domain", domain) == [name]
    assert admin.column("group", "list", "--user", name, "--user-domain", name) == [name]
    for role, place in (("member", ("--project", name, "--project-domain", name)), ("admin", ("--domain", name)),
                        ("reader", ("--system", "all")), ("reader", ("--domain", name, "--inherited"))):
        admin("role", "add", "--group", name, "--group-domain", name, *place, role)
    rows = admin.said("role", "assignment", "list", "--names", "--group", name, "--group-domain", name)
    assert sorted((row["Role"], row["Project"], row["Domain"], row["System"], row["Inherited"]) for row in rows) == sorted([
        ("member", f"{name}@{name}", "", "", False), ("admin", "", name, "", False), ("reader", "", "", "all", False),
        ("reader", "", name, "", True)])
    effective = admin.said("role", "assignment", "list", "--names", "--effective", "--user", name, "--user-domain", name)
    assert {row["Role"] for row in effective} == {"admin", "member", "reader"}

    admin("role", "create", name)
    admin("implied", "role", "create", name, "--implied-role", "reader")
    assert name in admin.column("implied", "role", "list", column="Prior Role Name")
    admin("implied", "role", "delete", name, "--implied-role", "reader")
    gone(admin, "role", name)

    who = ("--os-username", name, "--os-user-domain-name", name, "--os-password")
    project = ("--os-project-name", name, "--os-project-domain-name", name)
    person = admin.as_user("demo", *who, "right", *project)
    assert person.said("token", "issue")["project_id"] == admin.said("project", "show", name, *inside)["id"]
    assert person.column("network", "list") == []
    person("user", "password", "set", "--original-password", "right", "--password", "better")
    person("token", "issue", fails="401")
    person = admin.as_user("demo", *who, "better", *project)
    assert person.column("project", "list", "--my-projects") == [name]
    admin("user", "set", name, *inside, "--password", "best")
    person("token", "issue", fails="401")

    admin("group", "remove", "user", name, name, *members)
    person = admin.as_user("demo", *who, "best", *project)
    person("token", "issue", fails="401")  # his only roles were the group's
    admin("domain", "set", name, "--disable")
    admin("domain", "delete", name)
    assert name not in admin.column("group", "list")


def test_scopes_by_the_command(cloud: RunningCloud, root: Any) -> None:
    """As processes of their own, from the environment alone."""
    password = (cloud.state / "secrets" / "admin-password").read_text().strip()
    who = {"OS_AUTH_URL": root.config.auth["auth_url"],
           "OS_USERNAME": "admin", "OS_PASSWORD": password, "OS_USER_DOMAIN_NAME": "Default",
           "OS_IDENTITY_API_VERSION": "3"}

    def said(*words: str, **scope: str) -> Any:
        return json.loads(cloud.run(str(BIN / "openstack"), *words, "-f", "json", **who, **scope).stdout)

    token = said("token", "issue", OS_SYSTEM_SCOPE="all")
    assert "project_id" not in token and "domain_id" not in token
    assert {row["Host"] for row in said("network", "agent", "list", OS_SYSTEM_SCOPE="all")} == {"h1", "h2"}
    assert {row["Name"] for row in said("project", "list", OS_SYSTEM_SCOPE="all")} >= {"admin", "demo", "alt"}
    refused = cloud.run(str(BIN / "openstack"), "token", "issue", check=False, OS_DOMAIN_NAME="Default", **who)
    assert refused.returncode and "401" in refused.stderr


def test_a_password_that_is_changed_ends_tokens_in_every_process(cloud: RunningCloud, root: Any, name: str) -> None:
    """The sdk's token is remembered by the API's workers; they hear of it by the journal."""
    import openstack

    user = root.identity.create_user(name=name, domain_id="default", password="right")
    project = root.identity.find_project("demo")
    root.identity.assign_project_role_to_user(project, user, root.identity.find_role("member"))
    auth = {"auth_url": root.config.auth["auth_url"], "username": name, "password": "right", "user_domain_name": "Default",
            "project_id": project.id}
    token = openstack.connect(auth=auth, load_yaml_config=False, load_envvars=False).auth_token

    def status() -> int:
        answer = root.network.get("/networks", headers={"X-Auth-Token": token}, authenticated=False, raise_exc=False)
        return int(answer.status_code)

    assert [status() for _ in range(8)] == [200] * 8
    root.identity.unassign_project_role_from_user(project, user, root.identity.find_role("member"))
    assert eventually(lambda: {status() for _ in range(8)} == {401}, seconds=2)
    root.identity.delete_user(user)


