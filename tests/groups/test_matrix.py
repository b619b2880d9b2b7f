"""Security groups with real packets: every guest to every guest, against a plain model of the rules.

UNRYU_MATRICES says how many random sets of groups and rules to try (a few in `make test`), UNRYU_SEED where to begin,
UNRYU_HOSTS on how many hosts; after every ten the guests change theirs.
"""

import os
import random
from itertools import permutations, product

import pytest

from tests.groups.rules import PORTS, allows, random_rules
from tests.groups.world import Guest, World
from tests.probes import TCP, UDP, Packet, Probe, Probes

pytestmark = pytest.mark.system

PACKETS = [Packet(version, protocol, port) for version, protocol, port in product((4, 6), (TCP, UDP), PORTS)] + [
    Packet(4, 1, 8), Packet(6, 58, 128)]


def passes(world: World, packet: Packet, source: Guest, target: Guest) -> bool:
    words = world.tenants[source.tenant].words
    return all(any(rule["direction"] == direction and allows(rule, packet, remote.addresses[packet.version], remote.groups, words)
                   for group in guest.groups for rule in world.rules[group])
               for guest, remote, direction in ((source, target, "egress"), (target, source, "ingress")))


def test_everybody_to_everybody_is_as_the_rules_say(world: World) -> None:
    first = int(os.environ.get("UNRYU_SEED", "1"))
    let_in = asked = 0
    for seed in range(first, first + int(os.environ.get("UNRYU_MATRICES", "4"))):
        choose = random.Random(seed)
        if (seed - first) % 10 == 9:
            world.scatter(choose)
        for name, tenant in world.tenants.items():
            for group in tenant.words.groups:
                world.say(name, group, random_rules(choose, tenant.words))
        for guest in world.guests:
            world.join(guest, choose.sample(world.tenants[guest.tenant].words.groups, choose.choice((0, 1, 1, 1, 2, 2))))
        world.settle()
        matrix = {Probe(source.name, target.addresses[packet.version], packet): (target, passes(world, packet, source, target))
                  for source, target in permutations(world.guests, 2) if source.tenant == target.tenant for packet in PACKETS}
        expected = {probe for probe, (_, passed) in matrix.items() if passed}
        came = Probes(world.guests, PORTS).run(sorted(matrix))
        assert all(matrix[probe][0].name == who for probe, (who, _) in came.arrived.items()), f"seed {seed}: to a stranger"
        let = came.answered | came.arrived.keys()
        assert not let - expected, f"seed {seed}: let in {sorted(map(str, let - expected))[:9]}"
        lost = expected - came.answered
        for _ in range(5):  # a packet in a thousand, on a machine that does other things, too
            lost -= Probes(world.guests, PORTS).run(sorted(lost)).answered if lost else set()
        assert not lost, f"seed {seed}: lost {sorted(map(str, lost))[:9]}"
        let_in, asked = let_in + len(expected), asked + len(matrix)
    assert 0.1 * asked < let_in < 0.9 * asked, "a matrix of one colour shows nothing"
