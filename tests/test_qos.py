"""QoS policies with packets: limits both ways, changed under traffic, lifted, kept by a restart; marks; packet rates."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.clouds import RunningCloud, eventually

pytestmark = pytest.mark.system

PORTS = itertools.count(5000)
WEB = "203.0.113.1"

# Prints, for each quarter of a second since the first of it, the bytes and the packets that came; and every TOS among them.
RECEIVE = """
import json, socket, sys, time
kind, port = sys.argv[1], int(sys.argv[2])
line = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
line.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
line.bind(("", port))
if kind == "tcp":
    line.listen()
print("ready", flush=True)
if kind == "tcp":
    line, _ = line.accept()
line.settimeout(60)
began, quarters, marks = 0, {}, set()
while True:
    try:
        data, said, _, _ = line.recvmsg(65536, 64)
    except TimeoutError:
        break
    if not data:
        break
    now = time.monotonic()
    if not began:
        began = now
        if line.type == socket.SOCK_DGRAM:  # TCP may be silent for longer when much was lost, and says when it ends
            line.settimeout(0.5)
    held = quarters.setdefault(int((now - began) * 4), [0, 0])
    held[0] += len(data)
    held[1] += 1
    marks.update(value[0] for _, _, value in said)
print(json.dumps([quarters, sorted(marks)]))
"""
# UDP at a steady pace, TCP as fast as it goes; until it is ended.
SEND = """
import socket, sys, time
kind, address, port, each, rate, own = sys.argv[1:]
line = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
line.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
line.bind(("", int(own)))
line.connect((address, int(port)))
line.settimeout(1)
print("begun", flush=True)
payload, sent, began = bytes(int(each)), 0, time.monotonic()
while passed := time.monotonic() - began:
    if kind == "tcp":
        try:
            line.send(payload)
        except TimeoutError:
            pass
    elif sent < passed * float(rate):
        line.send(payload)
        sent += 1
    else:
        time.sleep(0.001)
"""


@dataclass
class Traffic:
    quarters: dict[int, tuple[int, int]] = field(default_factory=dict)
    marks: list[int] = field(default_factory=list)

    def mbit(self, since: float, until: float) -> float:
        return sum(self.quarters.get(n, (0, 0))[0] for n in range(int(since * 4), int(until * 4))) * 8e-6 / (until - since)

    def packets(self, since: float, until: float) -> float:
        return sum(self.quarters.get(n, (0, 0))[1] for n in range(int(since * 4), int(until * 4))) / (until - since)


@dataclass
class Scene:
    cloud: RunningCloud
    admin: Any
    network: str
    ports: dict[str, Any]
    namespaces: dict[str, str]

    def policy(self, *rules: tuple[str, dict[str, Any]]) -> str:
        policy: str = self.admin.create_qos_policy(name="scene").id
        for kind, words in rules:
            getattr(self.admin, f"create_qos_{kind}_rule")(policy, **words)
        return policy

    def rule(self, policy: str) -> str:
        [rule] = self.admin.get_qos_policy(policy).rules
        return str(rule["id"])

    def hold(self, guest: str, policy: str | None) -> None:
        """For this guest's port, once the switches have it."""
        self.admin.update_port(self.ports[guest].id, qos_policy_id=policy)
        self.settle()

    def settle(self) -> None:
        assert self.cloud.settled()

    def address(self, guest: str) -> str:
        return str(self.ports[guest].fixed_ips[0]["ip_address"])

    @contextmanager
    def traffic(self, sender: str, receiver: str, seconds: float, kind: str = "udp", each: int = 1200, mbit: float = 15,
                to: str = "", also: str = "", own: int = 0) -> Iterator[list[Traffic]]:
        """Sent while the block goes on, and so long after it; then what came is there (to `also`, too, where it listens)."""
        port = str(next(PORTS))
        words = {guest: ["ip", "netns", "exec", self.namespaces[guest], sys.executable, "-c"] for guest in self.ports}
        heard = [subprocess.Popen([*words[guest], RECEIVE, kind, port], stdout=subprocess.PIPE, text=True)
                 for guest in (receiver, also) if guest]
        for one in heard:
            assert one.stdout and one.stdout.readline() == "ready\n"
        said = subprocess.Popen([*words[sender], SEND, kind, to or self.address(receiver), port, str(each),
                                 str(mbit * 1e6 / 8 / each), str(own)], stdout=subprocess.PIPE, text=True)
        assert said.stdout and said.stdout.readline() == "begun\n"
        found: list[Traffic] = []
        yield found
        time.sleep(seconds)
        said.kill()
        said.communicate()
        for one in heard:
            quarters, marks = json.loads(one.communicate(timeout=90)[0])
            found.append(Traffic({int(n): (a, b) for n, (a, b) in quarters.items()}, marks))

    def meters(self, host: str) -> dict[int, float]:
        """How long each has been there."""
        said = self.cloud.ofctl(host, "meter-stats", "br-int")
        return {int(number): float(seconds) for number, seconds in re.findall(r"meter:(\d+) .*?duration:([\d.]+)s", said)}

    def flows(self, host: str) -> dict[str, float]:
        """Those that name a meter, and how long each has been there."""
        said = self.cloud.ofctl(host, "dump-flows", "br-int").splitlines()
        return {line.partition("priority=")[2]: float(re.findall(r"duration=([\d.]+)s", line)[0])
                for line in said if "meter:" in line}


@pytest.fixture(scope="module")
def scene(cloud: RunningCloud) -> Iterator[Scene]:
    sdk, admin = cloud.connect(), cloud.connect("admin").network
    network = sdk.network.create_network(name="qos")
    sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.8.0.0/24")
    hosts = {"a": "h1", "b": "h2", "c": "h2"}
    ports = {name: sdk.network.create_port(name=name, network_id=network.id) for name in hosts}
    plugged = {name: cloud.plug(ports[name].id, host, f"qos-{name}", "--static") for name, host in hosts.items()}
    scene = Scene(cloud, admin, network.id, ports, {name: of["namespace"] for name, of in plugged.items()})
    scene.settle()
    yield scene
    for name in hosts:
        cloud.unplug(f"qos-{name}")
        sdk.network.delete_port(ports[name].id)
    sdk.network.delete_network(network.id)
    for policy in admin.qos_policies(name="scene"):
        admin.delete_qos_policy(policy.id)
    assert eventually(lambda: not scene.meters("h1") and not scene.meters("h2"))


@pytest.fixture(autouse=True)
def lifted(scene: Scene) -> Iterator[None]:
    yield
    for guest in scene.ports:
        scene.admin.update_port(scene.ports[guest].id, qos_policy_id=None)
    scene.admin.update_network(scene.network, qos_policy_id=None)


def test_what_a_guest_sends_is_limited_and_marked_and_the_limit_changes_under_it(scene: Scene) -> None:
    policy = scene.policy(("bandwidth_limit", {"max_kbps": 5000, "max_burst_kbps": 500}))
    rule = scene.rule(policy)
    scene.admin.create_qos_dscp_marking_rule(policy, dscp_mark=46)
    scene.hold("a", policy)
    before = scene.flows("h1")
    assert len(before) == 1 and not scene.flows("h2")
    with scene.traffic("a", "b", 1.5) as found:
        began = time.monotonic()
        time.sleep(1.5)
        scene.admin.update_qos_bandwidth_limit_rule(rule, policy, max_kbps=10000)
        scene.settle()
        then = time.monotonic() - began
    [came] = found
    assert 3 < came.mbit(0.25, 1.5) < 7 and 5.6 < came.mbit(then + 0.25, then + 1.25) < 12, (then, came)
    assert came.marks == [46 << 2]
    assert all(came.packets(n / 4, n / 4 + 0.75) for n in range(int(4 * then) + 3)), "it went on"
    after = scene.flows("h1")
    assert before.keys() == after.keys() and all(after[flow] > before[flow] + then for flow in before), "no flow began anew"


def test_what_a_guest_is_sent_is_limited_and_then_no_more(scene: Scene) -> None:
    scene.hold("b", scene.policy(("bandwidth_limit", {"max_kbps": 5000, "max_burst_kbps": 500, "direction": "ingress"})))
    with scene.traffic("a", "b", 1.25) as found:
        began = time.monotonic()
        time.sleep(1.5)
        scene.hold("b", None)
        then = time.monotonic() - began
    [came] = found
    assert 3 < came.mbit(0.25, 1.5) < 7 and came.mbit(then + 0.25, then + 1) > 7 and came.marks == [0], (then, came)


def test_tcp_lives_under_a_limit_both_ways(scene: Scene) -> None:
    scene.hold("a", scene.policy(*(("bandwidth_limit", {"max_kbps": 8000, "direction": direction})
                                   for direction in ("egress", "ingress"))))
    with (scene.traffic("a", "b", 3, kind="tcp", each=16384) as sent,
          scene.traffic("c", "a", 3, kind="tcp", each=16384) as received):
        pass
    for came in (*sent, *received):
        # The usual burst is 80 % of a second, and gone by then. How near TCP comes to the limit is its own and the machine's.
        assert came.mbit(1.25, 2.75) < 9.5 and came.mbit(1.25, 60) > 0, (sent, received)


def test_packets_are_counted_and_who_hears_the_same_is_not_limited_by_another(scene: Scene) -> None:
    """Two meters one after the other, and the lesser decides. A meter drops a packet for all that is done with it after: so
    each limited port that hears a broadcast has its own."""
    scene.hold("a", scene.policy(("packet_rate_limit", {"max_kpps": 1, "max_burst_kpps": 1}),
                                 ("bandwidth_limit", {"max_kbps": 50000})))
    assert len(scene.flows("h1")) == 2
    scene.hold("b", scene.policy(("bandwidth_limit", {"max_kbps": 100, "max_burst_kbps": 10, "direction": "ingress"})))
    with (scene.traffic("a", "c", 2.25, each=100, mbit=2.4) as found,  # 3,000 a second
          scene.traffic("c", "b", 0, each=1000, mbit=1.6, to="10.8.0.255", also="a") as heard):
        time.sleep(1.75)
    [came], [limited, other] = found, heard
    assert 700 < came.packets(1, 2.25) < 1400, came
    assert limited.packets(0.5, 1.5) < 60 and other.packets(0.25, 1.5) > 150, heard


def test_a_restart_touches_nothing(scene: Scene) -> None:
    scene.admin.update_network(scene.network, qos_policy_id=scene.policy(("bandwidth_limit", {"max_kbps": 5000})))
    assert eventually(lambda: len(scene.flows("h2")) == 2 and len(scene.flows("h1")) == 1)
    meters, flows, pid = scene.meters("h2"), scene.flows("h2"), scene.cloud.pid("controller")
    assert pid and len(meters) == 2
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: scene.cloud.pid("controller") not in (None, pid))
    assert scene.cloud.settled()
    assert meters.keys() == scene.meters("h2").keys() and all(scene.meters("h2")[n] > meters[n] for n in meters)
    assert all(scene.flows("h2")[flow] > flows[flow] for flow in flows)
    # What somebody changes or takes away is mended, with the flows that went with it.
    first, second = sorted(meters)
    scene.cloud.ofctl("h2", "mod-meter", "br-int", f"meter={first},kbps,burst,band=type=drop,rate=1,burst_size=1")
    scene.cloud.ofctl("h2", "del-meter", "br-int", f"meter={second}")
    os.kill(scene.cloud.pid("controller") or 0, signal.SIGKILL)
    assert eventually(lambda: "rate=1 " not in scene.cloud.ofctl("h2", "dump-meters", "br-int")
                      and len(scene.flows("h2")) == len(scene.meters("h2")) == 2)


@dataclass
class Outside(Scene):
    """Behind a router, and who is outside."""

    internet: str = ""
    router: Any = None


@pytest.fixture(scope="module")
def outside(scene: Scene) -> Iterator[Outside]:
    demo = scene.cloud.connect().network
    internet = next(network.id for network in scene.admin.networks() if network.name == "internet")
    group = demo.create_security_group(name="qos")
    demo.create_security_group_rule(security_group_id=group.id, direction="ingress", ethertype="IPv4")
    demo.update_port(scene.ports["a"].id, security_group_ids=[*scene.ports["a"].security_group_ids, group.id])
    router = demo.create_router(name="qos", external_gateway_info={"network_id": internet})
    [subnet] = demo.subnets(network_id=scene.network)
    demo.add_interface_to_router(router, subnet=subnet.id)
    web = f"{scene.cloud.namespace('h1').rpartition('-')[0]}-internet"
    yield Outside(scene.cloud, scene.admin, scene.network, {**scene.ports, "web": None}, {**scene.namespaces, "web": web},
                  internet, router)
    demo.remove_interface_from_router(router, subnet=subnet.id)
    demo.delete_router(router)
    demo.update_port(scene.ports["a"].id, security_group_ids=scene.ports["a"].security_group_ids)
    demo.delete_security_group(group)


def test_a_floating_ip_and_a_gateway_are_limited_and_marked_outside(outside: Outside) -> None:
    """Both ways for a floating IP, on its guest's host; what leaves under the router's address, on that of the gateway."""
    both = outside.policy(("dscp_marking", {"dscp_mark": 46}), *(
        ("bandwidth_limit", {"max_kbps": 5000, "max_burst_kbps": 500, "direction": direction})
        for direction in ("egress", "ingress")))
    demo, admin = outside.cloud.connect().network, outside.admin
    floating = demo.create_ip(floating_network_id=outside.internet, port_id=outside.ports["a"].id)
    try:
        admin.update_ip(floating, qos_policy_id=both)
        admin.update_router(outside.router, external_gateway_info={"network_id": outside.internet, "qos_policy_id": both})
        assert eventually(lambda: len(outside.flows("h1") | outside.flows("h2")) >= 4)
        outside.settle()
        with (outside.traffic("a", "web", 0, to=WEB) as sent,
              outside.traffic("web", "a", 0, to=floating.floating_ip_address) as received,
              outside.traffic("b", "web", 0, to=WEB) as others):
            time.sleep(2)
        for came in (*sent, *received, *others):
            assert 3 < came.mbit(0.25, 1.75) < 7, (sent, received, others)
        assert sent[0].marks == others[0].marks == [46 << 2] and received[0].marks == [0]
    finally:
        demo.delete_ip(floating)


def test_packets_are_counted_outside_and_at_forwarded_ports(outside: Outside) -> None:
    """For a floating IP and a gateway, and for a floating IP that leads ports to a guest."""
    both = outside.policy(("dscp_marking", {"dscp_mark": 10}), *(
        rule for direction in ("egress", "ingress") for rule in (
            ("packet_rate_limit", {"max_kpps": 1, "max_burst_kpps": 1, "direction": direction}),
            ("bandwidth_limit", {"max_kbps": 50000, "direction": direction}))))
    demo, admin, a = outside.cloud.connect().network, outside.admin, outside.ports["a"]
    ports = f"{next(PORTS)}:{next(PORTS) + 200}"
    slow = {"each": 100, "mbit": 2.4}  # 3,000 a second
    admin.update_router(outside.router, external_gateway_info={"network_id": outside.internet, "qos_policy_id": both})
    for led in (False, True):
        floating = demo.create_ip(floating_network_id=outside.internet, **({} if led else {"port_id": a.id}))
        path = f"/floatingips/{floating.id}/port_forwardings"
        try:
            admin.update_ip(floating, qos_policy_id=both)
            made = demo.post(path, json={"port_forwarding": {
                "internal_port_id": a.id, "internal_ip_address": outside.address("a"), "protocol": "udp",
                "internal_port_range": ports, "external_port_range": ports}}).json() if led else {}
            outside.settle()
            for guest in "ab":  # or what is sent at once would wait with the agent for the next hop's MAC
                within = "ip", "netns", "exec", outside.namespaces[guest]
                outside.cloud.run(*within, "ping", "-c", "3", "-W", "5", WEB, check=False)
            with (outside.traffic("a", "web", 0, to=WEB, own=int(ports[:4]) + 100, **slow) as sent,
                  outside.traffic("web", "a", 0, to=floating.floating_ip_address, **slow) as received,
                  outside.traffic("b", "web", 0, to=WEB, **slow) as others):
                time.sleep(2)
            for came in (*sent, *received, *others):
                assert 600 < came.packets(1, 2) < 1400, (led, sent, received, others)
            assert sent[0].marks == others[0].marks == [10 << 2] and received[0].marks == [0]
            if led:
                demo.delete(f"{path}/{made['port_forwarding']['id']}")
        finally:
            demo.delete_ip(floating)
