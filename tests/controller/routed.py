"""States of the sample with routers: a network `green` beside `blue`, and what may join and leave the two."""

from typing import Any

State = tuple[tuple[str, str, dict[str, Any] | None], ...]


def put(kind: str, id: str, **values: Any) -> tuple[str, str, dict[str, Any]]:
    return kind, id, {"id": id, **values}


def interface(router: str, network: str, mac: str, *fixed: tuple[str, str]) -> State:
    port = f"{router}-{network}-{fixed[0][0]}"
    return (put("port", port, network_id=network, mac_address=mac, port_security_enabled=False, security_groups=[],
                device_owner="network:router_interface", device_id=router,
                fixed_ips=[{"subnet_id": subnet, "ip_address": address} for subnet, address in fixed]),
            put("router_interface", f"i-{port}", router_id=router, port_id=port, network_id=network))


GREEN = (
    put("network", "green", project_id="demo", mtu=1450, segmentation_id=5002, number=9),
    put("subnet", "green4", network_id="green", ip_version=4, cidr="10.1.0.0/24", gateway_ip="10.1.0.1"),
    put("port", "port5", network_id="green", mac_address="fa:16:3e:00:00:05", binding_host_id="h2", security_groups=["default"],
        port_security_enabled=True, fixed_ips=[{"subnet_id": "green4", "ip_address": "10.1.0.15"}]),
    put("vif", "vif5", agent_id="agent-h2", port_id="port5", ofport=105, link="up"),
)
INTO_BLUE = (*interface("r", "blue", "fa:16:3e:00:01:01", ("blue4", "10.0.0.1")),
             *interface("r", "blue", "fa:16:3e:00:01:06", ("blue6", "fd00::1")))  # a port for each IP version, as the API does it
INTO_GREEN = interface("r", "green", "fa:16:3e:00:01:02", ("green4", "10.1.0.1"))


def router(id: str = "r", number: int = 3, **values: Any) -> tuple[str, str, dict[str, Any]]:
    return put("router", id, project_id="demo", number=number, **values)


JOINED: State = (*GREEN, router(), *INTO_BLUE, *INTO_GREEN)
ROUTES = [{"destination": "10.9.0.0/16", "nexthop": "10.1.0.15"}, {"destination": "10.9.0.0/16", "nexthop": "10.0.0.12"},
          {"destination": "10.1.0.0/24", "nexthop": "10.0.0.12"}, {"destination": "fd99::/16", "nexthop": "fd00::12"},
          {"destination": "0.0.0.0/0", "nexthop": "10.0.0.11"}]
LEADING_OUT: State = (
    put("port", "r-outside", network_id="outside", mac_address="fa:16:3e:00:01:03", port_security_enabled=False,
        security_groups=[], device_owner="network:router_gateway", device_id="r",
        fixed_ips=[{"subnet_id": "outside4", "ip_address": "203.0.113.20"}]),
    put("router_gateway", "g-r", router_id="r", port_id="r-outside", network_id="outside", host="h1", successor="h2"),
)
# Behind `green`, by a second router, another network.
BEYOND: State = (
    put("network", "red", project_id="demo", mtu=1400, segmentation_id=5003, number=10),
    put("subnet", "red4", network_id="red", ip_version=4, cidr="10.2.0.0/24", gateway_ip="10.2.0.1"),
    router("s", 4),
    *interface("s", "green", "fa:16:3e:00:02:02", ("green4", "10.1.0.2")),
    *interface("s", "red", "fa:16:3e:00:02:03", ("red4", "10.2.0.1")),
)



def floating(port: str | None, fixed: str, router: str = "r") -> State:
    return (put("port", "f-outside", network_id="outside", mac_address="fa:16:3e:00:01:09", port_security_enabled=False,
                security_groups=[], device_owner="network:floatingip", device_id="f",
                fixed_ips=[{"subnet_id": "outside4", "ip_address": "203.0.113.30"}]),
            put("floatingip", "f", project_id="demo", floating_network_id="outside", floating_ip_address="203.0.113.30",
                floating_port_id="f-outside", port_id=port, fixed_ip_address=fixed, router_id=router))


def forwarding(id: str, outer: str, inner: str, protocol: str = "tcp", port: str = "port5", fixed: str = "10.1.0.15") -> State:
    return (put("port_forwarding", id, floatingip_id="f", protocol=protocol, internal_port_id=port,
                internal_ip_address=fixed, external_port_range=outer, internal_port_range=inner),)


KINDS = ("router", "router_interface", "router_gateway", "floatingip", "port_forwarding")
STATES: dict[str, State] = {
    "a router beside blue": (*GREEN, router()),
    "a router into blue": (router(), *INTO_BLUE),
    "a router between blue and green": JOINED,
    "a router with routes": (*GREEN, router(routes=ROUTES), *INTO_BLUE, *INTO_GREEN),
    "a router that is down": (*GREEN, router(admin_state_up=False), *INTO_BLUE, *INTO_GREEN),
    "green down, behind a router": (*JOINED, put(
        "network", "green", project_id="demo", mtu=1450, segmentation_id=5002, number=9, admin_state_up=False)),
    "green takes less than blue": (*JOINED, put(
        "network", "green", project_id="demo", mtu=1300, segmentation_id=5002, number=9)),
    "a router that leads out": (*JOINED, *LEADING_OUT),
    "a router that leads out from h2": (*JOINED, *LEADING_OUT[:1], put(
        "router_gateway", "g-r", router_id="r", port_id="r-outside", network_id="outside", host="h2", successor="")),
    "a router without SNAT": (*GREEN, router(enable_snat=False), *INTO_BLUE, *INTO_GREEN, *LEADING_OUT),
    "a gateway that nobody holds": (*JOINED, *LEADING_OUT[:1], put(
        "router_gateway", "g-r", router_id="r", port_id="r-outside", network_id="outside")),
    "a floating IP where the gateway is": (*JOINED, *LEADING_OUT, *floating("port1", "10.0.0.11")),
    "a floating IP elsewhere": (*JOINED, *LEADING_OUT, *floating("port5", "10.1.0.15")),
    "a floating IP behind a router that is down": (
        *GREEN, router(admin_state_up=False), *INTO_BLUE, *INTO_GREEN, *LEADING_OUT, *floating("port5", "10.1.0.15")),
    "a floating IP with forwardings": (
        *JOINED, *LEADING_OUT, *floating(None, ""), *forwarding("w", "8080:8080", "80:80"),
        *forwarding("n", "53:60", "5353:5360"), *forwarding("u", "100:109", "5000:5000", "udp")),
    "a floating IP with forwardings to blue, and to green, which takes less": (
        *JOINED, put("network", "green", project_id="demo", mtu=1300, segmentation_id=5002, number=9), *LEADING_OUT,
        *floating(None, ""), *forwarding("w", "8080:8080", "80:80"),
        *forwarding("n", "100:109", "5000:5009", port="port1", fixed="10.0.0.11")),
    "two routers that lead to each other": (*GREEN, router(routes=[{"destination": "10.2.0.0/24", "nexthop": "10.1.0.2"}]),
                                            *INTO_BLUE, *INTO_GREEN, *BEYOND,
                                            router("s", 4, routes=[{"destination": "10.0.0.0/24", "nexthop": "10.1.0.1"}])),
    "two routers that know nothing of each other": (*JOINED, *BEYOND),
    "an address of green that two ports may hold, behind a router": (*JOINED, *(put(
        "port", id, network_id="green", mac_address=f"fa:16:3e:00:00:0{n}", binding_host_id=f"h{n - 4}", security_groups=[],
        port_security_enabled=True, fixed_ips=[{"subnet_id": "green4", "ip_address": f"10.1.0.1{n}"}], allowed_address_pairs=[
            {"ip_address": "10.1.0.100", "mac_address": f"fa:16:3e:00:00:0{n}"},
            {"ip_address": "10.1.0.101", "mac_address": "00:00:5e:00:01:01"},
            {"ip_address": "10.1.0.0/25", "mac_address": "00:00:5e:00:01:01"}])
        for n, id in ((5, "port5"), (6, "port6")))),
    "no port of green anywhere, behind a router": (*JOINED, ("vif", "vif5", None), ("port", "port5", None)),
}
