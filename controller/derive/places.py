"""Where records matter: what a feature says in `derives(…, at=…)`."""

from collections.abc import Iterable
from typing import Any

from controller.derive.sources import NOWHERE
from controller.derive.words import Net, agent_of, remembered


@remembered
def hosts_of_network(net: Net, network_id: str) -> frozenset[str]:
    """The hosts that a port of the network is bound to."""
    hosts = net.values("port", "binding_host_id", network_id=network_id)
    return frozenset(h for h in hosts if h and agent_of(net, h))


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


def other_hosts_of_its_network(port: Any, net: Net) -> Iterable[str]:
    return _others(net, port.network_id, port.binding_host_id)


def its_hosts(network: Any, net: Net) -> Iterable[str]:
    return hosts_of_network(net, network.id)
