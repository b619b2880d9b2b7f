"""Policies: ports with the same set of security groups have the same rules, so rules are held per set, not per port."""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any

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


def towards(port: Any, ofport: int) -> tuple[bytes | Jump, ...]:
    """The words that bring a packet of table l2 to a local port, past its groups."""
    policy = policy_of(port)
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
    """The policies of the ports in the group, wherever they are."""
    return _ordered(net.values("port", "security_groups", security_groups=group))


@remembered
def hosts_with(net: Net, group: str) -> frozenset[str]:
    """The hosts of the ports in the group."""
    hosts = net.values("port", "binding_host_id", security_groups=group)
    return frozenset(h for h in hosts if h and agent_of(net, h))


@remembered
def named_by(net: Net, group: str) -> Groups:
    """The groups that the rules of a group name."""
    return frozenset(r.remote_group_id for r in net.where("security_group_rule", security_group_id=group) if r.remote_group_id)


@remembered
def named_on(net: Net, host: str, network_id: str) -> Groups:
    """The groups whose members the rules of the network's ports on the host have to know."""
    policies = net.values("port", "security_groups", binding_host_id=host, network_id=network_id)
    return frozenset(named for policy in policies for group in policy for named in named_by(net, group))


@remembered
def stateless(net: Net, policy: Groups) -> bool:
    """Whether conntrack is left out. One stateful group is enough that it is asked about everything."""
    groups = [net.get("security_group", group) for group in policy]
    return all(group is not None and not group.stateful for group in groups)


def _ordered(policies: Iterable[Groups]) -> tuple[Groups, ...]:
    return tuple(sorted(policies, key=sorted))
