"""On which hosts a router is, and by which it leaves: who is told, and who may say otherwise."""

from typing import Any

import pytest

from controller.hosts import Report, take_report
from tests.controller.test_networks import provider
from tests.inprocess import ADMIN, Api

HOSTS = {"h1": {"physical1": 3}, "h2": {"physical1": 3}, "h3": {}}


@pytest.fixture
def api(api: Api) -> Api:
    """With three hosts; one of them has no wire."""
    for host, wires in HOSTS.items():
        take_report(api.database, host, Report(host=host, tunnel_ip="198.18.0.1", datapaths={}, ofports={"br-ex": wires}, vifs={},
                                               mappings=dict.fromkeys(wires, "br-ex")))
    return api


@pytest.fixture
def agents(api: Api) -> dict[str, str]:
    return {agent["host"]: agent["id"] for agent in api("GET", "/agents", token=ADMIN).json["agents"]}


@pytest.fixture
def router(api: Api) -> str:
    """That leaves by h1; h2 would be next."""
    out = api.make("network", ADMIN, **{"router:external": True, **provider("flat", "physical1")})["id"]
    api.make("subnet", ADMIN, network_id=out, ip_version=4, cidr="203.0.113.0/24")
    id = str(api.make("router", external_gateway_info={"network_id": out})["id"])
    with api.database.transaction() as tx:
        [row] = tx.where("router_gateway", router_id=id)
        tx.update(row, host="h1", successor="h2", generation=1)
    return id


def where(api: Api, router: str) -> dict[str, str | None]:
    found = api("GET", f"/routers/{router}/l3-agents", token=ADMIN).json["agents"]
    return {agent["host"]: agent["ha_state"] for agent in found}


def move(api: Api, agent: str, router: str) -> Any:
    return api("POST", f"/agents/{agent}/l3-routers", {"router_id": router}, ADMIN)


def test_a_router_is_where_its_guests_are_and_where_it_leaves(api: Api, agents: dict[str, str], router: str) -> None:
    assert where(api, router) == {"h1": "active", "h2": "standby"}
    network = api.make("network")["id"]
    subnet = api.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/24")["id"]
    assert api("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": subnet}).status_code == 200
    api.make("port", ADMIN, network_id=network, **{"binding:host_id": "h3"})
    assert where(api, router) == {"h1": "active", "h2": "standby", "h3": None}
    other = api.make("router")["id"]
    for host in agents:
        held = api("GET", f"/agents/{agents[host]}/l3-routers", token=ADMIN).json["routers"]
        assert [one["id"] for one in held] == [router]
    assert where(api, other) == {}
    api.refused(403, "Only an administrator", "GET", f"/routers/{router}/l3-agents")
    api.refused(403, "Only an administrator", "GET", f"/agents/{agents['h1']}/l3-routers")
    api.refused(403, "Only an administrator", "POST", f"/agents/{agents['h1']}/l3-routers", {"router_id": router})


def test_an_administrator_moves_a_gateway(api: Api, agents: dict[str, str], router: str) -> None:
    assert move(api, agents["h2"], router).status_code == 201
    assert where(api, router) == {"h2": "active", "h1": "standby"}
    revision = api.revision()
    assert move(api, agents["h2"], router).json is None and api.revision() == revision, "it is there"
    assert api("DELETE", f"/agents/{agents['h2']}/l3-routers/{router}", token=ADMIN).status_code == 204
    assert where(api, router) == {"h1": "active", "h2": "standby"}
    with api.database.reading() as tx:
        assert tx.where("router_gateway", router_id=router)[0].generation == 3, "older announcements are known by it"


def test_where_no_gateway_can_be(api: Api, agents: dict[str, str], router: str) -> None:
    def refused(status: int, words: str, method: str, path: str, body: Any = None) -> str:
        return str(api.refused(status, words, method, path, body, ADMIN)["type"])

    path = f"/agents/{agents['h3']}/l3-routers"
    assert refused(409, "has not the physical network physical1", "POST", path, {"router_id": router}) == "InvalidL3Agent"
    assert refused(409, "does not leave by h3", "DELETE", f"{path}/{router}") == "RouterNotHostedByL3Agent"
    closed = api.make("router")["id"]
    assert refused(409, "has no external gateway", "POST", path, {"router_id": closed}) == "RouterSchedulingFailed"
    refused(404, "could not be found", "POST", path, {"router_id": "none"})
    refused(404, "could not be found", "GET", "/agents/none/l3-routers")
    refused(400, "router_id", "POST", path, {"router": router})
    with api.database.transaction() as tx:
        tx.update(tx.get("agent", agents["h2"]), heartbeat_timestamp="2026-01-01T00:00:00")
    path = f"/agents/{agents['h2']}/l3-routers"
    assert refused(409, "h2 is not alive", "POST", path, {"router_id": router}) == "InvalidL3Agent"
    refused(409, "h2 is not alive", "DELETE", f"/agents/{agents['h1']}/l3-routers/{router}")
    with api.database.transaction() as tx:
        [row] = tx.where("router_gateway", router_id=router)
        tx.update(row, successor="")
    refused(409, "no other host", "DELETE", f"/agents/{agents['h1']}/l3-routers/{router}")
