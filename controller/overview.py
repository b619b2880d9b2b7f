"""How far every switch is: what `unryu status` shows, and for what it waits."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from controller.loop import Loop


def switches(loop: "Loop") -> list[dict[str, Any]]:
    """Every bridge of every host: whose it is, connected or not, the revision wanted and the one confirmed. Of a host that is
    not ours, its own controller knows how far it is."""
    shares = loop.shares
    return [
        {"host": host, "bridge": bridge, "dpid": f"{dpid:016x}",
         "controller": shares.owner(host).name if shares.members else "", "mine": shares.mine(host),
         "connected": bool((p := loop.pushers.get(host)) and p.switches[bridge].connection),
         "wanted": loop.picture.revision, "realised": _realised(loop, host), "waits": _waits(loop, host, bridge)}
        for dpid, (host, bridge) in sorted(loop.bridges.items(), key=lambda item: item[1])
    ]


def _waits(loop: "Loop", host: str, bridge: str) -> str:
    """What keeps a switch, or with br-int its host's agent, from being where it should be; in words."""
    if not loop.shares.mine(host):
        return ""
    pusher, courier = loop.pushers.get(host), loop.couriers.get(host)
    refused = sum(place[:2] == (host, bridge) for place in list(loop.faults.refused))
    late = courier is not None and bridge == "br-int" and courier.realised < courier.sent
    return "; ".join(filter(None, (
        pusher.waits(bridge) if pusher else "to connect",
        f"its agent to take answers of revision {courier.sent}" if courier and late else "",
        f"{refused} flows are refused" if refused else "")))


def _realised(loop: "Loop", host: str) -> int:
    """A host that no change since has concerned is where everybody is."""
    everybody, pusher, courier = loop.told, loop.pushers.get(host), loop.couriers.get(host)  # asked in this order
    if not pusher or not pusher.realised:
        return 0
    late = [each.realised for each in (pusher, courier) if each and each.realised < each.sent]
    return min(late, default=everybody)
