"""A whole small cloud for tests: `unryu up` in a folder of its own, and hands to use it with."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from topology import api
from topology.cloud import Cloud
from unryu import journal
from unryu.db import Database
from unryu.errors import Unavailable
from unryu.resource import nouns
from unryu.service import load_nouns

BIN = Path(sys.executable).parent  # not resolved: the environment's, whatever Python it links to
PATIENCE = 60.0  # seconds; a bound of waiting costs nothing where it is not reached, and a machine may have other work


class RunningCloud:
    """`with RunningCloud(hosts=2) as cloud: cloud.openstack("network", "create", "blue")`"""

    def __init__(self, hosts: int = 2, state: Path | None = None, database: str = "", controllers: int = 1) -> None:
        self.hosts = hosts
        self.controllers = controllers
        self.database = database
        self.state = state or Path(tempfile.mkdtemp(prefix="unryu-"))

    def __enter__(self) -> "RunningCloud":
        try:
            self.unryu("up", "--hosts", str(self.hosts), "--database", self.database, "--controllers", str(self.controllers),
                       "--timeout", "180")
        except BaseException:
            for log in sorted((self.state / "log").glob("*.log")):
                print(f"--- {log}\n{log.read_text()[-2000:]}")
            self.unryu("down", check=False)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unryu("down")
        if "_rows" in self.__dict__:
            self._rows.close()

    # Commands, as a person types them.

    def unryu(self, *words: str, check: bool = True, project: str | None = None) -> str:
        chosen = ("--project", project) if project else ()
        return self.run(str(BIN / "unryu"), "--state", str(self.state), *chosen, *words, check=check).stdout

    def openstack(self, *words: str, project: str = "demo", check: bool = True) -> str:
        """The unmodified client in a process of its own, as the user of `project` (demo, alt, admin)."""
        name = "unryu" if project == "demo" else f"unryu-{project}"
        environment = {"OS_CLIENT_CONFIG_FILE": str(self.state / "clouds.yaml"), "OS_CLOUD": name}
        return self.run(str(BIN / "openstack"), *words, check=check, **environment).stdout

    def openstack_json(self, *words: str, project: str = "demo") -> Any:
        return json.loads(self.openstack(*words, "-f", "json", project=project))

    def connect(self, project: str = "demo") -> Any:
        """The OpenStack SDK, where a process for each question would be too slow."""
        import openstack

        name = "unryu" if project == "demo" else f"unryu-{project}"
        config = openstack.config.OpenStackConfig(config_files=[str(self.state / "clouds.yaml")])
        return openstack.connection.Connection(config=config.get_one(name))

    def run(self, *words: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    # The lab.

    def plug(self, port: str, host: str, name: str, *options: str) -> Any:
        words = ("--host", host, "--as", name, "--timeout", str(PATIENCE), "-o", "json", *options)
        return json.loads(self.unryu("lab", "plug", port, *words))

    def unplug(self, name: str) -> None:
        self.unryu("lab", "unplug", name)

    def exec(self, name: str, *command: str, check: bool = True) -> str:
        return self.unryu("lab", "exec", name, "--", *command, check=check)

    def pings(self, name: str, address: str, count: int = 3, patience: int = 5) -> bool:
        """Each of them answered, within so many seconds. (Who expects that none is need not wait for long.)"""
        said = self.exec(name, "ping", "-c", str(count), "-i", "0.1", "-W", str(patience), address, check=False)
        return f" {count} received" in said

    # What runs.

    def status(self) -> dict[str, list[dict[str, Any]]]:
        said: dict[str, list[dict[str, Any]]] = json.loads(self.unryu("status", "-o", "json"))
        return said

    def switches(self) -> list[dict[str, Any]]:
        """As `unryu status` shows them; none while no controller answers."""
        try:
            return api.switches(Cloud(self.state))
        except api.Refused:
            return []

    def in_sync(self) -> bool:
        """Every switch, and every agent, has what the database says now: not only what a controller has read of it so far."""
        try:
            newest = self.revision()
        except Unavailable:
            return False
        switches = self.switches()
        return bool(switches) and all(s["connected"] and s["realised"] >= newest for s in switches)

    def settled(self) -> bool:
        return bool(eventually(self.in_sync))

    def revision(self) -> int:
        """Of the newest commit that the controller has to read."""
        load_nouns()
        theirs = journal.table.c.kind.in_([noun.kind for noun in nouns.values() if noun.service == "network"])
        with self._rows.reading() as tx:
            return tx.connection.scalar(sa.select(sa.func.max(journal.table.c.revision)).where(theirs)) or 0

    @cached_property
    def _rows(self) -> Database:
        return Database(self.database or f"sqlite:///{self.state}/unryu.db")

    def pid(self, name: str, host: str | None = None) -> int | None:
        """Of the process that `unryu status` lists by this name."""
        found = [one["pid"] for one in self.status()["processes"] if (one["name"], one["host"]) == (name, host)]
        return found[0] if found else None

    def namespace(self, host: str) -> str:
        return next(str(one["namespace"]) for one in self.status()["hosts"] if one["name"] == host)

    def ofctl(self, host: str, verb: str, bridge: str, *words: str) -> str:
        socket = f"unix:{self.state}/hosts/{host}/{bridge}.mgmt"
        return self.run("ovs-ofctl", "-O", "OpenFlow13", verb, socket, *words).stdout

    def vsctl(self, host: str, *words: str) -> str:
        return self.run("ovs-vsctl", f"--db=unix:{self.state}/hosts/{host}/db.sock", *words).stdout

    def appctl(self, host: str, *words: str) -> str:
        return self.run("ovs-appctl", "-t", f"{self.state}/hosts/{host}/vswitchd.ctl", *words).stdout


def eventually(question: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true answer within some seconds; the last one otherwise."""
    deadline = time.monotonic() + seconds
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer
