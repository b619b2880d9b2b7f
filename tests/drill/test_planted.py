"""A drill that sees nothing proves nothing: faults are planted, and it must be red."""

import os
import signal
from pathlib import Path

import pytest

from identity.bootstrap import bootstrap
from tests.api import RunningApi
from tests.clouds import RunningCloud, eventually
from tests.drill.drill import drill
from tests.drill.planted import plant
from tests.drill.strikes import strike
from tests.drill.writers import Writer, lost
from topology import api
from topology.cloud import Cloud
from unryu.db import Database, upgrade

pytestmark = pytest.mark.system


def test_flows_cleared_on_start_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, tmp_path, "controller", "clearing_controller")
    with RunningCloud(hosts=2) as cloud:
        said = drill(cloud, 2, 0, tmp_path, lambda cloud, chance: strike(cloud, chance, lambda name: name == "controller"))
    assert set(said.wrong) == {"silences"}, said


def done(writers: list[Writer]) -> int:
    return sum(writer.answers["done"] for writer in writers)


def test_a_write_acknowledged_before_its_commit_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRYU_STATE", str(tmp_path))
    upgrade()
    bootstrap()
    plant(monkeypatch, tmp_path, "api", "hasty_api")
    with RunningApi(tmp_path) as running:
        token = api.Network(Cloud(tmp_path)).token
        shared = Writer(running.address, token, "setup", 0, "").make("network").id
        writers = [Writer(running.address, token, f"w{number}", 0, shared) for number in range(3)]
        for writer in writers:
            writer.start()
        for _ in range(3):
            told = done(writers)
            assert eventually(lambda told=told: done(writers) > told, 20)
            workers = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
            for worker in workers:
                os.kill(int(worker), signal.SIGKILL)
        for writer in writers:
            writer.ended.set()
        for writer in writers:
            writer.join()
    database = Database()
    with database.reading() as tx:
        said = lost(tx, writers)
    database.close()
    assert [sentence for sentence in said if sentence.endswith(" is lost")], said
