"""Calls the switches: who has just begun to listen has their agents make them dial at once.

Left alone, Open vSwitch dials again a second after it lost its controller, and waits twice as long after each attempt that
failed, up to 8 s (3.1 heeds no `max_backoff`). Nothing depends on this: an agent that does not hear is no fault.
"""

import http.client
import json
import queue
import threading

import sqlalchemy as sa

from unryu import tls
from unryu.db import Database
from unryu.errors import Unavailable
from unryu.logs import log

TIMEOUT = 2.0  # for an agent: later its switches have come by themselves
AT_ONCE = 8


def call(database: Database, identity: tls.Identity, port: int) -> None:
    """All hosts, in threads of their own; `port` is where we listen for switches."""
    try:
        with database.reading() as tx:
            doors = tx.connection.execute(sa.text("SELECT host, door FROM agent WHERE door <> ''")).all()
    except Unavailable:
        return  # it has been said
    waiting: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    for host, door in doors:
        waiting.put((host, door))
    for number in range(min(AT_ONCE, len(doors))):
        threading.Thread(target=_each, args=(waiting, identity, port), name=f"call {number}", daemon=True).start()


def _each(waiting: "queue.SimpleQueue[tuple[str, str]]", identity: tls.Identity, port: int) -> None:
    while True:
        try:
            host, door = waiting.get_nowait()
        except queue.Empty:
            return
        line = tls.Line(door, identity, tls.of_host(host), TIMEOUT)
        try:
            line.connect()
            ours = line.sock.getsockname()[0]  # as the host knows us
            address = f"[{ours}]:{port}" if ":" in ours else f"{ours}:{port}"
            line.request("POST", "/dial", json.dumps({"controller": address}), {"Content-Type": "application/json"})
            answer = line.getresponse()
            text = answer.read()
            if answer.status >= 300:
                log.warning("an agent does not have its switches dial", host=host, error=text[:200].decode(errors="replace"))
        except (OSError, http.client.HTTPException):
            pass  # it is away, and its switches come by themselves
        finally:
            line.close()
