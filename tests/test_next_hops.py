"""Next hops outside, by packets: asked by the host that sends to them, remembered by its switch, with or without a controller."""

import os
import re
import signal
from collections.abc import Iterator

import pytest

from ovsagent.answers.counts import counted
from tests.clouds import RunningCloud, eventually
from tests.ovs import run
from tests.test_routers import Guest, Scene, standing

pytestmark = pytest.mark.system

WEB, WEB6 = "198.51.100.80", "2001:db8:80::80"
NOBODY, NEIGHBOUR = "203.0.113.253", "203.0.113.252"


@pytest.fixture(scope="module")
def scene(cloud: RunningCloud) -> Iterator[Scene]:
    with standing(cloud, "demo", "nh-", {"red1": "h1", "red2": "h2"}) as scene:
        network = scene.sdk.network.find_network("internet")
        scene.change(external_gateway_info={"network_id": network.id})
        assert eventually(lambda: scene.guests["red1"].reaches(WEB, count=1)), "its gateway has come to stand somewhere"
        yield scene
        scene.change(external_gateway_info=None)


@pytest.fixture
def red(scene: Scene) -> Guest:
    return scene.guests["red1"]


def outside(scene: Scene, *words: str) -> None:
    run("ip", "-n", scene.cloud.namespace("h1").removesuffix("-h1") + "-internet", *words)


def test_the_first_packet_waits_and_is_sent_on(scene: Scene, red: Guest) -> None:
    for guest in scene.guests.values():
        assert guest.reaches(WEB, count=3)
    flows = scene.cloud.ofctl("h1", "dump-flows", "br-int") + scene.cloud.ofctl("h2", "dump-flows", "br-int")
    assert re.search("hard_timeout=60.*reg15=0xcb007101", flows), "written by the switch, from the answer"
    used = [counted(scene.cloud.state / "hosts" / host) for host in ("h1", "h2")]
    assert any(packets for each in used for (_, hop), packets in each.items() if hop == bytes([203, 0, 113, 1])), used


def test_a_next_hop_that_is_silent(red: Guest) -> None:
    said = red.run("ping", "-n", "-c", "1", "-W", "30", NOBODY, check=False)
    assert "Destination Host Unreachable" in said, said


def test_a_next_hop_of_ipv6(scene: Scene, red: Guest) -> None:
    """Addresses inside are seen outside as they are: who shall answer needs a route to them."""
    router = scene.sdk.network.get_router(scene.router)
    [six] = [f["ip_address"] for f in router.external_gateway_info["external_fixed_ips"] if ":" in f["ip_address"]]
    outside(scene, "-6", "route", "add", "fd81::/64", "via", six)
    try:
        assert red.reaches(WEB6, count=3)
    finally:
        outside(scene, "-6", "route", "del", "fd81::/64")


def test_with_the_controller_dead_new_ones_are_found(scene: Scene, red: Guest) -> None:
    pids = [scene.cloud.pid(name) or 0 for name in ("controller", "api")]
    outside(scene, "addr", "add", f"{NEIGHBOUR}/24", "dev", wire(scene))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert red.reaches(NEIGHBOUR, count=3) and red.reaches(WEB, count=3)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        outside(scene, "addr", "del", f"{NEIGHBOUR}/24", "dev", wire(scene))
    assert scene.settled()


def wire(scene: Scene) -> str:
    """The device outside that has 203.0.113.1."""
    lines = run("ip", "-n", scene.cloud.namespace("h1").removesuffix("-h1") + "-internet", "-o", "-4", "addr").splitlines()
    return next(line.split()[1] for line in lines if "203.0.113.1/" in line)


def test_the_gateway_says_that_it_has_another_mac(scene: Scene, red: Guest) -> None:
    """As when another router takes over its address: packets go there at once, not after a minute."""
    space, device = scene.cloud.namespace("h1").removesuffix("-h1") + "-internet", wire(scene)
    before = run("ip", "netns", "exec", space, "cat", f"/sys/class/net/{device}/address").strip()
    assert red.reaches(WEB)
    run("ip", "-n", space, "link", "set", device, "address", "02:00:5e:00:53:99")
    try:
        announce(space, device)
        assert eventually(lambda: red.reaches(WEB, count=1), 30)
    finally:
        run("ip", "-n", space, "link", "set", device, "address", before)
        announce(space, device)
    assert eventually(lambda: red.reaches(WEB, count=1), 30)


def announce(space: str, device: str) -> None:
    run("ip", "netns", "exec", space, "ping", "-c", "1", "-W", "1", "-I", device, "203.0.113.254", check=False)
