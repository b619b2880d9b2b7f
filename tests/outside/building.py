"""A topology in a running cloud: built, joined, taken apart again, by the API and the lab."""

import re
from pathlib import Path
from typing import Any

from tests.clouds import RunningCloud, eventually
from tests.groups.rules import Words
from tests.outside.topologies import INTERNET, OFFICE, PORTS, PREFIXES, TENANTS, TRANSIT, Guest, Router, Topology
from tests.outside.world import ROUTER, ROUTER6, WEB, WEB6
from tests.ovs import run
from tests.probes import TCP, UDP, Probe, Probes
from topology import api, lab
from topology.cloud import Cloud
from topology.lab import guest as plugged

NAMES = {TCP: "tcp", UDP: "udp"}
ASTRAY = re.compile(r"\|ofproto_dpif_xlate\|(WARN|ERR)\|")
COMPLAINTS = 8


class Site:
    def __init__(self, cloud: RunningCloud) -> None:
        self.cloud, self.lab = cloud, Cloud(cloud.state)
        connection = cloud.connect("admin")
        self.api, self.projects = connection.network, {p.name: p.id for p in connection.identity.projects()}
        self.external = next(n.id for n in self.api.networks() if n.name == INTERNET)
        self.namespace = f"{self.lab.name}-{INTERNET}"
        self.words = {tenant: self._words(tenant) for tenant in TENANTS}
        self.made: list[str] = []
        """Paths of what joins networks, the last one first to go."""
        self.read: dict[Path, int] = {}
        """How much of each switch's log."""

    def _words(self, tenant: str) -> Words:
        groups = [self._post("/security-groups", name=f"crossing{n}", project_id=self.projects[tenant])["id"] for n in range(3)]
        office = self._post("/address-groups", name="crossing", addresses=OFFICE, project_id=self.projects[tenant])
        return Words(PREFIXES, groups, office["id"], OFFICE)

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind:
            return  # what failed stays to be looked at, for as long as the cloud does
        for words in self.words.values():
            for group in words.groups:
                self.api.put(f"/security-groups/{group}/rules", json={"security_group_rules": []})
            for path in (*(f"/security-groups/{group}" for group in words.groups), f"/address-groups/{words.office}"):
                self._delete(path)

    # What is there for some time: networks and guests.

    def build(self, of: Topology) -> None:
        for network in of.networks.values():
            made = self._post("/networks", name=network.name, project_id=self.projects[network.tenant], mtu=network.mtu,
                              **{"provider:network_type": network.kind})
            network.id, network.mtu = made["id"], made["mtu"]
            closed = {"gateway_ip": None} if network.name == TRANSIT else {}
            for version, cidr in network.cidrs.items():
                network.subnets[version] = self._post(
                    "/subnets", network_id=network.id, ip_version=version, cidr=cidr, enable_dhcp=False,
                    project_id=self.projects[network.tenant], **closed)["id"]
        for guest in of.guests.values():
            guest.port = self._port(of, guest.network, guest.addresses, guest.tenant, name=guest.name,
                                    security_groups=[self.words[guest.tenant].groups[0]])
            guest.namespace = lab.plug(self.lab, guest.port, guest.host, guest.name, patience=30, static=True).namespace

    def raze(self, of: Topology) -> None:
        for guest in of.guests.values():
            lab.unplug(self.lab, plugged(self.lab, guest.name))
            self._delete(f"/ports/{guest.port}")
        for network in of.networks.values():
            self._delete(f"/networks/{network.id}")

    # What changes: routers, ways out, rules.

    def join(self, of: Topology) -> None:
        for group, rules in of.rules.items():
            self._put(f"/security-groups/{group}/rules", "security_group_rules", rules)
        for guest in of.guests.values():
            self._put(f"/ports/{guest.port}", "port", {"security_groups": guest.groups})
        for router in of.routers.values():
            self._router(of, router)
        for router in of.routers.values():
            if router.routes:
                self._put(f"/routers/{router.id}", "router", {"routes": [
                    {"destination": prefix, "nexthop": hop} for prefix, hop in router.routes]})
        for floating in of.floats:
            guest = of.guests.get(floating.guest)
            made = self._post("/floatingips", floating_network_id=self.external, port_id=guest.port if guest else None,
                              project_id=self.projects[of.routers[floating.router].tenant])
            floating.id, floating.address = made["id"], made["floating_ip_address"]
            self.made.append(f"/floatingips/{floating.id}")
            for one in floating.ports:
                inner = of.guests[one.guest]
                forwarding = self._post(
                    f"/floatingips/{floating.id}/port_forwardings", protocol=NAMES[one.protocol], internal_port_id=inner.port,
                    internal_ip_address=inner.addresses[4], internal_port_range=f"{one.inner}:{one.inner + one.count - 1}",
                    external_port_range=f"{one.outer}:{one.outer + one.count - 1}")
                self.made.append(f"/floatingips/{floating.id}/port_forwardings/{forwarding['id']}")
        for cidr, name in of.abroad.items():
            self._abroad("add", cidr, "via", of.routers[name].own[6 if ":" in cidr else 4])
        for one in self.everybody(of):
            for family in "46":  # what it was told of the ways of a former cloud
                run("ip", "-n", one.namespace, f"-{family}", "route", "flush", "cache", check=False)
        assert eventually(lambda: self._standing(of), 30), "a way out is not ACTIVE"
        self.settle()

    def part(self, of: Topology) -> None:
        for cidr in of.abroad:
            self._abroad("del", cidr)
        for router in of.routers.values():
            self._put(f"/routers/{router.id}", "router", {"routes": []})
        while self.made:
            path = self.made.pop()
            if "#" in path:
                router, _, port = path.partition("#")
                self._answered(self.api.put(f"{router}/remove_router_interface", json={"port_id": port}))
            else:
                self._delete(path)
        self.settle()

    def settle(self) -> None:
        assert eventually(lambda: all(s["realised"] == s["wanted"] for s in api.switches(self.lab)), 60)

    def _standing(self, of: Topology) -> bool:
        """Does all that leads out lead out?"""
        floats = self.api.get("/floatingips").json()["floatingips"]
        gateways = self.api.get("/ports?device_owner=network:router_gateway").json()["ports"]
        mine = {floating.id for floating in of.floats} | {router.id for router in of.routers.values()}
        return all(one["status"] == "ACTIVE" for one in (*floats, *gateways) if {one["id"], one.get("device_id")} & mine)

    def _router(self, of: Topology, router: Router) -> None:
        outside = {"external_gateway_info": {"network_id": self.external, "enable_snat": router.snat}} if router.outside else {}
        made = self._post("/routers", name=router.name, project_id=self.projects[router.tenant], **outside)
        router.id = made["id"]
        router.own = {6 if ":" in fixed["ip_address"] else 4: fixed["ip_address"]
                      for fixed in (made["external_gateway_info"] or {"external_fixed_ips": []})["external_fixed_ips"]}
        path = f"/routers/{router.id}"
        self.made.append(path)
        wanted = [{"subnet_id": subnet} for name in router.networks for subnet in of.networks[name].subnets.values()]
        if router.transit:
            addresses = {version: router.on_transit(version) for version in (4, 6)}
            wanted.append({"port_id": self._port(of, TRANSIT, addresses, router.tenant, name=router.name)})
        for each in wanted:
            joined = self._answered(self.api.put(f"{path}/add_router_interface", json=each))
            if f"{path}#{joined['port_id']}" not in self.made:
                self.made.append(f"{path}#{joined['port_id']}")

    def _port(self, of: Topology, network: str, addresses: dict[int, str], tenant: str, **words: Any) -> str:
        where = of.networks[network]
        fixed = [{"subnet_id": where.subnets[version], "ip_address": address} for version, address in addresses.items()]
        return str(self._post("/ports", network_id=where.id, fixed_ips=fixed, project_id=self.projects[tenant], **words)["id"])

    def _abroad(self, verb: str, cidr: str, *words: str) -> None:
        run("ip", "-n", self.namespace, "route", verb, cidr, *words)

    # Questions.

    def everybody(self, of: Topology) -> list[Guest]:
        """All guests, and who is outside."""
        return [*of.guests.values(), Guest(INTERNET, "", "", "", {4: ROUTER, 6: ROUTER6}, namespace=self.namespace)]

    def probes(self, of: Topology) -> Probes:
        everybody = self.everybody(of)
        return Probes(everybody, PORTS, [(everybody[-1], WEB), (everybody[-1], WEB6)])

    def complaints(self) -> str:
        """Of which packets the switches have warned since this was asked last: those that go round."""
        found = []
        for log in sorted(self.cloud.state.glob("log/*-ovs-vswitchd.log")):
            with log.open() as lines:
                lines.seek(self.read.get(log, 0))
                found += [f"{log.name}: {line}" for line in lines if ASTRAY.search(line)]
                self.read[log] = lines.tell()
        return "".join(found[:COMPLAINTS])

    def trace(self, of: Topology, probe: Probe) -> str:
        """What the switch of its host makes of the first packet of a guest's, as of a new connection."""
        guest = of.guests.get(probe.source)
        if guest is None:
            return ""
        version, protocol, port, _, hops, _ = probe.packet
        way = run("ip", "-n", guest.namespace, "-o", "route", "get", probe.address).split()
        hop = way[way.index("via") + 1] if "via" in way else probe.address
        neighbour = run("ip", "-n", guest.namespace, "neigh", "show", hop).split()
        mac = neighbour[neighbour.index("lladdr") + 1] if "lladdr" in neighbour else "ff:ff:ff:ff:ff:ff"
        ofport = self.cloud.vsctl(guest.host, "--bare", "--columns=ofport", "find", "Interface",
                                  f"external_ids:iface-id={guest.port}").strip()
        own, end = self.api.get_port(guest.port).mac_address, {4: "nw", 6: "ipv6"}[version]
        name = {TCP: "tcp", UDP: "udp"}.get(protocol, "icmp")
        kind = name + {4: "", 6: "6"}[version]
        what = f"{name}_dst={port}" if protocol in (TCP, UDP) else f"icmp{'v6' if version == 6 else ''}_type={port}"
        return self.cloud.appctl(
            guest.host, "ofproto/trace", "br-int", f"in_port={ofport},{kind},dl_src={own},dl_dst={mac},{what},nw_ttl={hops},"
            f"{end}_src={guest.addresses[version]},{end}_dst={probe.address}", "--ct-next", "trk,new", "--ct-next", "trk,new")

    def _post(self, path: str, **words: Any) -> Any:
        noun = path.rpartition("/")[2].replace("-", "_")
        noun = noun[:-3] + "y" if noun.endswith("ies") else noun[:-1]
        return self._answered(self.api.post(path, json={noun: words}))[noun]

    def _put(self, path: str, noun: str, words: Any) -> None:
        self._answered(self.api.put(path, json={noun: words}))

    def _delete(self, path: str) -> None:
        answer = self.api.delete(path)
        assert answer.status_code == 204, f"{path}: {answer.text}"

    @staticmethod
    def _answered(answer: Any) -> Any:
        assert answer.status_code < 300, f"{answer.request.method} {answer.url}: {answer.text}"
        return answer.json()
