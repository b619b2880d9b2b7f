"""The drill: writers write, guests are plugged and ping, and at random instants any process dies. Then everything is judged."""

import json
import random
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import click

from tests.clouds import RunningCloud, eventually
from tests.drill import health, verdict
from tests.drill.pings import Pinging
from tests.drill.strikes import Strike, strike
from tests.drill.writers import MOST, Writer, lost
from topology import api, internet, lab
from topology.cloud import Cloud
from unryu.db import Database

WRITERS = 3
UNHURRIED = 0.7  # of the strikes: all is well again before the next one; the others fall into its recovery
PATIENCE = 60.0  # seconds until all must be well by itself
AFTER = 1.5  # seconds in which what a switch's death cut comes back behind its flows: neighbours, the guests' own retries
# Open vSwitch 3.1 loses one or two packets of a tunnel now and then when a link comes to its host or leaves it: it looks
# at routes and tunnel ports anew. Seen with nobody killed; so such a gap counts apart while a guest is plugged.
NICK = 2
Hit = Callable[[Cloud, random.Random], Strike | None]


@dataclass
class Verdict:
    """What a drill ended in. Every list is empty, or its sentences say what is wrong."""

    seed: int
    strikes: list[Strike] = field(default_factory=list)
    unwell: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    lost_writes: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    inconsistent: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    silences: list[str] = field(default_factory=list)
    nicks: int = 0
    """Single pings between hosts that a plug cut."""
    answers: Counter[str] = field(default_factory=Counter)
    felt: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def wrong(self) -> dict[str, list[str]]:
        judged = ("unwell", "faults", "lost_writes", "differing", "inconsistent", "leaked", "silences")
        return {name: getattr(self, name) for name in judged if getattr(self, name)}

    def facts(self) -> dict[str, Any]:
        return {"seed": self.seed, "kills": len(self.strikes), "writes": dict(self.answers), "wrong": self.wrong,
                "pings cut by plugs": self.nicks, "felt": self.felt}

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {len(self.strikes)} kills; {dict(self.answers)}; {self.nicks} pings cut by plugs"]
        lines += [f"{victim:36} {row['kills']:4} kills  " + "  ".join(
            f"{what} {value[0]:.2f}/{value[1]:.2f} s" for what, value in row.items() if what != "kills")
            for victim, row in self.felt.items()]
        lines += [f"{what} ({len(sentences)}): {sentence}"
                  for what, sentences in self.wrong.items() for sentence in sentences[:20]]
        return "\n".join(lines)


class Plugger(Writer):
    """Plugs guests, who ask for their leases, and unplugs them, whatever lives just then."""

    def __init__(self, cloud: Cloud, *words: Any) -> None:
        super().__init__(*words)
        self.cloud = cloud
        self.plugs: list[tuple[float, float]] = []
        """From when to when links came and went."""

    def run(self) -> None:
        while not self.ended.wait(self.random.uniform(0.1, 0.5)):
            port = self.make("port", network_id=self.shared)
            if not port.there:
                continue
            began = time.time()
            self.plug(port.id, self.random.choice(("h1", "h2")), self.name)
            self.plugs.append((began, time.time()))
            status, _ = self.ask("DELETE", f"ports/{port.id}")
            if status in (0, 204):
                port.gone(sure=status == 204)

    def plug(self, port: str, host: str, name: str) -> None:
        try:
            lab.plug(self.cloud, port, host, name, patience=20)
            self.answers["plugged"] = self.answers.get("plugged", 0) + 1
        except click.ClickException:
            self.answers["not plugged"] = self.answers.get("not plugged", 0) + 1
        if not eventually(lambda: not self._unplug(name), PATIENCE):
            self.faults.append(f"guest {name} could not be unplugged: {self._unplug(name)}")

    def _unplug(self, name: str) -> list[str]:
        known = [guest for guest in lab.guests(self.cloud) if guest.name == name]
        try:
            return [complaint for guest in known for complaint in lab.unplug(self.cloud, guest)]
        except click.ClickException as error:
            return [error.message]


def drill(running: RunningCloud, kills: int, seed: int, folder: Path, hit: Hit = strike) -> Verdict:
    """On a cloud that is only ours. The choices come from the seed; the instants are the machine's."""
    chance, cloud, said = random.Random(seed), Cloud(running.state), Verdict(seed)
    database = Database(cloud.settings["database"]["url"] or f"sqlite:///{cloud.state}/unryu.db")
    network = api.Network(cloud)
    outside = network.get("networks?name=internet")["networks"][0]["id"]
    admin = Writer(cloud.url.removeprefix("http://"), network.token, "setup", seed, "", outside)
    shared = admin.make("network").id
    project = network.get(f"networks/{shared}")["network"]["project_id"]
    network.put(f"quotas/{project}", {"quota": dict.fromkeys(MOST, -1)})  # of what nobody knows whether it is there
    for version, cidr in ((4, "10.6.0.0/20"), (6, "fd06::/64")):
        admin.make("subnet", network_id=shared, ip_version=version, cidr=cidr)
    guests = [plugged(cloud, admin.make("port", network_id=shared).id, host, f"g{number}")
              for number, host in enumerate(("h1", "h1", "h2", "h2"))]
    world = lab.Guest("internet", "", "", internet.namespace(cloud), "", [])
    floating = _leads_out(admin, network, shared, guests[2])
    before = verdict.census(cloud)

    pings = [Pinging(a, b, b.addresses[0].partition("/")[0], folder / f"{a.name}-{b.name}")
             for a, b in ((guests[0], guests[1]), (guests[0], guests[2]), (guests[3], guests[1]))]
    pings.append(Pinging(world, guests[2], floating, folder / "floating"))
    asked = health.probes(cloud)
    words = (admin.address, network.token)
    writers: list[Writer] = [Writer(*words, f"w{number}", seed, shared, outside) for number in range(WRITERS)]
    plugger = Plugger(cloud, *words, "plugger", seed, shared, outside)
    writers.append(plugger)
    for thread in (*asked, *writers):
        thread.start()
    try:
        said.unwell += batter(cloud, asked, kills, chance, said.strikes, hit)
        for writer in writers:
            writer.ended.set()
        for writer in writers:
            writer.join(PATIENCE * 2)
            said.faults += [f"{writer.name} still waits"] if writer.is_alive() else writer.faults
        time.sleep(0.7)
    finally:
        for probe in asked:
            probe.ended.set()
        for ping in pings:
            ping.stop()

    for writer in writers:
        said.answers.update(writer.answers)
    said.differing = _until_none(lambda: verdict.differing(cloud, database))
    said.leaked = _until_none(lambda: _differences(before, verdict.census(cloud)))
    with database.reading() as tx:
        said.lost_writes = lost(tx, [admin, *writers])
        said.inconsistent = verdict.inconsistent(tx)
    database.close()
    for ping, silence in chain.from_iterable(((ping, silence) for silence in ping.silences()) for ping in pings):
        if silence.lost == 0:
            continue
        if ping.crosses and silence.lost <= NICK and any(a <= silence.begin <= b + 0.5 for a, b in plugger.plugs):
            said.nicks += 1
            continue
        near = [f"{one} {silence.begin - one.at:.2f} s before" for one in said.strikes if -0.5 < silence.begin - one.at < 4]
        if not any(one.cuts and one.at - 0.1 <= silence.begin <= one.over + AFTER for one in said.strikes):
            said.silences.append(f"{ping.name}: {silence.lost} pings lost in {silence.end - silence.begin:.2f} s; {near}")
    said.felt = felt(said.strikes, asked, pings)
    for guest in guests:
        lab.unplug(cloud, guest)
    return said


def _leads_out(admin: Writer, network: api.Network, shared: str, guest: lab.Guest) -> str:
    """A router for the network of the guests, and a floating IP for one of them, which is given."""
    router = admin.make("router", external_gateway_info={"network_id": admin.outside})
    [subnet] = [item for item in admin.items if item.kind == "subnet" and item.values["ip_version"] == [4]]
    network.put(f"routers/{router.id}/add_router_interface", {"subnet_id": subnet.id})
    group = admin.make("security_group")
    admin.make("security_group_rule", group, security_group_id=group.id, direction="ingress", protocol="icmp")
    held = network.get(f"ports/{guest.port_id}")["port"]["security_groups"]
    network.put(f"ports/{guest.port_id}", {"port": {"security_groups": [*held, group.id]}})
    address = admin.make("floatingip", floating_network_id=admin.outside)
    said = network.put(f"floatingips/{address.id}", {"floatingip": {"port_id": guest.port_id}})["floatingip"]
    return str(said["floating_ip_address"])


def plugged(cloud: Cloud, port: str, host: str, name: str) -> lab.Guest:
    return lab.plug(cloud, port, host, name, PATIENCE)


def batter(cloud: Cloud, asked: list[health.Probe], kills: int, chance: random.Random, strikes: list[Strike],
           hit: Hit) -> list[str]:
    """Strike so many times; stop at the first that nobody recovers from."""
    time.sleep(0.5)
    open_ones: list[Strike] = []
    while len(strikes) < kills:
        last = hit(cloud, chance)
        if last is None:
            continue
        strikes.append(last)
        open_ones.append(last)
        if len(strikes) % 50 == 0:
            print(f"{len(strikes)} of {kills} kills", flush=True)
        if chance.random() > UNHURRIED and len(strikes) < kills:
            time.sleep(chance.uniform(0, 0.5))
            continue
        try:
            now = health.well(asked, last.at, PATIENCE)
        except AssertionError as error:
            return [f"after {', '.join(map(str, open_ones))}: {error}"]
        for one in open_ones:
            one.over, one.alone = now, len(open_ones) == 1
        open_ones.clear()
        time.sleep(chance.uniform(0, 0.8))
    return []


def felt(strikes: list[Strike], asked: list[health.Probe], pings: list[Pinging]) -> dict[str, dict[str, Any]]:
    """By kind of death, of those that came alone: median and worst seconds until each part answered again."""
    silences = [silence for ping in pings for silence in ping.silences()]
    times: dict[str, list[dict[str, float]]] = defaultdict(list)
    for one in strikes:
        if one.alone:
            row = {probe.asked: probe.felt(one.at, one.over) for probe in asked}
            row["pings"] = max((s.end - s.begin for s in silences if one.at - 0.1 <= s.begin <= one.over), default=0.0)
            times[f"{one.victim} {'frozen' if one.how.name == 'SIGSTOP' else 'killed'}"].append(row)

    def summary(seconds: list[float]) -> list[float]:
        return [round(statistics.median(seconds), 3), round(max(seconds), 3)]

    return {victim: {"kills": len(rows), **{what: summary([row[what] for row in rows]) for what in rows[0]}}
            for victim, rows in sorted(times.items())}


def _until_none(ask: Callable[[], list[str]]) -> list[str]:
    """What stays wrong when everything has had its time to settle."""
    found: list[str] = []

    def none() -> bool:
        try:
            found[:] = ask()
        except (OSError, click.ClickException) as error:
            found[:] = [str(error)]
        return not found

    eventually(none)
    return found


def _differences(before: Counter[str], after: Counter[str]) -> list[str]:
    return [f"{name}: {before[name]} before, {after[name]} now" for name in sorted(before.keys() | after.keys())
            if before[name] != after[name]]


def record(said: Verdict, database: str) -> None:
    path = Path(__file__).parents[2] / "bench" / "results" / "drill.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**results, database: said.facts()}, indent=2) + "\n")
