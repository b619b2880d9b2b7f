"""Types of networks: what carries a network between hosts, under which number there, and what that leaves of a packet."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import sqlalchemy as sa
from pydantic import AfterValidator
from pydantic import Field as Setting

from controller.allocate import free_number, this_number
from unryu.config import Settings
from unryu.errors import BadRequest, Conflict, Unavailable
from unryu.resource import UNSET, nouns

if TYPE_CHECKING:
    from unryu.db import Tx


class NetworkType(NamedTuple):
    ids: range
    """Of segments; empty where there are none."""
    overhead: int
    """Bytes that a tunnel puts before a guest's packet."""
    wired: bool
    """Is it on a physical network?"""


# Geneve's figure has room for 8 bytes of options: who comes to need them must not shrink everybody's networks.
TYPES = {
    "vxlan": NetworkType(range(1, 1 << 24), 50, False),  # RFC 7348
    "geneve": NetworkType(range(1, 1 << 24), 58, False),  # RFC 8926
    "gre": NetworkType(range(1, 1 << 32), 42, False),  # RFC 2890
    "vlan": NetworkType(range(1, 4095), 0, True),
    "flat": NetworkType(range(0), 0, True),
    "local": NetworkType(range(0), 0, False),
}
TUNNELS = tuple(name for name, of in TYPES.items() if of.overhead)
LARGEST_MTU = 65535
LEAST_MTU = 1280  # of a network with IPv6 (RFC 8200)
UNDERLAY_MTU = 1500  # of a plain Ethernet: what a network's own is reckoned from where nobody says one


class Segments(NamedTuple):
    """Some of a type, and of a wire: what networks get that nobody says more of."""

    network_type: str
    physical: str | None
    ids: range


def segments(text: str) -> Segments:
    """As an operator writes it: `geneve`, `vxlan:1000:1999`, `vlan:physical1`, `vlan:physical1:100:199`."""
    name, *words = text.split(":")
    if name not in TYPES or name == "flat":  # all of a flat one is one segment: the first tenant's
        raise ValueError(f"{text!r} begins with no type of tenants' networks: vxlan, geneve, gre, vlan or local")
    of, physical = TYPES[name], None
    if of.wired:
        physical, *words = words or [""]
        if not physical:
            raise ValueError(f"{text!r} names no physical network, such as vlan:physical1")
    if not words:
        return Segments(name, physical, of.ids)
    low, high = (int(word) if word.isdecimal() else -1 for word in (*words, "")[:2])
    if len(words) != 2 or not of.ids.start <= low <= high < of.ids.stop:
        raise ValueError(f"{text!r} does not end in two numbers of segments, the lower first" + (
            f", from {of.ids.start} to {of.ids.stop - 1}" if of.ids else f": {name} has none"))
    return Segments(name, physical, range(low, high + 1))


def each_parsed(texts: list[str]) -> list[str]:
    for text in texts:
        segments(text)
    return texts


class NetworkSettings(Settings):
    section: ClassVar[str] = "network"
    tenant_types: Annotated[list[str], AfterValidator(each_parsed)] = Setting(
        ["vxlan"], min_length=1, description="where networks lie of which nobody says it; of several, the first that has room: "
        "vxlan, geneve, gre, local, vlan:physical1, or a range of one, vlan:physical1:100:199")


def wired(network: Any) -> bool:
    """Does it cross between hosts on a wire of the provider's, not in a tunnel?"""
    return TYPES[network.network_type].wired


def pool(network_type: str, physical: str | None) -> str:
    """Of which segment numbers are given out: each type has its own, and each wire. (All of a flat one is one segment, 0.)"""
    return f"{network_type} {physical}" if physical else network_type


def mtu(tx: "Tx", network: Any) -> int:
    """The one asked for, or what is usual; a 400 for one that some host's tunnels cannot carry."""
    of = TYPES[network.network_type]
    least = _least_underlay(tx) if of.overhead else None
    most = least - of.overhead if least else LARGEST_MTU
    if network.mtu > most:
        raise _invalid(f"Requested MTU is too big, maximum is {most}")
    return int(network.mtu or min(UNDERLAY_MTU - of.overhead, most))


def _least_underlay(tx: "Tx") -> int | None:
    """Of the hosts that have said what carries their tunnels. Not by their records: a cloud has a thousand."""
    agents = nouns["agent"].table.c
    least: int | None = tx.connection.scalar(sa.select(sa.func.min(agents.mtu)).where(agents.mtu > 0))
    return least


def segment(tx: "Tx", network: Any) -> dict[str, Any]:
    """Where a new network lies: its attributes, those that were left out chosen; a 400 or 409 for what cannot be."""
    if network.network_type is UNSET:
        if network.physical_network is not None or network.segmentation_id is not None:
            raise _invalid("network_type required")
        return _of_tenants(tx, network)
    of, physical = TYPES[network.network_type], network.physical_network
    if physical is not None and not of.wired:
        raise _invalid(f"provider:physical_network specified for {network.network_type} network")
    if network.segmentation_id is not None and not of.ids:
        raise _invalid(f"segmentation_id prohibited for {network.network_type} provider network")
    if network.segmentation_id is not None and network.segmentation_id not in of.ids:
        raise _invalid(f"segmentation_id out of range ({of.ids.start} through {of.ids.stop - 1})")
    if not of.wired:
        return {"segmentation_id": _number(tx, network, None) if of.ids else None}
    if physical is None and (not of.ids or network.segmentation_id is not None):
        raise _invalid(f"physical_network required for {network.network_type} provider network")
    known = sorted({name for agent in tx.where("agent") for name in agent.mappings})
    if not known or physical not in (None, *known):
        raise _invalid(f"physical_network '{physical}' unknown for {network.network_type} provider network: the hosts have "
                       f"{', '.join(known) or 'none'}")
    if not of.ids:
        tx.allocate(pool("flat", physical), network.id, this_number(
            0, f"Unable to create the flat network. Physical network {physical} is in use.", "FlatNetworkInUse"))
        return {}
    for each in [physical] if physical else known:
        try:
            return {"physical_network": each, "segmentation_id": _number(tx, network, each)}
        except Conflict:
            if each in (physical, known[-1]):
                raise
    raise AssertionError("the last one was either free or not")


def _of_tenants(tx: "Tx", network: Any) -> dict[str, Any]:
    """Where the operator lets networks lie of which nobody says it. (That hosts have the wire is his business.)"""
    for name, physical, ids in map(segments, NetworkSettings.read().tenant_types):
        place = {"network_type": name, "physical_network": physical}
        if not ids:
            return place
        try:
            number = tx.allocate(pool(name, physical), network.id, free_number(ids, "segment"))
        except Conflict:
            continue
        return {**place, "segmentation_id": int(number)}
    raise Unavailable("Unable to create the network. No tenant network is available for allocation.", "NoNetworkAvailable")


def _number(tx: "Tx", network: Any, physical: str | None) -> int:
    """The number asked for, or a free one."""
    number = network.segmentation_id
    if number is None:
        choose = free_number(TYPES[network.network_type].ids, "VLAN" if physical else "tunnel ID")
    elif physical:
        choose = this_number(number, f"Unable to create the network. The VLAN {number} on physical network {physical} is in use.",
                             "VlanIdInUse")
    else:
        choose = this_number(number, f"Unable to create the network. The tunnel ID {number} is in use.", "TunnelIdInUse")
    return int(tx.allocate(pool(network.network_type, physical), network.id, choose))


def _invalid(why: str) -> BadRequest:
    return BadRequest(f"Invalid input for operation: {why}.", "InvalidInput")
