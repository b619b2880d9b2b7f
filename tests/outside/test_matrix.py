"""Everybody to everybody across routers, SNAT and floating IPs, in random clouds, against a plain model of what was asked for.

UNRYU_CROSSINGS says how many (in `make test` one in which everything is asked), UNRYU_SEED with which to begin; the guests are
others after every five.
"""

import os
import random
from collections import Counter
from itertools import groupby, product

import pytest

from tests.clouds import RunningCloud
from tests.groups.rules import PING
from tests.outside.building import Site
from tests.outside.model import EXPIRED, INTERNET, TOO_LARGE, UNSAID, Expected, Model
from tests.outside.topologies import PORTS, Topology, ground, join
from tests.probes import HOPS, ICMP, ICMPV6, TCP, TOKEN, UDP, Packet, Probe, Probes

pytestmark = pytest.mark.system

CROSSINGS = int(os.environ.get("UNRYU_CROSSINGS", "1"))
SAMPLE = 135
ROUNDS = 5
LINES = 8
LARGE = 3000
HEADERS = {4: 28, 6: 48}  # bytes before a datagram's content
PINGS = {4: ICMP, 6: ICMPV6}


def test_everybody_is_reached_as_the_words_say() -> None:
    first = int(os.environ.get("UNRYU_SEED", SAMPLE))
    print(f"\nUNRYU_CROSSINGS={CROSSINGS} UNRYU_SEED={first}", flush=True)
    counted: Counter[str] = Counter()
    wrong: list[str] = []
    with RunningCloud(hosts=3) as cloud, Site(cloud) as site:
        for beneath, seeds in groupby(range(first, first + CROSSINGS), lambda seed: seed // ROUNDS):
            of = ground(random.Random(beneath), cloud.hosts, site.words)
            site.build(of)
            for seed in seeds:
                choose = random.Random(seed)
                join(choose, of)
                site.join(of)
                matrix = asked(seed, of, Model(of))
                counted.update(kinds(of, matrix))
                if said := cross(choose, site, of, matrix) + site.complaints():
                    wrong.append(f"UNRYU_SEED={seed}: {said}")
                    print(wrong[-1], of, sep="\n", flush=True)
                site.part(of)
            site.raze(of)
    print(dict(counted), flush=True)
    assert not wrong, "\n".join([f"{len(wrong)} of {CROSSINGS}", *wrong])
    assert first != SAMPLE or all(counted.values()), counted


def cross(choose: random.Random, site: Site, of: Topology, matrix: dict[Probe, Expected]) -> str:
    """What was otherwise; empty if nothing."""
    order = list(matrix)
    choose.shuffle(order)  # else one router would have much to say at once
    came, wrong = site.probes(of).run(order), order
    for patience in (2, 5):  # asked again, more patiently: who has to learn of an MTU learns of one a try
        if wrong := [probe for probe in wrong if differs(matrix[probe], came, probe)]:
            came = site.probes(of).run(wrong, patience)
    wrong = [probe for probe in wrong if differs(matrix[probe], came, probe)]
    said = [f"{probe}: {differs(matrix[probe], came, probe)}; expected {matrix[probe]}" for probe in wrong[:LINES]]
    return "\n".join([f"{len(wrong)} of {len(matrix)}", *said, site.trace(of, wrong[0])]) if wrong else ""


def kinds(of: Topology, matrix: dict[Probe, Expected]) -> Counter[str]:
    """How much of what was asked: so that no promise goes unasked unseen."""
    floats = {floating.address: floating for floating in of.floats}
    shared = {router.own[4] for router in of.routers.values() if router.outside}
    addresses = Counter(address for guest in of.guests.values() for address in guest.addresses.values())
    counted: Counter[str] = Counter(asked=len(matrix))
    for (source, address, packet), expected in matrix.items():
        if not expected.answered and not expected.told:
            continue
        at, sender = expected.arrives or ("", "")
        floating, itself = floats.get(address), bool(floats.get(address)) and floats[address].guest == source
        found: dict[str, object] = {
            "routed": at in of.guests and expected.hops and sender in addresses and not floating,
            "between namesakes": source in of.guests and addresses[address] > 1 and expected.hops,
            "in pieces": at and not packet.whole and packet.size > TOKEN.size,
            "the largest": at and packet.whole,
            "too large": packet.whole and expected.told,
            "on its last hop": at and packet.hops < HOPS,
            "expired": expected.told and packet.hops < HOPS,
            "unreachable": expected.told and packet.hops == HOPS and not packet.whole,
            "pinged": packet.protocol in PINGS.values()}
        if packet.version == 4:
            found |= {
                "under a router's address": source in of.guests and sender in shared,
                "under a floating IP": sender in floats,
                "to a floating IP": floating and floating.guest,
                "to a forwarded port": floating and floating.ports,
                "to a floating IP of one's own": itself,
                "to a floating IP of one's own, in pieces": itself and packet.size == LARGE}
        counted.update({f"IPv{packet.version} {kind}": bool(so) for kind, so in found.items()})
    return counted


def asked(seed: int, of: Topology, model: Model) -> dict[Probe, Expected]:
    """Every address that there is anywhere, and what becomes of it. What is chosen depends on nobody's address: a seed asks the
    same again."""
    found: dict[Probe, Expected] = {}
    ports = {f.address: [(one.protocol, one.outer + (one.count > 1)) for one in f.ports] for f in of.floats}
    everywhere = dict.fromkeys([str(leg.ip) for node in model.nodes.values() for _, leg in node.legs] + list(ports))
    for place, (source, address) in enumerate(product((*of.guests, INTERNET), everywhere)):
        choose = random.Random(f"{seed} {place}")
        version = 6 if ":" in address else 4
        node = model.nodes[source]
        if address in node.addresses() or not any(leg.version == version for _, leg in node.legs):
            continue
        packets = [Packet(version, UDP, choose.choice(PORTS)), Packet(version, TCP, choose.choice(PORTS)),
                   Packet(version, PINGS[version], PING[version]),
                   *(Packet(4, *one) for one in ports.get(address, ()))]
        for packet in packets:
            expected = model.expected(Probe(source, address, packet))
            found[Probe(source, address, packet)] = expected
            if expected.answered and expected.arrives and packet.protocol == UDP:
                found |= variants(choose, model, Probe(source, address, packet), expected)
    return {probe: expected for probe, expected in found.items() if expected != UNSAID}


def variants(choose: random.Random, model: Model, probe: Probe, expected: Expected) -> dict[Probe, Expected]:
    """What else may become of a datagram that arrives: in pieces, with few hops left, too large for somewhere on its way."""
    packet, hops = probe.packet, expected.hops
    version, found = packet.version, {}

    def ask(expected: Expected | None = None, **changes: int | bool) -> None:
        asked = probe._replace(packet=packet._replace(**changes))
        found[asked] = expected or model.expected(asked)

    if choose.random() < 0.3 and packet.port in PORTS:
        ask(size=LARGE)
        if version == 4 or len(hops) == 1:  # an error about a piece, from another host, conntrack calls invalid
            ask(size=LARGE, protocol=PINGS[version], port=PING[version])
        ask(size=2 * LARGE, protocol=TCP)
    if choose.random() < 0.3 and hops:
        for number, hop in enumerate(hops):
            ask(Expected((), False, (EXPIRED[version], hop.speaks, 0)), hops=number + 1)
        ask(hops=len(hops) + 1)
    own = model.mtu[model.nodes[probe.source].legs[0][0]]
    least = min((hop.mtu for hop in hops), default=own)
    if least < own:
        by = frozenset[str]().union(*(hop.speaks for hop in hops[:[hop.mtu for hop in hops].index(least) + 1]))
        ask(size=least - HEADERS[version], whole=True)
        # (Who is outside remembers what it was told, and says it the next time.)
        ask(Expected((), False, (TOO_LARGE[version], by, least)), size=least + 1 - HEADERS[version], whole=True)
    return found


def differs(expected: Expected, probes: Probes, probe: Probe) -> str:
    """In what; empty if in nothing."""
    arrived, answered, told = probes.arrived.get(probe, ()), probe in probes.answered, probes.told.get(probe)
    if expected.arrives is not None and arrived != expected.arrives and (
            arrived or probe.packet.protocol == UDP or probe.packet.protocol == TCP and expected.answered):
        return f"arrived at {arrived or 'nobody'}"
    if probe in probes.moved:
        return "arrived from another port"
    if expected.answered is not None and answered != expected.answered:
        return "was answered" if answered else f"was not answered, but told {told}"
    if expected.told:
        kind, by, mtu = expected.told
        if told is None or told.kind != kind or told.by not in by or mtu and told.mtu != mtu:
            return f"was told {told}"
    return ""
