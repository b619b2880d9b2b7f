"""A PostgreSQL of our own for tests: Debian's server in a folder of its own, on a unix socket, gone at the end."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest
import sqlalchemy as sa


class Postgres:
    """`with Postgres() as server, server.database() as url: …`"""

    def __init__(self, namespace: str = "", address: str = "") -> None:
        """In a network namespace, at an address there, for who wants to cut the way to it; else on a unix socket alone."""
        self.namespace, self.address = namespace, address

    def __enter__(self) -> "Postgres":
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found:
            pytest.fail("Debian's package postgresql is not installed")
        self._programs = found[-1].parent
        self.folder = Path(tempfile.mkdtemp(prefix="unryu-pg-"))
        shutil.chown(self.folder, "postgres")
        self._count = 0
        try:
            self._run("initdb", "-D", f"{self.folder}/data", "-A", "trust", "-U", "postgres", "--no-sync")
            with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet trust\n")
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        self._control("start")

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def restart(self) -> None:
        """As after a crash: without a word to anybody, and its log played again."""
        self._control("-m", "immediate", "restart")

    def backends(self) -> list[int]:
        """The processes that serve somebody's connection."""
        master = (self.folder / "data" / "postmaster.pid").read_text().split()[0]
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return [int(pid) for pid in children if b"[local]" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All of it stands still; its connections stay, and TCP goes on."""
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and self._owns(path)]
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _owns(self, process: Path) -> bool:
        try:
            return process.joinpath("cwd").readlink() == self.folder / "data"
        except OSError:
            return False

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database."""
        self._count += 1
        name = f"test{self._count}"
        self._say(f"CREATE DATABASE {name}")
        try:
            yield self._url(name)
        finally:
            self._say(f"DROP DATABASE {name} WITH (FORCE)")

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.address or self.folder}"

    def _say(self, statement: str) -> None:
        url = f"postgresql+psycopg://postgres@/postgres?host={self.folder}"
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def _control(self, *words: str) -> None:
        options = f"-k {self.folder} -c listen_addresses='{self.address}' -c fsync=off"
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-l", f"{self.folder}/log", "-o", options, *words)

    def _run(self, program: str, *words: str) -> None:
        # It refuses root. pg_ctl's server keeps our pipes open: so none.
        there = ("nsenter", f"--net=/run/netns/{self.namespace}") if self.namespace else ()
        drop = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups") if os.getuid() == 0 else ()
        subprocess.run([*there, *drop, str(self._programs / program), *words], cwd=self.folder, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=True)
