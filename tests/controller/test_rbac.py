"""RBAC policies: what is shared with whom, in both words, and until when."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.controller.test_routers import subnet
from tests.inprocess import ADMIN, ALT, DEMO, Api, Json
from unryu.db import Database

SUBNET: Json = {"ip_version": 4, "cidr": "10.0.0.0/24"}


def share(api: Api, kind: str, id: str, target: str, token: str = DEMO, action: str = "shared") -> Json:
    return api.make("rbac_policy", token, object_type=kind, object_id=id, action=f"access_as_{action}", target_tenant=target)


def policies(api: Api, id: str) -> list[str]:
    return [p["target_tenant"] for p in api("GET", f"/rbac-policies?object_id={id}", token=ADMIN).json["rbac_policies"]]


def test_a_network_shared_with_one_project(api: Api, network: str) -> None:
    id = api.make("subnet", network_id=network, **SUBNET)["id"]
    policy = share(api, "network", network, "alt")
    assert policy == {"id": policy["id"], "project_id": "demo", "tenant_id": "demo", "object_type": "network",
                      "object_id": network, "action": "access_as_shared", "target_tenant": "alt"}
    theirs = api("GET", f"/networks/{network}", token=ALT).json["network"]
    assert theirs["shared"] is True, "in their eyes"
    assert api("GET", f"/networks/{network}").json["network"]["shared"] is False
    for query, seen in (("", 1), ("?shared=true", 1), ("?shared=false", 0)):
        assert len(api("GET", f"/networks{query}", token=ALT).json["networks"]) == seen
    assert [s["id"] for s in api("GET", "/subnets", token=ALT).json["subnets"]] == [id]
    port = api.make("port", ALT, network_id=network)
    api.refused(404, "could not be found", "GET", f"/networks/{network}", token="eve:third:member")
    api.refused(403, "another project", "PUT", f"/networks/{network}", {"network": {"name": "mine"}}, token=ALT)
    assert api("GET", "/rbac-policies", token=ALT).json == {"rbac_policies": []}
    fault = api.refused(409, "alt use it", "DELETE", f"/rbac-policies/{policy['id']}")
    assert fault["type"] == "RbacPolicyInUse"
    api.refused(409, "alt use it", "PUT", f"/rbac-policies/{policy['id']}", {"rbac_policy": {"target_tenant": "third"}})
    assert api("DELETE", f"/ports/{port['id']}", token=ALT).status_code == 204
    moved = api("PUT", f"/rbac-policies/{policy['id']}", {"rbac_policy": {"target_tenant": "third"}})
    assert moved.status_code == 200 and policies(api, network) == ["third"]
    api.refused(404, "could not be found", "GET", f"/networks/{network}", token=ALT)
    assert api("DELETE", f"/rbac-policies/{policy['id']}").status_code == 204


def test_shared_and_granted_to_everybody_are_one(api: Api) -> None:
    network = api.make("network", ADMIN, shared=True)["id"]
    assert policies(api, network) == ["*"]
    assert api("PUT", f"/networks/{network}", {"network": {"shared": False}}, ADMIN).json["network"]["shared"] is False
    assert policies(api, network) == []
    policy = share(api, "network", network, "*", ADMIN)
    shown = api("GET", f"/networks/{network}").json["network"]
    assert shown["shared"] is True and shown["revision_number"] == 2
    moved = api("PUT", f"/rbac-policies/{policy['id']}", {"rbac_policy": {"target_tenant": "demo"}}, ADMIN)
    assert moved.status_code == 200 and api("GET", f"/networks/{network}", token=ADMIN).json["network"]["shared"] is False
    assert api("GET", f"/networks/{network}").json["network"]["shared"] is True, "in demo's eyes"
    api.refused(404, "could not be found", "GET", f"/networks/{network}", token=ALT)
    api("PUT", f"/rbac-policies/{policy['id']}", {"rbac_policy": {"target_tenant": "*"}}, ADMIN)
    assert api("GET", f"/networks/{network}", token=ALT).json["network"]["shared"] is True
    assert api("DELETE", f"/networks/{network}", token=ADMIN).status_code == 204
    assert policies(api, network) == [], "grants go with what they are of"


def test_everybodys_grant_is_needed_by_those_who_have_no_other(api: Api) -> None:
    network = api.make("network", ADMIN, shared=True)["id"]
    api.make("port", ALT, network_id=network)
    api.make("port", ADMIN, network_id=network)
    [to_all] = api("GET", "/rbac-policies", token=ADMIN).json["rbac_policies"]
    api.refused(409, "alt use it", "DELETE", f"/rbac-policies/{to_all['id']}", token=ADMIN)
    api.refused(409, "another project, alt", "PUT", f"/networks/{network}", {"network": {"shared": False}}, token=ADMIN)
    own = share(api, "network", network, "alt", ADMIN)
    assert api("PUT", f"/networks/{network}", {"network": {"shared": False}}, ADMIN).status_code == 200
    api.refused(409, "alt use it", "DELETE", f"/rbac-policies/{own['id']}", token=ADMIN)
    share(api, "network", network, "*", ADMIN)
    assert api("DELETE", f"/rbac-policies/{own['id']}", token=ADMIN).status_code == 204, "everybody's holds it, too"


@pytest.mark.parametrize(("kind", "values", "use"), [
    ("address_scope", {"ip_version": 4}, ("subnetpool", {"prefixes": ["10.0.0.0/8"], "address_scope_id": "ID"})),
    ("subnetpool", {"prefixes": ["10.0.0.0/8"], "default_prefixlen": 24},
     ("subnet", {"network_id": "NET", "ip_version": 4, "subnetpool_id": "ID"})),
    ("security_group", {"name": "web"}, ("port", {"network_id": "NET", "security_groups": ["ID"]})),
    ("address_group", {"addresses": ["10.0.0.0/8"]},
     ("security_group_rule", {"security_group_id": "GROUP", "direction": "ingress", "remote_address_group_id": "ID"})),
])
def test_all_that_can_be_shared(api: Api, kind: str, values: Json, use: tuple[str, Json]) -> None:
    id = api.make(kind, **values)["id"]
    ids: dict[str, Any] = {"ID": id, "NET": api.make("network", ALT)["id"], "GROUP": api.make("security_group", ALT)["id"]}
    kind_of_use, body = use
    body = {k: [ids[v] for v in value] if k == "security_groups" else ids.get(value, value) if isinstance(value, str) else value
            for k, value in body.items()}
    policy = share(api, kind, id, "alt")
    used = api.make(kind_of_use, ALT, **body)["id"]
    api.refused(409, "alt use it", "DELETE", f"/rbac-policies/{policy['id']}")
    plural = {"security_group_rule": "security-group-rules"}.get(kind_of_use, kind_of_use + "s")
    assert api("DELETE", f"/{plural}/{used}", token=ALT).status_code == 204
    assert api("DELETE", f"/rbac-policies/{policy['id']}").status_code == 204
    assert api("POST", f"/{plural}", {kind_of_use: body}, ALT).status_code == 404


@pytest.mark.parametrize(("status", "words", "values"), [
    (400, "required", {"target_tenant": None}), (400, "not a valid RBAC object type", {"object_type": "port"}),
    (400, "not a valid RBAC object type", {"object_type": "no-such"}), (404, "could not be found", {"object_id": "no-such"}),
    (400, "none of access_as_shared", {"action": "access_as_owner"}), (400, "a project's id", {"target_tenant": ""}),
    (403, "Only an administrator", {"target_tenant": "*"}), (409, "already exists", {"target_tenant": "third"}),
    (400, "longer than 64", {"target_tenant": "x" * 65}), (400, "'colour'", {"colour": "blue"}),
])
def test_a_bad_policy(api: Api, network: str, status: int, words: str, values: Json) -> None:
    share(api, "network", network, "third")
    body = {"object_type": "network", "object_id": network, "action": "access_as_shared", "target_tenant": "alt", **values}
    api.refused(status, words, "POST", "/rbac-policies", {"rbac_policy": {k: v for k, v in body.items() if v is not None}})


def test_only_its_owner_shares_a_thing(api: Api, network: str) -> None:
    policy = share(api, "network", network, "alt")
    body = {"object_type": "network", "object_id": network, "action": "access_as_shared", "target_tenant": "third"}
    api.refused(400, "belongs to another project", "POST", "/rbac-policies", {"rbac_policy": body}, token=ALT)
    api.refused(404, "could not be found", "POST", "/rbac-policies", {"rbac_policy": body}, token="eve:third:member")
    for method, change in (("GET", None), ("PUT", {"rbac_policy": {"target_tenant": "third"}}), ("DELETE", None)):
        api.refused(404, "could not be found", method, f"/rbac-policies/{policy['id']}", change, token=ALT)
    api.refused(403, "Only an administrator", "PUT", f"/rbac-policies/{policy['id']}", {"rbac_policy": {"target_tenant": "*"}})
    api.refused(400, "cannot be given", "PUT", f"/rbac-policies/{policy['id']}", {"rbac_policy": {"object_id": "other"}})


def test_who_leads_out_by_a_network_holds_what_lets_him(api: Api, network: str) -> None:
    """And not what lets him have ports there; nor the other way round."""
    subnet(api, network, "10.0.0.0/24")
    shared, external = share(api, "network", network, "alt"), share(api, "network", network, "alt", ADMIN, "external")
    router = api.make("router", ALT, external_gateway_info={"network_id": network})["id"]
    api.refused(409, "alt use it", "DELETE", f"/rbac-policies/{external['id']}", token=ADMIN)
    assert api("DELETE", f"/rbac-policies/{shared['id']}").status_code == 204
    shared = share(api, "network", network, "alt")
    api.make("port", ALT, network_id=network)
    assert api("DELETE", f"/routers/{router}", token=ALT).status_code == 204
    assert api("DELETE", f"/rbac-policies/{external['id']}", token=ADMIN).status_code == 204
    api.refused(409, "alt use it", "DELETE", f"/rbac-policies/{shared['id']}")


@pytest.mark.parametrize(("action", "use"), [
    ("shared", lambda api, network, subnet, router: api("POST", "/ports", {"port": {"network_id": network}}, ALT)),
    ("shared", lambda api, network, subnet, router: api("PUT", f"{router}/add_router_interface", {"subnet_id": subnet}, ALT)),
    ("external", lambda api, network, subnet, router: api(
        "PUT", router, {"router": {"external_gateway_info": {"network_id": network}}}, ALT)),
    ("external", lambda api, network, subnet, router: api(
        "POST", "/floatingips", {"floatingip": {"floating_network_id": network}}, ALT)),
])
def test_a_use_that_begins_while_the_grant_goes(database: Database, action: str, use: Callable[..., Any]) -> None:
    """Either it is there and the grant holds, or the grant is gone and nothing was found that could be used."""
    api = Api(database)
    for number in range(10):  # as many policies as a project may have, if none of them goes
        network, router = api.make("network")["id"], f"/routers/{api.make('router', ALT)['id']}"
        inside = subnet(api, network, f"10.0.{number}.0/24")
        policy = share(api, "network", network, "alt", ADMIN, action)["id"]
        with ThreadPoolExecutor(2) as pool:
            made = pool.submit(use, api, network, inside, router)
            gone = pool.submit(api, "DELETE", f"/rbac-policies/{policy}", None, ADMIN)
        assert (made.result().status_code, gone.result().status_code) in {(200, 409), (201, 409), (400, 204), (404, 204)}
