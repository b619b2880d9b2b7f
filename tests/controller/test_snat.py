"""The flows of gateways: a golden list of one with SNAT, and what differs in other states, each on both hosts.

`python -m tests.controller.test_snat` writes the list anew.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controller.bootstrap import load_features
from controller.derive import BOOK, Engine, catalogue
from controller.flow import text
from controller.pipeline import BRIDGES, TABLES
from tests.controller import routed
from tests.controller.routed import put
from tests.controller.test_routing import showing

GOLDEN = Path(__file__).with_suffix(".flows")
OUTSIDE6 = put("subnet", "outside6", network_id="outside", ip_version=6, cidr="2001:db8::/64", gateway_ip="2001:db8::1")
OTHER4 = put("subnet", "outside4b", network_id="outside", ip_version=4, cidr="198.51.100.0/24", gateway_ip="198.51.100.1")


def at(*addresses: tuple[str, str]) -> routed.State:
    """The way out under these addresses."""
    kind, id, port = routed.LEADING_OUT[0]
    assert port
    return ((kind, id, {**port, "fixed_ips": [{"subnet_id": subnet, "ip_address": ip} for subnet, ip in addresses]}),
            *routed.LEADING_OUT[1:])


FOUR = "outside4", "203.0.113.20"
STATES: dict[str, tuple[Any, ...]] = {
    "a router that leads out from h1": (routed.JOINED, routed.LEADING_OUT),
    "without SNAT": (routed.STATES["a router without SNAT"],),
    "with IPv6": (routed.JOINED, (OUTSIDE6,), at(FOUR, ("outside6", "2001:db8::20"))),
    "under addresses of two subnets": (routed.JOINED, (OTHER4,), at(FOUR, ("outside4b", "198.51.100.20"))),
    "under one of two subnets": (routed.JOINED, (OTHER4,), at(FOUR)),
    "with routes to a host outside": ((*routed.JOINED, routed.router(routes=[
        {"destination": to, "nexthop": hop} for to in ("192.0.2.0/24", "203.0.113.0/24", "203.0.113.128/25")
        for hop in ("203.0.113.77", "203.0.113.78")])), routed.LEADING_OUT),
    "green takes less than outside, and blue, too": (
        (*routed.STATES["green takes less than blue"], *routed.LEADING_OUT),),
    "the third time that it moved": (routed.JOINED, (routed.LEADING_OUT[0], put(
        "router_gateway", **{**(routed.LEADING_OUT[1][2] or {}), "generation": 3}))),
    "from h2, without a successor": (routed.STATES["a router that leads out from h2"],),
    "from nowhere": (routed.STATES["a gateway that nobody holds"],),
}


def flows(*states: routed.State) -> dict[str, list[str]]:
    """By host, in the order of the tables."""
    engine = Engine(showing(*states), catalogue.values())
    assert not engine.failed and not engine.contested
    order = {table.name: place for place, table in enumerate(TABLES)}
    found: dict[str, list[str]] = {}
    for host in ("h1", "h2"):
        all_ = ((bridge, flow) for bridge in BRIDGES for _, flow in engine.wanted[host][bridge].values())
        lines = {text(flow, TABLES) for bridge, flow in all_
                 if any(unit.feature.startswith("snat.") for unit in engine.owners(host, bridge, flow))}
        found[host] = sorted(lines, key=lambda line: (order[line.split(",")[0].removeprefix("table=")], line))
    return found


def golden() -> Iterator[str]:
    usual: dict[str, list[str]] = {"nobody": []}

    def difference(before: str, lines: list[str]) -> list[str]:
        return [*(f"- {line}" for line in usual[before] if line not in lines),
                *(f"+ {line}" for line in lines if line not in usual[before])]

    for state, of in STATES.items():
        for host, lines in flows(*of).items():
            before = min(usual, key=lambda name: len(difference(name, lines)))
            yield f"# {state}: {host} beside {before}"
            yield from (line.replace(" actions=", "\n      actions=") for line in difference(before, lines))
            if len(usual) < 3:
                usual[f"{host} in the first"] = lines


def test_what_gateways_put_on_hosts() -> None:
    load_features()
    assert "\n".join(golden()).splitlines() == GOLDEN.read_text().splitlines(), "run: python -m tests.controller.test_snat"


def test_what_one_generation_taught_no_other_heeds() -> None:
    """A host may be its own successor's successor: what its switch wrote down as it was cut off goes with the first change."""
    load_features()

    def taught(generation: int) -> set[str]:
        moved = put("router_gateway", **{**(routed.LEADING_OUT[1][2] or {}), "generation": generation})
        return {line for line in flows(routed.JOINED, (routed.LEADING_OUT[0], moved))["h1"] if "learn(" in line}

    assert len(taught(0)) == 3 and not taught(0) & taught(2)


def test_agents_are_told_whose_streams_leave_by_it() -> None:
    load_features()

    def told(*states: routed.State) -> list[Any]:
        wanted = Engine(showing(*states), catalogue.values()).wanted
        return [entry.data for host in ("h1", "h2") for key, (_, entry) in wanted[host][BOOK].items() if key[0] == "way out"]

    one, two = told(routed.JOINED, routed.LEADING_OUT)
    assert one == two == {"generation": 0, "inside": [[7, "fa:16:3e:00:01:01"], [9, "fa:16:3e:00:01:02"]],
                          "near": ["10.0.0.0/24", "10.1.0.0/24"]}
    assert not told(*STATES["without SNAT"]) and not told(*STATES["from nowhere"])


if __name__ == "__main__":
    load_features()
    sys.exit(GOLDEN.write_text("\n".join(golden()) + "\n") == 0)
