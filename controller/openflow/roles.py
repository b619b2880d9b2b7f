"""Who may write to a switch. A role is asked for with a generation, and who comes with a lesser one than the switch has seen
is refused: so a controller that slept while its hosts were given away cannot write, whatever it believes."""

from controller.openflow import wire
from controller.openflow.connection import Connection


class Outgrown(Exception):
    """The switch has seen a greater generation."""


def become_master(connection: Connection, generation: int, timeout: float = 5.0) -> None:
    """From here on the switch takes our changes and nobody else's."""
    with connection.watch(1) as replies:
        connection.send(wire.role_request(replies.xids[0], wire.MASTER, generation))
        answer = replies.next(timeout)
        if answer.type == wire.ERROR:
            raise Outgrown(f"switch {connection} refuses generation {generation}: {wire.complaint(answer.data)}")


def become_slave(connection: Connection, generation: int) -> None:
    """Say that another writes, by his own generation: a greater one would be refused to him when he comes again. Nothing hangs
    on the answer, since who has not become master here does not write."""
    connection.send(wire.role_request(0, wire.SLAVE, generation))
