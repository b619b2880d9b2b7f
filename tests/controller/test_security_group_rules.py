"""Rules of security groups in-process: what each may say, whole sets of them in one call."""

from typing import Any

import pytest

from tests.inprocess import ADMIN, ALT, READER, Api, Json
from unryu.resource import nouns

WEB: Json = {"direction": "ingress", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}


def show(api: Api, id: str, **more: Any) -> Json:
    return api("GET", f"/security-groups/{id}", **more).json["security_group"]


def replace(api: Api, group: str, rules: list[Json], **more: Any) -> Any:
    return api("PUT", f"/security-groups/{group}/rules", {"security_group_rules": rules}, **more)


@pytest.mark.parametrize(("given", "shown"), [
    ({"direction": "egress", "ethertype": "ipv6"}, {"ethertype": "IPv6", "protocol": None}),
    (WEB, {"protocol": "tcp", "port_range_min": 80}),
    ({**WEB, "protocol": "UDP"}, {"protocol": "udp"}),
    ({**WEB, "protocol": "132"}, {"protocol": "132"}),
    ({"direction": "ingress", "protocol": "any"}, {"protocol": "any"}),
    ({"direction": "ingress", "protocol": "icmp", "port_range_min": 8, "port_range_max": 0}, {"port_range_max": 0}),
    ({"direction": "ingress", "protocol": "icmp", "port_range_min": 3}, {"port_range_max": None}),
    ({"direction": "ingress", "protocol": "icmp", "ethertype": "IPv6"}, {"protocol": "ipv6-icmp"}),
    ({"direction": "ingress", "protocol": "1", "ethertype": "IPv6"}, {"protocol": "58"}),
    ({"direction": "ingress", "remote_ip_prefix": "10.0.0.7/8"},
     {"remote_ip_prefix": "10.0.0.7/8", "normalized_cidr": "10.0.0.0/8"}),
    ({"direction": "ingress", "remote_ip_prefix": "10.0.0.7"}, {"remote_ip_prefix": "10.0.0.7/32"}),
    ({"direction": "ingress", "ethertype": "IPv6", "remote_ip_prefix": "2001:DB8::/32"}, {"normalized_cidr": "2001:db8::/32"}),
    ({"direction": "ingress", "remote_ip_prefix": "", "protocol": ""}, {"remote_ip_prefix": None, "protocol": None}),
])
def test_a_rule(api: Api, group: str, given: Json, shown: Json) -> None:
    if given["direction"] == "egress":
        group = api.make("security_group")["id"]
        replace(api, group, [])
    made = api.make("security_group_rule", security_group_id=group, **given)
    assert made | shown == made and made["project_id"] == "demo" and made["security_group_id"] == group
    assert made in show(api, group)["security_group_rules"]
    assert api("GET", f"/security-group-rules/{made['id']}").json["security_group_rule"] == made


@pytest.mark.parametrize(("status", "type", "given"), [
    (400, "BadRequest", {}),
    (400, "BadRequest", {"direction": "sideways"}),
    (400, "BadRequest", {"direction": "ingress", "ethertype": "IPX"}),
    (400, "BadRequest", {"direction": "ingress", "protocol": "carrier-pigeon"}),
    (400, "BadRequest", {"direction": "ingress", "protocol": "256"}),
    (400, "BadRequest", {"direction": "ingress", "protocol": "9" * 5000}),
    (400, "BadRequest", {**WEB, "port_range_max": 65536}),
    (400, "BadRequest", {"direction": "ingress", "remote_ip_prefix": "10.0.0.0/33"}),
    (400, "SecurityGroupProtocolRequiredWithPorts", {**WEB, "protocol": None}),
    (400, "SecurityGroupProtocolRequiredWithPorts", {**WEB, "protocol": "any"}),
    (400, "SecurityGroupInvalidPortRange", {**WEB, "port_range_min": 81}),
    (400, "SecurityGroupInvalidPortRange", {"direction": "ingress", "protocol": "tcp", "port_range_min": 80}),
    (400, "SecurityGroupInvalidPortValue", {**WEB, "port_range_min": 0}),
    (400, "SecurityGroupInvalidProtocolForPort", {**WEB, "protocol": "gre"}),
    (400, "SecurityGroupInvalidIcmpValue", {"direction": "ingress", "protocol": "icmp", "port_range_min": 256}),
    (400, "SecurityGroupMissingIcmpType", {"direction": "ingress", "protocol": "icmp", "port_range_max": 0}),
    (400, "SecurityGroupEthertypeConflictWithProtocol", {"direction": "ingress", "protocol": "ipv6-icmp"}),
    (400, "SecurityGroupEthertypeConflictWithProtocol", {"direction": "ingress", "protocol": "58"}),
    (400, "SecurityGroupRuleParameterConflict", {"direction": "ingress", "remote_ip_prefix": "fd00::/8"}),
    (400, "SecurityGroupMultipleRemoteEntites",
     {"direction": "ingress", "remote_ip_prefix": "10.0.0.0/8", "remote_group_id": "GROUP"}),
    (404, "SecurityGroupNotFound", {"direction": "ingress", "remote_group_id": "no-such"}),
    (404, "AddressGroupNotFound", {"direction": "ingress", "remote_address_group_id": "no-such"}),
    (404, "SecurityGroupNotFound", {**WEB, "security_group_id": "no-such"}),
])
def test_a_bad_rule(api: Api, group: str, status: int, type: str, given: Json) -> None:
    rule = {"security_group_id": group, **{k: group if v == "GROUP" else v for k, v in given.items()}}
    assert api.refused(status, "", "POST", "/security-group-rules", {"security_group_rule": rule})["type"] == type


@pytest.mark.parametrize(("first", "second"), [
    (WEB, WEB), (WEB, {**WEB, "protocol": "6", "description": "another"}),
    ({"direction": "ingress"}, {"direction": "ingress", "remote_ip_prefix": "0.0.0.0/0", "protocol": "any"}),
    ({"direction": "ingress", "remote_ip_prefix": "10.1.2.3/8"}, {"direction": "ingress", "remote_ip_prefix": "10.0.0.0/8"}),
    ({"direction": "ingress", "remote_group_id": "GROUP"}, {"direction": "ingress", "remote_group_id": "GROUP"}),
])
def test_the_same_rule_twice(api: Api, group: str, first: Json, second: Json) -> None:
    one, other = ({k: group if v == "GROUP" else v for k, v in rule.items()} for rule in (first, second))
    id = api.make("security_group_rule", security_group_id=group, **one)["id"]
    fault = api.refused(409, id, "POST", "/security-group-rules", {"security_group_rule": {"security_group_id": group, **other}})
    assert fault["type"] == "SecurityGroupRuleExists"
    many = {"security_group_rules": [{"security_group_id": group, **WEB, "port_range_max": p} for p in (81, 82, 81)]}
    assert api.refused(409, "already exists", "POST", "/security-group-rules", many)["type"] == "SecurityGroupRuleExists"
    api.make("security_group_rule", security_group_id=api.make("security_group")["id"], **WEB)


def test_a_rule_is_not_updated_but_counts_as_a_change_of_its_group(api: Api, group: str) -> None:
    assert show(api, group)["revision_number"] == 0
    many = {"security_group_rules": [{"security_group_id": group, **WEB, "port_range_max": p} for p in (80, 81)]}
    [rule, _] = api("POST", "/security-group-rules", many).json["security_group_rules"]
    assert show(api, group)["revision_number"] == 1
    assert api("PUT", f"/security-group-rules/{rule['id']}", {"security_group_rule": {"description": "x"}}).status_code == 405
    assert api("DELETE", f"/security-group-rules/{rule['id']}").status_code == 204
    assert show(api, group)["revision_number"] == 2
    assert api("DELETE", f"/security-groups/{group}").status_code == 204
    api.refused(404, "could not be found", "DELETE", f"/security-group-rules/{rule['id']}")


def test_whose_rules(api: Api, group: str) -> None:
    rule = {"security_group_rule": {"security_group_id": group, **WEB}}
    api.refused(404, "could not be found", "POST", "/security-group-rules", rule, token=ALT)
    api.refused(404, "could not be found", "POST", "/security-group-rules", {"security_group_rule": {
        "security_group_id": api.make("security_group", ALT)["id"], **WEB, "remote_group_id": group}}, token=ALT)
    made = api("POST", "/security-group-rules", rule, ADMIN).json["security_group_rule"]
    assert made["project_id"] == "demo"
    api.refused(404, "could not be found", "DELETE", f"/security-group-rules/{made['id']}", token=ALT)
    assert made["id"] not in {r["id"] for r in api("GET", "/security-group-rules", token=ALT).json["security_group_rules"]}


def test_a_group_that_rules_name_takes_them_along(api: Api, group: str) -> None:
    other = api.make("security_group", name="db")["id"]
    api.make("security_group_rule", security_group_id=other, **WEB, remote_group_id=group)
    assert api("DELETE", f"/security-groups/{group}").status_code == 204
    assert {r["direction"] for r in show(api, other)["security_group_rules"]} == {"egress"}


def test_no_more_rules_than_the_quota(api: Api, group: str) -> None:
    many = [{**WEB, "port_range_max": p} for p in range(80, 200)]
    before = show(api, group)
    fault = api.refused(409, "security_group_rule", "PUT", f"/security-groups/{group}/rules", {"security_group_rules": many})
    assert fault["type"] == "OverQuota" and show(api, group) == before
    for n in range(8):  # and the default one, and `group`
        api.make("security_group", name=f"g{n}")
    api.refused(409, "security_group", "POST", "/security-groups", {"security_group": {}})


# all rules in one call


def test_the_rule_set_in_one_call(api: Api, group: str) -> None:
    wanted = [{**WEB, "description": "site"}, {"direction": "egress"}]
    [https] = [api.make("security_group_rule", security_group_id=group, **{**WEB, "port_range_max": 443}, description="old")]
    [out] = [r for r in show(api, group)["security_group_rules"] if (r["direction"], r["ethertype"]) == ("egress", "IPv4")]
    before, revision = show(api, group)["revision_number"], api.revision()
    rules = replace(api, group, wanted).json["security_group_rules"]
    assert len(rules) == 2 and out in rules and https["id"] not in {r["id"] for r in rules}
    assert sorted(rules, key=str) == sorted(show(api, group)["security_group_rules"], key=str)
    assert show(api, group)["revision_number"] == before + 1 and api.revision() == revision + 1
    again = replace(api, group, [{**wanted[1], "protocol": "any"}, {**wanted[0], "protocol": "6"}])
    assert again.json["security_group_rules"] and api.revision() == revision + 1
    assert {r["id"] for r in again.json["security_group_rules"]} == {r["id"] for r in rules}
    told = replace(api, group, [{**wanted[0], "description": "shop"}, wanted[1]]).json["security_group_rules"]
    assert {r["id"] for r in told} == {r["id"] for r in rules} and {r["description"] for r in told} == {"shop", ""}
    stale = replace(api, group, [], headers={"If-Match": f"revision_number={before}"})
    assert stale.status_code == 412
    assert replace(api, group, []).json == {"security_group_rules": []} and show(api, group)["security_group_rules"] == []


@pytest.mark.parametrize(("status", "words", "rules"), [
    (400, "one key 'security_group_rules'", "none"),
    (400, "must be an object", ["rule"]),
    (400, "Unrecognized attribute 'colour'", [{**WEB, "colour": "red"}]),
    (400, "is none of", [{**WEB, "security_group_id": "another"}]),
    (400, "port_range_min", [WEB, {**WEB, "port_range_min": 90}]),
    (404, "could not be found", [{**WEB, "remote_group_id": "no-such"}]),
    (409, "twice", [WEB, {**WEB, "protocol": "6"}]),
])
def test_a_bad_rule_set(api: Api, group: str, status: int, words: str, rules: Any) -> None:
    api.refused(status, words, "PUT", f"/security-groups/{group}/rules", {"security_group_rules": rules})


def test_whose_rule_set(api: Api, group: str) -> None:
    body: Json = {"security_group_rules": []}
    api.refused(404, "could not be found", "PUT", f"/security-groups/{group}/rules", body, token=ALT)
    api.refused(403, "do not allow", "PUT", f"/security-groups/{group}/rules", body, token=READER)
    api.refused(404, "could not be found", "PUT", "/security-groups/no-such/rules", body)


def test_350_rules_in_one_call(api: Api) -> None:
    assert api("PUT", "/quotas/demo", {"quota": {"security_group_rule": -1}}, ADMIN).status_code in (200, 404, 405)
    with api.database.transaction() as tx:
        if not tx.where("quota", project_id="demo"):
            tx.insert(nouns["quota"](project_id="demo", resource="security_group_rule", limit=-1))
    group = api.make("security_group")["id"]
    rules = [{**WEB, "port_range_max": 80 + n, "remote_ip_prefix": f"10.0.{n % 256}.0/24"} for n in range(350)]
    assert len(replace(api, group, rules).json["security_group_rules"]) == 350
    [shown] = api("GET", f"/security-groups?id={group}").json["security_groups"]
    assert len(shown["security_group_rules"]) == 350
