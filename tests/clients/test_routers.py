"""Routers, floating IPs and port forwardings by the unmodified `openstack` command and by openstacksdk."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.command import Client
from tests.clients.test_command import gone
from tests.clients.test_sdk import life
from tests.clouds import eventually

pytestmark = pytest.mark.system


@pytest.fixture
def outside(root: Any, name: str) -> Iterator[str]:
    """An external network of the test's own, in nobody's way."""
    made = root.network.create_network(name=f"{name}-out", is_router_external=True)
    root.network.create_subnet(name=f"{name}-out", network_id=made.id, ip_version=4, cidr="192.0.2.0/24")
    yield f"{name}-out"
    root.network.delete_network(made)


def test_routers_by_the_command(openstack: Client, admin: Client, outside: str, subnet: Any, name: str) -> None:
    made = openstack.said("router", "create", name, "--description", "d", "--tag", "red", "--disable",
                          "--external-gateway", outside)
    assert (made["admin_state_up"], made["tags"], made["external_gateway_info"]["enable_snat"]) == (False, ["red"], True)
    openstack("router", "set", name, "--enable", "--description", "e", "--tag", "blue")
    openstack("router", "unset", name, "--tag", "red")
    openstack("router", "add", "subnet", name, subnet.name)
    shown = openstack.said("router", "show", name)
    assert (shown["description"], shown["tags"], shown["admin_state_up"]) == ("e", ["blue"], True)
    assert [i["ip_address"] for i in shown["interfaces_info"]] == ["10.7.0.1"]
    assert openstack.column("router", "list", "--tags", "blue", "--long") == [name]
    openstack("port", "create", name, "--network", subnet.name)
    openstack("router", "add", "port", name, name, fails="already has a port on subnet")
    openstack("router", "delete", name, fails="409")
    openstack("subnet", "delete", subnet.name, fails="409")

    openstack("router", "add", "route", name, "--route", "destination=10.9.0.0/16,gateway=10.7.0.9")
    openstack("router", "set", name, "--route", "destination=10.8.0.0/16,gateway=10.7.0.8")
    openstack("router", "add", "route", name, "--route", "destination=10.6.0.0/16,gateway=10.9.9.9", fails="not connected")
    openstack("router", "remove", "route", name, "--route", "destination=10.9.0.0/16,gateway=10.7.0.9")
    assert openstack.said("router", "show", name)["routes"] == [{"destination": "10.8.0.0/16", "nexthop": "10.7.0.8"}]
    openstack("router", "remove", "subnet", name, subnet.name, fails="by one or more routes")
    openstack("router", "unset", name, "--route", "destination=10.8.0.0/16,gateway=10.7.0.8")

    openstack("router", "set", name, "--external-gateway", outside, "--disable-snat", fails="403")
    admin("subnet", "create", f"{name}-more", "--network", outside, "--subnet-range", "192.0.3.0/24")
    admin("router", "set", made["id"], "--external-gateway", outside, "--disable-snat", "--fixed-ip", "ip-address=192.0.2.77",
          "--fixed-ip", f"subnet={name}-more,ip-address=192.0.3.77")
    info = openstack.said("router", "show", name)["external_gateway_info"]
    assert [f["ip_address"] for f in info["external_fixed_ips"]] == ["192.0.2.77", "192.0.3.77"] and not info["enable_snat"]
    openstack("router", "add", "gateway", name, outside, fails="external-gateway-multihoming extension is not enabled")
    openstack("router", "unset", name, "--external-gateway")
    openstack("router", "remove", "subnet", name, subnet.name)
    openstack("router", "add", "port", name, name)
    openstack("router", "remove", "port", name, name)
    openstack("port", "show", name, fails=name)
    gone(openstack, "router", name)


def test_floating_ips_by_the_command(openstack: Client, admin: Client, outside: str, subnet: Any, name: str) -> None:
    openstack("router", "create", name, "--external-gateway", outside)
    openstack("router", "add", "subnet", name, subnet.name)
    port = openstack.said("port", "create", name, "--network", subnet.name, "--fixed-ip", "ip-address=10.7.0.33")
    made = openstack.said("floating", "ip", "create", outside, "--port", name, "--description", "d", "--tag", "red")
    assert (made["port_id"], made["fixed_ip_address"], made["port_details"]["name"]) == (port["id"], "10.7.0.33", name)
    address = made["floating_ip_address"]
    assert openstack.column("floating", "ip", "list", "--port", name, column="Floating IP Address") == [address]
    listed = openstack.column("floating", "ip", "list", "--router", name, "--network", outside, column="Fixed IP Address")
    assert listed == ["10.7.0.33"]
    openstack("router", "remove", "subnet", name, subnet.name, fails="floating IPs")
    openstack("router", "unset", name, "--external-gateway", fails="floating IPs")
    openstack("floating", "ip", "unset", address, "--port", "--tag", "red")
    openstack("floating", "ip", "set", address, "--port", port["id"], "--fixed-ip-address", "10.7.0.33", "--description", "e")
    assert openstack.said("floating", "ip", "show", address)["description"] == "e"
    openstack("port", "delete", name)
    assert openstack.said("floating", "ip", "show", address)["port_id"] is None
    gone(openstack, "floating ip", made["id"])
    openstack("floating", "ip", "create", outside, "--floating-ip-address", "192.0.2.99", fails="403")
    chosen = admin.said("floating", "ip", "create", outside, "--floating-ip-address", "192.0.2.99", "--subnet", outside)
    assert chosen["floating_ip_address"] == "192.0.2.99"
    admin("floating", "ip", "delete", "192.0.2.99")

    port = openstack.said("port", "create", name, "--network", subnet.name, "--fixed-ip", "ip-address=10.7.0.34")
    floating = openstack.said("floating", "ip", "create", outside)["id"]
    words = "floating", "ip", "port", "forwarding"
    inside = "--port", name, "--internal-ip-address", "10.7.0.34"
    one = openstack.said(*words, "create", floating, *inside, "--internal-protocol-port", 22, "--external-protocol-port", 2222,
                         "--protocol", "tcp", "--description", "ssh")
    many = openstack.said(*words, "create", floating, *inside, "--internal-protocol-port", "80:89", "--external-protocol-port",
                          "8080:8089", "--protocol", "tcp")
    assert one["external_port"] == 2222 and many["external_port_range"] == "8080:8089"
    openstack(*words, "set", floating, one["id"], "--external-protocol-port", 2200, "--description", "e")
    shown = openstack.said(*words, "show", floating, one["id"])
    assert (shown["external_port"], shown["description"], shown["internal_port"]) == (2200, "e", 22)
    assert set(openstack.column(*words, "list", floating, column="ID")) == {one["id"], many["id"]}
    assert openstack.column(*words, "list", floating, "--external-protocol-port", 2200, column="ID") == [one["id"]]
    openstack("floating", "ip", "delete", floating, fails="409")
    openstack(*words, "delete", floating, one["id"], many["id"])
    openstack("floating", "ip", "delete", floating)
    openstack("router", "remove", "subnet", name, subnet.name)
    gone(openstack, "router", name)


def test_a_topology_made_by_itself_by_the_command(openstack: Client, admin: Client, name: str) -> None:
    words = "network", "auto", "allocated", "topology"
    openstack(*words, "create", "--check-resources", fails="No default subnetpools")
    admin("subnet", "pool", "create", name, "--pool-prefix", "10.96.0.0/16", "--default-prefix-length", 26, "--default",
          "--share")
    openstack(*words, "create", "--check-resources")
    made = openstack.said(*words, "create", "--or-show")
    assert openstack.said("network", "show", made["id"])["name"] == "auto_allocated_network"
    openstack("network", "auto", "allocated", "topology", "delete")
    admin("subnet", "pool", "delete", name)
    openstack("network", "show", made["id"], fails=made["id"])


def test_hosts_of_routers_by_the_command(openstack: Client, admin: Client, name: str) -> None:
    router = openstack.said("router", "create", name, "--external-gateway", "internet")["id"]
    agents = {row["Host"]: row["ID"] for row in admin.said("network", "agent", "list")}

    def states() -> dict[str, str]:
        return {row["Host"]: row["HA State"] for row in admin.said("network", "agent", "list", "--router", name, "--long")}

    assert eventually(lambda: sorted(states().values()) == ["active", "standby"], 30)
    [before] = [host for host, state in states().items() if state == "active"]
    [after] = set(agents) - {before}
    admin("network", "agent", "remove", "router", "--l3", agents[before], name)
    assert states() == {after: "active", before: "standby"}
    admin("network", "agent", "add", "router", "--l3", agents[before], name)
    assert states() == {before: "active", after: "standby"}
    assert name in admin.column("router", "list", "--agent", agents[after])
    openstack("network", "agent", "list", "--router", router, fails="403")
    assert openstack.column("network", "service", "provider", "list", column="Service Type") == ["L3_ROUTER_NAT"]
    openstack("router", "delete", name)


def test_quotas_and_filters_by_the_command(openstack: Client, admin: Client, name: str) -> None:
    project = admin.said("project", "show", "demo")["id"]
    admin("quota", "set", project, "--routers", 7, "--floating-ips", 8)
    shown = {row["Resource"]: row["Limit"] for row in admin.said("quota", "show", project, "--network")}
    assert (shown["routers"], shown["floating_ips"]) == (7, 8), shown
    admin("quota", "delete", project, "--network")
    admin("router", "create", name, "--project", project, "--distributed", "--ha")
    assert admin.said("router", "show", name)["distributed"] is True
    assert openstack.column("router", "list", "--name", name) == [name]
    assert "network:router_gateway" not in openstack.column("port", "list", "--long", column="Device Owner")
    admin("router", "delete", name)


def test_routers_by_the_sdk(sdk: Any, root: Any, outside: str, subnet: Any, name: str) -> None:
    life(sdk.network, "router", {"name": name, "description": "d"}, {"name": f"{name}x", "is_admin_state_up": False})
    out = sdk.network.find_network(outside)
    router = sdk.network.create_router(name=name, external_gateway_info={"network_id": out.id})
    joined = sdk.network.add_interface_to_router(router, subnet=subnet.id)
    assert joined["subnet_ids"] == [subnet.id]
    route = {"destination": "10.9.0.0/16", "nexthop": "10.7.0.9"}
    assert sdk.network.add_extra_routes_to_router(router, {"router": {"routes": [route]}}).routes == [route]
    assert sdk.network.remove_extra_routes_from_router(router, {"router": {"routes": [route]}}).routes == []
    port = sdk.network.create_port(network_id=subnet.network_id)
    address = port.fixed_ips[0]["ip_address"]
    life(sdk.network, "ip", {"floating_network_id": out.id, "port_id": port.id}, {"description": "x"})
    floating = sdk.network.create_ip(floating_network_id=out.id)
    assert sdk.network.update_ip(floating, port_id=port.id).fixed_ip_address == address
    assert sdk.network.find_available_ip() is None
    sdk.network.update_ip(floating, port_id=None)
    assert sdk.network.find_available_ip().id == floating.id
    forwarding = sdk.network.create_port_forwarding(floatingip_id=floating.id, protocol="tcp", internal_port_id=port.id,
                                                    internal_ip_address=address, internal_port=1, external_port=2)
    assert [f.id for f in sdk.network.floating_ip_port_forwardings(floating)] == [forwarding.id]
    sdk.network.update_floating_ip_port_forwarding(floating, forwarding, external_port=3)
    assert sdk.network.get_port_forwarding(forwarding, floating).external_port == 3
    sdk.network.delete_floating_ip_port_forwarding(floating, forwarding, ignore_missing=False)
    sdk.network.delete_ip(floating)
    sdk.network.remove_interface_from_router(router, subnet=subnet.id)
    sdk.network.delete_router(router)
