"""The pure half of the agent: what is wanted, what differs, what is told."""

import json
import socket
from threading import Thread
from typing import Any

import pytest

from ovsagent.bridges import BRIDGES, CONTROLLER, FIXED, Bridge, changed, datapath_ids, difference, redialled, wanted
from ovsagent.mappings import PLAIN, checked, joined, uplinks
from ovsagent.ovsdb import Tables, Uuid, _messages, decoded, encoded
from ovsagent.report import delta, vifs
from ovsagent.vif import FIRST, LAST, Vif, free_ofport, remembered


def test_datapath_ids_are_the_same_in_every_life_and_differ_between_hosts_and_clouds() -> None:
    ids = datapath_ids("blue", "h1")
    assert ids == datapath_ids("blue", "h1") and list(ids) == list(BRIDGES)
    assert [each[-2:] for each in ids.values()] == ["01", "02", "03"] and len({each[:14] for each in ids.values()}) == 1
    assert not set(ids.values()) & {*datapath_ids("blue", "h2").values(), *datapath_ids("red", "h1").values()}


def test_values_survive_the_way_to_the_database_and_back() -> None:
    for value in ("", "OpenFlow13", 5, True, (), ("a", "b"), {"key": "flow"}, {}, Uuid("x"), (Uuid("x"), Uuid("y"))):
        assert decoded(json.loads(json.dumps(encoded(value)))) == value
    assert decoded(["set", ["OpenFlow13"]]) == "OpenFlow13", "a set of one is its member"


def test_messages_are_cut_where_they_end_not_where_pieces_do() -> None:
    sent: list[dict[str, Any]] = [{"id": 1, "result": {"a": "}{"}}, {"id": 2}, {"id": "é" * 1000}]
    here, there = socket.socketpair()

    def trickle() -> None:
        for byte in "".join(json.dumps(message, ensure_ascii=False) for message in sent).encode():
            there.send(bytes([byte]))
        there.close()

    Thread(target=trickle, daemon=True).start()
    assert list(_messages(here)) == sent
    here.close()


def test_maps_keep_what_others_put_there_but_options_do_not() -> None:
    have = {"other_config": {"disable-in-band": "false", "mac-table-size": "9"}, "options": {"key": "flow", "dst_port": "1"}}
    assert changed(have, {"other_config": {"disable-in-band": "true"}, "options": {"key": "flow"}}) == {
        "other_config": {"disable-in-band": "true", "mac-table-size": "9"}, "options": {"key": "flow"},
    }
    assert changed(have, {"other_config": {"mac-table-size": "9"}}) == {}


def test_an_empty_database_gets_everything_in_order_and_an_unwanted_controller_column_is_left_alone() -> None:
    operations = difference(wanted("blue", "h1", "198.18.0.1", None), Tables())
    kinds = [f"{each['op']} {each['table']}" for each in operations]
    assert kinds[:3] == ["insert Open_vSwitch", "insert Bridge", "mutate Open_vSwitch"]
    assert kinds.count("insert Bridge") == 3 and kinds.count("insert Port") == 3 + len(FIXED) and "insert Controller" not in kinds


def test_a_controller_in_its_other_spelling_is_the_same_to_us() -> None:
    def controllers(*targets: str) -> Tables:
        return Tables({"Controller": {Uuid(target): {"target": target, **CONTROLLER} for target in targets}, "Bridge": {
            Uuid("b"): {"name": "b", "controller": tuple(map(Uuid, targets)), "ports": ()}}, "Open_vSwitch": {Uuid("o"): {}}})

    want = {"b": Bridge(columns={}, controllers=("ssl:10.0.0.1:6653", "ssl:10.0.0.2:6653"))}
    for one, other in (("ssl:10.0.0.1:6653", "ssl:10.0.0.1:06653"), ("ssl:10.0.0.1:06653", "ssl:10.0.0.1:6653")):
        have = controllers(one, "ssl:10.0.0.2:6653")
        assert difference(want, have) == []
        assert [operation["row"] for operation in redialled(have, "10.0.0.1:6653")] == [{"target": other}]
        assert redialled(have, "10.0.0.1:665") == redialled(have, "10.0.0.9:6653") == []
    assert len(difference(want, controllers("ssl:10.0.0.1:06653"))) == 2


def test_a_port_on_another_bridge_comes_home() -> None:
    interface = {"name": "p", "ofport_request": 5}
    have = Tables({
        "Open_vSwitch": {Uuid("o"): {}}, "Interface": {Uuid("i"): interface},
        "Bridge": {Uuid("a"): {"name": "a", "ports": ()}, Uuid("b"): {"name": "b", "ports": Uuid("p")}},
        "Port": {Uuid("p"): {"name": "p", "interfaces": Uuid("i"), "tag": (), "trunks": (), "vlan_mode": ()}},
    })
    moved = difference({"a": Bridge(columns={}, ports={"p": {"ofport_request": 5}})}, have)
    assert [(each["where"][0][2], each["mutations"][0][1]) for each in moved] == [("b", "delete"), ("a", "insert")]


def test_an_uplink_is_what_an_operator_adds_to_br_ex_or_what_joins_it_to_another_bridge() -> None:
    mappings = {"physical1": "br-ex", "physical2": "br-b"}
    made = joined(wanted("blue", "h1", "198.18.0.1", None), mappings, Tables())
    assert made["br-b"].columns == PLAIN and set(made["br-b"].ports) == {"br-b", "br-b-ex"}
    assert made["br-ex"].ports["ex-br-b"] == {"type": "patch", "options": {"peer": "br-b-ex"}}
    bridge = Tables({"Bridge": {Uuid("b"): {"name": "br-b", "ports": ()}}})
    assert joined(wanted("blue", "h1", "198.18.0.1", None), mappings, bridge)["br-b"].columns == {}, "an operator's stays his"

    def br_ex(**ports: int) -> Tables:
        names = {name.replace("_", "-"): number for name, number in ports.items()}
        return Tables({
            "Bridge": {Uuid("b"): {"name": "br-ex", "ports": tuple(Uuid(name) for name in names)}},
            "Port": {Uuid(name): {"name": name, "interfaces": Uuid(name)} for name in names},
            "Interface": {Uuid(name): {"name": name, "ofport": number} for name, number in names.items()}})

    assert uplinks(mappings, br_ex(br_ex=65534, patch_ex_int=1)) == {}
    assert uplinks(mappings, br_ex(ex_br_b=2, eth1=5)) == {"physical1": ("eth1", 5), "physical2": ("ex-br-b", 2)}
    assert uplinks(mappings, br_ex(ex_br_b=2, eth1=-1)) == {"physical2": ("ex-br-b", 2)}, "not before it is there"


@pytest.mark.parametrize("mappings", [{"a": "br-int"}, {"": "br-ex"}, {"patch-int": "br-ex"}, {"a": "br-b", "b": "br-b"}])
def test_mappings_that_cannot_be(mappings: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        checked(mappings)


def test_a_delta_names_what_came_went_and_changed_and_gives_up_when_more_did() -> None:
    told = {"host": "h1", "vifs": {"a": {"link": "up"}, "b": {"link": "up"}, "c": {"link": "up"}}}
    now = {"host": "h1", "vifs": {"a": {"link": "up"}, "b": {"link": "down"}, "d": {"link": "up"}}}
    assert delta(told, now) == {"vifs": {"b": {"link": "down"}, "c": None, "d": {"link": "up"}}}
    assert delta(told, now | {"host": "h2"}) is None


def test_a_vif_is_remembered_by_its_alias_and_numbers_go_round() -> None:
    vif = Vif("0a0b0c00-0000-4000-8000-000000000001", "fa:16:3e:00:00:01", 107)
    assert remembered(vif.alias) == vif and remembered("eth0 of somebody") is None
    held = Tables({"Interface": {Uuid("i"): {"ofport": 101, "ofport_request": ()}}})
    assert free_ofport(100, held, []) == 102
    assert free_ofport(106, held, [vif]) == 108
    assert free_ofport(LAST, held, []) == FIRST


def test_a_link_of_which_nobody_has_said_anything_is_not_down() -> None:
    """ovsdb-server forgets links' states when it dies, and the agent is back before vswitchd."""
    row: dict[str, Any] = {"name": "tap1", "external_ids": {"iface-id": "p1"}, "ofport": 100, "ofport_request": 100,
                           "error": (), "ifindex": (), "link_state": ()}
    for said, told in (((), "up"), ("up", "up"), ("down", "down")):
        assert vifs(Tables({"Interface": {Uuid("u1"): row | {"link_state": said}}}))["p1"]["link"] == told
    assert vifs(Tables({"Interface": {Uuid("u1"): row | {"ifindex": 0}}}))["p1"]["link"] == "down"
