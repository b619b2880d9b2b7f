"""What guests do while the cloud's processes come and go: a paced TCP stream and new connections, run as a program in a guest.

    python -m tests.drill.sessions serve 0.0.0.0        python -m tests.drill.sessions use ADDRESS

Each says when it has begun; the user on SIGTERM, as JSON, what it has seen.
"""

import json
import signal
import socket
import struct
import sys
import threading
import time

PORT = 7000
EVERY = 0.01  # seconds; what is sent each time is far from what the link carries, so that a retransmission is a lost packet
PIECE = bytes(2000)
# Of Linux's struct tcp_info: tcpi_total_retrans and tcpi_dsack_dups. A busy machine makes TCP ask twice; what came twice was
# not lost, and its receiver says so.
_SENT_AGAIN = struct.Struct("100xI112xI")


def serve(address: str) -> None:
    with socket.create_server((address, PORT), backlog=64) as listener:
        print("begun", flush=True)
        while True:
            line, _ = listener.accept()
            threading.Thread(target=_echo, args=(line,), daemon=True).start()


def _echo(line: socket.socket) -> None:
    with line:
        while received := line.recv(65536):
            line.sendall(received)


def use(address: str) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    stream = socket.create_connection((address, PORT), 30)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pauses: list[float] = []
    opened: list[float] = []
    knocked: list[int] = []

    def connect() -> None:
        while not ended.wait(EVERY):
            began = time.monotonic()
            with socket.create_connection((address, PORT), 30) as line:
                knocked.append(sent_again(line)[0])
                line.sendall(b"hello")
                line.recv(5)
            opened.append(time.monotonic() - began)

    connecting = threading.Thread(target=connect)
    connecting.start()
    print("begun", flush=True)
    last = time.monotonic()
    while not ended.wait(EVERY):
        stream.sendall(PIECE)
        left = len(PIECE)
        while left:
            left -= len(stream.recv(left))
        now = time.monotonic()
        pauses.append(now - last)
        last = now
    connecting.join()
    again, twice = sent_again(stream)
    print(json.dumps({"sent again": again, "lost": max(0, again - twice), "longest pause": max(pauses), "pieces": len(pauses),
                      "opened": len(opened), "slowest to open": max(opened), "knocked again": sum(knocked)}), flush=True)


def sent_again(line: socket.socket) -> tuple[int, int]:
    """Segments that were sent again, and those of them that came twice."""
    again, twice = _SENT_AGAIN.unpack_from(line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SENT_AGAIN.size))
    return again, twice


if __name__ == "__main__":
    {"serve": serve, "use": use}[sys.argv[1]](sys.argv[2])
