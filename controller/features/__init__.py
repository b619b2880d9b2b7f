"""One room per feature: its nouns, their behaviour, their flows. A feature imports no other feature.

The modules below are ours; others come in by the entry point group `unryu.features`.
"""

from controller.features import (
    address_groups,
    address_scopes,
    agents,
    auto_allocated_topologies,
    broadcast,
    dhcp,
    door,
    floating_ip_flows,
    floating_ips,
    metadata,
    moving,
    neighbours,
    networks,
    next_hops,
    port_forwarding_flows,
    port_security,
    ports,
    provider,
    qos,
    qos_flows,
    ra,
    rbac,
    router_addresses,
    routers,
    routing,
    security_group_flows,
    security_groups,
    snat,
    subnet_pools,
    subnets,
    tunnels,
    wires,
)

__all__ = ["address_groups", "address_scopes", "agents", "auto_allocated_topologies", "broadcast", "dhcp", "door",
           "floating_ip_flows", "floating_ips", "metadata", "moving", "neighbours", "networks", "next_hops",
           "port_forwarding_flows", "port_security", "ports", "provider", "qos", "qos_flows", "ra", "rbac", "router_addresses",
           "routers", "routing", "security_group_flows", "security_groups", "snat", "subnet_pools", "subnets", "tunnels", "wires"]
