"""Keeps the host's certificate young: at two thirds of its life a process of its own asks for the next one.

Of its own, since it needs libraries that the agent, which is on every host for ever, should not hold in memory. The new file
is found by whoever opens a connection: the door, the reports and Open vSwitch; what is open stays open.
"""

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

from unryu import tls

log = logging.getLogger("renewal")

COMMAND = (sys.executable, "-P", "-m", "unryu", "host", "renew")
PATIENCE = 60.0
AGAIN = (1.0, 3600.0)  # seconds until the next attempt after one that failed: a tenth of the time left, within these


class Renewal(threading.Thread):
    def __init__(self, identity: Path) -> None:
        super().__init__(name="renewal", daemon=True)
        self.identity = identity
        self.failures = 0
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        pause = tls.ageing(self.identity)
        while not self._stopping.wait(max(0.0, pause)):
            reason = self._renew()
            if not reason:
                self.failures = 0
                log.info("the certificate is renewed")
                pause = tls.ageing(self.identity)
                continue
            self.failures += 1
            if self.failures == 1:
                log.warning("the certificate is not renewed; trying again until it is", extra={"reason": reason})
            pause = min(max((tls.validity(self.identity)[1] - time.time()) / 10, AGAIN[0]), AGAIN[1])

    def _renew(self) -> str:
        """What kept us from it."""
        try:
            done = subprocess.run(COMMAND, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
                                  check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
