"""Switches that are none: `python -m bench.switches ADDRESS PORT COUNT` answers a controller as COUNT empty switches would.

Their datapath ids are those of the hosts of bench/scale.py, three each. They take every bundle, hold no flow and never complain:
what they show is what connections cost the controller.
"""

import selectors
import socket
import sys
from struct import Struct

HEADER = Struct(">BBHI")
HELLO, ECHO, FEATURES, MULTIPART, BARRIER, EXPERIMENTER = 0, 2, 5, 18, 20, 4
NOTHING = bytes(6)  # the end of a multipart reply: that there is none of what was asked for, and nothing more to come


def reply(message: bytes, dpid: int) -> bytes:
    version, kind, length, xid = HEADER.unpack_from(message)
    if kind == ECHO:
        return HEADER.pack(version, kind + 1, length, xid) + message[8:]
    if kind == FEATURES:
        return HEADER.pack(version, kind + 1, 32, xid) + dpid.to_bytes(8, "big") + (0).to_bytes(4, "big") + b"\xfe" + bytes(11)
    if kind == MULTIPART:
        return HEADER.pack(version, kind + 1, 16, xid) + message[8:10] + NOTHING
    if kind == BARRIER:
        return HEADER.pack(version, kind + 1, 8, xid)
    if kind == EXPERIMENTER and length == 24:  # of a bundle: opened, committed, discarded
        return message[:20] + (int.from_bytes(message[20:22], "big") + 1).to_bytes(2, "big") + message[22:]
    return b""


def serve(address: str, port: int, count: int) -> None:
    selector = selectors.DefaultSelector()
    for number in range(count):
        sock = socket.create_connection((address, port))
        sock.sendall(HEADER.pack(4, HELLO, 8, 0))
        selector.register(sock, selectors.EVENT_READ, (sock, number // 3 + 1 << 8 | number % 3 + 1, bytearray()))
    while selector.get_map():
        for key, _ in selector.select():
            sock, dpid, unread = key.data
            try:
                received = sock.recv(1 << 18)
            except ConnectionResetError:  # it hung up before it had read all of ours
                received = b""
            if not received:
                selector.unregister(sock)
                continue
            unread += received
            answers = b""
            while len(unread) >= 8 and len(unread) >= (length := HEADER.unpack_from(unread)[2]):
                answers += reply(bytes(unread[:length]), dpid)
                del unread[:length]
            if answers:
                sock.sendall(answers)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
