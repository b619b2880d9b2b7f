"""A device of br-int where the agent stands: frames in and out, each with a number as its VLAN tag."""

import ctypes
import errno
import logging
import select
import socket
import struct
import time
from collections.abc import Iterator

from ovsagent import links

log = logging.getLogger("device")

LOOK = 0.5                  # seconds from one look at the device to the next
BATCH = 64                  # frames read before anything else is thought of
SOL_PACKET, AUXDATA, VLAN_VALID = 263, 8, 0x10
SO_ATTACH_FILTER, ETH_P_ALL, TPID = 26, 3, 0x8100
PACKET_OUTGOING = 4
VLAN_TAG = 0xFFFFF000 + 44  # SKF_AD_OFF + SKF_AD_VLAN_TAG
MOST_DEAF = 250             # a jump in the kernel's filter language is a byte


def tag(number: int) -> int:
    """The number as a TCI: 12 bits of VID, 3 of priority; between them is OpenFlow's "there is a tag"."""
    return number & 0xFFF | number >> 12 << 13


def untag(tci: int) -> int:
    return tci & 0xFFF | tci >> 13 << 12


def tagged(frame: bytes, number: int) -> bytes:
    return frame[:12] + struct.pack(">HH", TPID, tag(number)) + frame[12:]


def deaf_to(values: list[int], at: int = VLAN_TAG, mask: int = 0xEFFF) -> bytes:
    """A filter program (classic BPF): nothing that has one of these values there, all else. A tag: without the bit between."""
    values = values[:MOST_DEAF]
    program = [(0x20, 0, 0, at), (0x54, 0, 0, mask)]                                    # ld, and
    program += [(0x15, len(values) - n, 0, value) for n, value in enumerate(values)]    # jeq: to the last line
    program += [(0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)]                  # ret all, ret none
    return b"".join(struct.pack("=HBBI", *line) for line in program)


def attach(listener: socket.socket, program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))     # held until the kernel has copied it
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)))


class Device:
    """Used by one thread. It finds the device again that a restarted vswitchd makes anew."""

    def __init__(self, name: str, longest: int) -> None:
        self.name = name
        self.longest = longest
        self._filter = b""
        self._socket: socket.socket | None = None
        self._poll = select.poll()      # select() knows no descriptor beyond 1,023, and a thousand may be callers at the door
        self._number = 0        # of the device, as the socket knows it
        self._looked = 0.0

    def there(self) -> bool:
        now = time.monotonic()
        if now >= self._looked + LOOK:
            self._looked = now
            self._attend()
        if self._socket is None:
            self._looked = 0.0
        return self._socket is not None

    def hear(self, patience: float) -> Iterator[tuple[bytes, int]]:
        """The frames of a batch and their numbers, once there are some."""
        device = self._socket
        if device is None:
            return
        try:
            if not self._poll.poll(min(patience, LOOK) * 1000):
                return
            for _ in range(BATCH):
                frame, extra, _, source = device.recvmsg(self.longest, socket.CMSG_SPACE(20))
                if source[2] == PACKET_OUTGOING or not extra:
                    continue
                status, tci = struct.unpack_from("=I12xH", extra[0][2])
                if status & VLAN_VALID:
                    yield frame, untag(tci)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)

    def send(self, frame: bytes, number: int) -> None:
        """A switch that takes nothing now loses an answer, as any network may: who asked asks again."""
        try:
            if self._socket:
                self._socket.send(tagged(frame, number))
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE):
                self._lost(error)

    def ignore(self, program: bytes) -> None:
        """Be deaf to what this program says, in the kernel's filter of the socket: that costs nobody anything any more."""
        self._filter = program
        if self._socket and program:
            attach(self._socket, program)

    def _attend(self) -> None:
        link = links.find(self.name)
        if link and link.number == self._number and link.up:
            return
        self._close()
        if link is None:
            return
        try:
            links.deafen(self.name)
            links.open_up(self.name)
            device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            device.setsockopt(SOL_PACKET, AUXDATA, 1)
            device.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            device.bind((self.name, ETH_P_ALL))
            device.setblocking(False)
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENXIO):
                raise
            return
        self._socket, self._number, self._poll = device, link.number, select.poll()
        self._poll.register(device, select.POLLIN)
        self.ignore(self._filter)
        log.info("open", extra={"device": self.name, "number": link.number})

    def _lost(self, error: OSError) -> None:
        log.warning("the device is gone; looking for it", extra={"device": self.name, "reason": error})
        self._close()

    def _close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket, self._number = None, 0


class Meter:
    """A bucket a number: who has emptied it is muted."""

    def __init__(self, rate: float, burst: float, silence: float) -> None:
        self.rate, self.burst, self.silence = rate, burst, silence
        self.buckets: dict[int, tuple[float, float]] = {}      # what is left, and when that was
        self.muted: dict[int, float] = {}                      # until when

    def pass_(self, number: int, now: float) -> bool:
        left, then = self.buckets.get(number, (self.burst, now))
        left = min(self.burst, left + (now - then) * self.rate)
        self.buckets[number] = left - (left >= 1), now
        if left >= 1:
            return True
        self.muted[number] = now + self.silence
        return False

    def release(self, now: float) -> bool:
        """Hear again whose time is over; whether that is anybody."""
        over = [number for number, until in self.muted.items() if until <= now]
        for number in over:
            del self.muted[number]
        if len(self.buckets) > 4096:
            self.buckets = {n: b for n, b in self.buckets.items() if now - b[1] < self.burst / self.rate}
        return bool(over)
