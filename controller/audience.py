"""Who hears what is for more than one: the ports of a network on a host, in lists that a switch can take.

Open vSwitch drops a packet that a list would resubmit some thousand times. So a long list is cut in chunks, by the upper
bits of the ofport: a port more rewrites the list of its chunk, whatever the others hold. What groups judge is recirculated
into each chunk, all of them from the first flow: in a row they would be deeper than the six that Open vSwitch allows. Only
IP can be recirculated; but groups judge nothing else, and no question, and what they do not judge takes one resubmit a port.
"""

from collections.abc import Iterator
from typing import Any

from controller.derive import Net, agent_of, remembered, vif_of
from controller.flow import IPV4, IPV6, Flow, Jump, Table, Terms, ct, flow, goto, load, match, resubmit
from controller.pipeline import CHUNK, NOBODYS_ZONE
from controller.policy import UNGUARDED, covering, paired, policy_of, towards

MOST = 256  # ports in a list
EVERYBODY, TRUSTED = "", "trusted"
"""Whom a list is of; else those who may hold an address, or all of a prefix, beside their own."""

UNJUDGED = 0x100
"""Beside the number of a chunk: the list of it that goes past all groups."""

Member = tuple[int, int]
"""ofport, policy"""


def to_each(net: Net, host: str, network_id: str, who: str, table: Table, priority: int, asked: Terms,
            onward: Table) -> Iterator[Flow]:
    """The flows of a table that bring a packet to each of them, and then on."""
    numbers = sorted(_chunks(net, host, network_id, who))
    if not numbers:
        return
    if numbers == [0]:
        yield flow(table, priority, match(asked, CHUNK == 0), *_words(net, host, network_id, who, 0), goto(onward))
        return
    ways: list[tuple[Terms, int, Jump, int]] = [(asked, priority, resubmit(table), UNJUDGED)]
    if who == EVERYBODY:
        ways += [(asked + family, priority + 1, ct(NOBODYS_ZONE, table), 0) for family in (IPV4, IPV6)]
    for terms, first, hop, form in ways:
        each = (word for number in numbers for word in (load(CHUNK, form + number), hop))
        yield flow(table, first, match(terms, CHUNK == 0), *each, load(CHUNK, 0), goto(onward))
    for form in sorted({form for _, _, _, form in ways}):
        for number in numbers:
            yield flow(table, priority, match(asked, CHUNK == form + number), *_words(net, host, network_id, who, form + number))


# Three cells, so that one more port makes one list anew.


@remembered
def _chunks(net: Net, host: str, network_id: str, who: str) -> dict[int, tuple[Member, ...]]:
    """By number; 0 where there is but one."""
    found = ((vif_of(net, host, port.id), policy_of(port)) for port in _ports(net, host, network_id, who) if port.admin_state_up)
    live = sorted(member for member in found if member[0])
    if len(live) <= MOST:
        return {0: tuple(live)} if live else {}
    chunks: dict[int, list[Member]] = {}
    for member in live:
        chunks.setdefault(1 + (member[0] >> 8), []).append(member)
    return {number: tuple(members) for number, members in chunks.items()}


@remembered
def _chunk(net: Net, host: str, network_id: str, who: str, number: int) -> tuple[Member, ...]:
    members: tuple[Member, ...] = _chunks(net, host, network_id, who).get(number % UNJUDGED, ())
    return tuple((ofport, UNGUARDED) for ofport, _ in members) if number > UNJUDGED else members


@remembered
def _words(net: Net, host: str, network_id: str, who: str, number: int) -> tuple[bytes | Jump, ...]:
    return tuple(word for ofport, policy in _chunk(net, host, network_id, who, number) for word in towards(policy, ofport))


def _ports(net: Net, host: str, network_id: str, who: str) -> list[Any]:
    if who == EVERYBODY:
        return net.where("port", binding_host_id=host, network_id=network_id)
    if who == TRUSTED:
        return net.where("port", binding_host_id=host, network_id=network_id, port_security_enabled=False)
    held = (net.where("port", binding_host_id=host, network_id=network_id, allowed_address_pairs=prefix)
            for prefix in covering(net, network_id, who))
    return list({port.id: port for ports in held for port in ports}.values())


@remembered
def trusting_hosts(net: Net, network_id: str) -> frozenset[str]:
    """Those with a port of the network that has no port security: it hears what is for nobody that we know."""
    hosts = net.values("port", "binding_host_id", network_id=network_id, port_security_enabled=False)
    return frozenset(h for h in hosts if h and agent_of(net, h))


@remembered
def asking_hosts(net: Net, network_id: str) -> frozenset[str]:
    """Those where a question may be heard that no flow can answer: of trusted ports, and of those with pairs."""
    hosts = {h for prefix in paired(net, network_id)
             for h in net.values("port", "binding_host_id", network_id=network_id, allowed_address_pairs=prefix)}
    return frozenset(h for h in hosts if h and agent_of(net, h)) | trusting_hosts(net, network_id)
