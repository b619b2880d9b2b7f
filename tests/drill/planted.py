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

NEW_TABLE = 30


def plant(monkeypatch: pytest.MonkeyPatch, folder: Path, service: str, function: str) -> None:
    """From here on `unryu serve SERVICE` runs this function of ours."""
    declared = folder / "planted-0.dist-info"
    declared.mkdir()
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 0\n")
    (declared / "entry_points.txt").write_text(f"[unryu.services]\n{service} = {__name__}:{function}\n")
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).parents[2]}")


def controller() -> None:
    """The true one, unless a file beside our declaration says otherwise when it starts."""
    os.environ["OSKEN_HUB_TYPE"] = "native"
    from controller.bootstrap import serve

    folder = Path(os.environ["PYTHONPATH"].partition(":")[0])
    if (folder / "next version").exists():
        _one_table_more()
    if (folder / "clearing").exists():
        _clear_first()
    serve()


def _clear_first() -> None:
    """Begin with empty switches, as many do."""
    from controller import pusher
    from controller.openflow.push import push

    honest = pusher.read

    def read(connection: Any, *words: Any) -> list[Any]:
        push(connection, [], [(each.cookie, each.flow) for each in honest(connection, *words)])
        time.sleep(0.2)
        return []

    pusher.read = read


def _one_table_more() -> None:
    """The next version's pipeline: a table in the middle of br-int, and other numbers for all behind it."""
    from controller import pipeline
    from controller.flow import Table

    for table in pipeline.TABLES:
        if table.bridge == "br-int" and table.number >= NEW_TABLE:
            object.__setattr__(table, "number", table.number + 3)
    passing = Table("br-int", NEW_TABLE, "passing", "Does it pass here?", miss="track")
    object.__setattr__(pipeline.LOCAL, "miss", passing.name)
    pipeline.TABLES += (passing,)


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
