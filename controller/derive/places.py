"""Where records matter: what a feature says in `derives(…, at=…)`."""

from collections.abc import Iterable, Iterator
from typing import Any

from controller.derive.sources import NOWHERE
from controller.derive.words import Net, agent_of, gathered, remembered


@remembered
def hosts_of_network(net: Net, network_id: str) -> frozenset[str]:
    """The hosts that a port of the network is bound to."""
    hosts = net.values("port", "binding_host_id", network_id=network_id)
    return frozenset(h for h in hosts if h and agent_of(net, h))


@remembered
def hosts_reaching(net: Net, network_id: str) -> frozenset[str]:
    """Those, and the hosts that route to it: there its addresses have to be known, too."""
    routers = net.values("router_interface", "router_id", network_id=network_id)
    return hosts_of_network(net, network_id).union(*(hosts_of_router(net, router_id) for router_id in routers))


@remembered
def hosts_of_router(net: Net, router_id: str) -> frozenset[str]:
    """Where it routes: with the ports of its networks, and of those that it leads on to by other routers; where it leaves, or
    speaks on a wire, and where it would next."""
    found: set[str] = set()
    for router in linked(net, router_id):
        for network_id in net.values("router_interface", "network_id", router_id=router):
            found |= hosts_of_network(net, network_id)
        for kind in ("router_gateway", "router_interface"):
            for pair in net.values(kind, "host", "successor", router_id=router):
                found |= {host for host in pair if host and agent_of(net, host)}
    return frozenset(found)


@remembered
def linked(net: Net, router_id: str) -> frozenset[str]:
    """The routers that it leads to, or that lead to it, by routes that name one of the other's addresses; and itself."""
    found, ahead = {router_id}, [router_id]
    while ahead:
        others = _next(net, ahead.pop()) - found
        found |= others
        ahead += sorted(others)
    return frozenset(found)


@remembered
def _next(net: Net, router_id: str) -> frozenset[str]:
    router = net.get("router", router_id)
    found: set[str] = set()
    for interface in net.where("router_interface", router_id=router_id):
        for hop in {route["nexthop"] for route in router.routes} if router else ():
            for port_id in net.values("port", "id", network_id=interface.network_id, fixed_ips=hop):
                found |= net.values("router_interface", "router_id", port_id=port_id)
        port = net.get("port", interface.port_id)
        named = {other for fixed in (port.fixed_ips if port else ()) for other in _named(net, fixed["ip_address"])}
        found |= {other for other in named
                  if net.where("router_interface", router_id=other, network_id=interface.network_id)}
    return frozenset(found)


@gathered("router")
def _named(net: Net, router: Any) -> Iterator[tuple[tuple[str], str]]:
    """The routers whose routes name this next hop."""
    for hop in dict.fromkeys(route["nexthop"] for route in router.routes):
        yield (hop,), router.id


@remembered
def _alone(net: Net, host: str) -> frozenset[str]:
    """It, if it is there. Remembered, as the next, that thousands of records may hold one set."""
    return frozenset((host,)) if host and agent_of(net, host) else NOWHERE


@remembered
def _others(net: Net, network_id: str, host: str) -> frozenset[str]:
    return hosts_of_network(net, network_id) - {host} if _alone(net, host) else NOWHERE


def itself(agent: Any, net: Net) -> Iterable[str]:
    return _alone(net, agent.host)


def own_host(port: Any, net: Net) -> Iterable[str]:
    return _alone(net, port.binding_host_id)


def hosts_of_its_network(port: Any, net: Net) -> Iterable[str]:
    """Everywhere its neighbours are, once it has a host itself."""
    return hosts_of_network(net, port.network_id) if port.binding_host_id else NOWHERE


def hosts_reaching_it(port: Any, net: Net) -> Iterable[str]:
    """Everywhere something is sent to it, once it has a host itself."""
    return hosts_reaching(net, port.network_id) if port.binding_host_id else NOWHERE


@remembered
def _others_reaching(net: Net, network_id: str, host: str) -> frozenset[str]:
    return hosts_reaching(net, network_id) - {host} if _alone(net, host) else NOWHERE


def others_reaching_it(port: Any, net: Net) -> Iterable[str]:
    return _others_reaching(net, port.network_id, port.binding_host_id)


def other_hosts_of_its_network(port: Any, net: Net) -> Iterable[str]:
    return _others(net, port.network_id, port.binding_host_id)


def its_hosts(network: Any, net: Net) -> Iterable[str]:
    return hosts_of_network(net, network.id)


def hosts_reaching_network(network: Any, net: Net) -> Iterable[str]:
    return hosts_reaching(net, network.id)
