"""The unmodified `openstack` command goes through the life of each noun of the network and of identity."""

import json
from typing import Any

import pytest

from tests.clients.command import Client
from tests.clouds import BIN, RunningCloud

pytestmark = pytest.mark.system


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
    scope = openstack.said("address", "scope", "create", name, "--ip-version", 4)["id"]
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
    assert openstack.said("network", "show", name)["ipv4_address_scope"] == scope
    openstack("router", "create", name)
    openstack("router", "add", "subnet", name, name)
    assert openstack.said("router", "show", name)["interfaces_info"][0]["ip_address"].startswith("10.6")
    openstack("router", "remove", "subnet", name, name)
    gone(openstack, "router", name)
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
    assert person.column("network", "list", "--internal") == []
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
