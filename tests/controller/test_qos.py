"""QoS policies and their rules, as Neutron's API has them: who may, what conflicts, what they hold for."""

from typing import Any

import pytest

from tests.controller.test_routers import inside, join, outside, put
from tests.inprocess import ADMIN, ALT, DEMO, Api, Json


def policy(api: Api, token: str = ADMIN, **words: Any) -> Json:
    answer = api("POST", "/qos/policies", {"policy": words}, token)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json["policy"]
    return made


def rule(api: Api, policy_id: str, kind: str, **words: Any) -> Json:
    answer = api("POST", f"/qos/policies/{policy_id}/{kind}s", {kind: words}, ADMIN)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json[kind]
    return made


def shown(api: Api, policy_id: str, token: str = ADMIN) -> Json:
    seen: Json = api("GET", f"/qos/policies/{policy_id}", token=token).json["policy"]
    return seen


def test_a_policy_shows_its_rules(api: Api) -> None:
    made = policy(api, name="gold", description="fast")
    assert made | {"id": "", "created_at": "", "updated_at": ""} == {
        "id": "", "name": "gold", "description": "fast", "shared": False, "is_default": False, "rules": [], "tags": [],
        "project_id": "admin", "tenant_id": "admin", "revision_number": 0, "created_at": "", "updated_at": ""}
    bits = rule(api, made["id"], "bandwidth_limit_rule", max_kbps=5000)
    assert (bits["direction"], bits["max_burst_kbps"], bits["qos_policy_id"]) == ("egress", 0, made["id"])
    packets = rule(api, made["id"], "packet_rate_limit_rule", max_kpps=2, direction="ingress")
    dscp = rule(api, made["id"], "dscp_marking_rule", dscp_mark=46)
    full = shown(api, made["id"])
    assert full["revision_number"] == 3
    assert {(r["id"], r["type"]) for r in full["rules"]} == {
        (bits["id"], "bandwidth_limit"), (packets["id"], "packet_rate_limit"), (dscp["id"], "dscp_marking")}
    assert next(r for r in full["rules"] if r["id"] == bits["id"]) == {
        "id": bits["id"], "type": "bandwidth_limit", "qos_policy_id": made["id"], "max_kbps": 5000, "max_burst_kbps": 0,
        "direction": "egress"}
    path = f"/qos/policies/{made['id']}/bandwidth_limit_rules/{bits['id']}"
    changed = api("PUT", path, {"bandwidth_limit_rule": {"max_kbps": 7000, "max_burst_kbps": 100}}, ADMIN)
    assert changed.status_code == 200 and changed.json["bandwidth_limit_rule"]["max_kbps"] == 7000
    assert api("GET", path, token=ADMIN).json == changed.json
    assert api("DELETE", path, token=ADMIN).status_code == 204
    api.refused(404, bits["id"], "GET", path, token=ADMIN)
    assert api("DELETE", f"/qos/policies/{made['id']}", token=ADMIN).status_code == 204, "its rules go with it"


@pytest.mark.parametrize("kind, words, sentence", [
    ("bandwidth_limit_rule", {"max_kbps": 0}, "not between 1"),
    ("bandwidth_limit_rule", {"max_kbps": 1 << 31}, "not between 1"),
    ("bandwidth_limit_rule", {"max_kbps": 1, "max_burst_kbps": -1}, "not between 0"),
    ("bandwidth_limit_rule", {"max_kbps": 1, "direction": "any"}, "none of egress, ingress"),
    ("bandwidth_limit_rule", {"max_burst_kbps": 5}, "max_kbps"),
    ("packet_rate_limit_rule", {"max_kpps": 0}, "not between 1"),
    ("dscp_marking_rule", {"dscp_mark": 42}, "none of the DSCP marks"),
    ("dscp_marking_rule", {}, "required"),
])
def test_rules_that_cannot_be(api: Api, kind: str, words: Json, sentence: str) -> None:
    id = policy(api)["id"]
    api.refused(400, sentence, "POST", f"/qos/policies/{id}/{kind}s", {kind: words}, ADMIN)


def test_one_rule_of_a_kind_and_direction(api: Api) -> None:
    id = policy(api)["id"]
    first = rule(api, id, "bandwidth_limit_rule", max_kbps=5)
    other = rule(api, id, "bandwidth_limit_rule", max_kbps=5, direction="ingress")
    path = f"/qos/policies/{id}/bandwidth_limit_rules"
    fault = api.refused(409, first["id"], "POST", path, {"bandwidth_limit_rule": {"max_kbps": 9}}, ADMIN)
    assert fault["type"] == "QoSRulesConflict"
    api.refused(409, first["id"], "PUT", f"{path}/{other['id']}", {"bandwidth_limit_rule": {"direction": "egress"}}, ADMIN)
    rule(api, id, "dscp_marking_rule", dscp_mark=8)
    body = {"dscp_marking_rule": {"dscp_mark": 10}}
    api.refused(409, "already exists", "POST", f"/qos/policies/{id}/dscp_marking_rules", body, ADMIN)
    assert [r["id"] for r in api("GET", f"{path}?direction=ingress", token=ADMIN).json["bandwidth_limit_rules"]] == [other["id"]]


def test_policies_are_the_administrators_and_shared_with_whom_he_says(api: Api, network: str) -> None:
    id = policy(api)["id"]
    bits = rule(api, id, "bandwidth_limit_rule", max_kbps=5)
    api.refused(403, "create_qos_policy", "POST", "/qos/policies", {"policy": {}})
    api.refused(404, "could not be found", "GET", f"/qos/policies/{id}")
    api.refused(404, "could not be found", "GET", f"/qos/policies/{id}/bandwidth_limit_rules/{bits['id']}")
    api.refused(404, "could not be found", "PUT", f"/networks/{network}", {"network": {"qos_policy_id": id}})
    grant = api.make("rbac_policy", ADMIN, object_type="qos_policy", object_id=id, action="access_as_shared",
                     target_tenant="demo")
    assert shown(api, id, DEMO)["shared"] is True and shown(api, id, DEMO)["rules"]
    assert api("GET", f"/qos/policies/{id}", token=ALT).status_code == 404
    assert [p["id"] for p in api("GET", "/qos/policies").json["policies"]] == [id]
    assert api("GET", f"/qos/policies/{id}/bandwidth_limit_rules/{bits['id']}").status_code == 200
    port = api.make("port", network_id=network, qos_policy_id=id)
    api.refused(409, "demo use it", "DELETE", f"/rbac-policies/{grant['id']}", token=ADMIN)
    fault = api.refused(409, f"port {port['id']}", "DELETE", f"/qos/policies/{id}", token=ADMIN)
    assert fault["type"] == "QosPolicyInUse"
    assert api("PUT", f"/ports/{port['id']}", {"port": {"qos_policy_id": None}}).json["port"]["qos_policy_id"] is None
    assert api("DELETE", f"/rbac-policies/{grant['id']}", token=ADMIN).status_code == 204


def test_what_an_administrator_put_on_a_port_its_owner_cannot_take_away(api: Api, network: str) -> None:
    hidden, own = policy(api)["id"], policy(api, project_id="demo")["id"]
    port = api.make("port", network_id=network)["id"]
    for path, word in ((f"/networks/{network}", "network"), (f"/ports/{port}", "port")):
        assert api("PUT", path, {word: {"qos_policy_id": own}}).status_code == 200
        assert api("PUT", path, {word: {"qos_policy_id": hidden}}, ADMIN).status_code == 200
        for wanted in (None, own):
            fault = api.refused(403, hidden, "PUT", path, {word: {"qos_policy_id": wanted}})
            assert fault["type"] == "PolicyRemoveAuthorizationError"
        assert api("PUT", path, {word: {"name": "x"}}).json[word]["qos_policy_id"] == hidden
    assert api("GET", f"/ports/{port}").json["port"]["qos_network_policy_id"] == hidden


def test_the_default_is_of_new_networks(api: Api, network: str) -> None:
    id = policy(api, project_id="demo", is_default=True)["id"]
    fault = api.refused(409, "demo", "POST", "/qos/policies", {"policy": {"project_id": "demo", "is_default": True}}, ADMIN)
    assert fault["type"] == "QoSPolicyDefaultAlreadyExists"
    other = policy(api, project_id="demo")["id"]
    api.refused(409, "demo", "PUT", f"/qos/policies/{other}", {"policy": {"is_default": True}}, ADMIN)
    assert api("PUT", f"/qos/policies/{id}", {"policy": {"is_default": True, "name": "x"}}, ADMIN).status_code == 200
    policy(api, is_default=True)
    assert api("GET", f"/networks/{network}").json["network"]["qos_policy_id"] is None, "it was there before"
    assert api.make("network")["qos_policy_id"] == id and api.make("network", qos_policy_id=None)["qos_policy_id"] is None
    assert api.make("network", qos_policy_id=other)["qos_policy_id"] == other
    assert api.make("network", ALT)["qos_policy_id"] is None


def test_rule_types(api: Api) -> None:
    kinds = ["bandwidth_limit", "dscp_marking", "packet_rate_limit"]
    assert api("GET", "/qos/rule-types?all_supported=true").json == {"rule_types": [{"type": kind} for kind in kinds]}
    [driver] = api("GET", "/qos/rule-types/bandwidth_limit", token=ADMIN).json["rule_type"]["drivers"]
    assert {p["parameter_name"]: p["parameter_values"] for p in driver["supported_parameters"]} == {
        "max_kbps": {"start": 1, "end": 2147483647}, "max_burst_kbps": {"start": 0, "end": 2147483647},
        "direction": ["egress", "ingress"]}
    api.refused(403, "administrator", "GET", "/qos/rule-types/bandwidth_limit")
    api.refused(404, "minimum", "GET", "/qos/rule-types/minimum_bandwidth", token=ADMIN)


def test_tags_are_where_clients_look_for_them(api: Api) -> None:
    id = policy(api)["id"]
    assert api("PUT", f"/policies/{id}/tags", {"tags": ["gold"]}, ADMIN).json == {"tags": ["gold"]}
    assert [p["id"] for p in api("GET", "/qos/policies?tags=gold", token=ADMIN).json["policies"]] == [id]


def test_floating_ips_and_gateways(api: Api) -> None:
    gold, hidden = policy(api, shared=True)["id"], policy(api)["id"]
    internet = outside(api, qos_policy_id=hidden)["id"]
    router = api.make("router", external_gateway_info={"network_id": internet, "qos_policy_id": gold})["id"]
    join(api, router, subnet_id=inside(api, "10.0.0.0/24"))

    def gateway() -> Any:
        return api("GET", f"/routers/{router}").json["router"]["external_gateway_info"]["qos_policy_id"]

    assert gateway() == gold
    api.refused(409, "router_gateway", "DELETE", f"/qos/policies/{gold}", token=ADMIN)
    put(api, router, body={"external_gateway_info": {"network_id": internet}})
    assert gateway() == gold, "it was not spoken of"
    body = {"router": {"external_gateway_info": {"network_id": internet, "qos_policy_id": hidden}}}
    api.refused(404, hidden, "PUT", f"/routers/{router}", body)
    assert api("PUT", f"/routers/{router}", body, ADMIN).status_code == 200 and gateway() == hidden
    lifted = {"router": {"external_gateway_info": {"network_id": internet, "qos_policy_id": None}}}
    assert api.refused(403, hidden, "PUT", f"/routers/{router}", lifted)["type"] == "PolicyRemoveAuthorizationError"
    assert api("PUT", f"/routers/{router}", lifted, ADMIN).status_code == 200 and gateway() is None

    floating = api.make("floatingip", floating_network_id=internet, qos_policy_id=gold)
    assert (floating["qos_policy_id"], floating["qos_network_policy_id"]) == (gold, hidden)
    api.refused(409, f"floatingip {floating['id']}", "DELETE", f"/qos/policies/{gold}", token=ADMIN)
    path = f"/floatingips/{floating['id']}"
    assert api("PUT", path, {"floatingip": {"qos_policy_id": hidden}}, ADMIN).status_code == 200
    api.refused(403, hidden, "PUT", path, {"floatingip": {"qos_policy_id": None}})
