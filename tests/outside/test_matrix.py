"""Everybody to everybody across routers, SNAT and floating IPs, in random clouds, against a plain model of what was asked for.

UNRYU_CROSSINGS says how many (one in `make test`), UNRYU_SEED with which to begin; the guests are others after every five.
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
from tests.probes import ICMP, ICMPV6, TCP, UDP, Packet, Probe, Probes

pytestmark = pytest.mark.system

CROSSINGS = int(os.environ.get("UNRYU_CROSSINGS", "1"))
ROUNDS = 5
LINES = 8
LARGE = 3000
HEADERS = {4: 28, 6: 48}  # bytes before a datagram's content
PINGS = {4: ICMP, 6: ICMPV6}


def test_everybody_is_reached_as_the_words_say() -> None:
    first = int(os.environ.get("UNRYU_SEED", "55"))
    print(f"\nUNRYU_CROSSINGS={CROSSINGS} UNRYU_SEED={first}", flush=True)
    counted: Counter[str] = Counter()
    with RunningCloud(hosts=3) as cloud, Site(cloud) as site:
        for beneath, seeds in groupby(range(first, first + CROSSINGS), lambda seed: seed // ROUNDS):
            of = ground(random.Random(beneath), cloud.hosts, site.words)
            site.build(of)
            for seed in seeds:
                choose = random.Random(seed)
                join(choose, of)
                site.join(of)
                counted += cross(choose, site, of, f"UNRYU_SEED={seed}")
                site.part(of)
            site.raze(of)
    print(dict(counted), flush=True)


def cross(choose: random.Random, site: Site, of: Topology, name: str) -> Counter[str]:
    matrix = asked(choose, of, Model(of))
    order = list(matrix)
    choose.shuffle(order)  # else one router would have much to say at once
    came, wrong = site.probes(of).run(order), order
    for patience in (2, 5):  # asked again, more patiently: who has to learn of an MTU learns of one a try
        if wrong := [probe for probe in wrong if differs(matrix[probe], came, probe)]:
            came = site.probes(of).run(wrong, patience)
    wrong = [probe for probe in wrong if differs(matrix[probe], came, probe)]
    said = [f"{probe}: {differs(matrix[probe], came, probe)}; expected {matrix[probe]}" for probe in wrong[:LINES]]
    assert not wrong, "\n".join([f"{name}: {len(wrong)} of {len(matrix)}", *said, str(of), site.trace(of, wrong[0])])
    return Counter(asked=len(matrix), answered=sum(one.answered is True for one in matrix.values()),
                   told=sum(one.told is not None for one in matrix.values()))


def asked(choose: random.Random, of: Topology, model: Model) -> dict[Probe, Expected]:
    """Every address that there is anywhere, and what becomes of it."""
    found: dict[Probe, Expected] = {}
    everywhere = {address for node in model.nodes.values() for address in node.addresses()}
    ports = {f.address: [(one.protocol, one.outer + (one.count > 1)) for one in f.ports] for f in of.floats}
    for source, address in product((*of.guests, INTERNET), sorted(everywhere | ports.keys())):
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
    if expected.answered is not None and answered != expected.answered:
        return "was answered" if answered else f"was not answered, but told {told}"
    if expected.told:
        kind, by, mtu = expected.told
        if told is None or told.kind != kind or told.by not in by or mtu and told.mtu != mtu:
            return f"was told {told}"
    return ""
