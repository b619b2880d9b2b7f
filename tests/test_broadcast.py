"""Broadcast on a real switch, with more ports of one network than a single list may hold. The flows are derived from a
picture of our own, so that no cloud need plug them all. UNRYU_LISTENERS says how many (1100 in `make drill`)."""

import os
import socket
from collections import Counter
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from controller.bootstrap import load_features
from controller.derive import Engine, catalogue
from controller.explain.describe import sample
from controller.openflow.connection import Connection
from controller.openflow.push import push
from ovsagent.links import inside
from tests.clouds import eventually
from tests.controller.test_push import Door
from tests.ovs import OvsHost, run
from unryu.resource import nouns

pytestmark = pytest.mark.system

COUNT = int(os.environ.get("UNRYU_LISTENERS", "300"))
FIRST = 200  # the lowest ofport, so that even a few hundred are in several chunks
DEAF = 7  # one that is in a group without rules
ALL = "ff:ff:ff:ff:ff:ff"


def mac(number: int) -> str:
    return f"fa:16:3e:01:{number >> 8:02x}:{number & 255:02x}"


def address(number: int) -> str:
    return f"10.1.{number >> 8}.{number & 255}"


@pytest.fixture(scope="module")
def switch() -> Iterator[OvsHost]:
    load_features()
    with OvsHost("crowd") as host:
        host.exec("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")  # or they would all greet each other
        host.add_bridge("br-int")
        words: list[str] = []
        for number in range(COUNT):
            words += ["--", "add-port", "br-int", f"p{number}", "--", "set", "interface", f"p{number}", "type=internal",
                      f"ofport_request={FIRST + number}"]
        host.vsctl("--timeout=300", *words[1:])
        links = host.dir / "links"
        links.write_text("".join(f"link set p{number} up\n" for number in range(COUNT)))
        run("ip", "-n", host.ns, "-batch", str(links))
        yield host


@pytest.fixture(scope="module")
def connection(switch: OvsHost) -> Iterator[Connection]:
    door = Door(switch.management())
    door.let_in(switch)
    yield door.came.get(timeout=60)
    door.switches.stop()


def wire(switch: OvsHost, connection: Connection, *, secured: bool) -> None:
    """All the flows of a host where this many ports of one network are plugged."""
    picture = sample()
    for kind, id in (("vif", "vif1"), ("vif", "vif2"), ("port", "port1"), ("port", "port2")):
        picture.put(kind, id, None)
    picture.put("security_group", "mute", nouns["security_group"](id="mute", project_id="demo"))
    for n in range(COUNT):
        groups = [] if not secured else ["mute"] if n == DEAF else ["default"]
        picture.put("port", f"p{n}", nouns["port"](
            id=f"p{n}", network_id="blue", mac_address=mac(n), binding_host_id="h1", security_groups=groups,
            port_security_enabled=secured, fixed_ips=[{"subnet_id": "blue4", "ip_address": address(n)}]))
        picture.put("vif", f"v{n}", nouns["vif"](id=f"v{n}", agent_id="agent-h1", port_id=f"p{n}", ofport=FIRST + n, link="up"))
    flows = Engine(picture, catalogue.values()).wanted["h1"]["br-int"].values()
    switch.ofctl("del-flows", "br-int")
    assert not push(connection, list(flows), [])
    switch.appctl("revalidator/purge")  # what was cached while there were no flows would drop the first packet


def came(switch: OvsHost) -> Counter[int]:
    """Packets that each device was given."""
    rows = (line.split() for line in switch.exec("cat", "/proc/net/dev").splitlines())
    return Counter({int(row[0][1:-1]): int(row[2]) for row in rows if row[0][1:-1].isdigit() and row[0][0] == "p"})


def heard(switch: OvsHost, sender: int, packet: Packet) -> Counter[int]:
    """Who was given this packet, and how often. Behind it the sender asks for a neighbour, which the switch itself answers and
    nobody else hears: when that has come, all that was sent before has gone out. (The first answer may overtake what was taken
    in with it.)"""
    before, question = came(switch), asked(sender, address(DEAF))
    with inside(switch.ns), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as line:
        line.bind((f"p{sender}", 0))
        line.send(bytes(packet).ljust(60, b"\0"))
        for answers in (1, 2):
            line.send(bytes(question).ljust(60, b"\0"))
            assert eventually(lambda answers=answers: came(switch)[sender] - before[sender] >= answers)
    return came(switch) - before - Counter({sender: 2})


def asked(sender: int, about: str) -> Packet:
    return Ether(src=mac(sender), dst=ALL) / ARP(op=1, hwsrc=mac(sender), psrc=address(sender), pdst=about)


def packets(sender: int) -> dict[str, Packet]:
    mine = IP(src=address(sender))
    return {
        "gratuitous": asked(sender, address(sender)),
        "mdns": Ether(src=mac(sender), dst="01:00:5e:00:00:fb") / IP(src=mine.src, dst="224.0.0.251") / UDP(
            sport=5353, dport=5353) / Raw(b"who is printer.local?"),
        "question": asked(sender, "10.9.9.9"),
        "stranger": Ether(src=mac(sender), dst="fa:16:3e:99:99:99") / mine / UDP(sport=1, dport=2),
    }


@pytest.mark.parametrize("secured", [True, False], ids=["guarded", "trusted"])
def test_everybody_hears_what_is_for_everybody_and_a_question_only_who_may_answer(
        switch: OvsHost, connection: Connection, secured: bool) -> None:
    wire(switch, connection, secured=secured)
    for sender in (0, COUNT - 1):
        others = Counter(set(range(COUNT)) - {sender})
        for name, packet in packets(sender).items():
            expected = others
            if secured and name in ("question", "stranger"):
                expected = Counter()
            elif secured and name == "mdns":
                expected = others - Counter([DEAF])
            got = heard(switch, sender, packet)
            missed, surplus = sorted(expected - got)[:9], sorted(got - expected)[:9]
            assert got == expected, f"{name} of {sender}: missed {missed}, too many {surplus}"
