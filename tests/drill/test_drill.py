"""Whatever is killed, whenever: nothing acknowledged is lost, no packet, and nobody has to help.

UNRYU_KILLS: how many (`make test`: a sample). UNRYU_DRILL_SEED: the seed of a drill that failed. UNRYU_DRILL_DATABASE:
`postgresql` to have that beneath, its backends and its server killed too.
"""

import os
import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.clouds import RunningCloud
from tests.drill.drill import drill, record
from tests.drill.strikes import beneath, strike
from tests.postgres import Postgres

pytestmark = pytest.mark.system
KILLS = int(os.environ.get("UNRYU_KILLS", "8"))
DATABASE = os.environ.get("UNRYU_DRILL_DATABASE", "sqlite")


def test_any_process_may_die_at_any_time(tmp_path: Path) -> None:
    seed = int(os.environ.get("UNRYU_DRILL_SEED") or random.randrange(10**6))
    print(f"\nUNRYU_KILLS={KILLS} UNRYU_DRILL_SEED={seed} UNRYU_DRILL_DATABASE={DATABASE}", flush=True)
    with ExitStack() as stack:
        url, hit = "", strike
        if DATABASE == "postgresql":
            server = stack.enter_context(Postgres())
            url, hit = stack.enter_context(server.database()), beneath(server)
        cloud = stack.enter_context(RunningCloud(hosts=2, database=url))
        said = drill(cloud, KILLS, seed, tmp_path, hit)
    print(said)
    if "UNRYU_KILLS" in os.environ:
        record(said, DATABASE)
    assert not said.wrong, said
