"""Who hears what is for more than one: the ports of a network on a host, in lists that a switch can take.

Open vSwitch drops a packet that a list would resubmit some thousand times. So a long list is cut in chunks, by the upper
bits of the ofport: a port more rewrites the list of its chunk, whatever the others hold. What groups judge is recirculated
into each chunk, all of them from the first flow: in a row they would be deeper than the six that Open vSwitch allows. Only
IP can be recirculated; but groups judge nothing else, and no question, and what they do not judge takes one resubmit a port.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from controller.derive import Net, agent_of, gathered, remembered, vif_of
from controller.flow import IPV4, IPV6, Flow, Jump, Table, Terms, ct, flow, goto, load, match, resubmit
from controller.pipeline import CHUNK, NOBODYS_ZONE
from controller.policy import UNGUARDED, covering, paired, policy_of, towards

BITS = 6  # of an ofport, that a chunk leaves open
MOST = 1 << BITS  # ports in a list: one more of them makes it anew, and a packet takes one round more for each list
EVERYBODY, TRUSTED = "", "trusted"
"""Whom a list is of; else those who may hold an address, or all of a prefix, beside their own."""

UNJUDGED = 0x400
"""Beside the number of a chunk: the list of it that goes past all groups."""

Member = tuple[int, int]
"""ofport, policy"""


def to_each(net: Net, host: str, network_id: str, who: str, table: Table, priority: int, asked: Terms,
            onward: Table) -> Iterator[Flow]:
    """The flows of a table that bring a packet to each of them, and then on."""
    numbers = _numbers(net, host, network_id, who)
    if not numbers:
        return
    if numbers == (0,):
        yield _list(net, host, network_id, who, 0, table, priority, asked, onward)
        return
    yield from _heads(net, numbers, who == EVERYBODY, table, priority, asked, onward)
    for form in (0, UNJUDGED) if who == EVERYBODY else (UNJUDGED,):
        for number in numbers:
            yield _list(net, host, network_id, who, form + number, table, priority, asked)


@remembered
def _heads(net: Net, numbers: tuple[int, ...], judged: bool, table: Table, priority: int, asked: Terms,
           onward: Table) -> tuple[Flow, ...]:
    """What sends a packet into every list."""
    ways: list[tuple[Terms, int, Jump, int]] = [(asked, priority, resubmit(table), UNJUDGED)]
    if judged:
        ways += [(asked + family, priority + 1, ct(NOBODYS_ZONE, table), 0) for family in (IPV4, IPV6)]
    return tuple(flow(table, first, match(terms, CHUNK == 0), *(
        word for number in numbers for word in (load(CHUNK, form + number), hop)), load(CHUNK, 0), goto(onward))
        for terms, first, hop, form in ways)


@gathered("port")
def _listed(net: Net, port: Any) -> Iterator[tuple[tuple[Any, ...], int | Member]]:
    """Under whom it hears, the number of its chunk; under that chunk, itself. So one more port makes one list anew, and
    nobody reads the others."""
    ofport = vif_of(net, port.binding_host_id, port.id) if port.admin_state_up and port.binding_host_id else 0
    if ofport:
        trusted = () if port.port_security_enabled else (TRUSTED,)
        for who in dict.fromkeys((EVERYBODY, *trusted, *(pair["ip_address"] for pair in port.allowed_address_pairs))):
            number = 1 + (ofport >> BITS)
            yield (port.binding_host_id, port.network_id, who), number
            yield (port.binding_host_id, port.network_id, who, number), (ofport, policy_of(port))


@remembered
def _numbers(net: Net, host: str, network_id: str, who: str) -> tuple[int, ...]:
    """Of its chunks; 0 where one list is enough for all."""
    members, numbers = 0, _chunks(net, host, network_id, who)
    for number in numbers:
        members += len(_members(net, host, network_id, who, number))
        if members > MOST:
            return tuple(numbers)
    return (0,) if members else ()


@remembered
def _list(net: Net, host: str, network_id: str, who: str, number: int, table: Table, priority: int, asked: Terms,
          *onward: Table) -> Flow:
    """The flow of a list: that of every other is at hand when one is made anew."""
    chunk = number % UNJUDGED
    chunks = [chunk] if chunk else _chunks(net, host, network_id, who)
    ways = [_way(UNGUARDED if number > UNJUDGED else policy, ofport)
            for each in chunks for ofport, policy in _members(net, host, network_id, who, each)]
    words = (Jump(table, False, b"".join(way.encoded for way in those)) for table, those in groupby(ways, lambda way: way.table))
    return flow(table, priority, match(asked, CHUNK == number), *words, *map(goto, onward))


@lru_cache(maxsize=1 << 14)
def _way(policy: int, ofport: int) -> Jump:
    """To one member, in one word: of a list made anew most are as they were."""
    *loads, hop = towards(policy, ofport)
    assert isinstance(hop, Jump)
    return Jump(hop.table, False, b"".join(load for load in loads if isinstance(load, bytes)) + hop.encoded)


def _chunks(net: Net, host: str, network_id: str, who: str) -> list[int]:
    return sorted({number for each in _whom(net, network_id, who) for number in _listed(net, host, network_id, each)})


@remembered
def _members(net: Net, host: str, network_id: str, who: str, number: int) -> tuple[Member, ...]:
    """Of a chunk: for both of its lists, and for who counts."""
    return tuple(sorted({
        member for each in _whom(net, network_id, who) for member in _listed(net, host, network_id, each, number)}))


def _whom(net: Net, network_id: str, who: str) -> Sequence[str]:
    return (who,) if who in (EVERYBODY, TRUSTED) else covering(net, network_id, who)


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
