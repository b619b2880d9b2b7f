"""Policies: ports with the same set of security groups have the same rules, so rules are held per set, not per port."""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from controller.addresses import within
from controller.derive import Net, agent_of, remembered
from controller.flow import Jump, load, resubmit
from controller.pipeline import OUT_PORT, OUTPUT, POLICY, TO_GUEST, TRACK

Groups = frozenset[str]
"""Ids of security groups. A policy is such a set: what a rule of any of them allows, passes."""

UNGUARDED = 0
"""The number of a port without port security: everything passes. (With it and without groups, nothing does.)"""


@lru_cache(maxsize=1 << 16)
def number(groups: Groups) -> int:
    """The 64 bits that stand for a policy in a register, the same on every host and in every run."""
    return int.from_bytes(blake2b(" ".join(sorted(groups)).encode(), digest_size=8).digest(), "big")


def policy_of(port: Any) -> int:
    return number(frozenset(port.security_groups)) if port.port_security_enabled else UNGUARDED


def towards(policy: int, ofport: int) -> tuple[bytes | Jump, ...]:
    """The words that bring a packet of table l2, or of those behind it, to a local port, past its groups."""
    if policy == UNGUARDED:
        return load(OUT_PORT, ofport), resubmit(OUTPUT)
    return load(OUT_PORT, ofport), load(TO_GUEST, 1), load(POLICY, policy), resubmit(TRACK)


# Asked by many, each answered once; most changes leave the answer as it was, and then nobody who asked is disturbed.


@remembered
def policies_with(net: Net, host: str, group: str) -> tuple[Groups, ...]:
    """The policies on the host that hold this group."""
    return _ordered(net.values("port", "security_groups", binding_host_id=host, security_groups=group))


@remembered
def members(net: Net, group: str) -> tuple[Groups, ...]:
    """What stands behind addresses of the group, wherever they are: the policies of its ports, and where addresses are
    shared, those of all who may hold one, together."""
    shared = {groups for network_id in net.values("port", "network_id", security_groups=group)
              for groups in shared_policies(net, network_id) if group in groups}
    return _ordered(net.values("port", "security_groups", security_groups=group) | shared)


@remembered
def hosts_with(net: Net, group: str) -> frozenset[str]:
    """The hosts of the ports in the group."""
    hosts = net.values("port", "binding_host_id", security_groups=group)
    return frozenset(h for h in hosts if h and agent_of(net, h))


# Addresses that ports may hold beside their own (allowed address pairs): who holds one speaks for all who may.


@remembered
def paired(net: Net, network_id: str) -> tuple[str, ...]:
    """The addresses and prefixes that ports of the network may hold beside their own."""
    found: frozenset[str] = frozenset().union(*net.values("port", "allowed_address_pairs", network_id=network_id))
    return tuple(sorted(found))


@remembered
def shares(net: Net, network_id: str) -> bool:
    """Most networks do not, and there nobody should be disturbed, nor anything be remembered for each address."""
    return bool(paired(net, network_id))


def behind(net: Net, network_id: str, address: str) -> Groups:
    """The groups of all who may hold this address, or all of this prefix, beside their own."""
    groups: Groups = _behind(net, network_id, address) if shares(net, network_id) else frozenset()
    return groups


@remembered
def _behind(net: Net, network_id: str, address: str) -> Groups:
    return frozenset(group for prefix in covering(net, network_id, address)
                     for groups in net.values("port", "security_groups", network_id=network_id, allowed_address_pairs=prefix)
                     for group in groups)


def covering(net: Net, network_id: str, address: str) -> list[str]:
    """Of the pairs of the network, those that this address, or prefix, lies in."""
    return [prefix for prefix in paired(net, network_id) if within(address, prefix)]


@remembered
def shared_policies(net: Net, network_id: str) -> frozenset[Groups]:
    """The unions of groups that stand behind addresses of a network where some are shared."""
    if not shares(net, network_id):
        return frozenset()
    return frozenset(behind(net, network_id, prefix) for prefix in paired(net, network_id)) | frozenset(
        behind(net, network_id, fixed["ip_address"]).union(port.security_groups)
        for port in net.where("port", network_id=network_id) for fixed in port.fixed_ips)


@remembered
def stateless(net: Net, policy: Groups) -> bool:
    """Whether conntrack is left out. One stateful group is enough that it is asked about everything."""
    groups = [net.get("security_group", group) for group in policy]
    return all(group is not None and not group.stateful for group in groups)


def _ordered(policies: Iterable[Groups]) -> tuple[Groups, ...]:
    return tuple(sorted(policies, key=sorted))
