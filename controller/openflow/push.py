"""A change of flows into one switch: one atomic bundle, all of it or none."""

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from controller.flow import Flow
from controller.openflow import wire
from controller.openflow.app import Connection
from controller.openflow.wire import Entry

CHUNK = 256  # flows between two barriers, some 64 KiB
WINDOW = 4  # barriers on their way; what others ask of the switch waits behind no more than these


class Refused(NamedTuple):
    """A flow the switch does not take, and why, in words."""

    flow: Flow
    error: str


class PushFailed(Exception):
    """The switch refused the change as a whole; nothing was applied."""


class Deposed(Exception):
    """The switch has another master: it is no longer ours to write to."""


def push(connection: Connection, add: list[Entry], delete: list[Entry], timeout: float = 10.0) -> list[Refused]:
    """Add, then delete, in one atomic bundle. What the switch refuses is left out and given back; the rest is applied.

    `timeout` is how long the switch may take for any one answer. Raises ConnectionLost, NoAnswer, Deposed or PushFailed;
    the first two leave open whether the change was applied, which reading back tells.
    """
    refused: list[Refused] = []
    while add or delete:
        errors = _attempt(connection, add, delete, timeout)
        if not errors:
            break
        entries = add + delete
        refused += [Refused(entries[index][1], error) for index, error in errors.items()]
        delete = [entry for index, entry in enumerate(delete, len(add)) if index not in errors]
        add = [entry for index, entry in enumerate(add) if index not in errors]
    return refused


def _attempt(connection: Connection, add: list[Entry], delete: list[Entry], timeout: float) -> dict[int, str]:
    """Push the lot; when some of it is refused, nothing is applied, and these are the places of what was refused."""
    count = len(add) + len(delete)
    errors: dict[int, str] = {}
    with connection.watch(count + count // CHUNK + 5) as replies:
        first = replies.xids.start
        bundle, commit, discard, *barriers = replies.xids[count:]

        def wait_for(xid: int) -> None:
            while (message := replies.next(timeout)).type == wire.ERROR or message.xid != xid:
                if message.type != wire.ERROR:
                    continue  # the bundle is open
                if wire.reason(message.data) == wire.IS_SLAVE:
                    raise Deposed(f"switch {connection} has another master")
                error = wire.complaint(message.data)
                if message.xid < bundle:
                    errors[message.xid - first] = error
                elif message.xid == commit and errors:
                    return  # it names the flow first, then the bundle
                else:
                    raise PushFailed(f"switch {connection} refused a change of {count} flows: {error}")

        connection.send(wire.bundle_control(bundle, bundle, wire.OPEN))
        on_their_way: deque[int] = deque()
        chunks = chain(_chunks(first, bundle, wire.ADD, add),
                       _chunks(first + len(add), bundle, wire.DELETE_STRICT, delete))
        for chunk, barrier in zip(chunks, barriers, strict=False):
            if len(on_their_way) == WINDOW:
                wait_for(on_their_way.popleft())
            connection.send(chunk + wire.barrier(barrier))
            on_their_way.append(barrier)
        for barrier in on_their_way:
            wait_for(barrier)
        # A message refused when it was added does not stop the commit by itself.
        last = discard if errors else commit
        connection.send(wire.bundle_control(last, bundle, wire.DISCARD if errors else wire.COMMIT))
        wait_for(last)
    return errors


def _chunks(xid: int, bundle: int, command: int, entries: list[Entry]) -> Iterator[bytes]:
    for at in range(0, len(entries), CHUNK):
        yield wire.bundled(xid + at, bundle, command, entries[at:at + CHUNK])
