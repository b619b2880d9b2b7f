"""Physical networks: which wire of this host carries each of them, and by which port of br-ex it is reached.

What is mapped to br-ex itself leaves by the port that an operator adds there. Any other bridge stays its operator's, bonds, NICs
and addresses of the host as they are; we only join it to br-ex, and make it, where it is missing, an ordinary one.
"""

from collections.abc import Iterator, Mapping

from ovsagent.bridges import BRIDGES, FIXED, NONE, Bridge, with_ports
from ovsagent.ovsdb import Row, Tables, members

WIRE = "br-ex"
TAKEN = {port.role for port in FIXED if port.bridge == WIRE}
PLAIN: Row = {"datapath_type": "netdev", "fail_mode": "standalone"}


def checked(mappings: dict[str, str]) -> dict[str, str]:
    """Physical network → bridge, if that can be."""
    for physical, bridge in mappings.items():
        if not physical or physical in TAKEN or len(physical) > 64:
            raise ValueError(f"{physical!r} cannot name a physical network")
        if bridge in BRIDGES and bridge != WIRE:
            raise ValueError(f"{bridge} has no wire: {WIRE} has one, or a bridge of its own")
        if list(mappings.values()).count(bridge) > 1:
            raise ValueError(f"{bridge} carries one physical network, and several are mapped to it")
    return mappings


def joined(bridges: Mapping[str, Bridge], mappings: Mapping[str, str], have: Tables) -> dict[str, Bridge]:
    """With the other bridges, and with what joins them to br-ex."""
    wanted = dict(bridges)
    for other in sorted(set(mappings.values()) - {WIRE}):
        ours, theirs = _names(other)
        made = Bridge({}) if other in have.bridges else Bridge(PLAIN, {other: {"type": "internal"}})
        wanted = with_ports({**wanted, other: made}, WIRE, {ours: _patch(theirs)})
        wanted = with_ports(wanted, other, {theirs: _patch(ours)})
    return wanted


def uplinks(mappings: Mapping[str, str], have: Tables) -> dict[str, tuple[str, int]]:
    """Of each physical network that can be reached now: the port of br-ex, and its number."""
    ports = dict(_ports(have))
    patches = {_names(other)[0] for other in mappings.values()}
    added = [name for name in sorted(ports, key=lambda name: ports[name]) if name not in patches]
    found = {}
    for physical, bridge in mappings.items():
        name = next(iter(added), "") if bridge == WIRE else _names(bridge)[0]
        if name in ports:
            found[physical] = name, ports[name]
    return found


def _ports(have: Tables) -> Iterator[tuple[str, int]]:
    """The ports of br-ex that are not of every host, with their numbers."""
    usual = {WIRE, *(port.name for port in FIXED)}
    bridge = have["Bridge"].get(have.bridges[WIRE]) if WIRE in have.bridges else None
    for port in members(bridge["ports"]) if bridge else ():
        for interface in members(have["Port"][port]["interfaces"]):
            row = have["Interface"][interface]
            if row["name"] not in usual and row["ofport"] not in NONE:
                yield row["name"], row["ofport"]


def _names(other: str) -> tuple[str, str]:
    """Of the two ends of what joins br-ex and another bridge."""
    return f"ex-{other}", f"{other}-ex"


def _patch(peer: str) -> Row:
    return {"type": "patch", "options": {"peer": peer}}
