"""Routers, their ways out and their floating IPs, on both databases: two who want what excludes each other, at once, and eight
who want anything; and then every rule still holds.

UNRYU_RACES: how many calls the eight make together (`make test`: a sample); the two meet in a twentieth as many rounds.
"""

import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from itertools import combinations
from typing import Any

import pytest

from tests.controller.test_routers import outside, subnet
from tests.inprocess import ADMIN, Api, Json
from unryu.db import Database, allocations

pytestmark = pytest.mark.system

WRITERS = 8
CALLS = int(os.environ.get("UNRYU_RACES", "240"))
CIDRS = ("10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/23", "10.0.2.0/24", "fd00::/64")


class Site:
    """What they all work at."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.out = [outside(api, cidr)["id"] for cidr in ("203.0.113.0/24", "198.51.100.0/24")]
        self.routers = [api.make("router", ADMIN)["id"] for _ in range(2)]
        self.networks = [api.make("network", ADMIN)["id"] for _ in CIDRS]
        self.subnets = [subnet(api, network, cidr, ADMIN) for network, cidr in zip(self.networks, CIDRS, strict=True)]
        self.ports = [self.port(network) for network in self.networks for _ in range(2)]
        self.floating: list[str] = []
        self.forwardings: list[str] = []

    def port(self, network: str) -> str:
        return str(self.api.make("port", ADMIN, network_id=network)["id"])


def write(site: Site, seed: int, statuses: Counter[int]) -> None:
    chance = random.Random(seed)

    def call(method: str, path: str, body: Any = None) -> Json:
        answer = site.api(method, path, body, ADMIN)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
        return answer.json if answer.status_code in (200, 201) else {}

    first = {"floating_network_id": chance.choice(site.out)}    # there is something to fight for
    site.floating.append(call("POST", "/floatingips", {"floatingip": first})["floatingip"]["id"])
    for _ in range(CALLS // WRITERS):
        router, out = f"/routers/{chance.choice(site.routers)}", chance.choice(site.out)
        floating = chance.choice(site.floating)
        port = chance.choice([*site.ports, None])
        what = chance.randrange(9)
        if what == 0:
            call("PUT", f"{router}/remove_router_interface", {"subnet_id": chance.choice(site.subnets)})
        elif what in (1, 2):
            call("PUT", f"{router}/add_router_interface", {"subnet_id": chance.choice(site.subnets)})
        elif what == 3:
            info = chance.choice([{"network_id": out}, {"network_id": out}, None])
            call("PUT", router, {"router": {"external_gateway_info": info}})
        elif what == 4:
            made = call("POST", "/floatingips", {"floatingip": {"floating_network_id": out, "port_id": port}})
            site.floating += [made["floatingip"]["id"]] if made else []
        elif what == 5:
            call("PUT", f"/floatingips/{floating}", {"floatingip": {"port_id": port}})
        elif what == 6 and chance.random() < 0.5:
            call("DELETE", f"/floatingips/{floating}")
        elif what == 6:
            call("DELETE", f"/ports/{port}")
            site.ports.append(site.port(chance.choice(site.networks)))
        elif what == 7:
            held = call("GET", f"/ports/{port}")
            for fixed in held["port"]["fixed_ips"] if held else ():
                body = {"protocol": "tcp", "internal_port_id": port, "internal_ip_address": fixed["ip_address"],
                        "internal_port": chance.randrange(1, 9), "external_port": chance.randrange(1, 9)}
                call("POST", f"/floatingips/{floating}/port_forwardings", {"port_forwarding": body})
        else:
            route = {"destination": "10.9.0.0/16", "nexthop": f"10.0.{chance.randrange(3)}.9"}
            call("PUT", router, {"router": {"routes": chance.choice([[], [route]])}})


def test_races(database: Database) -> None:
    api = Api(database)
    site = Site(api)
    statuses: Counter[int] = Counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(write, site, seed, statuses) for seed in range(WRITERS)]:
            done.result()
    assert statuses[200] and statuses[201] and statuses[409]
    check(database)


PAIRS = {
    "an association and the interface that it needs": ("associate", "leave"),
    "an association and the way out that it needs": ("associate", "close"),
    "an association and the port that it is for": ("associate", "unplug"),
    "two floating IPs and one port": ("associate", "associate_other"),
    "an association and a forwarding of the same address": ("associate", "forward"),
    "an association and a forwarding to the same port": ("associate_other", "forward"),
    "a forwarding and the interface that it needs": ("forward", "leave"),
    "two forwardings of one external port": ("forward", "forward"),
    "subnets that overlap": ("join_wide", "join_narrow"),
    "a subnet and a way out that overlap": ("join_public", "open_other"),
    "a route and the interface that it needs": ("route", "leave"),
    "a router's end and a new interface": ("end", "join_narrow"),
}


class Meeting:
    """A router in one subnet, with a way out, a guest and two floating IPs; and what can be done to them, each in one call."""

    def __init__(self, api: Api, out: list[str]) -> None:
        self.api = api
        self.out = out
        self.router = api.make("router", ADMIN, external_gateway_info={"network_id": out[0]})["id"]
        network = api.make("network", ADMIN)["id"]
        self.subnet = subnet(api, network, "10.7.0.0/24", ADMIN)
        self.guest = api.make("port", ADMIN, network_id=network)
        self.wide, self.narrow, self.public = (
            subnet(api, api.make("network", ADMIN)["id"], cidr, ADMIN)
            for cidr in ("10.8.0.0/16", "10.8.1.0/24", "198.51.100.0/25"))
        self.floating, self.other = (api.make("floatingip", ADMIN, floating_network_id=out[0])["id"] for _ in range(2))
        self.say("add_router_interface", {"subnet_id": self.subnet})

    def say(self, what: str, body: Any) -> int:
        status: int = self.api("PUT", f"/routers/{self.router}{what and '/' + what}", body, ADMIN).status_code
        return status

    def do(self, what: str) -> int:
        ip = self.guest["fixed_ips"][0]["ip_address"]
        forwarding = {"protocol": "tcp", "internal_port_id": self.guest["id"], "internal_ip_address": ip,
                      "internal_port": random.randrange(1, 9999), "external_port": 80}
        had = {"floatingip": {"port_id": self.guest["id"]}}
        calls: dict[str, tuple[str, str, Any]] = {
            "associate": ("PUT", f"/floatingips/{self.floating}", had),
            "associate_other": ("PUT", f"/floatingips/{self.other}", had),
            "forward": ("POST", f"/floatingips/{self.floating}/port_forwardings", {"port_forwarding": forwarding}),
            "unplug": ("DELETE", f"/ports/{self.guest['id']}", None), "end": ("DELETE", f"/routers/{self.router}", None)}
        if what in calls:
            method, path, body = calls[what]
            status: int = self.api(method, path, body, ADMIN).status_code
            return status
        joins = {"join_wide": self.wide, "join_narrow": self.narrow, "join_public": self.public}
        if what in joins:
            return self.say("add_router_interface", {"subnet_id": joins[what]})
        if what == "leave":
            return self.say("remove_router_interface", {"subnet_id": self.subnet})
        routes = {"routes": [{"destination": "10.9.0.0/16", "nexthop": "10.7.0.99"}]}
        gateways = {"close": None, "open_other": {"network_id": self.out[1]}}
        return self.say("", {"router": routes if what == "route" else {"external_gateway_info": gateways[what]}})


def test_what_excludes_each_other(database: Database) -> None:
    api = Api(database)
    out = [outside(api, cidr)["id"] for cidr in ("203.0.112.0/20", "198.51.100.0/24")]
    for kind in ("router", "floatingip", "network", "subnet", "port"):
        api("PUT", "/quotas/admin", {"quota": {kind: -1}}, ADMIN)
    with ThreadPoolExecutor(2) as pool:
        for what, pair in PAIRS.items():
            for _ in range(max(2, CALLS // 20 // len(PAIRS))):
                meeting = Meeting(api, out)
                if pair == ("end", "join_narrow"):
                    meeting.do("leave")
                statuses = sorted(pool.map(meeting.do, pair))
                assert statuses[0] in (200, 201, 204) and statuses[1] in (200, 204, 400, 404, 409), (what, statuses)
                assert statuses[1] >= 400 or pair[1] == "unplug", (what, statuses)
        check(database)


def check(database: Database) -> None:
    with database.reading() as tx:
        kinds = ("port", "subnet", "router", "router_interface", "router_gateway", "floatingip", "port_forwarding")
        rows: dict[str, dict[str, Any]] = {kind: {record.id: record for record in tx.where(kind)} for kind in kinds}
        given = {(pool, value): owner for pool, value, owner in tx.connection.execute(allocations.select())}
    ports, subnets = rows["port"], rows["subnet"]
    interfaces, gateways, floating = (rows[kind].values() for kind in ("router_interface", "router_gateway", "floatingip"))

    # Every address is its port's; every port of a router or a floating IP is held by just that.
    taken = {(f"subnet:{f['subnet_id']}", f["ip_address"]): port.id for port in ports.values() for f in port.fixed_ips}
    assert taken == {key: owner for key, owner in given.items() if key[0].startswith("subnet:")}
    for owner, holders in (("network:router_interface", {i.port_id: i.router_id for i in interfaces}),
                           ("network:router_gateway", {g.port_id: g.router_id for g in gateways}),
                           ("network:floatingip", {f.floating_port_id: f.id for f in floating})):
        assert {p.id: p.device_id for p in ports.values() if p.device_owner == owner} == holders

    reached: dict[str, dict[str, str]] = {}
    for router in rows["router"].values():
        inside = [f for i in interfaces if i.router_id == router.id for f in ports[i.port_id].fixed_ips]
        out = {g.network_id: g for g in gateways if g.router_id == router.id}
        assert len(out) <= 1
        beyond = [s for s in subnets.values() if s.network_id in out]
        networks = [ip_network(s.cidr) for s in [*(subnets[f["subnet_id"]] for f in inside), *beyond]]
        assert not any(one.overlaps(other) for one, other in combinations(networks, 2)), networks
        assert all(any(ip_address(route["nexthop"]) in network for network in networks) for route in router.routes)
        reached[router.id] = {f["subnet_id"]: network for f in inside for network in out}

    # What leads in leads somewhere.
    pairs = [(f, f.port_id, f.fixed_ip_address) for f in floating if f.port_id]
    assert len({(f.floating_network_id, port, ip) for f, port, ip in pairs}) == len(pairs)
    shared = [(rows["floatingip"][f.floatingip_id], f.internal_port_id, f.internal_ip_address)
              for f in rows["port_forwarding"].values()]
    assert not {f.id for f, _, _ in pairs} & {f.id for f, _, _ in shared}
    assert not {port for _, port, _ in pairs} & {port for _, port, _ in shared}
    for one, port, ip in (*pairs, *shared):
        [subnet_id] = [f["subnet_id"] for f in ports[port].fixed_ips if f["ip_address"] == ip]
        assert reached[one.router_id][subnet_id] == one.floating_network_id
    assert all(not f.router_id for f in floating if f.id not in {one.id for one, _, _ in (*pairs, *shared)})
