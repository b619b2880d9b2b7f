"""Plugging: the one home of how a guest's interface comes to br-int and leaves it.

What is plugged is remembered where it cannot be lost without the link itself: in the alias of the host's end of the
veth pair. So an agent that starts again, or finds an empty database, knows every VIF and its OpenFlow port.
"""

import errno
import logging
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from ovsagent import links
from ovsagent.bridges import NONE, Bridge, difference
from ovsagent.ovsdb import Client, Operation, Row, Tables, members, mutate, update
from ovsagent.vswitchd import Vswitchd

log = logging.getLogger("vif")

FIRST, LAST = 100, 32767        # OpenFlow ports that the agent gives out: 15 bits cross to the door; the fixed ports are below
LAST_GIVEN = "unryu-last-vif"   # kept in br-int's external_ids: a number given again at once could meet its old flows
PATIENCE = 5.0                  # seconds for vswitchd to take a port in

_ALIAS = re.compile(r"unryu vif=(\S+) mac=(\S+) ofport=(\d+)")


class Problem(Exception):
    """A sentence for who asked, with the HTTP status that suits it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Vif:
    port_id: str
    mac: str
    ofport: int

    @property
    def device(self) -> str:
        return "tap" + self.port_id[:11]

    @property
    def alias(self) -> str:
        return f"unryu vif={self.port_id} mac={self.mac} ofport={self.ofport}"

    @property
    def interface(self) -> Row:
        return {
            "ofport_request": self.ofport,
            "external_ids": {"iface-id": self.port_id, "attached-mac": self.mac, "iface-status": "active"},
        }


def remembered(alias: str) -> Vif | None:
    found = _ALIAS.fullmatch(alias)
    return Vif(found[1], found[2], int(found[3])) if found else None


class Vifs:
    """The VIFs of this host. `lock` is held for the database and what is known, never for links or for vswitchd: the
    kernel takes 16 ms to remove a pair, and no plug waits for another port's end."""

    def __init__(self, ovsdb: Client, vswitchd: Vswitchd) -> None:
        self.ovsdb = ovsdb
        self.vswitchd = vswitchd
        self.lock = threading.Lock()
        known = (remembered(link.alias) for link in links.every())
        self.known = {vif.port_id: vif for vif in known if vif}
        self._last = 0
        self._turns = [threading.Lock() for _ in range(64)]      # by port: one thing at a time for each

    def plug(self, port_id: str, mac: str, mtu: int, netns: str, ifname: str = "eth0") -> tuple[int, str]:
        """The OpenFlow port and the device, once vswitchd has taken it. Again: the same; elsewhere: moved."""
        with self._turn(port_id):
            vif = self._linked(port_id, mac, mtu, netns, ifname)
            with self.lock:
                self.known[port_id] = vif
                if operations := self._port(vif):
                    self.ovsdb.transact(*operations)
        return self.recognise(port_id)

    def recognise(self, port_id: str) -> tuple[int, str]:
        """Wait for vswitchd to take the port, whoever adds it to br-int under this id: we, or libvirt."""
        def look(tables: Tables) -> Row | None:
            row = interface(tables, port_id)
            return row if row and (row["ofport"] != () or row["error"] != ()) else None

        row = self.ovsdb.wait(look, PATIENCE)
        if row is None:
            raise Problem(504, f"vswitchd has not taken port {port_id} in {PATIENCE:g} s; it will when it can")
        if row["ofport"] in NONE:
            raise Problem(500, f"vswitchd refuses port {port_id}: {row['error'] or 'no reason given'}")
        return row["ofport"], row["name"]

    def unplug(self, port_id: str) -> None:
        with self._turn(port_id):
            self._remove(port_id)

    def pins(self, tables: Tables) -> list[Operation]:
        """Keep the number of a port that others made: a restarted vswitchd could give it another one. It is a former port's,
        perhaps, so it is emptied first; that nothing is told of a port before its number is kept gives us the time."""
        operations = []
        for uuid, row in tables["Interface"].items():
            port_id = row["external_ids"].get("iface-id")
            if port_id and port_id not in self.known and row["ofport_request"] == () and row["ofport"] not in NONE:
                links.deafen(row["name"])
                self.vswitchd.empty(row["ofport"])
                operations.append(update("Interface", uuid, {"ofport_request": row["ofport"]}))
        return operations

    def ports(self, tables: Tables) -> dict[str, Row]:
        """What br-int should hold: every VIF whose port or whose link is there."""
        gone = [vif for vif in self.known.values() if vif.device not in tables.ports and not links.find(vif.device)]
        for vif in gone:
            del self.known[vif.port_id]
        return {vif.device: vif.interface for vif in self.known.values()}

    def _turn(self, port_id: str) -> threading.Lock:
        return self._turns[hash(port_id) % len(self._turns)]

    def _linked(self, port_id: str, mac: str, mtu: int, netns: str, ifname: str) -> Vif:
        """The veth pair as asked for; one that leads elsewhere, or was left half made, is replaced."""
        device = Vif(port_id, mac, 0).device
        try:
            link = links.find(device)
            old = remembered(link.alias) if link else None
            if link and not _is_of(port_id, link):
                raise Problem(409, f"the name {device} is taken here by {link.alias or 'a link that is not ours'}")
            if link and not (old and link.peer_namespace == links.namespace_number(netns)):
                self._remove(port_id)
                link = None
            vif = Vif(port_id, mac, old.ofport if old else self._number())
            if link is None:
                links.create_pair(device, ifname, namespace=netns, mac=mac, mtu=mtu)
                link = links.find(device)
            if link is None:
                raise links.NoNamespace(netns)      # it ended meanwhile, and took the pair with it
            links.shape_guest_end(link.peer, ifname, namespace=netns, mac=mac, mtu=mtu)
            links.raise_host_end(device, alias=vif.alias, mtu=mtu)
        except links.NoNamespace:
            raise Problem(404, f"there is no network namespace {netns} here") from None
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise Problem(409, f"namespace {netns} has an interface {ifname} already") from None
            raise Problem(400, f"no link with MAC {mac} and MTU {mtu} in namespace {netns}: {error.strerror}") from None
        return vif

    def _number(self) -> int:
        with self.lock:
            tables = self.ovsdb.tables
            bridge = tables["Bridge"][tables.bridges["br-int"]] if "br-int" in tables.bridges else {"external_ids": {}}
            self._last = self._last or int(bridge["external_ids"].get(LAST_GIVEN, FIRST - 1))
            self._last = number = free_ofport(self._last, tables, self.known.values())
        self.vswitchd.empty(number)     # before a link remembers it: who dies in between leaves no number that is not empty
        return number

    def _port(self, vif: Vif) -> list[Operation]:
        tables = self.ovsdb.tables
        if "br-int" not in tables.bridges:
            raise Problem(503, "the bridges of this host are not wired yet")
        operations = difference({"br-int": Bridge(columns={}, ports={vif.device: vif.interface})}, tables)
        if vif.device not in tables.ports:
            operations.append(mutate("Bridge", {"name": "br-int"}, ("external_ids", "delete", (LAST_GIVEN,)),
                                     ("external_ids", "insert", {LAST_GIVEN: str(self._last or vif.ofport)})))
        return operations

    def _remove(self, port_id: str) -> None:
        """Port first, then link, so that vswitchd never holds a port whose device is gone."""
        device = Vif(port_id, "", 0).device
        with self.lock:
            self.known.pop(port_id, None)
            tables = self.ovsdb.tables
            row, uuid = interface(tables, port_id), tables.ports.get(device)
            if uuid and row and row["name"] == device:      # another port's id may begin alike
                holders = [row["name"] for row in tables["Bridge"].values() if uuid in members(row["ports"])]
                self.ovsdb.transact(*(mutate("Bridge", {"name": name}, ("ports", "delete", uuid)) for name in holders))
        link = links.find(device)
        if link and _is_of(port_id, link):
            links.delete(device)


def _is_of(port_id: str, link: links.Link) -> bool:
    """Also one that is down and says nothing: we died before we raised it."""
    vif = remembered(link.alias)
    return vif.port_id == port_id if vif else not (link.alias or link.up)


def interface(tables: Tables, port_id: str) -> Row | None:
    return next((row for row in tables["Interface"].values() if row["external_ids"].get("iface-id") == port_id), None)


def free_ofport(last: int, tables: Tables, known: Iterable[Vif]) -> int:
    """The next number after the last one given that nobody holds."""
    rows = tables["Interface"].values()
    taken = {row[column] for row in rows for column in ("ofport", "ofport_request")} | {vif.ofport for vif in known}
    return next(number for number in chain(range(last + 1, LAST + 1), range(FIRST, last + 1)) if number not in taken)
