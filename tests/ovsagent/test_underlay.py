"""The pure half of resolving ahead: frames, turns, who is beside whom; and which link and hop the kernel names."""

import os
import subprocess
import sys
from itertools import pairwise

import pytest

from ovsagent import links
from ovsagent.ovsdb import Tables, Uuid
from ovsagent.underlay import ROUND, SECOND, Turns, beside, is_ipv4, question
from tests.ovs import run

MAC = "02:00:00:00:00:01"


def test_a_question_is_what_scapy_reads() -> None:
    from scapy.layers.l2 import ARP, Ether

    frame = Ether(question(MAC, "198.18.0.1", "198.18.0.2"))
    assert (frame.dst, frame.src, frame.type) == ("ff:ff:ff:ff:ff:ff", MAC, 0x0806)
    arp = frame[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.pdst) == (1, MAC, "198.18.0.1", "198.18.0.2")
    assert bytes(frame) == question(MAC, "198.18.0.1", "198.18.0.2") == bytes(
        Ether(dst="ff:ff:ff:ff:ff:ff", src=MAC) / ARP(hwsrc=MAC, psrc="198.18.0.1", pdst="198.18.0.2"))


def asked(turns: Turns, until: float, since: float = 0) -> list[tuple[float, str]]:
    """Who is asked when, by somebody who looks four times a second."""
    found = []
    for quarter in range(int(4 * since), int(4 * until)):
        while target := turns.take(quarter / 4):
            found.append((quarter / 4, target))
    return found


def test_newcomers_at_once_and_once_more_then_everybody_in_a_round() -> None:
    turns = Turns()
    turns.meet(["me", "a", "b"], 0)
    assert asked(turns, until=20) == [(when, one) for when in (0, SECOND) for one in ("me", "a", "b")]
    turns.meet(["me", "b", "c"], now=20)
    assert asked(turns, since=20, until=40) == [(20, "c"), (20 + SECOND, "c")]
    later = [when for when, target in asked(turns, since=40, until=4 * ROUND) if target == "b"]
    assert len(later) >= 3
    assert all(SECOND < after - before <= ROUND + 1 for before, after in pairwise(later))


def test_a_large_segment_hears_two_questions_a_second_and_forgets_nobody() -> None:
    turns = Turns()
    peers = [f"198.18.{n // 250}.{n % 250 + 1}" for n in range(1000)]
    turns.meet(peers, 0)
    when: dict[str, list[float]] = {peer: [] for peer in peers}
    for moment, target in asked(turns, 1800):
        when[target].append(moment)
    assert all(after - before < 600 for times in when.values() for before, after in pairwise(times))
    assert sum(map(len, when.values())) < 2 * 1000 + 3 * 1800


def test_the_nics_beside_a_device() -> None:
    def tables(*ports: tuple[str, str]) -> Tables:
        interfaces = {Uuid(f"i-{name}"): {"name": name, "type": kind} for name, kind in ports}
        return Tables({
            "Bridge": {Uuid("other"): {"ports": ()}, Uuid("b"): {"ports": tuple(Uuid(f"p-{name}") for name, _ in ports)}},
            "Port": {Uuid(f"p-{name}"): {"interfaces": Uuid(f"i-{name}")} for name, _ in ports}, "Interface": interfaces})

    whole = tables(("br-phys", "internal"), ("eth1", ""), ("eth0", "system"), ("vxlan", "vxlan"), ("p", "patch"))
    assert beside("br-phys", whole) == ["eth0", "eth1"]
    assert beside("bond0", whole) == [] == beside("br-phys", Tables())


@pytest.mark.parametrize(("value", "is_one"), [("198.18.0.1", True), ("::1", False), ("banana", False), (7, False), ("", False)])
def test_only_what_is_an_address_is_asked_for(value: object, is_one: bool) -> None:
    assert is_ipv4(value) is is_one


@pytest.mark.system
def test_the_kernel_says_which_link_carries_an_address_and_which_hop_leads_where() -> None:
    name = f"ut{os.getpid()}-hop"
    run("ip", "netns", "add", name)
    try:
        for words in (f"link add d0 address {MAC} type veth peer d1", "link set d1 up",
                      "addr add 198.18.0.1/24 dev d0"):
            run("ip", "-n", name, *words.split())
        with links.inside(name):
            before = links.carrying("198.18.0.1")
            assert before and not before.up
            run("ip", "-n", name, "link", "set", "d0", "up")
            run("ip", "-n", name, "route", "add", "198.19.0.0/16", "via", "198.18.0.254")
            wire = links.carrying("198.18.0.1")
            assert wire and (wire.name, wire.mac, wire.up) == ("d0", MAC, True) and links.carrying("198.18.0.2") is None
            assert wire.carrier_changes == before.carrier_changes + 1
            assert links.next_hop("198.18.0.7") == (wire.number, "198.18.0.7")
            assert links.next_hop("198.19.3.4") == (wire.number, "198.18.0.254")
            with pytest.raises(OSError, match="unreachable"):
                links.next_hop("203.0.113.1")
    finally:
        run("ip", "netns", "del", name)


@pytest.mark.parametrize(("given", "said"), [
    ({}, "host, controller_url, openflow, tunnel_ip, listen must be set"),
    ({"UNRYU_AGENT_TUNNEL_IP": "banana"}, "tunnel_ip cannot be 'banana'"),
    ({"UNRYU_AGENT_OPENFLOW": "tcp:127.0.0.1"}, "openflow"),
])
def test_settings_that_are_wrong_are_a_sentence(given: dict[str, str], said: str) -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "unryu", "serve", "agent"], capture_output=True,
                          text=True, env={"UNRYU_STATE": "/nowhere", **given}, check=False)
    assert done.returncode == 2 and said in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "pydantic" not in done.stderr and "Traceback" not in done.stderr
