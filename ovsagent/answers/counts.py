"""How often the switch used the next hops that it wrote down, and how often a router's address had no room for a connection
more: asked of it, in OpenFlow, by the socket of its bridge.

A greeting, a question and its answer are all that it takes: no library that knows the rest of OpenFlow has to be in memory.
"""

import logging
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("counts")

NEXT_HOPS = 102     # the pipeline's table (controller/pipeline.py), where a flow asks for
NETWORK, ADDRESS = 0, range(12, 16)     # these registers: the number of a network, and an address of 128 bits
UPLINK = 98     # where a flow drops what comes untranslated out of a router's
CT_ZONE = 106   # of conntrack
NUMBER = 0x7FFF
MAPPED = bytes(10) + b"\xff\xff"        # before an address of IPv4
PATIENCE = 1.0  # seconds
VERSION, HELLO, REQUEST, REPLY = 4, 0, 18, 19   # of OpenFlow 1.3
FLOWS, MORE, ANY = 1, 1, 0xFFFFFFFF
NICIRAS = 0x0001    # the class of fields that all these are of

Held = dict[int, bytes]
"""What a match asks of Nicira's fields."""


def counted(folder: Path) -> dict[tuple[int, bytes], int]:
    """Packets, by network and address. Nothing, while nobody answers: `folder` is where the switch keeps its sockets."""
    found = {}
    for held, packets in _asked(folder, NEXT_HOPS):
        address = b"".join(held.get(number, bytes(4)) for number in ADDRESS)
        network = int.from_bytes(held.get(NETWORK, b""), "big") & NUMBER
        found[network, address.removeprefix(MAPPED)] = packets
    return found


def turned_away(folder: Path) -> int:
    """Packets for which conntrack had no room, or no port."""
    return sum(packets for held, packets in _asked(folder, UPLINK) if CT_ZONE in held)


def _asked(folder: Path, table: int) -> list[tuple[Held, int]]:
    """What the flows of a table ask for, and the packets that each has seen."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(PATIENCE)
            line.connect(str(folder / "br-int.mgmt"))
            line.sendall(_message(HELLO, b"") + _message(REQUEST, struct.pack(
                ">HH4xB3xII4xQQHH4x", FLOWS, 0, table, ANY, ANY, 0, 0, 1, 4)))
            return [found for body in _replies(line) for found in _flows(body)]
    except OSError as error:
        log.warning("what the switch has counted is not known", extra={"reason": error})
        return []


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


def _flows(body: bytes) -> Iterator[tuple[Held, int]]:
    while body:
        length, packets, matched = struct.unpack_from(">H30xQ10xH", body)
        yield dict(_held(body[52:48 + matched])), packets
        body = body[length:]


def _held(terms: bytes) -> Iterator[tuple[int, bytes]]:
    while terms:
        of, field, length = struct.unpack_from(">HBB", terms)
        if of == NICIRAS:
            yield field >> 1, terms[4:8]    # before their mask, if they have one
        terms = terms[4 + length:]
