"""Two controllers on a PostgreSQL, the one of h2 killed: how soon a port that is plugged there in that moment is reached.

`python -m bench.failover`, as root. "Moved": until the other controller has read h2's switches back, by its log. Beside it the
same plug with nobody killed, and with the killed one started again by the supervisor, as it is where nobody holds that back.
"""

import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Columns

from bench.api import databases
from bench.cloud import Lab, Plugs, lab
from topology import api
from topology.cloud import Cloud

ROUNDS = 9
HOST = "h2"


class Controllers:
    def __init__(self, cloud: Lab) -> None:
        self.cloud = cloud
        self.all = Cloud(Path(cloud.state)).controllers()

    def settle(self) -> str:
        """Until both live and have what is theirs; the one of the host."""
        while True:
            try:
                switches = [switch for one in self.all for switch in api.controller(one, "/switches") if switch["mine"]]
            except api.Refused:
                switches = []
            owners = {switch["controller"] for switch in switches}
            if len(switches) == 6 and len(owners) == 2 and all(s["connected"] and s["wanted"] == s["realised"] for s in switches):
                return next(str(s["controller"]) for s in switches if s["host"] == HOST)
            time.sleep(0.1)

    def processes(self, *names: str) -> list[int]:
        return [one["pid"] for one in self.cloud.status()["processes"] if one["name"].startswith(names)]

    def moved(self, since: float) -> float:
        """When the last of the host's switches had been read back after that."""
        at = []
        for one in self.all:
            lines = Path(self.cloud.state, "log", f"{one.name}.log").read_text().splitlines()
            said = (json.loads(line) for line in lines if line.startswith("{") and '"read back"' in line)
            at += [datetime.fromisoformat(line["at"]).timestamp() for line in said if line["host"] == HOST]
        return max(at, default=since) - since


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="unryu-bench-") as folder, databases(Path(folder)) as urls, \
            lab("--database", urls["PostgreSQL"], "--controllers", "2") as (cloud, _):
        controllers = Controllers(cloud)
        controllers.settle()
        plugs = Plugs(cloud)
        try:
            plugs.ours(0)  # warm
            quiet = [plugs.ours(number)["ping"] for number in range(1, rounds + 1)]
            held = [_round(controllers, plugs, number, hold=True) for number in range(1, rounds + 1)]
            again = [_round(controllers, plugs, number, hold=False) for number in range(1, rounds + 1)]
        finally:
            plugs.close()
    return {"rounds": rounds, "ms": {
        "nobody killed": _figures(reached=quiet),
        "killed, and moved": _figures(moved=[moved for moved, _ in held], reached=[reached for _, reached in held]),
        "killed, and started again": _figures(reached=[reached for _, reached in again]),
    }}


def _round(controllers: Controllers, plugs: Plugs, number: int, hold: bool) -> tuple[float, float]:
    owner = controllers.settle()
    [victim] = controllers.processes(f"{owner}") if owner != "controller" else [
        pid for pid in controllers.processes("controller") if pid not in controllers.processes("controller-")]
    supervisors = controllers.processes("supervisor", "successor") if hold else []
    killed = 0.0

    def kill() -> None:
        nonlocal killed
        killed = time.time()
        os.kill(victim, signal.SIGKILL)

    _each(supervisors, signal.SIGSTOP)
    try:
        reached = plugs.ours(number, kill)["ping"]
        return controllers.moved(killed) * 1000, reached
    finally:
        _each(supervisors, signal.SIGCONT)


def _each(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def _figures(**columns: list[float]) -> dict[str, float]:
    shapes: dict[str, Callable[[list[float]], float]] = {"": statistics.median, ", worst": max}
    return {f"{name}{word}": round(shape(values)) for name, values in columns.items() for word, shape in shapes.items()}


def show(result: dict[str, Any]) -> None:
    table = Columns(title=f"A controller killed as a port is plugged, median of {result['rounds']}, ms")
    columns = ("moved", "moved, worst", "reached", "reached, worst")
    for column in ("", *columns):
        table.add_column(column)
    for name, figures in result["ms"].items():
        table.add_row(name, *(str(figures.get(column, "")) for column in columns))
    Console().print(table)


if __name__ == "__main__":
    show(run())
