"""Who speaks for a router's port on a wire: one host, which announces itself with a generation, until it hears a later one.

The row of the port names the host (controller/gateways.py). Where no controller reaches it any more, the announcements of its
successor teach its switch to be silent (docs/decisions/0022-addresses-outside.md, 0026-machines-on-wires.md).
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from controller.addresses import mac_number
from controller.crossing import tagged, untag
from controller.derive import Answer, Here, Net, agent_of, answer, remembered
from controller.flow import (
    ARP_REQUEST,
    ARP_SHA,
    ARP_THA,
    ETH_SRC,
    IN_PORT,
    Flow,
    Jump,
    Terms,
    flow,
    goto,
    learn,
    load,
    match,
    resubmit,
)
from controller.inside import Interface, interface
from controller.pipeline import (
    CLAIMED_MAC,
    CLASSIFY,
    EXACT,
    FROM_WIRE,
    L2,
    LOCAL,
    NETWORK,
    OVERRIDE,
    OWNED,
    SPECIAL,
    YIELDED,
    YIELDED_TO,
)

NEWER = 3  # generations behind its own by which a host knows a successor
AGAIN = 10  # seconds from one announcement to the next: who missed one hears another


def spoken(row: Any, generation: int) -> str:
    """How an announcement says it: as the MAC that it is for, which nobody heeds. And nobody can say it first: what it is made of
    is shown nowhere, and of those that were heard none is believed again."""
    digest = blake2b(f"{row.id} {generation}".encode(), digest_size=6).digest()
    return bytes([digest[0] & 0xFC | 2, *digest[1:]]).hex(":")


@remembered
def speaker(net: Net, id: str) -> str:
    """The host that speaks for this interface of a router; empty where nobody does, as off the wires."""
    one, row = interface(net, id), net.get("router_interface", id)
    return row.host if one and one.wired and agent_of(net, row.host) else ""


def whether_yielded(one: Interface) -> tuple[bytes | Jump, ...]:
    """The words that ask whether another host has announced itself as this one: then the packet is not ours."""
    return load(CLAIMED_MAC, mac_number(one.mac)), resubmit(YIELDED_TO)


def succession(one: Interface, row: Any) -> Iterator[Flow]:
    """By which announcements its host learns that another is it now."""
    for newer in range(1, NEWER + 1):
        yield flow(LOCAL, OVERRIDE, match(NETWORK == one.network, FROM_WIRE == 1, ARP_REQUEST, ARP_SHA == one.mac,
                                          ARP_THA == spoken(row, row.generation + newer)),
                   learn(YIELDED_TO, EXACT, CLAIMED_MAC == mac_number(one.mac), load(YIELDED, 1), load(OWNED, 0)), goto(L2))


def agents_word(one: Interface, here: Here, *what: Terms) -> Iterator[Flow]:
    """What its agent says as this MAC: who has yielded says nothing in its name either."""
    if door := here.ofport("br-int", "routers"):
        yield flow(CLASSIFY, SPECIAL, match(IN_PORT == door, tagged(one.network), ETH_SRC == one.mac, *what), *untag(NETWORK.of),
                   *whether_yielded(one), goto(L2))


def announced(one: Interface, row: Any) -> Answer:
    return answer("announce", row.id, network=one.network, mac=one.mac, addresses=[a for a, _ in one.addresses],
                  word=spoken(row, row.generation), every=AGAIN)
