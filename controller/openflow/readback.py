"""What a switch has: asked once, unpacked fast."""

from time import monotonic

from controller.openflow import wire
from controller.openflow.app import Connection
from controller.openflow.wire import Installed


class NotRead(Exception):
    """The switch refused to tell."""


def read(connection: Connection, bridge: str, timeout: float = 10.0) -> list[Installed]:
    """All flows of the switch, as flows of this bridge, with cookies and counters."""
    deadline = monotonic() + timeout
    installed: list[Installed] = []
    with connection.watch(1) as replies:
        connection.send(wire.flow_stats_request(replies.xids[0]))
        while True:
            message = replies.next(max(0.0, deadline - monotonic()))
            if message.type == wire.ERROR:
                raise NotRead(f"switch {connection} does not tell its flows: {wire.complaint(message.data)}")
            installed.extend(wire.flow_stats(bridge, message.data))
            if not wire.more_to_come(message.data):
                return installed
