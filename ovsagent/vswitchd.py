"""What vswitchd has to be told over its control socket. What it forgets by dying is said over a line that breaks with it.

Small fragments: Open vSwitch drops pieces under 1,200 bytes until it is told otherwise. Whoever tunnels, or has an MTU
of 1,000 somewhere on the way, sends such pieces; conntrack has to see them to know whose they are. Those that wait for others
do so in one row for the whole host, 15 s at most: it is made as long as Open vSwitch allows, so that who never sends the rest has
to send five times as many (333 a second) before the others' are dropped.

Old verdicts: seen on Open vSwitch 3.1, a cached flow dropped what the flow table let pass, for as long as packets came
(UNRYU_SEED=500 UNRYU_MATRICES=18 in tests/groups), beside one that overlaps it. The likely reason, not shown apart: the
user-space datapath looks up by a packet which cached flow to change, and finds the other one. So the cache is emptied after
flows have changed, now and once more when what was on its way has come in too. It fills with the next packets.

Old sessions: the conntrack zone of a port is its ofport, so a number is emptied before another port has it. What a former
port began would else be judged as begun by the new one.

Limits: conntrack has one table for all zones. Who fills it (any guest can, by sending to a million ports) would let nobody
else begin anything, so each zone is told how much of it is its share: less, the more there are, so that all guests together leave
the routers room; but never so little that a guest would feel it, and then the table is made larger. (Open vSwitch 3.1 knows a
usual limit, but counts all zones that have it together.)
"""

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

from ovsagent.ovsdb import Lost

log = logging.getLogger("vswitchd")

SMALLEST = 400      # bytes: Open vSwitch's own lower limit
PIECES = 5000       # that may wait for others: its upper limit (usual are 1,000)
PAUSE = 0.2         # seconds between tries, and between looks at whether flows have changed
REST = 0.5          # seconds from one emptying to the next look: where flows change all the time, packets shall meet a cache too
PATIENCE = 5.0      # seconds for an answer
TRIES = 20
MOST = 3_000_000    # sessions that Open vSwitch remembers
GUESTS, ROUTERS = 2_000_000, 1_000_000      # of them, those of all ports, and of all routers together
SHARE, LEAST = 262_144, 16_384              # sessions of a zone
OF_ROUTERS = 0x8000                         # the first of their zones
MANY = 4096         # sessions of a zone that are read
COUNT = re.compile(r"count=(\d+)")


def shares(zones: Set[int]) -> dict[int, int]:
    """How many sessions each zone may have. In steps of two, so that a guest more is seldom news for all the others."""
    found: dict[int, int] = {}
    routers = {zone for zone in zones if zone >= OF_ROUTERS}
    for room, its in ((GUESTS, zones - routers), (ROUTERS, routers)):
        each = room >> max(0, len(its) - 1).bit_length()
        found |= dict.fromkeys(its, min(SHARE, max(LEAST, each)))
    return found


class Vswitchd(threading.Thread):
    def __init__(self, folder: Path, zones: Callable[[], Set[int]] = frozenset) -> None:
        """`folder`: where this host's vswitchd keeps its control socket; `zones`: those of conntrack that are in use."""
        super().__init__(name="vswitchd", daemon=True)
        self.folder = folder
        self.zones = zones
        self.told = 0
        self.emptied = 0

    def run(self) -> None:
        while True:
            with suppress(Lost):
                for control in self._lines():
                    control.settimeout(None)    # by this line we wait for its end
                    self._hold(control)
            time.sleep(PAUSE)

    def empty(self, zone: int) -> None:
        """End the sessions that this conntrack zone remembers. Where no daemon runs, nobody remembers any."""
        for control in self._lines():
            try:
                if error := _asked(control, "dpctl/flush-conntrack", f"zone={zone}")["error"]:
                    log.warning("old sessions may live on under a new port", extra={"ofport": zone, "reason": error})
            except TimeoutError:
                raise Lost(f"vswitchd has not answered in {PATIENCE:g} s") from None
            except OSError:
                continue        # it died meanwhile, and its memory with it

    def forget(self, zone: int, address: str = "") -> None:
        """The sessions of an address there, or all. Open vSwitch 3.1 passes some over as it looks for them: so until none is
        left, or twice where so many are that it would forward nothing while it says which."""
        try:
            if not address:
                self.empty(zone)
            for control in self._lines() if address else ():
                few = 0 < _count(control, zone) <= MANY
                for _ in range(TRIES if few else 2):
                    for field in ("ct_nw_src", "ct_nw_dst"):
                        _asked(control, "dpctl/flush-conntrack", f"zone={zone}", f"{field}={address}")
                    if few and f"={address}," not in str(_asked(control, "dpctl/dump-conntrack", f"zone={zone}")["result"]):
                        break
        except (OSError, Lost) as error:
            log.warning("old sessions may live on", extra={"zone": zone, "address": address, "reason": error})

    def sessions(self, zone: int) -> list[str]:
        """What conntrack remembers there, a line each. While vswitchd says it, it forwards nothing: so not of who has many. (All
        at once: who asks of many zones and takes a line of each in turn would hold as many connections.)"""
        found: list[str] = []
        with suppress(OSError, Lost):
            for control in self._lines():
                if 0 < _count(control, zone) <= MANY:
                    found += str(_asked(control, "dpctl/dump-conntrack", f"zone={zone}")["result"]).splitlines()
        return found

    def _lines(self) -> Iterator[socket.socket]:
        for path in self.folder.glob("*vswitchd*.ctl"):
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(PATIENCE)
                try:
                    control.connect(str(path))
                except BlockingIOError:
                    raise Lost("vswitchd stands still: it takes no more questions") from None
                except OSError:
                    continue    # of a daemon that is gone
                yield control

    def _hold(self, control: socket.socket) -> None:
        try:
            while any(_asked(control, "dpctl/ipf-set-min-frag", version, str(SMALLEST))["error"] for version in ("v4", "v6")):
                time.sleep(PAUSE)       # it has no bridges yet
            _asked(control, "dpctl/ipf-set-max-nfrags", str(PIECES))
            self.told += 1
            log.info("small fragments are let in", extra={"from_bytes": SMALLEST})
            self._keep_fresh(control)
        except OSError:
            return

    def _keep_fresh(self, control: socket.socket) -> None:
        """Until the daemon ends."""
        before = changes = ""
        limited: dict[int, int] = {}
        room = 0
        while True:
            wanted = shares(self.zones())
            if room != (room := max(MOST, sum(wanted.values()))):
                _asked(control, "dpctl/ct-set-maxconns", str(room))
            if fresh := wanted.items() - limited.items():
                _asked(control, "dpctl/ct-set-limits", *(f"zone={zone},limit={share}" for zone, share in sorted(fresh)))
                limited |= fresh
            now = _asked(control, "coverage/read-counter", "rev_flow_table")["result"]
            if now != before:
                _asked(control, "revalidator/purge")
                self.emptied += 1
                time.sleep(REST)
            before, changes = changes, now
            time.sleep(PAUSE)


def _count(control: socket.socket, zone: int) -> int:
    """Of sessions in a zone that has a limit; 0, too, where nobody counts."""
    found = COUNT.search(str(_asked(control, "dpctl/ct-get-limits", f"zone={zone}")["result"]))
    return int(found[1]) if found else 0


def _asked(control: socket.socket, method: str, *params: str) -> dict[str, Any]:
    control.sendall(json.dumps({"method": method, "params": params, "id": 0}).encode())
    said = b""
    while True:
        part = control.recv(1 << 18)
        if not part:
            raise ConnectionError("vswitchd is gone")
        said += part
        if not part.endswith(b"}"):     # a long answer would be parsed again with every piece of it
            continue
        try:
            answer: dict[str, Any] = json.loads(said)
            return answer
        except ValueError:
            continue        # half an answer
