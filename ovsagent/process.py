"""The agent's process: wires the parts, and keeps the host as it should be for as long as it lives."""

import json
import logging
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from ovsagent import bridges, door, links, mappings, report
from ovsagent.answers.announcing import Announcer
from ovsagent.answers.book import Book
from ovsagent.answers.counts import counted, turned_away
from ovsagent.answers.desk import Desk
from ovsagent.answers.listener import Listener
from ovsagent.answers.routers import Routers
from ovsagent.answers.streams import Streams
from ovsagent.log import setup
from ovsagent.ovsdb import Client, Lost, Refused
from ovsagent.renewal import Renewal
from ovsagent.underlay import Underlay
from ovsagent.vif import Vifs
from ovsagent.vswitchd import Vswitchd
from unryu import tls

log = logging.getLogger("agent")

RETRY = 1.0         # seconds until a refused transaction is tried again


class Agent:
    """Level-triggered: a change of the database, or a report taken, only says "look again"."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        # A host trusts the authority of services alone: no other host can pose as the controller.
        self.files = Path(settings["tls"], "host.pem"), Path(settings["tls"], "services-ca.pem")
        self.tls = tls.Identity(*self.files)
        self.woken = threading.Event()
        self.admitted = False       # the controller has heard of us, so it will let our bridges in
        self.wired = False
        self.connection = 0         # the database's, when we last looked
        self.mended = 0
        self.deaf: set[str] = set()     # uplinks that the kernel was taken off
        self.unreached: set[str] = set()    # physical networks that are mapped to br-ex, while it has no port to them
        self.ovsdb = Client(Path(settings["ovsdb"]), bridges.WATCH, on_change=self.woken.set)
        self.vswitchd = Vswitchd(Path(settings["ovsdb"]).parent, self.zones)
        self.vifs = Vifs(self.ovsdb, self.vswitchd)
        self.underlay = Underlay(settings["tunnel_ip"], lambda: self.ovsdb.tables)
        # Beside the switch's own state: it lives as long, and no longer.
        self.book = Book(Path(settings["ovsdb"]).with_name("unryu-book.json"))
        self.desk = Desk(self.book, lambda: self.ovsdb.tables)
        self.routers = Routers(self.book, lambda: counted(Path(settings["ovsdb"]).parent))
        self.announcer = Announcer(self.book, self.vswitchd.forget)
        self.streams = Streams(self.book, lambda: self.ovsdb.tables, self.vswitchd.sessions)
        self.listener = Listener(self.book, lambda: self.ovsdb.tables)
        self.reporter = report.Reporter(settings["controller_url"], settings["host"], self.tls, on_taken=self.admit)
        self.door = door.serve(door.Door(
            self.vifs, lambda: report.vifs(self.ovsdb.tables), self.health, self.figures, self.book, self.dial),
            settings["listen"], self.tls)
        self.renewal = Renewal(self.files[0])
        self.identity = {
            "host": settings["host"], "tunnel_ip": settings["tunnel_ip"], "mtu": 0, "door": settings["listen"],
            "mappings": settings["bridge_mappings"],
            "datapaths": bridges.datapath_ids(settings["cloud"], settings["host"]),
        }

    def start(self) -> None:
        self.ovsdb.start()
        self.reporter.start()
        self.desk.start()
        self.routers.start()
        self.announcer.start()
        self.streams.start()
        self.listener.start()
        self.vswitchd.start()
        self.renewal.start()
        threading.Thread(target=self.door.serve_forever, name="door", daemon=True).start()
        threading.Thread(target=self.keep, name="keep", daemon=True).start()
        log.info("started", extra={"host": self.settings["host"], "vifs": len(self.vifs.known)})

    def stop(self) -> None:
        log.info("stopping; bridges and flows stay as they are")
        self.door.shutdown()
        self.reporter.stop()
        self.desk.stop()
        self.routers.stop()
        self.listener.stop()
        self.renewal.stop()
        self.ovsdb.stop()

    def admit(self, answer: dict[str, Any]) -> None:
        self.underlay.know(answer.get("peers") or ())
        if not self.admitted:
            self.admitted = True
            self.woken.set()

    def keep(self) -> None:
        refused = False
        while True:
            self.woken.wait(RETRY if refused else None)
            self.woken.clear()
            try:
                if self.ovsdb.connected:
                    self.tell()
                    self.mend()
                refused = False
            except (Lost, Refused) as error:
                if not refused:
                    log.warning("the host is not as it should be; trying again until it is", extra={"reason": error})
                refused = True

    def tell(self) -> None:
        """Before anything is mended, since somebody waits for the news of a plug. A host half wired is no news."""
        tables, connection = self.ovsdb.tables, self.ovsdb.connections
        underlay = links.carrying(self.settings["tunnel_ip"])       # gone for as long as its switch is
        self.identity["mtu"] = underlay.mtu if underlay else self.identity["mtu"]
        now = report.full(self.identity, tables)
        self.wired = all(port.role in now["ofports"][port.bridge] for port in bridges.FIXED)
        uplinks = mappings.uplinks(self.settings["bridge_mappings"], tables)
        self.deafen({name for name, _ in uplinks.values()})
        if self.wired:
            self.miss({name for name, of in self.settings["bridge_mappings"].items() if of == mappings.WIRE} - uplinks.keys())
            self.underlay.start()       # not before: a switch without a tunnel port does not listen to ARP
            self.reporter.tell(now, again=connection != self.connection)
            self.connection = connection

    def deafen(self, uplinks: set[str]) -> None:
        """This host's own addresses are nothing that the provider's wires should hear of."""
        for name in uplinks - self.deaf:
            links.deafen(name)
        self.deaf = uplinks

    def miss(self, unreached: set[str]) -> None:
        """(A bridge of an operator's own is joined to br-ex, whatever is behind it.)"""
        for physical in sorted(unreached - self.unreached):
            log.warning("br-ex has no port to the physical network that is mapped to it: add its NIC",
                        extra={"physical_network": physical})
        for physical in sorted(self.unreached - unreached):
            log.info("br-ex has a port to it again", extra={"physical_network": physical})
        self.unreached = unreached

    def mend(self) -> None:
        wanted = bridges.wanted(
            self.settings["cloud"], self.settings["host"], self.settings["tunnel_ip"],
            tuple(self.settings["openflow"]) if self.admitted else None)
        secured = bridges.secured(*self.files)
        pins = self.vifs.pins(self.ovsdb.tables)
        with self.vifs.lock:
            tables = self.ovsdb.tables
            wanted = bridges.with_ports(wanted, "br-int", self.vifs.ports(tables))
            wanted = mappings.joined(wanted, self.settings["bridge_mappings"], tables)
            if operations := bridges.difference(wanted, tables, secured) + pins:
                self.mended += 1
                counted = Counter(f"{operation['op']} {operation['table']}" for operation in operations)
                log.info("mending", extra={"what": ", ".join(f"{number} {what}" for what, number in counted.items())})
                self.ovsdb.transact(*operations)

    def dial(self, controller: str) -> None:
        """It has just begun to listen: our bridges shall not wait until they would try again."""
        if operations := bridges.redialled(self.ovsdb.tables, controller):
            self.ovsdb.transact(*operations)

    def zones(self) -> set[int]:
        """Of conntrack: of ports, their numbers; of routers whose way out is here, what the book says."""
        return {*self.ovsdb.tables.vifs, *(e["zone"] for e in self.book.answers.values() if isinstance(e.get("zone"), int))}

    def health(self) -> dict[str, Any]:
        wired = self.ovsdb.connected and self.wired
        return {"ready": wired and self.reporter.taken, "ovsdb": self.ovsdb.connected, "wired": wired,
                "reported": self.reporter.taken}

    def figures(self) -> dict[str, float]:
        return {
            "vifs": len(report.vifs(self.ovsdb.tables)), "wired": self.wired, "ovsdb_connected": self.ovsdb.connected,
            "ovsdb_connections_total": self.ovsdb.connections, "ovsdb_transactions_total": self.ovsdb.transactions,
            "mendings_total": self.mended, "reports_whole_total": self.reporter.sent["PUT"],
            "reports_delta_total": self.reporter.sent["PATCH"], "report_failures_total": self.reporter.failures,
            **{f"answers_{kind}_total": number for kind, number in self.desk.answered.items()},
            "metadata_answered_total": self.listener.answered, "metadata_refused_total": self.listener.refused,
            "questions_unanswered_total": self.desk.unanswered, "questions_refused_total": self.desk.refused,
            **{f"routers_{kind}_total": number for kind, number in self.routers.answered.items()},
            "announcements_total": self.announcer.announced, "streams_provoked_total": self.streams.provoked,
            "routers_refused_total": self.routers.refused, "next_hops_asked_total": self.routers.next_hops.asked,
            "snat_refused_total": turned_away(Path(self.settings["ovsdb"]).parent),
            "book_revision": self.book.revision, "book_mendings_total": self.book.mended,
            "report_taken": self.reporter.taken, "connections_refused_total": self.door.refusals.count,
            "certificate_renewal_failures": self.renewal.failures,
            "neighbours_asked_total": self.underlay.asked,
        }


def end(failure: threading.ExceptHookArgs) -> None:
    """A thread of ours has a fault we did not foresee: better a new process than half an agent."""
    log.critical("ending", exc_info=failure.exc_value)
    os._exit(1)


def main(settings: dict[str, Any]) -> None:
    setup(settings["host"])
    threading.excepthook = end
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)       # before the threads start, so that none of them is asked
    agent = Agent(settings)
    agent.start()
    signal.sigwait(signals)
    agent.stop()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
