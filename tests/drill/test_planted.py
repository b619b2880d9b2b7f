"""A drill that sees nothing proves nothing: faults are planted, and it must be red. And what is no fault, unfelt: an upgrade."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from identity.bootstrap import bootstrap
from tests.api import RunningApi
from tests.clouds import RunningCloud, eventually
from tests.drill.drill import drill
from tests.drill.planted import NEW_TABLE, plant
from tests.drill.strikes import strike
from tests.drill.test_hitless import durations, guests, restart, unfelt
from tests.drill.writers import Writer, lost
from tests.test_river import BRIDGES
from topology import api
from topology.cloud import Cloud
from unryu.db import Database, upgrade

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def planted(folder: Path) -> Iterator[RunningCloud]:
    """A cloud whose controller does as the files in that folder say."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, folder, "controller", "controller")
        with RunningCloud(hosts=2) as running:
            yield running


def test_a_pipeline_with_one_table_more_comes_in_by_one_bundle_unfelt(planted: RunningCloud, folder: Path) -> None:
    with guests(planted) as made:
        assert planted.settled()
        before = durations(planted)
        with unfelt(*made, folder):
            (folder / "next version").touch()
            restart(Cloud(planted.state), "controller", signal.SIGKILL)
            assert planted.settled()
        after = durations(planted)
        for host in ("h1", "h2"):
            assert f"table={NEW_TABLE}," in planted.ofctl(host, "dump-flows", "br-int")
            for bridge in BRIDGES:
                ages = [after[key] for key in after.keys() - before.keys() if key[:2] == (host, bridge)]
                assert bool(ages) == (bridge == "br-int"), "what no table's number is in stays as it is"
                assert not ages or max(ages) - min(ages) < 1, "more than one bundle"


def test_flows_cleared_on_start_are_seen(planted: RunningCloud, folder: Path, tmp_path: Path) -> None:
    (folder / "next version").unlink(missing_ok=True)
    (folder / "clearing").touch()
    said = drill(planted, 1, 0, tmp_path, lambda cloud, chance: strike(cloud, chance, lambda name: name == "controller"))
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
            assert eventually(lambda told=told: done(writers) > told)
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
