"""The host's door: DHCP exchanges a second, and what a flood of one guest costs the others.

`python -m bench.dhcp`, as root. An exchange is discover, offer, request, acknowledgement. The desk stands at one end of a
veth pair, 1,000 guests ask at the other, each within its meter; beside it, in the same run, the floor: the same
frames between the same sockets, sent back by a loop that reads nothing in them. Then the same while one more guest floods.
"""

import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table as Columns

from ovsagent.answers import desk, device, dhcp4
from ovsagent.answers.book import Book
from ovsagent.answers.packet import IPV4, ethernet, mac, parse, udp4
from ovsagent.bridges import DOOR
from ovsagent.links import inside
from ovsagent.ovsdb import Tables, Uuid

GUESTS, ROUNDS, WINDOW = 1000, 5, 32
NAMESPACE = "unryu-bench-door"
FIRST = 100         # ofport of the first guest
NOWHERE, EVERYWHERE, MANY = bytes(4), b"\xff" * 4, b"\xff" * 6


def hardware(n: int) -> str:
    return f"fa:16:3e:00:{n >> 8:02x}:{n & 255:02x}"


def address(n: int) -> str:
    return f"10.0.{n >> 8}.{n & 255}"


def entry(n: int) -> dict[str, Any]:
    return {"mac": hardware(n), "address": address(n), "server": "10.0.255.254",
            "server_mac": "fa:16:3f:ff:ff:fe", "lease": 86400, "next": "0.0.0.0",
            "options": {"1": "ffff0000", "3": "0a00fffe", "6": "08080808", "26": "05aa"}}


def question(n: int, kind: int) -> bytes:
    head = dhcp4.FIXED.pack(1, 1, 6, 0, n, 0, 0, NOWHERE, NOWHERE, NOWHERE, NOWHERE, mac(hardware(n)), b"", b"")
    options = bytes([53, 1, kind])
    if kind == dhcp4.REQUEST:
        options += bytes([54, 4, 10, 0, 255, 254, 50, 4, *map(int, address(n).split("."))])
    frame = ethernet(MANY, mac(hardware(n)), IPV4, udp4(NOWHERE, EVERYWHERE, (68, 67), head + dhcp4.MAGIC + options + b"\xff"))
    return device.tagged(frame, FIRST + n)


@contextmanager
def wire() -> Iterator[socket.socket]:
    """A namespace with the door and, at the other end of the wire, the guests' socket."""
    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    ip("netns", "add", NAMESPACE)
    try:
        ip("-n", NAMESPACE, "link", "add", DOOR, "type", "veth", "peer", "name", "guests")
        for name in (DOOR, "guests"):
            ip("-n", NAMESPACE, "link", "set", name, "up")
        with inside(NAMESPACE):
            guests = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            guests.bind(("guests", device.ETH_P_ALL))
        guests.settimeout(2)
        with guests:
            yield guests
    finally:
        ip("netns", "del", NAMESPACE)


def ask(guests: socket.socket, questions: list[bytes]) -> float:
    """Seconds until all are answered, with some on their way at any time."""
    began, sent, got = time.perf_counter(), 0, 0
    while got < len(questions):
        while sent < len(questions) and sent - got < WINDOW:
            guests.send(questions[sent])
            sent += 1
        _, source = guests.recvfrom(2048)
        got += source[2] != device.PACKET_OUTGOING
    return time.perf_counter() - began


def echo(guests: socket.socket, questions: list[bytes]) -> float:
    """The floor: as much traffic, and nobody who thinks."""
    with inside(NAMESPACE):
        door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        door.bind((DOOR, device.ETH_P_ALL))

    def mirror() -> None:
        for _ in questions:
            frame, _, _, source = door.recvmsg(2048, socket.CMSG_SPACE(20))
            while source[2] == device.PACKET_OUTGOING:
                frame, _, _, source = door.recvmsg(2048, socket.CMSG_SPACE(20))
            door.send(frame)

    thread = threading.Thread(target=mirror)
    thread.start()
    try:
        return ask(guests, questions)
    finally:
        thread.join()
        door.close()


@contextmanager
def flood() -> Iterator[Callable[[], int]]:
    """One more guest, in a process of its own, that asks as fast as it can."""
    code = (f"import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); s.bind(('guests', 0))\n"
            f"f, n = bytes.fromhex('{question(GUESTS + 1, dhcp4.DISCOVER).hex()}'), 0\n"
            "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print(n), sys.exit()))\n"
            "while True: n += bool(s.send(f))")
    process = subprocess.Popen(["ip", "netns", "exec", NAMESPACE, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    time.sleep(1)

    def stop() -> int:
        process.terminate()
        return int((process.communicate()[0] or "0").split()[0])

    try:
        yield stop
    finally:
        process.kill()
        process.wait()


def run() -> dict[str, Any]:
    ports = {Uuid(str(n)): {"external_ids": {"iface-id": str(n)}, "ofport": FIRST + n} for n in range(GUESTS + 2)}
    tables = Tables({"Interface": ports})
    both = [question(n, kind) for kind in (dhcp4.DISCOVER, dhcp4.REQUEST) for n in range(GUESTS)]
    plain = [(parse(frame[:12] + frame[16:]), entry(n)) for n, frame in enumerate(both[GUESTS:])]
    began = time.perf_counter()
    for asked, of in plain:
        assert asked and dhcp4.reply(asked, of)
    alone = time.perf_counter() - began
    with TemporaryDirectory() as folder, wire() as guests:
        floor = statistics.median(echo(guests, both) for _ in range(ROUNDS))
        book = Book(Path(folder) / "book.json")
        book.replace({"revision": 1, "answers": [["dhcp4", str(n), "", entry(n)] for n in range(GUESTS + 2)]})
        clerk = desk.Desk(book, lambda: tables)

        def stand() -> None:
            with inside(NAMESPACE):
                clerk.run()

        threading.Thread(target=stand, daemon=True).start()
        time.sleep(1)
        served = statistics.median(ask(guests, both) for _ in range(ROUNDS))
        time.sleep(1)
        with flood() as stop:
            device.attach(guests, only_answers())
            before = time.perf_counter()
            drowned = statistics.median(ask(guests, both) for _ in range(3))
            sent, lasted = stop(), time.perf_counter() - before + 1
        clerk.stop()
    return {"guests": GUESTS, "function_per_second": GUESTS / alone, "floor_per_second": GUESTS / floor,
            "exchanges_per_second": GUESTS / served, "exchanges_per_second_in_a_flood": GUESTS / drowned,
            "flood_per_second": sent / lasted, "of_the_floor": floor / served}


def only_answers() -> bytes:
    """A filter for the guests' own socket: not what the flooder beside them sends."""
    lines = [(0x28, 0, 0, 0xFFFFF004), (0x15, 1, 0, device.PACKET_OUTGOING), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def show(result: dict[str, Any]) -> None:
    columns = Columns("figure", "value", title="The host's door", title_justify="left")
    for name, value in result.items():
        columns.add_row(name.replace("_", " "), f"{value:,.2f}" if value < 10 else f"{value:,.0f}")
    Console().print(columns)


if __name__ == "__main__":
    show(run())
