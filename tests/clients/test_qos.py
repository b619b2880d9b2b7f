"""QoS policies by the unmodified `openstack` command and by openstacksdk."""

from typing import Any

import pytest

from tests.clients.command import Client

pytestmark = pytest.mark.system


def test_policies_by_the_command(openstack: Client, admin: Client, network: Any, name: str) -> None:
    """On a network, a port, a floating IP and a gateway; limited, marked, shared, taken away."""
    made = admin.said("network", "qos", "policy", "create", name, "--description", "d")
    assert (made["name"], made["shared"], made["is_default"], made["rules"]) == (name, False, False, [])
    openstack("network", "qos", "policy", "show", name, fails="No QoSPolicy found")
    admin("network", "qos", "policy", "set", name, "--share", "--description", "e")
    assert name in openstack.column("network", "qos", "policy", "list", "--share")

    rule = admin.said("network", "qos", "rule", "create", name, "--type", "bandwidth-limit", "--max-kbps", "3000", "--ingress")
    assert (rule["max_kbps"], rule["max_burst_kbps"], rule["direction"]) == (3000, 0, "ingress")
    admin("network", "qos", "rule", "create", name, "--type", "minimum-bandwidth", "--min-kbps", "1", "--egress", fails="404")
    mark = admin.said("network", "qos", "rule", "create", name, "--type", "dscp-marking", "--dscp-mark", "46")
    admin("network", "qos", "rule", "set", name, rule["id"], "--max-kbps", "4000", "--max-burst-kbits", "100")
    assert openstack.said("network", "qos", "rule", "show", name, rule["id"])["max_kbps"] == 4000
    assert set(openstack.column("network", "qos", "rule", "list", name, column="Type")) == {"bandwidth_limit", "dscp_marking"}
    assert "dscp_marking" in openstack.column("network", "qos", "rule", "type", "list", column="Type")
    admin("network", "qos", "rule", "delete", name, mark["id"])

    openstack("network", "set", network.name, "--qos-policy", name)
    port = openstack.said("port", "create", name, "--network", network.name, "--qos-policy", name)
    assert (port["qos_policy_id"], port["qos_network_policy_id"]) == (made["id"], made["id"])
    admin("network", "qos", "policy", "delete", name, fails="in use by")
    openstack("port", "delete", name)
    openstack("network", "set", network.name, "--no-qos-policy")

    floating = openstack.said("floating", "ip", "create", "internet", "--qos-policy", name)
    assert floating["qos_policy_id"] == made["id"]
    openstack("floating", "ip", "delete", floating["id"])
    limited = openstack.said("router", "create", name, "--external-gateway", "internet", "--qos-policy", name)
    assert limited["external_gateway_info"]["qos_policy_id"] == made["id"]
    openstack("router", "unset", name, "--qos-policy")
    assert openstack.said("router", "show", name)["external_gateway_info"]["qos_policy_id"] is None
    openstack("router", "delete", name)
    admin("network", "qos", "policy", "delete", name)


def test_policies_by_the_sdk(sdk: Any, root: Any, name: str) -> None:
    """The cloud layer asks for the extensions first."""
    policy = root.create_qos_policy(name=name, shared=False, default=False)
    bits = root.create_qos_bandwidth_limit_rule(name, max_kbps=1000, direction="egress")
    mark = root.create_qos_dscp_marking_rule(name, dscp_mark=10)
    assert root.update_qos_bandwidth_limit_rule(name, bits.id, max_kbps=2000).max_kbps == 2000
    packets = root.network.create_qos_packet_rate_limit_rule(policy, max_kpps=1, direction="ingress")
    assert {rule["type"] for rule in root.get_qos_policy(name).rules} == {"bandwidth_limit", "dscp_marking", "packet_rate_limit"}
    assert [one.dscp_mark for one in root.list_qos_dscp_marking_rules(name)] == [10]
    assert {kind["type"] for kind in sdk.list_qos_rule_types()} >= {"bandwidth_limit", "dscp_marking"}
    grant = root.network.create_rbac_policy(object_type="qos_policy", object_id=policy.id, action="access_as_shared",
                                            target_project_id=sdk.current_project_id)
    assert sdk.get_qos_policy(name).id == policy.id
    root.network.set_tags(policy, ["gold"])
    assert [one.id for one in root.network.qos_policies(tags="gold")] == [policy.id]
    root.network.delete_rbac_policy(grant)
    assert sdk.get_qos_policy(name) is None
    root.network.delete_qos_packet_rate_limit_rule(packets, policy)
    assert root.delete_qos_dscp_marking_rule(name, mark.id) and root.delete_qos_bandwidth_limit_rule(name, bits.id)
    assert root.delete_qos_policy(name)
