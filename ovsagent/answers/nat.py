"""ICMP errors about packets of floating IPs: they carry a piece of the packet that they are about, which no flow can reach."""

from typing import Any, NamedTuple

from ovsagent.answers.packet import ICMP, TCP, UDP, address4, checksum, mac

CHECKSUM_AT = {TCP: 16, UDP: 6}
SOURCE, DESTINATION = slice(12, 16), slice(16, 20)


class Floating(NamedTuple):
    """A floating IP here: an entry of the book."""

    outside: int  # the number of its network
    address: bytes
    inside: int
    fixed: bytes
    mac: bytes  # of the router, inside

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Floating":
        return cls(int(entry["outside"]), address4(entry["address"]), int(entry["inside"]), address4(entry["fixed"]),
                   mac(entry["mac"]))


def translated(packet: bytes, here: Floating, inward: bool) -> bytes:
    """The error as its recipient knows what it is about: for the guest if it came from outside, or from the guest. What it is
    about went the other way. (Only at that end: at the other may be the same address, of who calls himself.)"""
    length = (packet[0] & 15) * 4
    if packet[9] != ICMP or len(packet) < length + 28:
        return packet
    before, after = (here.address, here.fixed) if inward else (here.fixed, here.address)
    error, about = packet[length:length + 8], _header(packet[length + 8:], before, after, SOURCE if inward else DESTINATION)
    body = error[:2] + checksum(error[:2] + bytes(2) + error[4:] + about) + error[4:] + about
    return _header(packet[:length], before, after, DESTINATION if inward else SOURCE) + body


def _header(packet: bytes, before: bytes, after: bytes, at: slice) -> bytes:
    """An IPv4 header with another address there, and what there is of its content."""
    length = (packet[0] & 15) * 4
    if packet[0] >> 4 != 4 or length < 20 or len(packet) < length or packet[at] != before:
        return packet
    header = packet[:10] + bytes(2) + packet[12:at.start] + after + packet[at.stop:length]
    later = int.from_bytes(packet[6:8], "big") & 0x1FFF
    content = packet[length:] if later else _content(packet[9], packet[length:], before, after)
    return header[:10] + checksum(header) + header[12:] + content


def _content(protocol: int, content: bytes, before: bytes, after: bytes) -> bytes:
    """Of TCP and UDP: their checksum counts addresses (RFC 1624). It may be cut off, or not be there at all."""
    at = CHECKSUM_AT.get(protocol, 0)
    summed = content[at:at + 2]
    if not at or len(summed) < 2 or protocol == UDP and not any(summed):
        return content
    mended = checksum(bytes(255 - byte for byte in summed + before) + after)
    return content[:at] + (b"\xff\xff" if protocol == UDP and not any(mended) else mended) + content[at + 2:]
