"""Topologies made by themselves: asked for, asked for again, refused in a sentence, taken away."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.controller.test_routers import outside
from tests.inprocess import ADMIN, ALT, DEMO, READER, Api, Json

PATH = "/auto-allocated-topology"


@pytest.fixture
def ready(api: Api) -> Api:
    outside(api, name="internet", is_default=True)
    for version, prefix, length in ((4, "10.0.0.0/8", 26), (6, "fd00::/48", 64)):
        api.make("subnetpool", ADMIN, prefixes=[prefix], default_prefixlen=length, is_default=True, shared=True,
                 name=f"default-v{version}")
    return api


def get(api: Api, project: str = "None", token: str = DEMO) -> Json:
    answer = api("GET", f"{PATH}/{project}", token=token)
    assert answer.status_code == 200, answer.text
    said: Json = answer.json["auto_allocated_topology"]
    return said


def test_a_network_that_leads_out(ready: Api) -> None:
    before = ready.revision()
    assert get(ready, "demo?fields=dry-run")["id"] == "dry-run=pass" and ready.revision() == before
    made = get(ready)
    assert made["project_id"] == made["tenant_id"] == "demo" and ready.revision() == before + 1
    assert get(ready, "demo") == get(ready, "demo", ADMIN) == made and ready.revision() == before + 1
    network = ready("GET", f"/networks/{made['id']}").json["network"]
    assert network["name"] == "auto_allocated_network" and network["admin_state_up"] is True
    subnets = ready("GET", f"/subnets?network_id={made['id']}").json["subnets"]
    assert sorted(s["name"] for s in subnets) == ["auto_allocated_subnet_v4", "auto_allocated_subnet_v6"]
    [router] = ready("GET", "/routers").json["routers"]
    assert router["external_gateway_info"]["enable_snat"] is True
    ports = ready("GET", f"/ports?device_id={router['id']}").json["ports"]
    assert {f["subnet_id"] for p in ports for f in p["fixed_ips"]} == {s["id"] for s in subnets}
    other = get(ready, token=ALT)
    assert other["project_id"] == "alt" and other["id"] != made["id"]
    guest = ready.make("port", network_id=made["id"])["id"]
    ready.refused(409, guest, "DELETE", f"{PATH}/demo")
    assert ready("DELETE", f"/ports/{guest}").status_code == 204
    for _ in range(2):
        assert ready("DELETE", f"{PATH}/None").status_code == 204
        assert ready("GET", "/routers").json["routers"] == [] and ready("GET", f"/networks/{made['id']}").status_code == 404
    assert get(ready)["id"] != made["id"]


def test_of_many_who_ask_at_once_all_are_told_the_same(ready: Api) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert len({said["id"] for said in pool.map(lambda _: get(ready), range(6))}) == 1
    assert len(ready("GET", "/routers").json["routers"]) == 1


def test_its_parts_deleted_one_by_one(ready: Api) -> None:
    made = get(ready)
    [router] = ready("GET", "/routers").json["routers"]
    for subnet in ready("GET", f"/subnets?network_id={made['id']}").json["subnets"]:
        ready("PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    assert ready("DELETE", f"/routers/{router['id']}").status_code == 204
    assert get(ready) == made, "it is still there"
    assert ready("DELETE", f"{PATH}/demo").status_code == 204
    again = get(ready)
    [router] = ready("GET", "/routers").json["routers"]
    for port in ready("GET", f"/ports?device_id={router['id']}").json["ports"]:
        ready("PUT", f"/routers/{router['id']}/remove_router_interface", {"port_id": port["id"]})
    assert ready("DELETE", f"/networks/{again['id']}").status_code == 204, "and takes its note with it"
    assert get(ready)["id"] != again["id"]


def test_what_cannot_be_made(api: Api) -> None:
    for path in ("demo", "None", "demo?fields=dry-run"):
        fault = api.refused(409, "No default router:external network", "GET", f"{PATH}/{path}")
        assert fault["type"] == "AutoAllocationFailure"
    internet = outside(api)["id"]
    private = api.make("network")["id"]
    put = {"network": {"is_default": True}}
    api.refused(403, "administrator", "PUT", f"/networks/{private}", put)
    api.refused(400, "is not external", "PUT", f"/networks/{private}", put, ADMIN)
    assert api("PUT", f"/networks/{internet}", put, ADMIN).json["network"]["is_default"] is True
    fault = api.refused(409, internet, "POST", "/networks", {"network": {"router:external": True, "is_default": True}}, ADMIN)
    assert fault["type"] == "DefaultExternalNetworkExists"
    for path in ("demo", "demo?fields=dry-run"):
        api.refused(409, "No default subnetpools", "GET", f"{PATH}/{path}")
    api.refused(400, "dry-run", "GET", f"{PATH}/demo?fields=id")
    api.refused(403, "another project", "GET", f"{PATH}/alt")
    api.refused(403, "do not allow create_network", "GET", f"{PATH}/demo", token=READER)
    assert api("DELETE", f"{PATH}/demo").status_code == 204
    api.make("subnetpool", ADMIN, prefixes=["10.0.0.0/26"], default_prefixlen=26, is_default=True, shared=True)
    api.make("subnet", network_id=private, ip_version=4, use_default_subnetpool=True)
    api.refused(409, "", "GET", f"{PATH}/demo")
    api.make("network"), api("PUT", "/quotas/demo", {"quota": {"router": 0}}, ADMIN)
    api.refused(409, "", "GET", f"{PATH}/demo")
    not_any_more = api("PUT", f"/networks/{internet}", {"network": {"router:external": False}}, ADMIN).json["network"]
    assert not_any_more["is_default"] is False
