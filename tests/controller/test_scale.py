"""What grows and what must not: the picture's questions, and the work that one more port makes."""

import random
from typing import Any

from bench.scale import agents, network, port, put, uuid
from controller.audience import MOST
from controller.bootstrap import load_features
from controller.derive import Engine, catalogue
from controller.picture import Picture, question
from unryu.resource import nouns

load_features()

ASKED: tuple[dict[str, str], ...] = (
    {"network_id": "n1"}, {"binding_host_id": "h1"}, {"network_id": "n2", "binding_host_id": "h2"}, {"security_groups": "g1"},
    {"security_groups": "g2", "binding_host_id": "h1"}, {"network_id": "n1", "fixed_ips": "10.0.0.1"})
WANTED: tuple[tuple[str, ...], ...] = (("binding_host_id",), ("security_groups",), ("network_id", "security_groups"))


def some_port(choice: random.Random, id: str) -> Any:
    addresses = choice.sample(["10.0.0.1", "10.0.0.2", "10.0.0.3"], choice.randrange(3))
    return nouns["port"](
        id=id, network_id=choice.choice(("n1", "n2")), binding_host_id=choice.choice(("", "h1", "h2")),
        mac_address="fa:16:3e:00:00:01", port_security_enabled=True,
        security_groups=choice.sample(["g1", "g2", "g3"], choice.randrange(3)),
        fixed_ips=[{"subnet_id": "s1", "ip_address": a} for a in addresses])


def naive(picture: Picture, equal: dict[str, str]) -> list[Any]:
    def fits(port: Any) -> bool:
        return all(value in {"security_groups": port.security_groups, "fixed_ips": [f["ip_address"] for f in port.fixed_ips]}.get(
            name, [getattr(port, name)]) for name, value in equal.items())

    return sorted(filter(fits, picture.all("port")), key=lambda port: port.id)


def test_the_picture_answers_as_a_look_at_every_record_would_and_says_what_it_would_answer_anew() -> None:
    choice = random.Random(5)
    picture = Picture()

    def answers() -> dict[tuple[Any, ...], Any]:
        found: dict[tuple[Any, ...], Any] = {}
        for equal in ASKED:
            records = naive(picture, equal)
            assert picture.where("port", **equal) == records
            found["where", "port", *question(equal)] = records
            for wanted in WANTED:
                rows = [[getattr(p, w) for w in wanted] for p in records]
                held = {tuple(frozenset(v) if isinstance(v, list) else v for v in row) for row in rows}
                plain = frozenset(held if len(wanted) > 1 else (value for (value,) in held))
                assert picture.values("port", *wanted, **equal) == plain
                found["values", "port", *question(equal), wanted] = plain
        return found

    before = answers()
    for step in range(400):
        id = f"p{choice.randrange(8)}"
        touched = picture.put("port", id, None if step > 390 or choice.random() < 0.2 else some_port(choice, id))
        after = answers()
        assert {cell for cell in after if after[cell] != before[cell]} == {cell for cell in touched if cell in after}
        before = after


def work(ports: int) -> dict[str, dict[str, int]]:
    """How much is asked, placed, derived and moved for one more, in a network of so many ports on two hosts."""
    picture = Picture()
    for kind, values in (*agents(2), *network(0)):
        put(picture, kind, values)
    for number in range(ports):
        for kind, values in port(number, 0, 1 + number % 2, 100 + number // 2):
            put(picture, kind, values)
    engine = Engine(picture, catalogue.values())
    rule = {"id": "rule", "security_group_id": uuid(2, 0), "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp",
            "port_range_min": 80, "port_range_max": 80}
    done = {}
    for what, records in (("port", port(ports, 0, 1)), ("network", network(1)), ("port there", port(ports + 1, 1, 1)),
                          ("rule", [("security_group_rule", rule)])):
        engine.work.clear()
        for kind, values in records:
            engine.update(put(picture, kind, values))
        done[what] = dict(engine.work)
    return done


def test_one_more_is_as_much_work_among_a_thousand_ports_as_among_ten() -> None:
    """But for its own broadcast list, of at most 256 ports, and those that are looked at to know that one is not enough."""
    few, many = work(10), work(1000)
    for what, done in many.items():
        assert 0 <= done.pop("memos", 0) - few[what].pop("memos", 0) <= 4, what
        assert done.pop("gathered", 0) <= 4 * (MOST + 10), what
        few[what].pop("gathered", 0)
    assert many == few


def test_what_is_gathered_is_forgotten_when_nobody_asks_any_more() -> None:
    picture = Picture()
    for kind, values in (*agents(1), *network(0), *port(1, 0, 1)):
        put(picture, kind, values)
    engine = Engine(picture, catalogue.values())
    assert any(name[0] == "gathered" for name in engine.memory()["readers"])
    engine.update(picture.put("network", uuid(4, 0), None))
    assert not any(name[0] == "gathered" for name in engine.memory()["readers"])
    assert engine.memory()["given"] == {}
