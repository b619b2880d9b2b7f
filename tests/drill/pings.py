"""A ping every 10 ms between guests that were promised it, for as long as a drill runs."""

import re
import signal
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from topology.lab import Guest

EVERY = 0.01
_LINE = re.compile(rb"\[(\d+\.\d+)\] .* icmp_seq=(\d+) ttl=")


class Silence(NamedTuple):
    """Between two answers: pings that nobody answered, or late."""

    begin: float
    end: float
    lost: int


class Pinging:
    def __init__(self, guest: Guest, other: Guest, address: str, log: Path) -> None:
        self.name, self.log = f"{guest.name} to {other.name}", log
        self.crosses = guest.host != other.host
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", guest.namespace, "ping", "-D", "-n", "-i", str(EVERY), "-W", "1", address],
                stdout=out, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    def answers(self) -> Iterator[tuple[float, int]]:
        """When each answer came, and to which ping."""
        last = 0
        for line in self.log.read_bytes().splitlines():
            if said := _LINE.match(line):
                number = int(said[2])
                last = number + round((last - number) / 65536) * 65536  # it counts in 16 bits
                yield float(said[1]), last

    def silences(self) -> list[Silence]:
        """(The last pings may still be on their way when ping is stopped: what is behind the last answer does not count.)"""
        answers = list(self.answers())
        assert answers, f"{self.name}: {self.log.read_text()[-500:]}"
        return [Silence(before, at, number - last - 1) for (before, last), (at, number) in pairwise(answers)
                if number > last + 1 or at - before > 5 * EVERY]
