"""What the controller is told about this host: all of it at first and as a heartbeat, the differences at once."""

import http.client
import json
import logging
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

from ovsagent.bridges import NONE, ofports
from ovsagent.mappings import WIRE, uplinks
from ovsagent.ovsdb import Row, Tables
from unryu import tls

log = logging.getLogger("report")

Report = dict[str, Any]

HEARTBEAT = 5.0
RETRY = (0.05, 1.0)     # seconds from one attempt to the next: at first, and at most
TIMEOUT = 2.0           # for an answer: then another controller is asked
HEADERS = {"Content-Type": "application/json"}
MAX_ANSWER = 1 << 20    # bytes: 10,000 peers are 200 kB


def vifs(have: Tables) -> dict[str, Row]:
    """Every VIF of the host by its port id, whoever plugged it, with what vswitchd made of it. One whose number is not kept
    yet (`Vifs.pins`) is none: flows must not serve it before its number is empty."""
    found = {}
    for row in have["Interface"].values():
        port_id = row["external_ids"].get("iface-id")
        if port_id is None or row["ofport_request"] == ():
            continue
        ofport = row["ofport_request"] if row["ofport"] in NONE else row["ofport"]
        error = trouble(row)
        # Nobody has said yet: this ovsdb-server has started anew and vswitchd, which has the link, is still on its way to it.
        # To call that "down" would take away flows that serve.
        link = "down" if row["link_state"] == "down" or error else "up"
        found[port_id] = {"ofport": ofport, "link": link, "mac": row["external_ids"].get("attached-mac", "")}
        if error:
            found[port_id]["error"] = error
    return found


def trouble(interface: Row) -> str:
    if interface["error"] != () or interface["ofport"] == -1:
        return str(interface["error"] or f"vswitchd cannot use {interface['name']}")
    if interface["ifindex"] == 0:
        return f"the device {interface['name']} is gone"
    return ""


def full(identity: Report, have: Tables) -> Report:
    found = ofports(have)
    found[WIRE] |= {physical: number for physical, (_, number) in uplinks(identity["mappings"], have).items()}
    return {**identity, "ofports": found, "vifs": vifs(have)}


def delta(told: Report, now: Report) -> Report | None:
    """What became of the VIFs; None when something else changed too, so that only a whole report will do."""
    if {**told, "vifs": None} != {**now, "vifs": None}:
        return None
    before, after = told["vifs"], now["vifs"]
    changed = (port for port in before.keys() | after.keys() if before.get(port) != after.get(port))
    return {"vifs": {port: after.get(port) for port in changed}}


class Unwelcome(Exception):
    """The controller answered, but took nothing."""


class Reporter:
    """One thread, one kept-alive connection, and always the latest state: what was missed meanwhile does not matter."""

    def __init__(self, urls: str, host: str, identity: tls.Identity, on_taken: Callable[[Report], None]) -> None:
        """Reports are rows: whichever controller takes them. `on_taken` is called with the answer whenever one has taken a whole
        report."""
        doors = [urlsplit(url) for url in urls.split()]
        self._lines = deque((tls.Line(door.netloc, identity, tls.CONTROLLER, TIMEOUT), f"{door.path.rstrip('/')}/agents/{host}")
                            for door in doors)
        self._lines.rotate(crc32(host.encode()))  # not all hosts to the same
        self.on_taken = on_taken
        self.taken = False                      # the controller took the last report
        self.sent = {"PUT": 0, "PATCH": 0}
        self.failures = 0
        self._latest: Report | None = None
        self._told: Report | None = None        # what the controller knows; None: tell all of it
        self._whole_at = 0.0
        self._ear, self._bell = socket.socketpair()
        self._again, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._bell.send(b"!")
        self._thread.join(1)

    def tell(self, report: Report, again: bool = False) -> None:
        """This is how things are now; `again` tells all of it, also what the controller should know already."""
        if again:
            self._again.set()
        if again or report != self._latest:
            self._latest = report
            self._bell.send(b"!")

    def _run(self) -> None:
        pause, said = RETRY[0], False
        while not self._stopping.is_set():
            try:
                if self._latest:
                    self._send(self._latest)
                    if said:
                        log.info("the controller takes reports again")
                    pause, said = RETRY[0], False
                self._rest()
            except (OSError, http.client.HTTPException, Unwelcome) as error:
                self._hang_up()
                self._lines.rotate(-1)
                self.taken = False
                self.failures += 1
                if not said:
                    log.warning("the controller takes no report; trying again until it does", extra={"reason": error})
                    said = True
                self._stopping.wait(pause)
                pause = min(2 * pause, RETRY[1])

    def _send(self, report: Report) -> None:
        now = time.monotonic()
        if self._again.is_set() or now >= self._whole_at + HEARTBEAT:
            self._again.clear()
            self._told = None
        news = delta(self._told, report) if self._told else None
        if news == {"vifs": {}}:
            return
        if news and self._request("PATCH", news) is None:
            self._hang_up()     # the controller does so too
            news = None
        answer = self._request("PUT", report) if news is None else None
        self._told, self.taken = report, True
        if answer is not None:
            self._whole_at = now
            self.on_taken(answer)

    def _request(self, verb: str, body: Report) -> Report | None:
        """The answer; None to differences that the controller cannot take, since it does not know us."""
        self.sent[verb] += 1
        line, path = self._lines[0]
        line.request(verb, path, json.dumps(body, separators=(",", ":")).encode(), HEADERS)
        answer = line.getresponse()
        text = answer.read(MAX_ANSWER).decode(errors="replace")
        if verb == "PATCH" and answer.status in (404, 409):
            return None
        try:
            content = json.loads(text or "{}")
        except ValueError:
            content = None
        if answer.status >= 400 or not isinstance(content, dict):
            raise Unwelcome(f"{verb} {path}: {answer.status} {text[:1000]}")
        return content

    def _rest(self) -> None:
        """Until there is news, a heartbeat is due, or the controller goes away: its successor must hear all of it."""
        line = self._lines[0][0].sock
        due = max(0.0, self._whole_at + HEARTBEAT - time.monotonic()) if self._latest else HEARTBEAT
        poll = select.poll()    # select() knows no descriptor beyond 1,023, and a thousand may be callers at the door
        for each in filter(None, (self._ear, line)):
            poll.register(each, select.POLLIN)
        heard = {descriptor for descriptor, _ in poll.poll(due * 1000)}
        if self._ear.fileno() in heard:
            self._ear.recv(4096)
        if line and line.fileno() in heard:
            self._hang_up()
            self._stopping.wait(RETRY[0])

    def _hang_up(self) -> None:
        self._lines[0][0].close()
        self._told = None
