"""Random histories of the API on a live controller: remembered == recomputed == what the real switches hold."""

import os
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controller.hosts import Report, VifReport, take_report
from tests.clouds import PATIENCE, eventually
from tests.controller.switched import HOSTS, Cloud
from tests.inprocess import ADMIN
from tests.ovs import OvsHost

pytestmark = pytest.mark.system

SAID: tuple[dict[str, Any], ...] = (
    {}, {"protocol": "tcp", "port_range_min": 80, "port_range_max": 90}, {"protocol": "tcp", "port_range_min": 88,
    "port_range_max": 91}, {"protocol": "icmp", "port_range_min": 8}, {"remote_group_id": "any"}, {"ethertype": "IPv6"},
    {"protocol": "udp", "remote_group_id": "any"}, {"protocol": "47"}, {"remote_ip_prefix": "10.0.0.0/30"})


LIMITS = {"bandwidth_limit_rule": "max_kbps", "packet_rate_limit_rule": "max_kpps", "dscp_marking_rule": "dscp_mark"}


def history(ovs: tuple[OvsHost, str], folder: Path) -> type[RuleBasedStateMachine]:
    class History(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.cloud = Cloud(Path(mkdtemp(dir=folder)), *ovs)
            self.networks: list[str] = []
            self.ports: dict[str, str] = {}
            self.groups: list[str] = []
            self.policies: list[str] = []
            self.routers: list[str] = []
            self.subnets: dict[str, str] = {}
            self.outside = ""
            self.made = 0
            self.ofport = 100
            self.scope = self.cloud.call("POST", "/address-scopes", {"address_scope": {"ip_version": 4}})["address_scope"]["id"]
            self.pool = self.cloud.call("POST", "/subnetpools", {"subnetpool": {
                "prefixes": ["10.0.0.0/16", "203.0.113.0/24"], "address_scope_id": self.scope}})["subnetpool"]["id"]

        @rule(scoped=st.booleans())
        def lead_the_pool(self, scoped: bool) -> None:
            """Into an address scope, or out of it."""
            assert self.cloud.call("PUT", f"/subnetpools/{self.pool}", {"subnetpool": {
                "address_scope_id": self.scope if scoped else None}})

        @rule(v6=st.booleans(), v4=st.booleans(), wired=st.booleans(), pooled=st.booleans())
        def create_network(self, v4: bool, v6: bool, wired: bool, pooled: bool) -> None:
            where = {"provider:network_type": "vlan", "provider:physical_network": "physical1"} if wired else {}
            network = self.cloud.call("POST", "/networks", {"network": {"name": "n", **where}})["network"]["id"]
            self.networks.append(network)
            self.made = (self.made + 1) % 200
            for version, cidr in ((4, f"10.0.{self.made}.0/29"), (6, f"fd00:{self.made:x}::/64")):
                if (v4, v6)[version == 6]:
                    modes = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"} if v4 and version == 6 else {}
                    of = {"subnetpool_id": self.pool} if pooled and version == 4 else {}
                    made = self.cloud.call("POST", "/subnets", {"subnet": {
                        "network_id": network, "ip_version": version, "cidr": cidr, **modes, **of}})
                    self.subnets[made["subnet"]["id"]] = network

        @precondition(lambda self: self.networks)
        @rule(which=st.integers(0), host=st.sampled_from(("", *HOSTS, "stranger")), plugged=st.booleans())
        def create_port(self, which: int, host: str, plugged: bool) -> None:
            network = self.networks[which % len(self.networks)]
            made = self.cloud.call("POST", "/ports", {"port": {"network_id": network, "binding:host_id": host}})
            if made:  # else its subnet is exhausted
                self.ports[made["port"]["id"]] = host
                if plugged and host in HOSTS:
                    self.plug_at(made["port"]["id"], host)

        def plug_at(self, port: str, host: str) -> None:
            self.ofport += 1
            self.cloud.plug(host, port, VifReport(ofport=self.ofport, link="up"))

        @precondition(lambda self: self.ports)
        @rule(which=st.integers(0), host=st.sampled_from(HOSTS))
        def plug(self, which: int, host: str) -> None:
            self.plug_at(sorted(self.ports)[which % len(self.ports)], host)

        @precondition(lambda self: self.ports)
        @rule(which=st.integers(0), host=st.sampled_from(HOSTS))
        def unplug(self, which: int, host: str) -> None:
            self.cloud.plug(host, sorted(self.ports)[which % len(self.ports)], None)

        @precondition(lambda self: self.ports)
        @rule(which=st.integers(0), changes=st.fixed_dictionaries({}, optional={
            "binding:host_id": st.sampled_from(("", *HOSTS)), "admin_state_up": st.booleans(), "name": st.just("x"),
            "fixed_ips": st.just([]), "qos_policy_id": st.none() | st.integers(0, 1),
            "security_groups": st.lists(st.integers(0, 3), max_size=2)}))
        def update_port(self, which: int, changes: dict[str, Any]) -> None:
            if "security_groups" in changes:
                changes["security_groups"] = [self.groups[n] for n in changes["security_groups"] if n < len(self.groups)]
            if changes.get("qos_policy_id") is not None:
                changes["qos_policy_id"] = (self.policies + [None, None])[changes["qos_policy_id"]]
            self.cloud.call("PUT", f"/ports/{sorted(self.ports)[which % len(self.ports)]}", {"port": changes})

        @precondition(lambda self: self.ports)
        @rule(which=st.integers(0))
        def delete_port(self, which: int) -> None:
            port = sorted(self.ports)[which % len(self.ports)]
            self.cloud.call("DELETE", f"/ports/{port}")
            del self.ports[port]

        @precondition(lambda self: len(self.groups) < 4)
        @rule(stateful=st.booleans())
        def create_group(self, stateful: bool) -> None:
            made = self.cloud.call("POST", "/security-groups", {"security_group": {"name": "g", "stateful": stateful}})
            self.groups.append(made["security_group"]["id"])

        @precondition(lambda self: self.groups)
        @rule(which=st.integers(0), of=st.integers(0), said=st.sampled_from(SAID), ingress=st.booleans())
        def create_rule(self, which: int, of: int, said: dict[str, Any], ingress: bool) -> None:
            """Some of them name a group, some say in part what others say, too."""
            named = {"remote_group_id": self.groups[of % len(self.groups)]} if said.get("remote_group_id") else {}
            self.cloud.call("POST", "/security-group-rules", {"security_group_rule": {
                **said, **named, "direction": "ingress" if ingress else "egress",
                "security_group_id": self.groups[which % len(self.groups)]}})

        @rule(which=st.integers(0))
        def delete_rule(self, which: int) -> None:
            rules = self.cloud.call("GET", "/security-group-rules")["security_group_rules"]
            if rules:
                self.cloud.call("DELETE", f"/security-group-rules/{sorted(r['id'] for r in rules)[which % len(rules)]}")

        @precondition(lambda self: len(self.routers) < 3)
        @rule(into=st.integers(0, 4))
        def create_router(self, into: int) -> None:
            """Into some subnets at once: by chance alone few routers would ever have any."""
            router = self.cloud.call("POST", "/routers", {"router": {"name": "r"}})["router"]["id"]
            self.routers.append(router)
            for subnet in sorted(self.subnets)[:into]:
                self.cloud.call("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": subnet})

        @precondition(lambda self: self.routers and self.subnets)
        @rule(which=st.integers(0), of=st.integers(0), verb=st.sampled_from(("add", "add", "add", "remove")))
        def join(self, which: int, of: int, verb: str) -> None:
            """Or leave. Some of it is refused."""
            router, subnet = self.routers[which % len(self.routers)], sorted(self.subnets)[of % len(self.subnets)]
            self.cloud.call("PUT", f"/routers/{router}/{verb}_router_interface", {"subnet_id": subnet})

        @precondition(lambda self: self.routers)
        @rule(which=st.integers(0), out=st.booleans(), changes=st.fixed_dictionaries({}, optional={
            "admin_state_up": st.booleans(), "routes": st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=3)}))
        def update_router(self, which: int, out: bool, changes: dict[str, Any]) -> None:
            if "routes" in changes:
                changes["routes"] = [{"destination": f"10.{9 + to}.0.0/16", "nexthop": f"10.0.{at}.{1 + to}"}
                                     for to, at in changes["routes"]]
            if out and not self.outside:
                made = self.cloud.call("POST", "/networks", {"network": {"router:external": True, "mtu": 1400}})
                self.outside = made["network"]["id"]
                self.cloud.call("POST", "/subnets", {"subnet": {
                    "network_id": self.outside, "ip_version": 4, "cidr": "203.0.113.0/24", "subnetpool_id": self.pool}})
            changes["external_gateway_info"] = {"network_id": self.outside} if out else None
            self.cloud.call("PUT", f"/routers/{self.routers[which % len(self.routers)]}", {"router": changes})

        @precondition(lambda self: self.routers)
        @rule(which=st.integers(0))
        def delete_router(self, which: int) -> None:
            """Refused while it is in any network."""
            router = self.routers[which % len(self.routers)]
            self.cloud.call("DELETE", f"/routers/{router}")
            if not self.cloud.call("GET", f"/routers?id={router}")["routers"]:
                self.routers.remove(router)

        @precondition(lambda self: self.outside and self.ports)
        @rule(which=st.integers(0), of=st.integers(0), forward=st.booleans(), gone=st.booleans())
        def float(self, which: int, of: int, forward: bool, gone: bool) -> None:
            """A floating IP comes, goes to a port or away from one, leads ports of its own to one, or goes. Some is refused."""
            held = sorted(f["id"] for f in self.cloud.call("GET", "/floatingips")["floatingips"])
            if len(held) < 3:
                self.cloud.call("POST", "/floatingips", {"floatingip": {"floating_network_id": self.outside}})
                return
            floating, port = held[which % len(held)], sorted(self.ports)[of % len(self.ports)]
            fixed = [f["ip_address"] for f in self.cloud.call("GET", f"/ports/{port}")["port"]["fixed_ips"]]
            if gone:
                self.cloud.call("DELETE", f"/floatingips/{floating}")
            elif forward and fixed:
                self.cloud.call("POST", f"/floatingips/{floating}/port_forwardings", {"port_forwarding": {
                    "protocol": "tcp", "internal_port_id": port, "internal_ip_address": fixed[0],
                    "internal_port_range": "80:83", "external_port_range": f"{8000 + of % 50}:{8003 + of % 50}"}})
            else:
                self.cloud.call("PUT", f"/floatingips/{floating}", {"floatingip": {"port_id": port if which % 3 else None}})

        @precondition(lambda self: self.networks)
        @rule(which=st.integers(0), up=st.booleans(), policy=st.integers(0, 2))
        def update_network(self, which: int, up: bool, policy: int) -> None:
            network = self.networks[which % len(self.networks)]
            self.cloud.call("PUT", f"/networks/{network}", {"network": {
                "admin_state_up": up, "qos_policy_id": (self.policies + [None] * 3)[policy]}})

        @precondition(lambda self: len(self.policies) < 2)
        @rule()
        def create_policy(self) -> None:
            self.policies.append(self.cloud.call("POST", "/qos/policies", {"policy": {}})["policy"]["id"])

        @precondition(lambda self: self.policies)
        @rule(which=st.integers(0), kind=st.sampled_from(sorted(LIMITS)), rate=st.integers(1, 3), ingress=st.booleans())
        def limit(self, which: int, kind: str, rate: int, ingress: bool) -> None:
            """By a new rule, or the one of this kind with another rate; the same rate: no more."""
            path = f"/qos/policies/{self.policies[which % len(self.policies)]}/{kind}s"
            direction = {"direction": "ingress" if ingress else "egress"} if kind != "dscp_marking_rule" else {}
            said = {LIMITS[kind]: rate * 8}
            for held in self.cloud.call("GET", path)[f"{kind}s"]:
                if direction.items() <= held.items():
                    gone = said.items() <= held.items()
                    self.cloud.call("DELETE" if gone else "PUT", f"{path}/{held['id']}", None if gone else {kind: said})
                    return
            assert self.cloud.call("POST", path, {kind: {**said, **direction}})

        @precondition(lambda self: self.networks)
        @rule(which=st.integers(0))
        def delete_network(self, which: int) -> None:
            network = self.networks[which % len(self.networks)]
            if self.cloud.call("GET", f"/ports?network_id={network}")["ports"]:
                assert self.cloud.call("DELETE", f"/networks/{network}") is None
            else:
                self.cloud.call("DELETE", f"/networks/{network}")
                self.networks.remove(network)
                self.subnets = {id: of for id, of in self.subnets.items() if of != network}

        @rule(host=st.sampled_from(HOSTS))
        def report_all(self, host: str) -> None:
            self.cloud.report(host)

        @invariant()
        def all_three_agree(self) -> None:
            if hasattr(self, "cloud"):
                self.cloud.check()

        def teardown(self) -> None:
            if hasattr(self, "cloud"):
                self.cloud.close()

    return History


def test_random_histories(ovs: tuple[OvsHost, str], tmp_path: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    count = int(os.environ.get("UNRYU_HISTORIES", "6"))
    run_state_machine_as_test(history(ovs, tmp_path), settings=settings(
        max_examples=count, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck),
        derandomize="UNRYU_HISTORIES" not in os.environ, database=None))


def test_a_port_is_active_when_every_live_host_has_confirmed(ovs: tuple[OvsHost, str], tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "status", *ovs)
    try:
        network = cloud.call("POST", "/networks", {"network": {}})["network"]["id"]
        port = cloud.call("POST", "/ports", {"port": {"network_id": network, "binding:host_id": "h1"}})["port"]["id"]
        # Another port's host is one that never comes: it holds nobody up.
        dead = Report(host="h9", tunnel_ip="198.18.0.9", datapaths={}, ofports={}, vifs={})
        take_report(cloud.database, "h9", dead)
        cloud.call("POST", "/ports", {"port": {"network_id": network, "binding:host_id": "h9"}})

        def status() -> str:
            return cloud.call("GET", f"/ports/{port}")["port"]["status"]

        def becomes(wanted: str) -> None:
            deadline = time.monotonic() + PATIENCE
            while status() != wanted and time.monotonic() < deadline:
                time.sleep(0.01)
            assert status() == wanted

        cloud.settle()
        assert status() == "DOWN"
        cloud.plug("h1", port, VifReport(ofport=100, link="up"))
        becomes("ACTIVE")
        before = cloud.call("GET", f"/ports/{port}")["port"]
        assert before["revision_number"] == 0, "a status is a fact, not a change of intent"
        cloud.plug("h1", port, VifReport(ofport=100, link="down"))
        becomes("DOWN")
        cloud.plug("h1", port, VifReport(ofport=100, link="up"))
        becomes("ACTIVE")
        cloud.call("PUT", f"/ports/{port}", {"port": {"admin_state_up": False}})
        becomes("DOWN")
    finally:
        cloud.close()


def test_a_floating_ip_is_active_while_it_leads_to_a_port_that_is_up(ovs: tuple[OvsHost, str], tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "status", *ovs)

    def make(kind: str, **values: object) -> str:
        return str(cloud.call("POST", f"/{kind}s", {kind: values})[kind]["id"])

    def becomes(wanted: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while (said := cloud.call("GET", f"/floatingips/{floating}")["floatingip"]["status"]) != wanted:
            assert time.monotonic() < deadline, said
            time.sleep(0.01)

    def put(path: str, kind: str, **values: object) -> None:
        assert cloud.call("PUT", path, {kind: values})

    try:
        outside, inside = make("network", **{"router:external": True}), make("network")
        make("subnet", network_id=outside, ip_version=4, cidr="203.0.113.0/24")
        subnet = make("subnet", network_id=inside, ip_version=4, cidr="10.0.0.0/24")
        router = make("router", external_gateway_info={"network_id": outside})
        assert cloud.call("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": subnet})
        guests = [make("port", network_id=inside, **{"binding:host_id": host}) for host in ("h1", "h2")]
        floating = make("floatingip", floating_network_id=outside, port_id=guests[0])
        path = f"/floatingips/{floating}"
        cloud.settle()
        becomes("DOWN")
        cloud.plug("h1", guests[0], VifReport(ofport=100, link="up"))
        becomes("ACTIVE")
        cloud.plug("h1", guests[0], VifReport(ofport=100, link="down"))
        becomes("DOWN")
        cloud.plug("h2", guests[1], VifReport(ofport=100, link="up"))
        put(path, "floatingip", port_id=guests[1])
        becomes("ACTIVE")
        put(f"/routers/{router}", "router", admin_state_up=False)
        becomes("DOWN")
        put(f"/routers/{router}", "router", admin_state_up=True)
        becomes("ACTIVE")
        for owner, status in (("router_interface", "ACTIVE"), ("router_gateway", "ACTIVE"), ("floatingip", "N/A")):
            query = f"/ports?device_owner=network:{owner}"
            assert eventually(lambda query=query, status=status: cloud.call("GET", query)["ports"][0]["status"] == status)
        put(path, "floatingip", port_id=None)
        becomes("DOWN")
        address = cloud.call("GET", f"/ports/{guests[1]}")["port"]["fixed_ips"][0]["ip_address"]
        forwarding = {"protocol": "tcp", "internal_port_id": guests[1], "internal_ip_address": address, "internal_port": 22,
                      "external_port": 2222}
        made = cloud.call("POST", f"{path}/port_forwardings", {"port_forwarding": forwarding})["port_forwarding"]["id"]
        becomes("ACTIVE")
        cloud.api.delete(f"/v2.0{path}/port_forwardings/{made}", headers={"X-Auth-Token": ADMIN})
        becomes("DOWN")
    finally:
        cloud.close()
