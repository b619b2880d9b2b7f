"""The classic uses of a cloud's network, each built from its plan: who reaches whom, and as whom, is as a plain model says."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from tests.clouds import RunningCloud
from topology.internet import SERVER
from topology.plan import Plan, named, plans


def test_a_plan_is_named_or_a_file(tmp_path: Path) -> None:
    assert set(plans()) == {"flat", "flats", "mixed", "provider-router", "tenant-routers"}
    own = tmp_path / "own.yaml"
    own.write_text("about: Nothing\nnetworks: {blue: {subnets: [10.0.0.0/24]}}\n")
    assert named(str(own))[1].networks["blue"].subnets == ["10.0.0.0/24"]


@pytest.mark.parametrize(("text", "sentence"), [
    ("about: [", "is no YAML"),
    ("about: x\nrouters: {edge: {}}", "routers.edge.networks: Field required"),
    ("about: x\nguests: {vm: {network: a, host: h1, colour: red}}", "guests.vm.colour: Extra inputs"),
])
def test_what_is_wrong_with_a_plan_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(Exception, match=sentence.replace(".", r"\.")):
        named(str(path))
    with pytest.raises(Exception, match="There is no plan nowhere; there are flat, flats, mixed"):
        named("nowhere")


# The model: what a plan's words mean, without a thought of how it is done.


def joined(plan: Plan, one: str, other: str) -> bool:
    """Whether two guests reach each other at their own addresses."""
    networks = {plan.guests[one].network, plan.guests[other].network}
    return len(networks) == 1 or any(networks <= set(router.networks) for router in plan.routers.values())


def outside(plan: Plan, guest: str) -> bool:
    return plan.guests[guest].network == "internet"


def way_out(plan: Plan, guest: str) -> bool:
    network = plan.guests[guest].network
    return outside(plan, guest) or any(network in router.networks and router.gateway for router in plan.routers.values())


def overlapping(plan: Plan, one: str, other: str) -> bool:
    """Another guest of its own network may have the address that a guest of the other one has."""
    mine, theirs = (plan.networks.get(plan.guests[name].network) for name in (one, other))
    return bool(mine and theirs and set(mine.subnets) & set(theirs.subnets))


def known_as(plan: Plan, addresses: dict[str, list[str]], gateways: dict[str, str], guest: str) -> str:
    """The IPv4 address that the server outside sees."""
    v4 = [address for address in addresses[guest] if ":" not in address]
    if plan.guests[guest].floating:
        return v4[-1]
    routers = [name for name, router in plan.routers.items() if plan.guests[guest].network in router.networks]
    return gateways[routers[0]] if routers else v4[0]


@pytest.fixture
def built(cloud: RunningCloud, request: pytest.FixtureRequest) -> Iterator[tuple[Plan, dict[str, list[str]]]]:
    name = request.param
    addresses = {}
    for line in cloud.unryu("lab", "build", name).splitlines():
        guest, *those = line.split()
        addresses[guest] = those
    yield named(name)[1], addresses
    cloud.unryu("lab", "clear", name)
    assert not list(cloud.connect("admin").network.networks(tags=f"plan:{name}"))


@pytest.mark.system
@pytest.mark.parametrize("built", ["flat", "flats", "mixed", "provider-router", "tenant-routers"], indirect=True)
def test_everybody_reaches_whom_the_plan_lets(cloud: RunningCloud, built: tuple[Plan, dict[str, list[str]]]) -> None:
    plan, addresses = built
    sdk = cloud.connect("admin").network
    gateways = {router.name: router.external_gateway_info["external_fixed_ips"][0]["ip_address"]
                for router in sdk.routers() if router.external_gateway_info}

    def pings(guest: str, address: str, expected: bool = True) -> bool:
        """Whether it is as expected."""
        return cloud.pings(guest, address, count=2, patience=5 if expected else 1) == expected

    for one, other in permutations(plan.guests, 2):
        fixed = addresses[other][:-1] if plan.guests[other].floating else addresses[other]
        for address in fixed if joined(plan, one, other) or not overlapping(plan, one, other) else ():
            reached = joined(plan, one, other) or ":" not in address and way_out(plan, one) and outside(plan, other)
            assert pings(one, address, reached), f"{one} to {other} at {address}"
        if plan.guests[other].floating:
            assert pings(one, addresses[other][-1], way_out(plan, one)), f"{one} to {other} at its floating IP"
    for guest in plan.guests:
        if not way_out(plan, guest):
            assert pings(guest, SERVER[4], False)
            continue
        seen = cloud.exec(guest, "curl", "-s", "-m", "20", f"http://{SERVER[4]}/")
        assert seen.split()[:1] == [known_as(plan, addresses, gateways, guest)], f"{guest} is seen as {seen!r}"
        if plan.guests[guest].floating or outside(plan, guest):
            assert pings("internet", known_as(plan, addresses, gateways, guest)), f"{guest} from outside"
