"""Faults of our own making, which a drill must see: services that stand in for the true ones by an entry point of their own.

Production code has no switch for them. Who is first on the path gives the service of a name, so a folder that declares one
is laid before the installed ones.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest


def plant(monkeypatch: pytest.MonkeyPatch, folder: Path, service: str, function: str) -> None:
    """From here on `unryu serve SERVICE` runs this function of ours."""
    declared = folder / "planted-0.dist-info"
    declared.mkdir()
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 0\n")
    (declared / "entry_points.txt").write_text(f"[unryu.services]\n{service} = {__name__}:{function}\n")
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).parents[2]}")


def clearing_controller() -> None:
    """Begins with empty switches, as many do."""
    os.environ["OSKEN_HUB_TYPE"] = "native"
    from controller import pusher
    from controller.bootstrap import serve
    from controller.openflow.push import push

    honest = pusher.read

    def read(connection: Any, *words: Any) -> list[Any]:
        push(connection, [], [(each.cookie, each.flow) for each in honest(connection, *words)])
        time.sleep(0.2)
        return []

    pusher.read = read
    serve()


def hasty_api() -> None:
    """Says that it is done 50 ms before it is."""
    from unryu.db import Database
    from unryu.service import serve_api

    honest = Database.transaction

    @contextmanager
    def transaction(self: Database, *words: Any, **named: Any) -> Iterator[Any]:
        with ExitStack() as rest:
            yield rest.enter_context(honest(self, *words, **named))
            threading.Timer(0.05, rest.pop_all().close).start()

    Database.transaction = transaction
    serve_api()


def controller_of_two_versions() -> None:
    """This version, and from when a file says so the next: a table more in the middle of br-int, those behind it renumbered."""
    from controller import pipeline
    from controller.bootstrap import serve
    from controller.flow import Table

    if any((Path(folder) / "next version").exists() for folder in os.environ["PYTHONPATH"].split(":")):
        for table in pipeline.TABLES:
            if table.bridge == "br-int" and table.number >= pipeline.TRACK.number:
                object.__setattr__(table, "number", table.number + 3)
        passing = Table("br-int", pipeline.TRACK.number - 3, "passing", "Does it pass here?", miss="track")
        object.__setattr__(pipeline.LOCAL, "miss", "passing")
        pipeline.TABLES += (passing,)
    serve()
