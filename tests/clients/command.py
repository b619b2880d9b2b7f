"""The unmodified `openstack` command, many times.

Every command has a process of its own, forked from one that has read the client's modules already: starting Python anew for
each of hundreds would take minutes.
"""

import contextlib
import io
import json
import multiprocessing.pool
import os
from typing import Any

from openstackclient.shell import OpenStackShell

from tests.clouds import RunningCloud


def run(words: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """The command, in the process that it has for itself: exit code, output, complaint."""
    os.environ.update(environment)
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as complained:
        code = OpenStackShell().run(words)
    return code, said.getvalue(), complained.getvalue()


class Client:
    """The command as one of the cloud's first users; `more`: options before the verb, who else and where else."""

    def __init__(self, cloud: RunningCloud, pool: multiprocessing.pool.Pool, user: str = "demo") -> None:
        self.cloud, self.pool, self.user = cloud, pool, user
        self.more: tuple[str, ...] = ()

    def __call__(self, *words: object, fails: str = "") -> str:
        """What it prints; where it should fail, with these words in its complaint."""
        options = ["--os-cloud", "unryu" if self.user == "demo" else f"unryu-{self.user}", *self.more]
        environment = {"OS_CLIENT_CONFIG_FILE": str(self.cloud.state / "clouds.yaml")}
        code, said, complained = self.pool.apply(run, ([*options, *map(str, words)], environment))
        assert bool(code) == bool(fails), f"{words}: {said}{complained}"
        assert fails in complained
        return said

    def said(self, *words: object) -> Any:
        return json.loads(self(*words, "-f", "json"))

    def column(self, *words: object, column: str = "Name") -> list[Any]:
        return [row[column] for row in self.said(*words)]

    def as_user(self, user: str, *more: str) -> "Client":
        other = Client(self.cloud, self.pool, user)
        other.more = more
        return other
