"""Hosts: what their agents report becomes rows; the door that agents, and the API's live questions, come in by."""

import json
import ssl
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import sqlalchemy as sa
from prometheus_client import generate_latest

from controller.admission import HOST, Admission, admitted_since, removal
from controller.peers import PATIENCE
from unryu import tls
from unryu.db import Database, Tx, now
from unryu.errors import BadRequest, Conflict, Fault, Forbidden, NotFound, TooLarge, Unauthorized
from unryu.logs import log
from unryu.metrics import refused
from unryu.resource import nouns
from unryu.tls.authority import SERVICES, certificate

MAX_REPORT = 4 << 20  # bytes: a host of 10,000 VIFs reports 1 MB
ANY = sys.maxsize  # a time later than every certificate
MAX_REQUEST = 64 << 10  # bytes of who has no certificate yet


class VifReport(pydantic.BaseModel):
    ofport: int = pydantic.Field(ge=-1, le=65535)
    link: str
    mac: str = ""
    error: str = ""


class Delta(pydantic.BaseModel):
    """What changed among the VIFs; None: unplugged."""

    vifs: dict[str, VifReport | None]


class Report(pydantic.BaseModel):
    """The whole truth of a host."""

    host: str
    tunnel_ip: str
    mtu: int = pydantic.Field(0, ge=0, le=65536)
    door: str = ""
    mappings: dict[str, str] = {}
    datapaths: dict[str, str]
    ofports: dict[str, dict[str, int]]
    vifs: dict[str, VifReport]


class Joining(pydantic.BaseModel):
    """Of a machine that would be a host."""

    token: str
    host: str
    request: str


class Renewing(pydantic.BaseModel):
    request: str


def take_report(database: Database, host: str, report: Report, issued: int = ANY) -> dict[str, list[str]]:
    """Store it; the answer is what a host must know of the others. `issued`: when the certificate was, that it came with."""
    with database.transaction() as tx:
        agent = next(iter(tx.where("agent", host=host)), None)
        known = agent is not None
        if agent is None:
            agent = tx.insert(nouns["agent"](host=host, started_at=now(), admitted=admitted_since(tx, host)))
        _refuse_removed(agent, issued)
        if report.datapaths != agent.datapaths:
            _refuse_anothers(tx, agent, report)
        if not known:
            log.info("a new host", host=host, tunnel_ip=report.tunnel_ip)
        tx.update(agent, tunnel_ip=report.tunnel_ip, mtu=report.mtu, door=report.door, mappings=report.mappings,
                  datapaths=report.datapaths, ofports=report.ofports, heartbeat_timestamp=tx.now.strftime("%Y-%m-%dT%H:%M:%S"))
        held = {v.port_id: v for v in tx.where("vif", agent_id=agent.id)}
        gone: dict[str, VifReport | None] = {port_id: None for port_id in held if port_id not in report.vifs}
        _take_vifs(tx, agent, held, {**gone, **report.vifs})
    with database.reading() as tx:
        return {"peers": peers(tx, host)}


def peers(tx: Tx, host: str) -> list[str]:
    """The tunnel addresses of all other hosts. Only that column: each of 1,000 hosts asks every 5 s."""
    agents = nouns["agent"].table.c
    return sorted(tx.connection.scalars(sa.select(agents.tunnel_ip).where(agents.host != host, agents.tunnel_ip != "")))


def _refuse_anothers(tx: Tx, agent: Any, report: Report) -> None:
    """Bridges have one host: who claims another's would take the place of its switches."""
    held_by = {dpid: other.host for other in tx.where("agent") if other.id != agent.id for dpid in other.datapaths.values()}
    for dpid in report.datapaths.values():
        if dpid in held_by:
            raise Conflict(f"Datapath {dpid} is a bridge of {held_by[dpid]}.")


def _refuse_removed(agent: Any, issued: float) -> None:
    if issued < agent.admitted:
        raise Forbidden(removal(agent.host))


def take_delta(database: Database, host: str, delta: Delta, issued: int = ANY) -> None:
    with database.transaction() as tx:
        agent = next(iter(tx.where("agent", host=host)), None)
        if agent is None:
            raise NotFound(f"Host {host} has not reported yet.")
        _refuse_removed(agent, issued)
        held = {v.port_id: v for v in tx.where("vif", agent_id=agent.id, port_id=list(delta.vifs))}
        _take_vifs(tx, agent, held, delta.vifs)


def _take_vifs(tx: Tx, agent: Any, held: dict[str, Any], reported: dict[str, VifReport | None]) -> None:
    for port_id, vif in reported.items():
        known = held.get(port_id)
        if vif is None:
            if known:
                tx.delete(known)
            continue
        link = "up" if vif.link == "up" and vif.ofport > 0 else "down"
        if known:
            tx.update(known, ofport=vif.ofport, link=link)
        elif tx.lock("port", port_id, shared=True) is None:
            log.warning("a VIF of no port: left unwired", host=agent.host, port=port_id)
        else:
            tx.insert(nouns["vif"](agent_id=agent.id, port_id=port_id, ofport=vif.ofport, link=link))


class Awaited(pydantic.BaseModel):
    """Hosts, and the revision that each is to confirm."""

    hosts: dict[str, int]


Answer = Callable[[], Any]
Model = TypeVar("Model", bound=pydantic.BaseModel)


class Door:
    """A small HTTPS server on the management address; everything but health and metrics needs a certificate of this cloud, and
    a report the one of the host that it is about."""

    def __init__(self, listen: tuple[str, int], identity: tls.Identity, database: Database,
                 switches: Answer, ready: Callable[[], bool], confirmed: Callable[[dict[str, int], float], list[str]],
                 folder: Path = Path(), openflow: int = 0) -> None:
        """`folder` holds the authorities; `openflow` is the port that new hosts' switches shall connect to."""
        self.database = database
        self.switches = switches
        self.confirmed = confirmed
        self.ready = ready
        self.admission = Admission(database, folder)
        self.openflow = openflow
        self.server = tls.Server(listen, type("Handler", (_Handler,), {"door": self}), identity, "the controller")
        refused.labels("reports").set_function(lambda: self.server.refusals.count)

    def start(self) -> None:
        threading.Thread(target=self.server.serve_forever, args=(0.2,), daemon=True, name="door").start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    door: Door
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    connection: ssl.SSLSocket

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._answer(200, {"alive": True})
        elif self.path == "/readyz":
            ready = self.door.ready()
            self._answer(200 if ready else 503, {"ready": ready})
        elif self.path == "/metrics":
            self._send(200, "text/plain; version=0.0.4", generate_latest())
        elif self.path == "/authority":
            self._answer(200, {"authority": self._authority()})
        else:
            self._guarded(self._live, tls.CONTROLLER, tls.LAB)

    def do_PUT(self) -> None:
        host = self._host("/agents")
        self._guarded(lambda: take_report(self.door.database, host, self._body(Report), self._issued), tls.of_host(host))

    def do_PATCH(self) -> None:
        host = self._host("/agents")
        self._guarded(lambda: take_delta(self.door.database, host, self._body(Delta), self._issued), tls.of_host(host))

    def do_POST(self) -> None:
        if self.path == "/join":
            self._guarded(lambda: self._join(self._body(Joining, MAX_REQUEST)))  # a token is what it needs
        elif self.path == "/confirmed":  # another controller waits for hosts of ours (controller/peers.py)
            self._guarded(lambda: {"hosts": self.door.confirmed(self._body(Awaited).hosts, PATIENCE)}, tls.CONTROLLER)
        else:
            host = self._host("/renew")
            self._guarded(lambda: self._renew(host, self._body(Renewing, MAX_REQUEST)), tls.of_host(host))

    def _join(self, wish: Joining) -> Any:
        certificate = self.door.admission.join(wish.token, wish.host, wish.request)
        return {"certificate": certificate, "openflow": self.door.openflow}

    def _renew(self, host: str, wish: Renewing) -> Any:
        return {"certificate": self.door.admission.renew(host, wish.request, self._issued), "authority": self._authority()}

    def _authority(self) -> str:
        return certificate(self.door.admission.folder, SERVICES).read_text()

    @property
    def _issued(self) -> int:
        return tls.peer(self.connection).issued

    def _live(self) -> Any:
        if self.path == "/switches":
            return self.door.switches()
        raise NotFound(f"There is no {self.path} here.")

    def _guarded(self, act: Callable[[], Any], *names: str) -> None:
        """Whatever it is, for these only (without any: for all)."""
        try:
            if names and (name := tls.name(self.connection)) not in names:
                why = f"{self.path} needs a certificate of {' or '.join(names)}, not of {name or 'nobody'}."
                self.door.server.refusals.refuse(self.client_address[0], why)
                raise Unauthorized(why)
            answer = act() or {}
            self.door.server.refusals.admit(self.client_address[0])
            self._answer(200, answer)
        except Fault as fault:
            if fault.status == 403:
                self.door.server.refusals.refuse(self.client_address[0], fault.sentence)
            self.close_connection = True  # its body may be unread
            self._answer(fault.status, {"error": fault.sentence})

    def _host(self, before: str) -> str:
        prefix, _, host = self.path.rpartition("/")
        return host if prefix == before and HOST.fullmatch(host) else ""

    def _body(self, model: type[Model], most: int = MAX_REPORT) -> Model:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            raise BadRequest("A report needs a Content-Length.")
        if int(length) > most:
            raise TooLarge(f"The report is larger than {most} bytes.")
        try:
            return model.model_validate_json(self.rfile.read(int(length)))
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise BadRequest(f"The report is wrong at {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error

    def _answer(self, status: int, body: Any) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return
