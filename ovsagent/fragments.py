"""Small fragments: Open vSwitch drops pieces under 1,200 bytes until it is told otherwise, anew each time it starts.

Whoever tunnels, or has an MTU of 1,000 somewhere on the way, sends such pieces; conntrack has to see them to know whose
they are. The setting lives in the daemon and not in its database, so it is said over its control socket; the socket is
then held, and when it breaks the daemon is another one.
"""

import json
import logging
import socket
import threading
import time
from pathlib import Path

log = logging.getLogger("fragments")

SMALLEST = 400      # bytes: Open vSwitch's own lower limit
PAUSE = 0.2         # seconds between tries


class Fragments(threading.Thread):
    def __init__(self, folder: Path) -> None:
        """`folder`: where this host's vswitchd keeps its control socket."""
        super().__init__(name="fragments", daemon=True)
        self.folder = folder
        self.told = 0

    def run(self) -> None:
        while True:
            for path in self.folder.glob("*vswitchd*.ctl"):     # one of a daemon that is gone takes no connection
                self._hold(path)
            time.sleep(PAUSE)

    def _hold(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as control:
            try:
                control.connect(str(path))
                while not all(_accepted(control, version) for version in ("v4", "v6")):
                    time.sleep(PAUSE)       # it has no bridges yet
                self.told += 1
                log.info("small fragments are let in", extra={"from_bytes": SMALLEST})
                while control.recv(4096):
                    pass
            except OSError:
                return


def _accepted(control: socket.socket, version: str) -> bool:
    words = {"method": "dpctl/ipf-set-min-frag", "params": [version, str(SMALLEST)], "id": 0}
    control.sendall(json.dumps(words).encode())
    said = b""
    while True:
        part = control.recv(4096)
        if not part:
            raise ConnectionError("vswitchd is gone")
        said += part
        try:
            return json.loads(said)["error"] is None
        except ValueError:
            continue        # half an answer
