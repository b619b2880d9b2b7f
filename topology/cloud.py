"""A cloud on this machine: its names, addresses and files, all derived from its state folder."""

import hashlib
import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from unryu.files import write_private

# Management networks are cut from the shared address space of RFC 6598, tunnel ends from the one for benchmarks
# (RFC 2544): neither is met on the networks that a machine is likely to have.
MANAGEMENT = ipaddress.IPv4Network("100.64.0.0/10")
TUNNEL_ENDS = ipaddress.IPv4Network("198.18.0.0/16")
MOST_HOSTS = 1000
PREFIX = 22

# A unix socket's path holds 107 bytes; the longest that Open vSwitch makes in our folder is this one.
LONGEST_STATE = 107 - len("/hosts/h1000/br-phys.snoop")

PROJECTS = ("demo", "admin", "alt")  # each with a user of its own name; the first is who you are unless you say

FILE = """\
# Written by `unryu up` when this cloud was made; yours to edit. `unryu config show` lists every setting.
[api]
listen = "{api}"

[identity]
public_url = "http://{api}"

[controller]
openflow = "{controller}:6653"
listen = "{controller}:6680"

[database]
url = "{database}"

[lab]
controllers = {controllers}
bridge_mappings = {{ physical1 = "br-ex" }}
"""


@dataclass(frozen=True)
class Controller:
    """One of the controllers that share a cloud's hosts; of most clouds the only one."""

    cloud: "Cloud"
    number: int

    @property
    def name(self) -> str:
        """Of its process too."""
        return "controller" if self.number == 1 else f"controller-{self.number}"

    @property
    def address(self) -> str:
        """On the management network: its own, so that each can be cut off alone."""
        return str(self.cloud.network[self.number])

    @property
    def openflow(self) -> str:
        return self._at("openflow")

    @property
    def listen(self) -> str:
        return self._at("listen")

    @property
    def url(self) -> str:
        return f"https://{self.listen}"

    def _at(self, what: str) -> str:
        first = self.cloud.settings["controller"][what]
        return first if self.number == 1 else f"{self.address}:{first.rpartition(':')[2]}"


@dataclass(frozen=True)
class Host:
    """One emulated host: a namespace with an Open vSwitch and an agent of its own."""

    cloud: "Cloud"
    number: int

    @property
    def name(self) -> str:
        return f"h{self.number}"

    @property
    def dir(self) -> Path:
        """The run directory of its Open vSwitch: database, sockets, pid files."""
        return self.cloud.state / "hosts" / self.name

    @property
    def namespace(self) -> str:
        return f"{self.cloud.name}-{self.name}"

    @property
    def address(self) -> str:
        """On the management network, where the agent's door is."""
        return str(self.cloud.network[10 + self.number])

    @property
    def tunnel_ip(self) -> str:
        return str(TUNNEL_ENDS[self.number])

    @property
    def door(self) -> str:
        return f"{self.address}:6681"

    @property
    def tls(self) -> Path:
        """Its identity, and the authority that it trusts: all of the cloud's secrets that a host has."""
        return self.dir / "tls"

    @property
    def ovsdb(self) -> Path:
        return self.dir / "db.sock"

    def bridges(self) -> list[str]:
        """The bridges that its database names; none when nobody answers there."""
        question = {"op": "select", "table": "Bridge", "where": [], "columns": ["name"]}
        request = {"method": "transact", "params": ["Open_vSwitch", question], "id": 0}
        answer = b""
        try:
            with socket.socket(socket.AF_UNIX) as conversation:
                conversation.settimeout(2)
                conversation.connect(str(self.ovsdb))
                conversation.sendall(json.dumps(request).encode())
                while piece := conversation.recv(65536):
                    answer += piece
                    try:
                        return sorted(row["name"] for row in json.loads(answer)["result"][0]["rows"])
                    except json.JSONDecodeError:
                        continue  # the answer came in pieces
        except OSError:
            pass
        return []


@dataclass(frozen=True)
class Cloud:
    state: Path

    @classmethod
    def here(cls) -> "Cloud":
        """The one of `--state` or UNRYU_STATE: the `unryu` command has made them one."""
        return cls(Path(os.environ["UNRYU_STATE"]))

    @cached_property
    def name(self) -> str:
        """Short, since a network link's name holds 15 characters: `u1b2c3-mgmt`."""
        return "u" + hashlib.blake2b(bytes(self.state), digest_size=5).hexdigest()[:5]

    @property
    def file(self) -> Path:
        return self.state / "unryu.toml"

    @property
    def exists(self) -> bool:
        return self.file.exists()

    @cached_property
    def settings(self) -> dict[str, dict[str, str]]:
        try:
            return tomllib.loads(self.file.read_text())
        except FileNotFoundError:
            raise click.ClickException(f"There is no cloud in {self.state}: `unryu up` makes one.") from None
        except tomllib.TOMLDecodeError as error:
            raise click.ClickException(f"{self.file}: {error}") from None

    @property
    def tls(self) -> Path:
        """The authorities, and the identities of the services."""
        return self.state / "secrets" / "tls"

    @property
    def url(self) -> str:
        """Where all APIs are, by path."""
        api = self.settings["api"]
        return f"{'https' if api.get('certificate') else 'http'}://{api['listen']}"

    @property
    def authority(self) -> str:
        """The file by which the APIs' certificate is known; empty where they speak plain HTTP, or the system knows."""
        return self.settings["api"].get("authority", "")

    @property
    def auth_url(self) -> str:
        """Where clients begin: at the balancer, where there is one."""
        return f"{self.settings.get('identity', {}).get('public_url') or self.url}/identity/v3"

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The management network: hosts reach the controllers there."""
        first = self.settings["controller"]["openflow"].split(":")[0]
        return ipaddress.IPv4Network(f"{first}/{PREFIX}", strict=False)

    def controllers(self) -> list[Controller]:
        return [Controller(self, number) for number in range(1, 1 + int(self.settings.get("lab", {}).get("controllers", 1)))]

    @property
    def mappings(self) -> dict[str, str]:
        """Of every host: physical network → bridge."""
        lab: Any = self.settings.get("lab", {})
        return dict(lab.get("bridge_mappings", {"physical1": "br-ex"}))

    def password(self, user: str) -> str:
        path = self.state / "secrets" / f"{user}-password"
        if not path.exists():
            raise click.ClickException(f"{path} is missing: has `unryu up` finished here?")
        return path.read_text().strip()

    def hosts(self) -> list[Host]:
        """The hosts are the folders: nothing else says how many there are."""
        numbers = (re.fullmatch(r"h([1-9][0-9]*)", path.name) for path in (self.state / "hosts").glob("h*"))
        return [Host(self, number) for number in sorted(int(found[1]) for found in numbers if found)]

    def host(self, name: str) -> Host:
        for host in self.hosts():
            if host.name == name:
                return host
        raise click.ClickException(f"No host {name} here; there are {', '.join(h.name for h in self.hosts())}.")

    def make(self, database: str = "", controllers: int = 1) -> None:
        """Write what a new cloud needs before anything of it runs; an existing one is left as it is.

        `database` is the URL of a PostgreSQL that is there and empty; without one, SQLite in the state folder.
        """
        if len(bytes(self.state)) > LONGEST_STATE:
            raise click.ClickException(
                f"The state folder's path is too long: unix sockets allow {LONGEST_STATE} bytes, and {self.state} "
                f"has {len(bytes(self.state))}."
            )
        if not self.exists:
            if controllers > 1 and not database:
                raise click.ClickException("Several controllers share a PostgreSQL: name an empty one with --database.")
            if self.state.exists() and any(self.state.iterdir()) and not self.remains:
                raise click.ClickException(f"{self.state} holds something that is no cloud of ours; choose another.")
            api, controller = f"127.0.0.1:{self._free_port()}", self._free_network()[1]
            text = FILE.format(api=api, controller=controller, database=database, controllers=controllers)
            self.state.mkdir(parents=True, exist_ok=True)
            write_private(self.file, text)
        elif controllers > 1 and controllers != len(self.controllers()):
            raise click.ClickException(f"This cloud was made with {len(self.controllers())} controllers; {self.file} says so.")
        elif database:
            raise click.ClickException(f"This cloud has its database already: {self.file} says which.")
        for folder in ("hosts", "log", "run", "guests"):
            (self.state / folder).mkdir(exist_ok=True)
        (self.state / "secrets").mkdir(mode=0o700, exist_ok=True)

    @property
    def remains(self) -> bool:
        """Whether the folder was ever a cloud's: `down` removes nothing else."""
        return any((self.state / name).exists() for name in ("unryu.toml", "hosts", "secrets", "run"))

    def remove(self, keep: bool = False) -> bool:
        """Remove the state folder; with `keep`, all but the settings, the database and the secrets."""
        if not self.remains:
            return False
        if not keep:
            shutil.rmtree(self.state)
            return True
        for folder in ("hosts", "log", "run", "guests"):
            shutil.rmtree(self.state / folder, ignore_errors=True)
        return True

    def environment(self, process: str) -> dict[str, str]:
        """What a process of this cloud is started with; by the last two it is found again (`processes.find`)."""
        return {**os.environ, "UNRYU_STATE": str(self.state), "UNRYU_CLOUD": self.name, "UNRYU_PROCESS": process}

    def _steps(self, count: int) -> Iterator[int]:
        """Numbers below `count`, from one that belongs to this path onward, so that clouds seldom meet."""
        first = int(self.name[1:], 16)
        return ((first + step) % count for step in range(count))

    def _free_port(self) -> int:
        for number in self._steps(10000):
            with closing(socket.socket()) as trial:
                try:
                    trial.bind(("127.0.0.1", 20000 + number))
                except OSError:
                    continue
                return 20000 + number
        raise click.ClickException("No port from 20000 to 29999 is free on 127.0.0.1.")

    def _free_network(self) -> ipaddress.IPv4Network:
        taken = _routed()
        for number in self._steps(2 ** (PREFIX - MANAGEMENT.prefixlen)):
            network = ipaddress.IPv4Network((int(MANAGEMENT[0]) + (number << (32 - PREFIX)), PREFIX))
            if not any(network.overlaps(other) for other in taken):
                return network
        raise click.ClickException(f"Every /{PREFIX} of {MANAGEMENT} is routed on this machine already.")


def _routed() -> list[ipaddress.IPv4Network]:
    """What this machine reaches more closely than by a default route."""
    routes = json.loads(run("ip", "-j", "-4", "route", "show", "table", "all") or "[]")
    networks = [ipaddress.IPv4Network(route["dst"]) for route in routes if route["dst"] != "default"]
    return [network for network in networks if network.prefixlen > MANAGEMENT.prefixlen]


def run(*words: str, given: str | None = None, check: bool = True) -> str:
    """A command's output; its own complaint, as one sentence, when it fails."""
    done = subprocess.run(words, input=given, capture_output=True, text=True, check=False)
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise click.ClickException(f"`{' '.join(words)}` failed: {said}")
    return done.stdout


def python(*words: str) -> tuple[str, ...]:
    """This installation's own `unryu` command, whatever PATH says."""
    return (sys.executable, "-P", "-m", "unryu", *words)
