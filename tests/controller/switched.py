"""A whole controller on real switches, without hosts: API, loop, and the bridges of two hosts that only the tests play."""

import threading
import time
from pathlib import Path
from typing import Any

from werkzeug.test import Client

from controller.api import application
from controller.derive import BOOK, catalogue, recompute
from controller.hosts import Delta, Report, VifReport, take_delta, take_report
from controller.loop import Loop
from controller.openflow.app import Switches
from controller.openflow.connection import Connection, ConnectionLost
from controller.openflow.readback import read
from controller.overview import switches
from controller.pipeline import BRIDGES
from tests.clouds import PATIENCE
from tests.controller.test_features import conflicts
from tests.inprocess import ADMIN, fresh_database, tokens
from tests.ovs import OvsHost

HOSTS = ("h1", "h2")
DPIDS = {(host, bridge): n << 8 | k for n, host in enumerate(HOSTS, 1) for k, bridge in enumerate(BRIDGES, 1)}


class Cloud:
    """API, controller and two hosts' bridges (on one Open vSwitch), without agents: the tests say what they would."""

    def __init__(self, folder: Path, ovs: OvsHost, address: str, **settings: Any) -> None:
        self.database = fresh_database(folder)
        self.api = Client(application(self.database, tokens()))
        self.connections: dict[int, Connection] = {}
        self.vifs: dict[str, dict[str, VifReport]] = {host: {} for host in HOSTS}
        for host in HOSTS:
            self.report(host)
        self.loop = Loop(self.database, catalogue.values(), **settings)
        self.loop.load()
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()
        self.switches = Switches([(address, 0)], self.loop.known, self._up, self.loop.down)
        self.switches.start()
        target = "tcp:{}:{}".format(*self.switches.addresses[0])
        for (host, bridge), dpid in DPIDS.items():
            ovs.ofctl("del-flows", f"{host}-{bridge}")
            ovs.vsctl("set-controller", f"{host}-{bridge}", target, "--", "set", "bridge", f"{host}-{bridge}",
                      f"other_config:datapath-id={dpid:016x}", "--", "set", "controller", f"{host}-{bridge}",
                      "max_backoff=1000")

    def _up(self, connection: Connection) -> None:
        self.connections[connection.dpid] = connection
        self.loop.up(connection)

    def report(self, host: str) -> None:
        take_report(self.database, host, Report(
            host=host, tunnel_ip=f"198.18.0.{HOSTS.index(host) + 1}", vifs=dict(self.vifs[host]),
            datapaths={bridge: f"{DPIDS[host, bridge]:016x}" for bridge in BRIDGES},
            ofports={"br-int": {"patch-tun": 1, "patch-ex": 2, "door": 3, "routers": 4, "metadata": 5},
                     "br-tun": {"patch-int": 1, "vxlan": 2}, "br-ex": {"patch-int": 1, "physical1": 2}},
            mappings={"physical1": "br-ex"}))

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.api.open(f"/v2.0{path}", method=method, json=body, headers={"X-Auth-Token": ADMIN})
        assert answer.status_code < 500, answer.get_data(as_text=True)
        return answer.json if answer.status_code in (200, 201) else None

    def plug(self, host: str, port_id: str, vif: VifReport | None) -> None:
        if vif is None:
            self.vifs[host].pop(port_id, None)
        else:
            self.vifs[host][port_id] = vif
        take_delta(self.database, host, Delta(vifs={port_id: vif}))

    def settle(self) -> int:
        """Until every switch has confirmed the newest revision."""
        with self.database.reading() as tx:
            revision = tx.connection.exec_driver_sql("SELECT number FROM revision").scalar_one()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            state = switches(self.loop)
            if len(state) == len(DPIDS) and all(s["connected"] and s["realised"] >= revision for s in state):
                return revision
            time.sleep(0.002)
        raise AssertionError(f"not settled at {revision}: {switches(self.loop)}")

    def check(self) -> None:
        """That all agree, at one revision: facts from below, such as where a gateway is placed, come when they come."""
        for last in (*[False] * 20, True):
            revision = self.settle()
            try:
                self.compare()
                break
            except (AssertionError, RuntimeError):  # of the second kind is what changes while it is read
                if last or self.settle() == revision:
                    raise
            except ConnectionLost:  # a switch that had no turn for a second comes again
                if last:
                    raise

    def compare(self) -> None:
        assert not self.loop.engine.failed and not conflicts(self.loop.engine)
        fresh = recompute(self.loop.picture, catalogue.values())
        for host in HOSTS:
            assert self.loop.engine.wanted[host][BOOK] == fresh[host][BOOK]
        for (host, bridge), dpid in DPIDS.items():
            wanted = fresh[host][bridge]
            assert self.loop.engine.wanted[host][bridge] == wanted
            held = {i.flow.key: (i.cookie, i.flow) for i in read(self.connections[dpid], bridge)}
            assert held == wanted, f"{host} {bridge}"

    def close(self) -> None:
        self.loop.stop()
        self.thread.join()
        self.switches.stop()
        self.database.close()
