"""Rules of security groups: what their words mean, without a thought of how it is done, and random ones."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from tests.probes import ICMP, ICMPV6, TCP, UDP, Packet

PORTS = (80, 83, 443)
NUMBERS = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "ipv6-icmp": ICMPV6, "6": TCP, "17": UDP}
PING = {4: 8, 6: 128}
Rule = dict[str, Any]


@dataclass
class Words:
    """Whom rules of a tenant may name."""

    prefixes: Mapping[int, Sequence[str]]
    groups: Sequence[str]
    office: str
    """An address group."""
    addresses: Sequence[str]
    """That are in it."""


def allows(rule: Rule, packet: Packet, address: str, groups: Collection[str], words: Words) -> bool:
    """A packet to or from this address, where somebody of these groups is."""
    if rule["ethertype"] != f"IPv{packet.version}":
        return False
    if rule.get("protocol") and NUMBERS[rule["protocol"]] != packet.protocol:
        return False
    low, high = rule.get("port_range_min"), rule.get("port_range_max")
    if packet.protocol in (TCP, UDP):
        if low is not None and not low <= packet.port <= high:
            return False
    elif (low, high) not in ((None, None), (packet.port, None), (packet.port, 0)):
        return False
    remote = ip_address(address)
    if rule.get("remote_ip_prefix"):
        return remote in ip_network(rule["remote_ip_prefix"])
    if rule.get("remote_address_group_id"):
        return any(remote in ip_network(cidr) for cidr in words.addresses)
    return not rule.get("remote_group_id") or rule["remote_group_id"] in groups


def random_rule(choose: random.Random, words: Words) -> Rule:
    version = choose.choice((4, 6))
    rule: Rule = {"direction": choose.choice(("ingress", "egress")), "ethertype": f"IPv{version}"}
    match choose.choice(("any", "tcp", "udp", "6", "17", "icmp")):
        case "any":
            pass
        case "icmp":
            rule["protocol"] = "icmp" if version == 4 else "ipv6-icmp"
            rule |= choose.choice(({}, {"port_range_min": PING[version]}, {"port_range_min": 3},
                                   {"port_range_min": PING[version], "port_range_max": 0}))
        case protocol:
            low = choose.choice((1, 79, 80, 82, 83, 400))
            rule |= {"protocol": protocol}
            rule |= choose.choice(({}, {"port_range_min": low, "port_range_max": choose.choice((83, 442, 443, 65535))
                                        if low < 83 else 443}))
    rule |= choose.choice((
        {}, {}, {"remote_ip_prefix": choose.choice(words.prefixes[version])}, {"remote_group_id": choose.choice(words.groups)},
        {"remote_group_id": choose.choice(words.groups)}, {"remote_address_group_id": words.office}))
    return rule


def random_rules(choose: random.Random, words: Words) -> list[Rule]:
    rules = [random_rule(choose, words) for _ in range(choose.randint(2, 9))]
    if choose.random() < 0.6:  # or hardly anything would ever leave
        rules += [{"direction": "egress", "ethertype": f"IPv{version}"} for version in (4, 6)]
    return list({meaning(rule): rule for rule in rules}.values())  # the same twice is refused, in whatever words


def meaning(rule: Rule) -> tuple[Any, ...]:
    remotes = (rule.get(name) for name in ("remote_ip_prefix", "remote_group_id", "remote_address_group_id"))
    return (rule["direction"], rule["ethertype"], NUMBERS.get(rule.get("protocol", "")), rule.get("port_range_min"),
            rule.get("port_range_max"), next((r for r in remotes if r not in (None, "0.0.0.0/0")), None))
