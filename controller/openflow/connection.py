"""One switch that is here: what anybody may send to it and ask it, from any thread."""

import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, NamedTuple

from controller.openflow import wire
from controller.openflow.gate import Address
from unryu import tls

_READ = 256 * 1024
LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ConnectionLost(Exception):
    """The switch went away."""


class NoAnswer(TimeoutError):
    """The switch is there but does not answer."""


class Message(NamedTuple):
    """A message from a switch, as it came."""

    type: int
    xid: int
    data: bytes


class Replies:
    """What a switch answers to the xids someone asked with."""

    def __init__(self, connection: "Connection", xids: range) -> None:
        self.xids = xids
        self.queue: SimpleQueue[Message | None] = SimpleQueue()
        self._connection = connection

    def next(self, timeout: float) -> Message:
        try:
            message = self.queue.get(timeout=timeout)
        except Empty:
            raise NoAnswer(f"switch {self._connection} did not answer within {timeout:g} s") from None
        if message is None:
            raise ConnectionLost(f"switch {self._connection} went away")
        return message


class Connection:
    """One switch that is here. Any thread may send and ask; only the thread of `Switches` reads and closes. To os-ken's messages
    it is a datapath."""

    def __init__(self, sock: socket.socket, address: Address, wake: Callable[["Connection"], None],
                 peer: tls.Peer | None = None) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.address = address
        self.dpid = 0  # until it has said who it is
        self.peer = peer  # whose certificate it showed; None where none is asked for
        self.came = self.heard = self.asked = monotonic()
        self.unsent: deque[memoryview] = deque()
        self.unread = bytearray()
        self.closing = ""  # why, once it is
        self.silent_since: float | None = None  # the last sign of life of its host, where silence is why
        self._wake = wake
        self._lock = threading.Lock()
        self._watching: list[Replies] = []
        self._next_xid = 1

    def __str__(self) -> str:
        return f"{self.dpid:016x} at {self.address[0]}:{self.address[1]}"

    @property
    def ofproto(self) -> Any:
        from os_ken.ofproto import ofproto_v1_3

        return ofproto_v1_3

    @property
    def ofproto_parser(self) -> Any:
        from os_ken.ofproto import ofproto_v1_3_parser

        return ofproto_v1_3_parser

    def send(self, data: bytes) -> None:
        with self._lock:
            if self.closing:
                raise ConnectionLost(f"switch {self} went away: {self.closing}")
            self.unsent.append(memoryview(data))
            if len(self.unsent) == 1:
                self._send_unsent()
            waiting = bool(self.unsent)
        if waiting:
            self._wake(self)

    def flush(self) -> bool:
        """Send what the socket takes; true when nothing is left."""
        with self._lock:
            self._send_unsent()
            return not self.unsent

    def _send_unsent(self) -> None:
        try:
            while self.unsent:
                # Under TLS a record at a time goes, and what could not go must be offered again as it was: it stays first.
                sent = self.socket.send(self.unsent[0])
                if sent < len(self.unsent[0]):
                    self.unsent[0] = self.unsent[0][sent:]
                else:
                    self.unsent.popleft()
        except LATER:
            return
        except OSError as error:
            self.unsent.clear()
            self.closing = self.closing or str(error)
            self._wake(self)

    def receive(self) -> bytes:
        """What is there, up to a limit. Under the lock: a TLS connection has one state for both directions."""
        with self._lock:
            received = self.socket.recv(_READ)
            while isinstance(self.socket, ssl.SSLSocket) and received and len(received) < _READ:  # a record at a time comes
                try:
                    more = self.socket.recv(_READ - len(received))
                except LATER:
                    break
                if not more:
                    break  # hung up: the next look hears it again
                received += more
            return received

    def close(self, why: str = "closed by us") -> None:
        self.closing = self.closing or why
        self._wake(self)

    def _xids(self, count: int) -> range:
        with self._lock:
            if self._next_xid + count > 0xFFFFFFFF:
                self._next_xid = 1
            self._next_xid += count
            return range(self._next_xid - count, self._next_xid)

    @contextmanager
    def watch(self, count: int) -> Iterator[Replies]:
        """Xids of one's own, and what the switch answers to them (errors too)."""
        replies = Replies(self, self._xids(count))
        with self._lock:
            if self.closing:
                raise ConnectionLost(f"switch {self} went away: {self.closing}")
            self._watching.append(replies)
        try:
            yield replies
        finally:
            with self._lock:
                self._watching.remove(replies)

    def ask(self, message: Any, timeout: float = 5.0) -> list[Any]:
        """Send one of os-ken's messages; its replies, errors among them, up to the barrier behind it."""
        with self.watch(2) as replies:
            message.set_xid(replies.xids[0])
            message.serialize()
            self.send(bytes(message.buf) + wire.barrier(replies.xids[1]))
            answers, deadline = [], monotonic() + timeout
            while (answer := replies.next(max(0.0, deadline - monotonic()))).xid != replies.xids[1]:
                answers.append(self.parse(answer.data))
            return answers

    def parse(self, data: bytes) -> Any:
        from os_ken.ofproto import ofproto_parser

        return ofproto_parser.msg(self, *wire.HEADER.unpack_from(data), data)

    def deliver(self, message: Message) -> bool:
        with self._lock:
            for replies in self._watching:
                if message.xid in replies.xids:
                    replies.queue.put(message)
                    return True
        return False

    def gone(self) -> None:
        """Whoever waits shall know."""
        with self._lock:
            self.unsent.clear()
            for replies in self._watching:
                replies.queue.put(None)
