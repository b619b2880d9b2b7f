"""An attacker and its victims, each in a namespace; and how they send and hear frames."""

import contextlib
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from scapy.packet import Packet

from ovsagent.links import inside
from tests.clouds import BIN, PATIENCE, RunningCloud

MARK = b"an attacker's own"
STRANGER = "fa:16:3e:de:ad:01"
ALL, ALL6 = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"

# A packet of each line of standard input, at a pace that nothing on the way loses.
SEND = """import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind((sys.argv[1], 0))
for line in sys.stdin:
    s.send(bytes.fromhex(line)); time.sleep(0.01)"""
# Over and over, as fast as it can, but for a pause each time.
FLOOD = """import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind((sys.argv[1], 0))
frames = [bytes.fromhex(line) for line in sys.stdin]
while True:
    for frame in frames: s.send(frame)
    time.sleep(float(sys.argv[2]))"""
ETH_P_ALL, SO_RCVBUFFORCE, SOL_PACKET, PACKET_AUXDATA, TAGGED = 3, 33, 263, 8, 0x10
BEHIND = 0.5  # seconds in which what nobody expects still comes


@dataclass
class Guest:
    name: str
    namespace: str
    port: str
    mac: str
    four: str
    six: str
    device: str = "eth0"

    @property
    def local(self) -> str:
        """Its link-local address (RFC 4291, appendix A)."""
        m = bytes.fromhex(self.mac.replace(":", ""))
        return f"fe80::{m[0] ^ 2:x}{m[1]:02x}:{m[2]:x}ff:fe{m[3]:02x}:{m[4]:x}{m[5]:02x}"

    def send(self, packets: list[Packet]) -> None:
        frames = "".join(f"{(bytes(p).ljust(60, bytes(1)) + MARK).hex()}\n" for p in packets)
        words = ["ip", "netns", "exec", self.namespace, str(BIN / "python"), "-c", SEND, self.device]
        subprocess.run(words, input=frames, text=True, check=True)

    @contextlib.contextmanager
    def flooding(self, packets: list[Packet], pause: float = 0) -> Iterator[None]:
        """Sends them for as long as the block runs."""
        words = ["ip", "netns", "exec", self.namespace, str(BIN / "python"), "-c", FLOOD, self.device, str(pause)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, text=True) as process:
            assert process.stdin
            try:
                process.stdin.write("".join(f"{bytes(packet).hex()}\n" for packet in packets))
                process.stdin.close()
                time.sleep(1)
                yield
                assert process.poll() is None, "all the time"
            finally:
                process.terminate()

    @contextlib.contextmanager
    def hearing(self, wanted: Callable[[bytes], bool] = lambda frame: frame.endswith(MARK),
                least: int = 0) -> Iterator[list[bytes]]:
        """What comes in meanwhile, of itself that which has our mark; complete when the block is left. As many as `least` are
        waited for: a busy machine takes its time."""
        with inside(self.namespace):
            line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        heard: list[bytes] = []
        with line:
            line.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
            line.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            line.bind((self.device, ETH_P_ALL))
            yield heard
            until = time.monotonic() + (PATIENCE if least else BEHIND)
            while (left := until - time.monotonic()) > 0:
                line.settimeout(left)
                with contextlib.suppress(TimeoutError):
                    if (frame := _received(line)) and wanted(frame):
                        heard.append(frame)
                        until = time.monotonic() + BEHIND if len(heard) == least else until


def _received(line: socket.socket) -> bytes:
    """Nothing where it went out; with its tag, which the kernel takes off and says beside it."""
    data, beside, _, (_, _, kind, *_) = line.recvmsg(65535, 256)
    for _, _, said in beside:
        status, *_, tci, tpid = struct.unpack("IIIHHHH", said)
        if status & TAGGED:
            data = data[:12] + struct.pack(">HH", tpid, tci) + data[12:]
    return b"" if kind == socket.PACKET_OUTGOING else data


def plugged(cloud: RunningCloud, network: Any, host: str, name: str, group: Any, *options: str) -> Guest:
    """On a new port of that group, with an address of each version."""
    port = cloud.connect().network.create_port(name=name, network_id=network.id, security_group_ids=[group.id])
    there = cloud.plug(port.id, host, name, *options)
    four, six = (f["ip_address"] for f in port.fixed_ips)
    return Guest(name, there["namespace"], port.id, port.mac_address, four, six)


def gone(cloud: RunningCloud, network: Any, *groups: Any) -> None:
    """A network with its guests, who are named as their ports, and the groups that they were in."""
    sdk = cloud.connect().network
    for port in sdk.ports(network_id=network.id):
        if port.name:
            cloud.unplug(port.name)
        sdk.delete_port(port.id)
    sdk.delete_network(network.id)
    for group in groups:
        sdk.delete_security_group(group.id)


@dataclass
class Scene:
    """An attacker and a victim on h1, another victim on h2."""

    cloud: RunningCloud
    network: Any
    attacker: Guest
    near: Guest
    far: Guest
