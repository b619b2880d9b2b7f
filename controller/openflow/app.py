"""Switches come, answer and go: the one door to os-ken.

os-ken encodes and parses what is rare (`Connection.ask`), and is imported when that is asked for the first time: it would be
a quarter of what a controller imports before it can serve. Its server and threads stay unused: in its native hub nothing can be
killed, events never time out, a dead switch is never noticed and two threads a bridge wait for ever. Here one thread owns
every socket.
"""

import logging
import selectors
import socket
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic

from controller.openflow import wire
from controller.openflow.connection import LATER, Connection, ConnectionLost, Message
from controller.openflow.gate import Address, Gate
from unryu import tls

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 5.0  # for who connects and does not say who it is
_BOTH_WAYS = selectors.EVENT_READ | selectors.EVENT_WRITE


class Switches:
    """The switches connected to the given addresses, and to no other address of this machine.

    `known` says what speaks against a datapath id, claimed under the name in a certificate; nothing, when it is ours; None while
    nobody can say: it is held, and asked about again. `on_up` and `on_down` are called once each for a connection, from
    the thread that serves all of them: they must not wait for a switch, and a push belongs into another thread.
    """

    def __init__(self, listen: Iterable[tuple[str, int]], known: Callable[[int, tls.Peer | None], str | None],
                 on_up: Callable[[Connection], None], on_down: Callable[[Connection], None],
                 keepalive: float = 0.3, dead_after: float = 0.9, identity: tls.Identity | None = None) -> None:
        self._known, self._on_up, self._on_down = known, on_up, on_down
        self._keepalive, self._dead_after = keepalive, dead_after
        self.gate = Gate(listen, identity, self._pass)
        self._passed: deque[tuple[socket.socket, Address, tls.Peer | None]] = deque()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ear = socket.socketpair()
        self._woken: deque[Connection] = deque()
        self._connections: set[Connection] = set()  # all that are open, known yet or not
        self._held: dict[Connection, None] = {}  # of whom nobody can say yet
        self._up: dict[int, Connection] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="switches", daemon=True)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [listener.getsockname()[:2] for listener in self.gate.listeners]

    def start(self) -> None:
        self._ear.setblocking(False)
        self._bell.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._thread.start()
        self.gate.start()

    def ask_again(self) -> None:
        """Whom we hold may be known by now."""
        self._ring()

    def stop(self) -> None:
        self.gate.stop()
        self._stopping = True
        self._ring()
        self._thread.join()

    def _ring(self) -> None:
        try:
            self._bell.send(b"!")
        except OSError:
            return  # it is ringing already, or we have stopped

    def _pass(self, sock: socket.socket, address: Address, peer: tls.Peer | None) -> None:
        self._passed.append((sock, address, peer))
        self._ring()

    def _wake(self, connection: Connection) -> None:
        self._woken.append(connection)
        self._ring()

    def _run(self) -> None:
        try:
            turned = looked = monotonic()
            while not self._stopping:
                for key, events in self._selector.select(self._keepalive / 6):
                    if key.fileobj is self._ear:
                        self._ear.recv(4096)
                    elif isinstance(key.data, Connection):
                        with suppress(ConnectionLost):  # somebody closed it meanwhile: the next look sees to it
                            self._serve(key.data, events)
                while self._passed:
                    self._welcome(*self._passed.popleft())
                for connection in [one for one in self._held if not one.closing]:
                    self._introduced(connection)
                closing = False
                while self._woken:
                    connection = self._woken.popleft()
                    if connection.closing:
                        closing = True
                    elif connection in self._connections:
                        self._selector.modify(connection.socket, _BOTH_WAYS, connection)
                now = monotonic()
                late, turned = now - turned > self._keepalive, now
                if late or closing or now - looked > self._keepalive / 6:  # not for each of 10,000 echoes a second
                    self._look(now, late)
                    looked = now
        finally:
            for connection in list(self._connections):
                connection.close("the controller stops")
                self._drop(connection)
            for sock in (*(sock for sock, _, _ in self._passed), self._bell, self._ear):
                sock.close()
            self._selector.close()

    def _welcome(self, sock: socket.socket, address: Address, peer: tls.Peer | None) -> None:
        connection = Connection(sock, address, self._wake, peer)
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)
        with suppress(ConnectionLost):  # the next look sees to it
            connection.send(wire.hello())

    def _serve(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE and connection.flush():
            self._selector.modify(connection.socket, selectors.EVENT_READ, connection)
        if not events & selectors.EVENT_READ:
            return
        try:
            received = connection.receive()
        except LATER:
            return
        except OSError as error:
            connection.close(str(error))
            return
        if not received:
            connection.close("it hung up")
            return
        connection.heard = monotonic()
        unread = connection.unread
        unread += received
        at = 0
        while len(unread) - at >= 8 and not connection.closing:
            version, kind, length, xid = wire.HEADER.unpack_from(unread, at)
            if version > 6 or length < 8:
                connection.close("it does not speak OpenFlow")
            elif len(unread) - at < length:
                break
            else:
                self._take(connection, Message(kind, xid, bytes(unread[at:at + length])))
                at += length
        del unread[:at]

    def _take(self, connection: Connection, message: Message) -> None:
        if message.type == wire.ECHO_REQUEST:
            connection.send(wire.echo_reply(message.data))
        elif message.type == wire.ECHO_REPLY or connection.deliver(message):
            return
        elif message.type == wire.ERROR:
            log.warning("switch %s complains, and nobody waits for it: %s", connection, wire.complaint(message.data))
        elif not connection.dpid:
            self._shake_hands(connection, message)

    def _shake_hands(self, connection: Connection, message: Message) -> None:
        """It says hello, we ask who it is. Of a stranger nothing else is read."""
        if message.type == wire.HELLO and message.data[0] >= wire.VERSION:
            with suppress(ConnectionLost):
                connection.send(wire.features_request())
        elif message.type == wire.HELLO:
            connection.close("it does not speak OpenFlow 1.3")
        elif message.type != wire.FEATURES_REPLY or len(message.data) != 32:
            connection.close("it does not shake hands")
        else:
            connection.dpid = wire.datapath(message.data)
            self._introduced(connection)

    def _introduced(self, connection: Connection) -> None:
        dpid = connection.dpid
        why = self._known(dpid, connection.peer)
        if why is None:
            self._held[connection] = None
            return
        self._held.pop(connection, None)
        if why:
            connection.close(why)
            self.gate.refusals.refuse(connection.address[0], f"datapath {dpid:016x}: {why}")
            return
        self.gate.refusals.admit(connection.address[0])
        before = self._up.get(dpid)
        if before:
            before.close("it connected again")
            self._drop(before)
        self._up[dpid] = connection
        log.info("switch %s is here", connection)
        self._on_up(connection)

    def _look(self, now: float, late: bool) -> None:
        """Who is to be asked for a sign of life, and who has shown none."""
        hosts: dict[int, list[Connection]] = defaultdict(list)
        for connection in list(self._connections):
            if late:
                connection.heard = now  # it is we who slept
            if connection.closing:
                self._drop(connection)
            elif connection.dpid:
                hosts[connection.dpid >> 8].append(connection)
            elif now - connection.came > HANDSHAKE_SECONDS:
                connection.close("it did not say who it is")
        for bridges in hosts.values():
            # A host's bridges are one process: one of them is asked, each in its turn, and speaks for all.
            if now - max(one.asked for one in bridges) > self._keepalive:
                asked = min(bridges, key=lambda one: one.asked)
                asked.asked = now
                with suppress(ConnectionLost):
                    asked.send(wire.echo_request(0))
            last = max(one.heard for one in bridges)
            silent = now - last > self._dead_after
            for connection in bridges:
                if silent or now - connection.heard > self._dead_after * len(bridges):
                    connection.silent_since = last if silent else connection.heard
                    connection.close(f"silent for {now - connection.heard:.1f} s")
                    self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._held.pop(connection, None)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        connection.gone()
        if self._up.get(connection.dpid) is connection:
            del self._up[connection.dpid]
            log.warning("switch %s is gone: %s", connection, connection.closing)
            self._on_down(connection)
