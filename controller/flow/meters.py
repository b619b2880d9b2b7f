"""Meters: how much may pass, in a second, of all that flows send through one. Values beside flows, and as flows are, their
OpenFlow bytes."""

from struct import Struct
from typing import NamedTuple

BITS, PACKETS = 1, 2  # the OpenFlow flags: what is counted, in thousands of bits, or one by one
_BURST = 4
_DROP = 1
_CONFIG = Struct(">HHHII4x")
_NO_TABLE = -1
_UNITS = {BITS: "kbps", PACKETS: "pktps"}


class Meter(NamedTuple):
    """A meter as the switch holds it. Shaped as a flow is: its place in four parts, then its content."""

    bridge: str
    table: int
    number: int
    match: bytes
    config: bytes

    @property
    def key(self) -> tuple[int, int, bytes]:
        return self[1:4]


def meter(bridge: str, number: int, counts: int, rate: int, burst: int) -> Meter:
    """What is beyond this rate (kilobits or packets a second) is dropped, once a burst (kilobits, packets) was let through."""
    if not (0 < rate < 1 << 32 and 0 < burst < 1 << 32):  # a burst of 0 would come back from Open vSwitch as the rate: drift
        raise ValueError(f"meter {number}: neither the rate, {rate}, nor the burst, {burst}, can be so")
    return Meter(bridge, _NO_TABLE, number, b"", _CONFIG.pack(counts | _BURST, _DROP, _CONFIG.size - 2, rate, burst))


def read_meter(bridge: str, number: int, config: bytes) -> Meter:
    """As a switch says it has it."""
    return Meter(bridge, _NO_TABLE, number, b"", config)


def meter_text(meter: Meter) -> str:
    """As `ovs-ofctl` takes it."""
    head = f"meter={meter.number}"
    if len(meter.config) != _CONFIG.size or meter.config[2:6] != bytes((0, _DROP, 0, _CONFIG.size - 2)):
        return f"{head} config({meter.config.hex()})"
    flags, _, _, rate, burst = _CONFIG.unpack(meter.config)
    words = [*(word for unit, word in _UNITS.items() if flags & unit), *(["burst"] if flags & _BURST else []),
             *(["stats"] if flags & 8 else [])]
    return f"{head} {' '.join(words)} bands=type=drop rate={rate} burst_size={burst}"
