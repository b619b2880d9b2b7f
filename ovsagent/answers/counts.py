"""How often the switch used the next hops that it wrote down: asked of it, in OpenFlow, by the socket of its bridge.

A greeting, a question and its answer are all that it takes: no library that knows the rest of OpenFlow has to be in memory.
"""

import logging
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("counts")

TABLE = 102     # the pipeline's `next_hops` (controller/pipeline.py), where a flow asks for
NETWORK, ADDRESS = 0, range(12, 16)     # these registers: the number of a network, and an address of 128 bits
NUMBER = 0x7FFF
MAPPED = bytes(10) + b"\xff\xff"        # before an address of IPv4
PATIENCE = 1.0  # seconds
VERSION, HELLO, REQUEST, REPLY = 4, 0, 18, 19   # of OpenFlow 1.3
FLOWS, MORE, ANY = 1, 1, 0xFFFFFFFF
REGISTERS = 0x0001      # the class of Nicira's fields that they are of


def counted(folder: Path) -> dict[tuple[int, bytes], int]:
    """Packets, by network and address. Nothing, while nobody answers: `folder` is where the switch keeps its sockets."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(PATIENCE)
            line.connect(str(folder / "br-int.mgmt"))
            line.sendall(_message(HELLO, b"") + _message(REQUEST, struct.pack(
                ">HH4xB3xII4xQQHH4x", FLOWS, 0, TABLE, ANY, ANY, 0, 0, 1, 4)))
            return dict(found for body in _replies(line) for found in _flows(body))
    except OSError as error:
        log.warning("which next hops are in use is not known", extra={"reason": error})
        return {}


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBHI", VERSION, kind, 8 + len(body), 0) + body


def _replies(line: socket.socket) -> Iterator[bytes]:
    """What the parts of the answer say; the switch greets before, and may ask for a sign of life."""
    with line.makefile("rb") as stream:
        while len(header := stream.read(8)) == 8:
            _, kind, length, _ = struct.unpack(">BBHI", header)
            body = stream.read(length - 8)
            if kind == REPLY:
                yield body[8:]
                if not struct.unpack_from(">H", body, 2)[0] & MORE:
                    return
    raise ConnectionError("the switch ended the connection")


def _flows(body: bytes) -> Iterator[tuple[tuple[int, bytes], int]]:
    while body:
        length, packets, matched = struct.unpack_from(">H30xQ10xH", body)
        held = dict(_held(body[52:48 + matched]))
        address = b"".join(held.get(number, bytes(4)) for number in ADDRESS)
        network = int.from_bytes(held.get(NETWORK, b""), "big") & NUMBER
        yield (network, address.removeprefix(MAPPED)), packets
        body = body[length:]


def _held(terms: bytes) -> Iterator[tuple[int, bytes]]:
    """The registers that a match asks for."""
    while terms:
        of, field, length = struct.unpack_from(">HBB", terms)
        if of == REGISTERS:
            yield field >> 1, terms[4:8]    # before their mask, if they have one
        terms = terms[4 + length:]
