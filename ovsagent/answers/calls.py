"""What comes to the routers' door: a packet, why it comes, and at whose expense; and whom the door is deaf to for a while.

Both are labels before the packet. Whoever floods the door is muted alone: a guest of this host by the number of its port, and
what came by a wire or a tunnel, whoever sent it, by that of the router that it was sent to. Only answers to our own questions
have no labels.
"""

import struct
from typing import NamedTuple

from ovsagent.answers.device import Meter, deaf_to, tag
from ovsagent.answers.icmp import whole
from ovsagent.answers.packet import IPV4, IPV6, ethernet

# The pipeline's words (controller/pipeline.py); a number that can be an MTU is the one that the packet would not fit.
EXPIRED, NO_ROUTE, NOT_SERVED, NEXT_HOP, TRANSLATE, PIECE = 1, 2, 3, 4, 5, 6
LEAST_MTU = 68
MPLS, LABEL, PACKET = b"\x88\x47", 12, 22
RATE, BURST = 500.0, 500.0          # frames a second for long and at once, of each who pays
ANSWERS = 2000.0                    # and from a network, of those without labels
MUTED = 0.2                         # seconds for which one is not heard that sends more
BY_TYPE = 0x28, 0, 0, 12            # ldh: of the kernel's filter language


class Call(NamedTuple):
    payer: int
    """The number of a guest's port here, or of a router and 0x8000 (as zones of conntrack have them)."""
    reason: int
    to: bytes
    by: bytes
    packet: bytes

    @classmethod
    def of(cls, frame: bytes) -> "Call | None":
        packet = whole(frame[PACKET:]) if frame[12:14] == MPLS else None
        return cls(_label(frame, 14), _label(frame, 18), frame[:6], frame[6:12], packet) if packet else None

    @property
    def kind(self) -> int:
        return IPV4 if self.packet[0] >> 4 == 4 else IPV6

    @property
    def frame(self) -> bytes:
        """As it was before it was labelled."""
        return ethernet(self.to, self.by, self.kind, self.packet)


def _label(frame: bytes, at: int) -> int:
    return int.from_bytes(frame[at:at + 3], "big") >> 4


class Toll:
    """Who has sent too much is muted before a byte of his is looked at."""

    def __init__(self) -> None:
        self.calls = Meter(RATE, BURST, MUTED)
        self.answers = Meter(ANSWERS, ANSWERS, MUTED)

    def pass_(self, frame: bytes, network: int, now: float) -> bool:
        labelled = frame[12:14] == MPLS
        return self.calls.pass_(_label(frame, 14), now) if labelled else self.answers.pass_(network, now)

    def release(self, now: float) -> None:
        self.calls.release(now)
        self.answers.release(now)

    def filter(self) -> bytes:
        """For the kernel: deaf to these."""
        calls = deaf_to([payer << LABEL for payer in sorted(self.calls.muted)], at=14, mask=0xFFFFF000)
        answers = deaf_to([tag(number) for number in sorted(self.answers.muted)])
        type_, other = struct.pack("=HBBI", *BY_TYPE), (0x15, 0, len(calls) // 8, int.from_bytes(MPLS, "big"))
        return type_ + struct.pack("=HBBI", *other) + calls + answers
