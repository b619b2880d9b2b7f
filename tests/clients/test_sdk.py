"""openstacksdk does every verb, in every call it has, on every noun of the network and of identity."""

from typing import Any

import pytest
from openstack import exceptions

from tests.clouds import RunningCloud, eventually

pytestmark = pytest.mark.system


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
    assert eventually(lambda: {status() for _ in range(8)} == {401}, seconds=20)
    root.identity.delete_user(user)
