"""Who is killed, and how."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.postgres import Postgres
from topology import processes
from topology.cloud import Cloud

HOW = (signal.SIGKILL,) * 6 + (signal.SIGTERM, signal.SIGSTOP)
FROZEN = (0.2, 1.5)  # seconds


@dataclass
class Strike:
    """One kill: what it was, when, and until when all was well again. (`alone`: no other came before that.)"""

    victim: str
    host: str | None
    how: signal.Signals
    at: float
    alone: bool = True
    over: float = 0.0

    def __str__(self) -> str:
        return f"{self.how.name} to {self.victim}{f' of {self.host}' if self.host else ''}"

    @property
    def cuts(self) -> bool:
        """Forwarding lives in ovs-vswitchd, whose main thread carries packets here and rests while its database is away
        (`bridge_run` of Open vSwitch 3.1 returns until it has the lock again, a second and more after the server is back).
        Nobody else's death may be felt by a packet."""
        return self.victim in ("ovs-vswitchd", "ovsdb-server")


def strike(cloud: Cloud, chance: random.Random, only: Callable[[str], bool] = lambda name: True) -> Strike | None:
    """Hit somebody: each name on each host with the same chance. None when he was gone before we came."""
    living: dict[tuple[str, str | None], list[int]] = {}
    for one in processes.find(cloud):
        if only(processes.title(one)):
            living.setdefault((processes.title(one), one.host), []).append(one.pid)
    if not living:
        return None
    (name, host), how = chance.choice(sorted(living, key=str)), chance.choice(HOW)
    hit = Strike(name, host, how, time.time())
    pid = chance.choice(living[name, host])
    with suppress(ProcessLookupError):
        os.kill(pid, how)
        if how == signal.SIGSTOP:
            time.sleep(chance.uniform(*FROZEN))
            os.kill(pid, signal.SIGCONT)
        return hit
    return None


def beneath(server: Postgres) -> Callable[[Cloud, random.Random], Strike | None]:
    """The same, and now and then the database server: one of its backends, or all of it."""

    def hit(cloud: Cloud, chance: random.Random) -> Strike | None:
        if chance.random() > 0.15:
            return strike(cloud, chance)
        if chance.random() < 0.3:
            one = Strike("postgres", None, signal.SIGKILL, time.time())
            server.restart()
            return one
        how = chance.choice((signal.SIGKILL, signal.SIGTERM))
        one = Strike("postgres backend", None, how, time.time())
        with suppress(OSError, IndexError):
            os.kill(chance.choice(server.backends()), how)
            return one
        return None

    return hit
