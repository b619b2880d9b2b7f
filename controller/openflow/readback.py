"""What a switch has: asked once, unpacked fast."""

from time import monotonic

from controller.openflow import wire
from controller.openflow.connection import Connection
from controller.openflow.wire import Installed


class NotRead(Exception):
    """The switch refused to tell."""


def read(connection: Connection, bridge: str, timeout: float = 10.0) -> list[Installed]:
    """All flows of the switch, as flows of this bridge, with cookies and counters; and all its meters."""
    deadline = monotonic() + timeout
    installed: list[Installed] = []
    with connection.watch(2) as replies:
        flows, meters = replies.xids
        connection.send(wire.flow_stats_request(flows) + wire.meters_request(meters))
        unpack, left = {flows: wire.flow_stats, meters: wire.meters}, {flows, meters}
        while left:
            message = replies.next(max(0.0, deadline - monotonic()))
            if message.type == wire.ERROR:
                raise NotRead(f"switch {connection} does not tell what it has: {wire.complaint(message.data)}")
            installed.extend(unpack[message.xid](bridge, message.data))
            if not wire.more_to_come(message.data):
                left.remove(message.xid)
        return installed
