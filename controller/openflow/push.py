"""A change of flows into one switch: one atomic bundle, all of it or none; and around it the meters that they name, since a
bundle takes none."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from controller.flow import Meter
from controller.openflow import wire
from controller.openflow.connection import Connection
from controller.openflow.wire import Entry, Wanted

CHUNK = 256  # flows between two barriers, some 64 KiB
WINDOW = 4  # barriers on their way; what others ask of the switch waits behind no more than these


class Refused(NamedTuple):
    """A flow, or a meter, that the switch does not take, and why, in words."""

    flow: Wanted
    error: str


class PushFailed(Exception):
    """The switch refused the change as a whole; nothing was applied."""


class Deposed(Exception):
    """The switch has another master: it is no longer ours to write to."""


def push(connection: Connection, add: Sequence[Entry], delete: Sequence[Entry], timeout: float = 10.0) -> list[Refused]:
    """Add, then delete, in one atomic bundle. What the switch refuses is left out and given back; the rest is applied.

    `timeout` is how long the switch may take for any one answer. Raises ConnectionLost, NoAnswer, Deposed or PushFailed;
    the first two leave open whether the change was applied, which reading back tells.
    """
    meters, gone = ([entry[1] for entry in entries if isinstance(entry[1], Meter)] for entries in (add, delete))
    refused = _set_meters(connection, meters, timeout)
    add, delete = ([entry for entry in entries if not isinstance(entry[1], Meter)] for entries in (add, delete))
    while add or delete:
        errors = _attempt(connection, add, delete, timeout)
        if not errors:
            break
        entries = add + delete
        refused += [Refused(entries[index][1], error) for index, error in errors.items()]
        delete = [entry for index, entry in enumerate(delete, len(add)) if index not in errors]
        add = [entry for index, entry in enumerate(add) if index not in errors]
    _delete_meters(connection, gone, timeout)
    return refused


def _set_meters(connection: Connection, meters: list[Meter], timeout: float) -> list[Refused]:
    """Before the flows that name them. Each is added, and then changed to what it should be: whether it was there need not be
    known, and one that was there is never missing, nor any of its flows, which would go with it."""
    refused: list[Refused] = []
    for at in range(0, len(meters), CHUNK):
        some = meters[at:at + CHUNK]
        errors = _told(connection, (wire.ADD_METER, wire.MODIFY_METER), some, timeout)
        refused += [Refused(meter, errors[index]) for index, meter in enumerate(some) if index in errors]
    return refused


def _delete_meters(connection: Connection, meters: list[Meter], timeout: float) -> None:
    """After the flows that named them: with a meter its flows would go."""
    for at in range(0, len(meters), CHUNK):
        for error in _told(connection, (wire.DELETE_METER,), meters[at:at + CHUNK], timeout).values():
            raise PushFailed(f"switch {connection} does not delete a meter: {error}")


def _told(connection: Connection, commands: tuple[int, ...], meters: list[Meter], timeout: float) -> dict[int, str]:
    """Say these commands of each meter; the places of those that were refused, and why."""
    errors: dict[int, str] = {}
    with connection.watch(len(commands) * len(meters) + 1) as replies:
        *xids, last = replies.xids
        said = [(command, meter) for meter in meters for command in commands]
        mods = (wire.meter_mod(xid, *each) for xid, each in zip(xids, said, strict=True))
        connection.send(b"".join(mods) + wire.barrier(last))
        while (message := replies.next(timeout)).xid != last:
            if message.type != wire.ERROR or wire.reason(message.data) == wire.METER_EXISTS:
                continue
            if wire.reason(message.data) == wire.IS_SLAVE:
                raise Deposed(f"switch {connection} has another master")
            errors.setdefault((message.xid - xids[0]) // len(commands), wire.complaint(message.data))
    return errors


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
