"""The feed: every revision once, in order, in every process, and soon."""

import json
import statistics
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unryu.library import Shelf
from unryu import journal
from unryu.db import Database
from unryu.journal import Feed, Trimmed

ROOT = Path(__file__).parent.parent.parent
TIMEOUT = 60.0

# Programs of the tests, each a process of its own.
PREPARE = """
import json, sys, threading, time
from tests.unryu.library import LIBRARY, Shelf
from unryu import journal
from unryu.db import Database
from unryu.resource import nouns
nouns.update(LIBRARY)
database = Database(sys.argv[1])
"""
READER = PREPARE + """
feed, seen = journal.Feed(database, 0), []
print("ready", flush=True)
while len(seen) < int(sys.argv[2]) and feed.wait(60):
    seen += [(e.revision, e.id, time.time()) for e in feed.read()]
print(json.dumps(seen))
"""
WRITER = PREPARE + """
def write(name):
    for n in range(int(sys.argv[3])):
        with database.transaction() as tx:
            tx.insert(Shelf(id=f"{sys.argv[2]}-{name}-{n}"))
threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
[t.start() for t in threads], [t.join() for t in threads]
"""


def start(program: str, database: Database, *words: str) -> subprocess.Popen[str]:
    url = database.url.render_as_string(hide_password=False)
    return subprocess.Popen([sys.executable, "-c", program, url, *words], cwd=ROOT, text=True, stdout=subprocess.PIPE)


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None and process.stdout.readline() == "ready\n"


def result(process: subprocess.Popen[str]) -> Any:
    said, _ = process.communicate(timeout=120)
    return json.loads(said)


def write(database: Database, id: str) -> None:
    with database.transaction() as tx:
        tx.insert(Shelf(id=id))


def test_many_writers_one_order(database: Database) -> None:
    """Two processes of four threads each write; a third process sees every revision exactly once, in order."""
    each = 10
    reader = start(READER, database, str(2 * 4 * each))
    ready(reader)
    writers = [start(WRITER, database, name, str(each)) for name in "ab"]
    assert [w.wait(120) for w in writers] == [0, 0]
    seen = result(reader)
    assert [revision for revision, *_ in seen] == list(range(1, 2 * 4 * each + 1))
    assert len({id for _, id, _ in seen}) == 2 * 4 * each


def test_another_process_is_woken_at_once(database: Database) -> None:
    reader = start(READER, database, "20")
    ready(reader)
    committed = []
    for n in range(20):
        write(database, str(n))
        committed.append(time.time())
        time.sleep(0.02)
    delays = sorted(at - done for (*_, at), done in zip(result(reader), committed, strict=True))
    print(f"{database.url.get_backend_name()}: woken after {statistics.median(delays) * 1000:.1f} ms (median)")
    assert delays[-1] < TIMEOUT / 4  # by the bell, not by the timeout


def test_a_feed_waits_until_woken_or_its_time_is_over(database: Database) -> None:
    feed = Feed(database, 0)
    assert not feed.wait(0.01)
    threading.Timer(0.1, feed.wake).start()
    began = time.monotonic()
    assert feed.wait(TIMEOUT) and time.monotonic() - began < TIMEOUT / 4
    assert feed.read() == []
    for _ in range(300):  # more than a socket holds: many rings are one
        feed.wake()
    write(database, "a")
    assert feed.wait(TIMEOUT) and len(feed.read()) == 1
    feed.close()


def test_who_listens_to_one_service_hears_no_other(database: Database) -> None:
    library, bakery = Feed(database, 0, "library"), Feed(database, 0, "bakery")
    write(database, "a")
    assert library.wait(TIMEOUT / 4) and [e.id for e in library.read()] == ["a"]
    assert not bakery.wait(0.1) and bakery.read() == [] and bakery.revision == 1
    library.close()
    bakery.close()


def test_a_dead_reader_disturbs_no_writer(database: Database) -> None:
    reader = start(READER, database, "1000")
    ready(reader)
    reader.kill()
    reader.communicate()
    write(database, "a")
    write(database, "b")
    if database.sqlite:
        assert not list(Path(f"{database.url.database}.bells").iterdir())


def test_a_trimmed_journal_says_so(database: Database) -> None:
    for n in range(3):
        write(database, str(n))
    assert journal.trim(database) == 0
    assert journal.trim(database, keep=timedelta(seconds=-1)) == 2  # all but the newest
    late, early = Feed(database, 2), Feed(database, 1)
    assert [e.id for e in late.read()] == ["2"]
    with pytest.raises(Trimmed):
        early.read()
    late.close()
    early.close()


def test_a_reader_gets_over_a_lost_listener(database: Database) -> None:
    if database.sqlite:
        pytest.skip("there is no connection to lose")
    feed = Feed(database, 0)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'")
    for name in "abc":  # before the loss is noticed, before there is a new listener, after
        write(database, name)
        assert feed.wait(TIMEOUT / 4)
        assert name in {e.id for e in feed.read()}
    feed.close()
