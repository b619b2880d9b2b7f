"""Security groups and address groups in-process: the default group, who uses what, who sees it, many writers."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from controller.picture import Picture
from tests.controller.test_security_group_rules import WEB, show
from tests.inprocess import ADMIN, ALT, READER, Api, Json
from unryu import journal
from unryu.db import Database


def default(api: Api, **more: Any) -> Json:
    [group] = api("GET", "/security-groups?name=default", **more).json["security_groups"]
    return group


def spoken(rules: list[Json]) -> set[tuple[Any, ...]]:
    return {(r["direction"], r["ethertype"], r["protocol"], r["remote_group_id"]) for r in rules}


# the default group, and what a new group begins with


def test_a_project_finds_its_default_group_when_it_first_looks(api: Api) -> None:
    group = default(api, token=READER)
    assert group["project_id"] == "demo" and group["stateful"] is True and group["shared"] is False
    assert spoken(group["security_group_rules"]) == {
        ("egress", "IPv4", None, None), ("egress", "IPv6", None, None),
        ("ingress", "IPv4", None, group["id"]), ("ingress", "IPv6", None, group["id"])}
    assert all(rule["tenant_id"] == "demo" and "key" not in rule for rule in group["security_group_rules"])
    assert "is_default" not in group
    before = api.revision()
    assert default(api)["id"] == group["id"] and api.revision() == before
    assert default(api, token=ALT)["id"] != group["id"]
    assert len(api("GET", "/security-group-rules", token="eve:eve:reader").json["security_group_rules"]) == 4
    [asked] = api("GET", "/security-groups?project_id=carol", token=ADMIN).json["security_groups"]
    assert asked["project_id"] == "carol"
    api.refused(400, "NUL", "GET", "/security-groups?project_id=%00", token=ADMIN)


def test_a_new_group_lets_everything_out_and_nothing_in(api: Api) -> None:
    made = api.make("security_group", name="web", description="x", stateful=False)
    assert spoken(made["security_group_rules"]) == {("egress", "IPv4", None, None), ("egress", "IPv6", None, None)}
    assert made["stateful"] is False and len(api("GET", "/security-groups").json["security_groups"]) == 2
    assert api("GET", f"/security-groups?fields=name&id={made['id']}").json == {"security_groups": [{"name": "web"}]}


def test_templates_say_what_a_new_group_begins_with(api: Api) -> None:
    api.refused(403, "do not allow", "POST", "/default-security-group-rules", {"default_security_group_rule": WEB})
    path = "/default-security-group-rules"
    for template in api("GET", path, token=ADMIN).json["default_security_group_rules"]:
        if template["direction"] == "egress" and template["ethertype"] == "IPv6":
            assert api("DELETE", f"{path}/{template['id']}", token=ADMIN).status_code == 204
    made = api.make("default_security_group_rule", ADMIN, **WEB, remote_group_id="PARENT")
    assert made["used_in_default_sg"] is False and made["used_in_non_default_sg"] is True and "key" not in made
    api.refused(409, made["id"], "POST", path, {"default_security_group_rule": {**WEB, "remote_group_id": "PARENT"}}, token=ADMIN)
    api.refused(404, "could not be found", "POST", path, {"default_security_group_rule": {**WEB, "remote_group_id": "x"}}, ADMIN)
    group = api.make("security_group", name="web")
    assert spoken(group["security_group_rules"]) == {("egress", "IPv4", None, None), ("ingress", "IPv4", "tcp", group["id"])}
    assert len(default(api)["security_group_rules"]) == 3


def test_the_default_group_stays(api: Api) -> None:
    id = default(api)["id"]
    path = f"/security-groups/{id}"
    fault = api.refused(409, "not allowed", "PUT", path, {"security_group": {"name": "mine"}})
    assert fault["type"] == "SecurityGroupCannotUpdateDefault"
    assert api.refused(409, "rights", "DELETE", path)["type"] == "SecurityGroupCannotRemoveDefault"
    for body in ({"name": "default"}, {"name": "default", "description": "x"}):
        fault = api.refused(409, "already exists", "POST", "/security-groups", {"security_group": body})
        assert fault["type"] == "SecurityGroupDefaultAlreadyExists"
    assert api("PUT", path, {"security_group": {"name": "default", "description": "ours"}}).status_code == 200
    assert api("DELETE", path, token=ADMIN).status_code == 204  # of a project that is gone
    assert default(api)["id"] != id


# ports in groups


def test_a_port_is_in_its_projects_default_group_unless_others_are_named(api: Api, group: str) -> None:
    network = api.make("network")["id"]
    port = api.make("port", network_id=network)
    assert port["security_groups"] == [default(api)["id"]]
    assert api.make("port", ADMIN, network_id=network, project_id="carol")["security_groups"] == [
        api("GET", "/security-groups?project_id=carol", token=ADMIN).json["security_groups"][0]["id"]]
    assert api.make("port", network_id=network, security_groups=[])["security_groups"] == []
    assert api.make("port", network_id=network, device_owner="network:dhcp")["security_groups"] == []
    assert api.make("port", network_id=network, security_groups=[group, group])["security_groups"] == [group]
    for groups in (["no-such"], [group, default(api, token=ALT)["id"]]):
        body = {"port": {"network_id": network, "security_groups": groups}}
        assert api.refused(404, "could not be found", "POST", "/ports", body)["type"] == "SecurityGroupNotFound"
        api.refused(404, "could not be found", "PUT", f"/ports/{port['id']}", {"port": {"security_groups": groups}})
    for bad in ("x", [1], None):
        api.refused(400, "security_groups", "POST", "/ports", {"port": {"network_id": network, "security_groups": bad}})


def test_a_group_in_use_stays(api: Api, group: str) -> None:
    network = api.make("network")["id"]
    port = api.make("port", network_id=network, security_groups=[group])["id"]
    assert api.refused(409, port, "DELETE", f"/security-groups/{group}")["type"] == "SecurityGroupInUse"
    fault = api.refused(409, "stateful", "PUT", f"/security-groups/{group}", {"security_group": {"stateful": False}})
    assert fault["type"] == "SecurityGroupInUse"
    changed = api("PUT", f"/ports/{port}", {"port": {"security_groups": []}}).json["port"]
    assert changed["security_groups"] == [] and changed["revision_number"] == 1
    assert api("DELETE", f"/security-groups/{group}").status_code == 204
    again = api.make("security_group")["id"]
    other = api.make("port", network_id=network, security_groups=[again])["id"]
    assert api("DELETE", f"/ports/{other}").status_code == 204
    assert api("DELETE", f"/security-groups/{again}").status_code == 204


def test_ports_by_their_groups(api: Api, group: str) -> None:
    network = api.make("network")["id"]
    both = api.make("port", network_id=network, security_groups=[group, default(api)["id"]])["id"]
    one = api.make("port", network_id=network)["id"]
    ids = lambda query: {p["id"] for p in api("GET", f"/ports?{query}").json["ports"]}  # noqa: E731
    assert ids(f"security_groups={group}") == {both} and ids(f"security_groups={default(api)['id']}") == {both, one}
    assert ids("security_groups=no-such") == set()
    assert api("PUT", f"/ports/{both}", {"port": {"security_groups": [default(api)["id"]]}}).status_code == 200
    assert ids(f"security_groups={group}") == set()


def test_the_picture_knows_a_groups_ports(api: Api, group: str) -> None:
    network = api.make("network")["id"]
    port = api.make("port", network_id=network, security_groups=[group])["id"]
    with api.database.reading() as tx:
        picture = Picture.of(tx)
    assert [p.id for p in picture.where("port", security_groups=group)] == [port]
    feed = journal.Feed(api.database, picture.revision)
    second = api.make("port", network_id=network, security_groups=[group, default(api)["id"]])["id"]
    api("PUT", f"/ports/{port}", {"port": {"security_groups": []}})
    touched = picture.apply(feed.read())
    feed.close()
    assert [p.id for p in picture.where("port", security_groups=group)] == [second]
    assert ("where", "port", ("security_groups",), (group,)) in touched


# shared with others


def test_a_group_shared_by_a_policy(api: Api, group: str) -> None:
    port = {"network_id": api.make("network", ALT)["id"], "security_groups": [group]}
    api.refused(404, "could not be found", "POST", "/ports", {"port": port}, token=ALT)
    policy = api.make("rbac_policy", object_type="security_group", object_id=group, action="access_as_shared",
                      target_tenant="alt")
    used = api.make("port", ALT, **port)
    seen = show(api, group, token=ALT)
    assert used["security_groups"] == [group] and len(seen["security_group_rules"]) == 2
    rules = api("GET", f"/security-group-rules?security_group_id={group}", token=ALT).json["security_group_rules"]
    assert rules == seen["security_group_rules"]
    api.refused(403, "another project", "PUT", f"/security-groups/{group}", {"security_group": {"name": "mine"}}, token=ALT)
    api.refused(403, "another project", "PUT", f"/security-groups/{group}/rules", {"security_group_rules": []}, token=ALT)
    rule = {"security_group_rule": {"security_group_id": group, **WEB}}
    api.refused(403, "another project", "POST", "/security-group-rules", rule, token=ALT)
    api.refused(409, "alt", "DELETE", f"/rbac-policies/{policy['id']}")
    assert api("DELETE", f"/ports/{used['id']}", token=ALT).status_code == 204
    assert api("DELETE", f"/rbac-policies/{policy['id']}").status_code == 204
    api.refused(404, "could not be found", "GET", f"/security-groups/{group}", token=ALT)


# many writers


def test_writers_at_once(database: Database) -> None:
    api = Api(database)
    assert api("PUT", "/quotas/demo", {"quota": {"security_group": -1}}, ADMIN).status_code == 200
    network = api.make("network")["id"]

    def at_once(*calls: tuple[Any, ...]) -> list[int]:
        with ThreadPoolExecutor(8) as pool:
            return [answer.status_code for answer in pool.map(lambda call: api(*call), calls)]

    assert set(at_once(*[("POST", "/ports", {"port": {"network_id": network}})] * 8)) == {201}
    assert default(api)["name"] == "default"  # one

    one, other = (api.make("security_group")["id"] for _ in range(2))
    for n in range(10):  # rules that name the other group, replaced and added at the same time
        rules = {"security_group_rules": [{**WEB, "port_range_max": 80 + n, "remote_group_id": g} for g in (one, other)]}
        rule = {**WEB, "protocol": "udp", "port_range_max": 80 + n, "remote_group_id": one, "security_group_id": other}
        assert at_once(("PUT", f"/security-groups/{one}/rules", rules), ("PUT", f"/security-groups/{other}/rules", rules),
                       ("POST", "/security-group-rules", {"security_group_rule": rule})) == [200, 200, 201]

    for _ in range(10):  # a group is deleted while a port comes into it
        group = api.make("security_group")["id"]
        made, gone = at_once(("POST", "/ports", {"port": {"network_id": network, "security_groups": [group]}}),
                             ("DELETE", f"/security-groups/{group}"))
        assert (made, gone) in ((201, 409), (404, 204), (409, 204))
    groups = {g["id"] for g in api("GET", "/security-groups").json["security_groups"]}
    assert all(set(p["security_groups"]) <= groups for p in api("GET", "/ports").json["ports"])


# address groups


def test_address_groups(api: Api, group: str) -> None:
    made = api.make("address_group", name="offices", addresses=["10.0.0.1", "10.1.2.3/16", "fd00::/64", "10.0.0.1/32"])
    assert made["addresses"] == ["10.0.0.1/32", "10.1.0.0/16", "fd00::/64"] and made["shared"] is False
    path = f"/address-groups/{made['id']}"
    added = api("PUT", f"{path}/add_addresses", {"addresses": ["192.0.2.0/24"]}).json["address_group"]
    assert added["addresses"] == [*made["addresses"], "192.0.2.0/24"] and added["revision_number"] == 1
    body = {"address_group": {"addresses": ["10.0.0.1", "fd00::/64"]}}
    assert api("PUT", f"{path}/remove_addresses", body).json["address_group"]["addresses"] == ["10.1.0.0/16", "192.0.2.0/24"]
    rule = api.make("security_group_rule", security_group_id=group, **WEB, remote_address_group_id=made["id"])
    assert api.refused(409, rule["id"], "DELETE", path)["type"] == "AddressGroupInUse"
    assert api("DELETE", f"/security-group-rules/{rule['id']}").status_code == 204
    assert api("PUT", path, {"address_group": {"name": "sites"}}).json["address_group"]["name"] == "sites"
    assert api("DELETE", path).status_code == 204


def test_bad_address_groups(api: Api) -> None:
    api.refused(400, "'10.0.0.0/33' is not", "POST", "/address-groups", {"address_group": {"addresses": ["10.0.0.0/33"]}})
    id = api.make("address_group", addresses=["10.0.0.0/8"])["id"]
    path = f"/address-groups/{id}"
    api.refused(400, "cannot be given", "PUT", path, {"address_group": {"addresses": []}})
    fault = api.refused(400, "already exist", "PUT", f"{path}/add_addresses", {"addresses": ["10.9.9.9/8"]})
    assert fault["type"] == "AddressesAlreadyExist"
    fault = api.refused(404, "not found", "PUT", f"{path}/remove_addresses", {"addresses": ["10.9.9.9/32"]})
    assert fault["type"] == "AddressesNotFound"
    for body, words in (({}, "addresses"), ({"addresses": "x"}, "addresses"), ({"addresses": ["nowhere"]}, "'nowhere' is not"),
                        ({"addresses": [], "colour": "red"}, "colour")):
        api.refused(400, words, "PUT", f"{path}/add_addresses", body)
    api.refused(404, "could not be found", "PUT", f"{path}/add_addresses", {"addresses": ["10.0.0.0/8"]}, token=ALT)
    api.refused(403, "do not allow", "PUT", f"{path}/add_addresses", {"addresses": ["10.0.0.0/8"]}, token=READER)
