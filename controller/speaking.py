"""Who speaks for a router's port on a wire, or for a floating IP: one host, which announces itself with a generation, until it
hears a later one.

The row of a router's port names the host (controller/gateways.py); a floating IP is where its port is. Where no controller
reaches a host any more, the announcements of its successor teach its switch to be silent
(docs/decisions/0022-addresses-outside.md, 0026-machines-on-wires.md).
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
    CUT,
    EXACT,
    FROM_WIRE,
    GENERATION,
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


def spoken(secret: str, generation: int) -> str:
    """How an announcement says it: as the MAC that it is for, which nobody heeds. And nobody can say it first: the secret is an
    id that no tenant sees, and of those that were heard none is believed again."""
    digest = blake2b(f"{secret} {generation}".encode(), digest_size=6).digest()
    return bytes([digest[0] & 0xFC | 2, *digest[1:]]).hex(":")


@remembered
def speaker(net: Net, id: str) -> str:
    """The host that speaks for this interface of a router; empty where nobody does, as off the wires."""
    one, row = interface(net, id), net.get("router_interface", id)
    return row.host if one and one.wired and agent_of(net, row.host) else ""


def relay(net: Net, here: Here, one: Interface) -> str:
    """Of an interface on a wire that this host has not, the host that speaks for it: there packets go on."""
    if not one.wired or here.ofport("br-ex", net.get("network", one.network_id).physical_network):
        return ""
    return next(filter(None, (speaker(net, row.id) for row in net.where("router_interface", port_id=one.port_id))), "")


def whether_yielded(mac: str) -> tuple[bytes | Jump, ...]:
    """The words that ask whether another host has announced itself as this one: then the packet is not ours."""
    return load(CLAIMED_MAC, mac_number(mac)), resubmit(YIELDED_TO)


def succession(network: int, mac: str, secret: str, generation: int) -> Iterator[Flow]:
    """By which announcements its host learns that another is it now. It writes down its own generation, too, for which nobody
    asks: so this is another flow than an earlier generation taught, and goes with those that teach it. Else who is his own
    successor's successor, and has heard nothing of both, would be silent for ever."""
    for newer in range(1, NEWER + 1):
        yield flow(LOCAL, OVERRIDE, match(NETWORK == network, FROM_WIRE == 1, ARP_REQUEST, ARP_SHA == mac,
                                          ARP_THA == spoken(secret, generation + newer)),
                   learn(YIELDED_TO, EXACT, CLAIMED_MAC == mac_number(mac), load(YIELDED, 1), load(OWNED, 0),
                         load(GENERATION, generation % 256)), goto(L2))


def agents_word(one: Interface, here: Here, *what: Terms) -> Iterator[Flow]:
    """What its agent says as this MAC: who has yielded says nothing in its name either."""
    if door := here.ofport("br-int", "routers"):
        yield flow(CLASSIFY, SPECIAL, match(IN_PORT == door, tagged(one.network), ETH_SRC == one.mac, *what), *untag(NETWORK.of),
                   load(CUT, 1), *whether_yielded(one.mac), goto(L2))


def announced(one: Interface, row: Any) -> Answer:
    return answer("announce", row.id, network=one.network, mac=one.mac, addresses=[a for a, _ in one.addresses],
                  word=spoken(row.id, row.generation), every=AGAIN, router=True)
