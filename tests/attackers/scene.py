"""An attacker and its victims, each in a namespace; and how they send and hear frames."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from scapy.packet import Packet

from tests.clouds import BIN, RunningCloud

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
# A line of output for each packet that comes in; the kernel takes a VLAN's tag off, and says so beside it.
HEAR = """import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3)); s.bind((sys.argv[1], 3)); s.setsockopt(263, 8, 1)
print('ready', flush=True)
while True:
    data, beside, _, (_, _, kind, *_) = s.recvmsg(65535, 256)
    for _, _, said in beside:
        status, *_, tci, tpid = struct.unpack('IIIHHHH', said)
        if status & 0x10: data = data[:12] + struct.pack('>HH', tpid, tci) + data[12:]
    if kind != 4: print(data.hex(), flush=True)"""


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
    def hearing(self, wanted: Callable[[bytes], bool] = lambda frame: frame.endswith(MARK)) -> Iterator[list[bytes]]:
        """What comes in meanwhile, of itself that which has our mark; complete when the block is left."""
        words = ["ip", "netns", "exec", self.namespace, str(BIN / "python"), "-c", HEAR, self.device]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout and process.stdout.readline() == "ready\n"
        heard: list[bytes] = []
        try:
            yield heard
            time.sleep(0.5)
        finally:
            process.terminate()
            heard.extend(frame for line in process.communicate()[0].split() if wanted(frame := bytes.fromhex(line)))


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
