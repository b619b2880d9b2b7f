"""Faults of what has no status of its own: the port, or the floating IP, that it is a part of says so; and no fault lasts."""

import threading
from collections.abc import Iterator
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.derive import Feature, catalogue
from controller.hosts import Report, take_report
from controller.loop import Loop
from controller.openflow.push import Refused
from controller.pusher import Pusher
from tests.clouds import eventually
from tests.controller.test_floating_ips import World, world
from tests.inprocess import ADMIN, Api

__all__ = ["world"]


@pytest.fixture
def api(api: Api) -> Api:
    """With a host that has the wire."""
    take_report(api.database, "h1", Report(host="h1", tunnel_ip="198.18.0.1", mappings={"physical1": "br-ex"}, vifs={},
                                           datapaths={"br-int": "1"}, ofports={"br-ex": {"physical1": 2}}))
    return api


@pytest.fixture
def features() -> list[Feature]:
    return list(catalogue.values())


@pytest.fixture
def loop(world: World, features: list[Feature]) -> Iterator[Loop]:
    """Of a controller that no switch has come to."""
    loop = Loop(world.api.database, features)
    loop.load()
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield loop
    loop.stop()
    thread.join()


def has(api: Api, path: str, status: str) -> bool:
    return bool(eventually(lambda: api("GET", path, token=ADMIN).json.popitem()[1]["status"] == status))


def gateway(world: World) -> str:
    [port] = world.api("GET", "/ports?device_owner=network:router_gateway", token=ADMIN).json["ports"]
    with world.api.database.transaction() as tx:
        [row] = tx.where("router_gateway")
        tx.update(row, host="h1", generation=1)
    return f"/ports/{port['id']}"


def refusal(loop: Loop, feature: str) -> Any:
    """Of a flow of this feature."""
    found = (flow for _, flow in loop.engine.wanted["h1"]["br-int"].values()
             if any(unit.feature == feature for unit in loop.engine.owners("h1", "br-int", flow)))
    return "refused", ("h1", "br-int", [Refused(next(found), "not that")])


def test_the_port_of_a_router_tells_of_a_flow_that_no_switch_takes(world: World, loop: Loop) -> None:
    port = gateway(world)
    assert has(world.api, port, "ACTIVE")
    loop.inbox.put(refusal(loop, "snat.outward"))
    assert has(world.api, port, "ERROR")
    loop.pushers["h1"] = cast(Pusher, SimpleNamespace(live=False, sent=0, tell=lambda *_: None, stop=lambda: None))
    loop.inbox.put(("claimed", ("h1", monotonic())))
    assert has(world.api, port, "ACTIVE"), "the switch came anew, and takes it"


def a_flaw(row: Any, net: Any, here: Any) -> Iterator[Any]:
    if net.get("router", row.router_id).admin_state_up:
        raise RuntimeError("planted")
    yield from ()


@pytest.mark.parametrize("features", [[Feature("test.flaw", "router_gateway", lambda row, net: ["h1"], a_flaw)]])
def test_the_port_of_a_router_tells_of_a_feature_that_fails(world: World, loop: Loop) -> None:
    port = gateway(world)
    assert has(world.api, port, "ERROR")
    assert world.api("PUT", f"/routers/{world.router}", {"router": {"admin_state_up": False}}).status_code == 200
    assert has(world.api, port, "DOWN")


def test_a_host_that_is_removed_when_it_has_just_been_claimed(world: World, loop: Loop) -> None:
    loop.inbox.put(("claimed", ("gone", monotonic())))
    assert has(world.api, gateway(world), "ACTIVE"), "the controller goes on"
