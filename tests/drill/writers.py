"""Who writes while everything is killed: random API traffic of several clients, and what each of them was told."""

import http.client
import json
import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from unryu.db import Tx

Json = dict[str, Any]
PATIENCE = 30.0  # seconds for an answer: longer than anybody is frozen, so that who says nothing is dead and writes no more
PLURAL = {"network": "networks", "subnet": "subnets", "port": "ports", "security_group": "security-groups",
          "security_group_rule": "security-group-rules", "router": "routers", "floatingip": "floatingips"}
MOST = {"network": 6, "port": 20, "security_group": 2, "security_group_rule": 8, "router": 2, "floatingip": 4}  # of one writer
NAMELESS = ("security_group_rule", "floatingip")  # marked by their descriptions


@dataclass
class Item:
    """One thing that a writer asked for, and how it must be now: of what was never answered, either way."""

    kind: str
    mark: str
    """By which it is found when nobody told its id: its name, or where it has none, its description."""
    values: dict[str, list[Any]]
    id: str = ""
    there: bool | None = None
    """None: nobody knows."""
    parts: list["Item"] = field(default_factory=list)
    """What goes with it."""

    def gone(self, sure: bool) -> None:
        self.there = False if sure else None
        for part in self.parts:
            if part.there is not False:
                part.gone(sure)


class Writer(threading.Thread):
    """One client with a connection of its own. It changes what is its own, so that it knows what must be."""

    def __init__(self, address: str, token: str, name: str, seed: int, shared: str, outside: str = "") -> None:
        """`shared` and `outside` are networks: of everybody, and the external one."""
        super().__init__(name=name, daemon=True)
        self.address, self.shared, self.outside = address, shared, outside
        self.headers = {"X-Auth-Token": token, "Content-Type": "application/json"}
        self.random = random.Random(f"{seed} {name}")
        self.items: list[Item] = []
        self.answers = {"done": 0, "refused": 0, "unavailable": 0, "unanswered": 0}
        self.faults: list[str] = []
        """Answers that nobody should get, whatever dies."""
        self.ended = threading.Event()
        self._line: http.client.HTTPConnection | None = None

    def run(self) -> None:
        while not self.ended.wait(self.random.uniform(0.01, 0.08)):
            self.random.choice((self.create, self.create, self.update, self.update, self.delete, self.lead))()

    def ask(self, method: str, path: str, body: Any = None, refused: tuple[int, ...] = ()) -> tuple[int, Any]:
        """Status and body; 0 where nobody knows what became of it. `refused`: what it may be told, beside what anybody may."""
        try:
            if self._line is None:
                self._line = http.client.HTTPConnection(self.address, timeout=PATIENCE)
            self._line.request(method, f"/network/v2.0/{path}", json.dumps(body) if body else None, self.headers)
            answer = self._line.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._line = None
            self.answers["unanswered"] += 1
            if isinstance(error, TimeoutError):
                self.faults.append(f"{method} {path}: no answer in {PATIENCE:g} s")
            time.sleep(0.05)
            return 0, None
        status = answer.status
        self.answers["done" if status < 300 else "refused" if status < 500 else "unavailable"] += 1
        if status not in (200, 201, 204, 404, 409, 503, *refused):
            self.faults.append(f"{method} {path}: {status} {said[:300]!r}")
        if status >= 500:  # the database went away: before the commit, or behind it
            time.sleep(0.05)
            return 0, None
        return status, json.loads(said) if said else None

    def mine(self, kind: str) -> list[Item]:
        return [item for item in self.items if item.kind == kind and item.there]

    def create(self) -> None:
        kind = self.random.choice([kind for kind, most in MOST.items() if len(self.mine(kind)) < most
                                   and (self.outside or kind not in ("router", "floatingip"))] or ["port"])
        if kind == "network":
            network = self.make("network")
            if network.there:
                self.make("subnet", network, network_id=network.id, ip_version=4, cidr="10.7.0.0/24")
        elif kind == "port":
            groups = [group.id for group in self.mine("security_group")]
            networks = [(network.id, network) for network in self.mine("network")] + [(self.shared, None)]
            where, network = self.random.choice(networks)
            host = self.random.choice(("", "h1", "h2"))
            self.make("port", network_id=where, security_groups=groups[:1], **{"binding:host_id": host})
        elif kind == "security_group":
            self.make("security_group")
        elif kind == "router":
            self.make("router", external_gateway_info={"network_id": self.outside})
        elif kind == "floatingip":
            self.make("floatingip", floating_network_id=self.outside)
        elif groups := self.mine("security_group"):
            group, port = self.random.choice(groups), self.random.randint(1, 60000)
            self.make("security_group_rule", group, security_group_id=group.id, direction="ingress", protocol="tcp",
                      port_range_min=port, port_range_max=port + 100)

    def make(self, kind: str, whole: Item | None = None, **values: Any) -> Item:
        mark = f"drill-{uuid.UUID(int=self.random.getrandbits(128)).hex[:12]}"
        values["description" if kind in NAMELESS else "name"] = mark
        item = Item(kind, mark, {name: [value] for name, value in values.items() if name != "external_gateway_info"})
        self.items.append(item)
        if whole:
            whole.parts.append(item)
        status, said = self.ask("POST", PLURAL[kind], {kind: values})
        if status == 201:
            item.id, item.there = said[kind]["id"], True
        elif status:
            item.there = False
        return item

    def lead(self) -> None:
        """A network to a router, or from it; an address of outside to a port, or from it. What that does to the flows is what
        counts: the rows follow those of others."""
        networks, routers = self.mine("network"), self.mine("router")
        addresses, ports = self.mine("floatingip"), self.mine("port")
        if networks and routers and self.random.random() < 0.5:
            subnets = [part.id for network in networks for part in network.parts if part.there]
            verb = self.random.choice(("add", "add", "remove"))
            if subnets:
                self.ask("PUT", f"routers/{self.random.choice(routers).id}/{verb}_router_interface",
                         {"subnet_id": self.random.choice(subnets)}, refused=(400,))
        elif addresses:
            port = self.random.choice([None, *(port.id for port in ports)])
            self.ask("PUT", f"floatingips/{self.random.choice(addresses).id}", {"floatingip": {"port_id": port}}, refused=(400,))

    def update(self) -> None:
        own = [item for item in self.items if item.there and item.kind not in NAMELESS]
        if not own:
            return
        item = self.random.choice(own)
        changes: Json = {"description": self.random.randbytes(6).hex()}
        if item.kind == "port":
            changes["admin_state_up"] = self.random.random() < 0.7
        status, _ = self.ask("PUT", f"{PLURAL[item.kind]}/{item.id}", {item.kind: changes})
        for name, value in changes.items():
            if status == 200:
                item.values[name] = [value]
            elif status == 0:
                item.values.setdefault(name, [""] if name == "description" else [True]).append(value)

    def delete(self) -> None:
        own = [item for item in self.items if item.there and item.kind != "subnet"]
        if len(own) < 8:
            return
        item = self.random.choice(own)
        status, _ = self.ask("DELETE", f"{PLURAL[item.kind]}/{item.id}")
        if status in (0, 204):
            item.gone(sure=status == 204)
        elif status == 404:
            self.faults.append(f"{item.kind} {item.mark}, acknowledged, is not there to be deleted")


def lost(tx: Tx, writers: list[Writer]) -> list[str]:
    """Whatever is not as its writer was told, in sentences."""
    found: list[str] = []
    known: set[str] = set()
    rows: dict[tuple[str, str], Any] = {}
    for kind in PLURAL:
        mark = "description" if kind in NAMELESS else "name"
        rows |= {(kind, getattr(row, mark)): row for row in tx.where(kind) if (getattr(row, mark) or "").startswith("drill-")}
    for item in (item for writer in writers for item in writer.items):
        known.add(item.mark)
        row = rows.get((item.kind, item.mark))
        if (row is None) is item.there:
            found.append(f"{item.kind} {item.mark} is {'lost' if item.there else 'there though deleted or refused'}")
        if row is None or item.there is False:
            continue
        if item.id not in ("", row.id):
            found.append(f"{item.kind} {item.mark} is another one")
        for name, values in item.values.items():
            held = getattr(row, name.replace(":", "_"))
            if held not in values:
                found.append(f"{item.kind} {item.mark}: {name} is {held!r}, not {' or '.join(map(repr, values))}")
    return found + [f"{kind} {mark}: nobody asked for it" for kind, mark in rows if mark not in known]
