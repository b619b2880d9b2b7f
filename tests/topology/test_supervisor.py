"""The supervisor with processes that only sleep: what dies is started again, what lives is never touched."""

import errno
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clouds import PATIENCE, eventually
from topology import supervisor as module
from topology.cloud import Cloud
from topology.processes import Process, end, find
from topology.supervisor import Supervisor

SLEEP = ("sleep", "600")
# A shell whose child goes on working when the shell is killed: a monitor and what it watches.
MONITOR = ("sh", "-c", "sleep 600 & wait")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path)
    made.make()
    yield made
    end((one.pid for one in find(made)), patience=0)


def process(
    cloud: Cloud, command: tuple[str, ...] = SLEEP, *, needs: Path | None = None, monitored: bool = False
) -> Process:
    return Process("sleeper", command, cloud.environment("sleeper"), needs or cloud.file, monitored)


def supervise(cloud: Cloud, wanted: Process) -> Supervisor:
    return Supervisor(cloud, wanted=lambda _: [wanted])


def pids(cloud: Cloud) -> list[int]:
    return [one.pid for one in find(cloud)]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_what_dies_is_started_again_after_a_pause(cloud: Cloud) -> None:
    watched = supervise(cloud, process(cloud))
    watched.converge(time.monotonic())
    (first,) = pids(cloud)
    kill(first)
    watched.wait()
    watched.converge(now := time.monotonic())
    assert pids(cloud) == []
    watched.converge(now + 1)
    (second,) = pids(cloud)
    assert second != first


def test_pauses_grow_and_are_forgotten_by_who_lived_long(cloud: Cloud) -> None:
    watched = supervise(cloud, process(cloud, ("false",)))
    now, pauses = time.monotonic(), []
    for _ in range(8):
        watched.converge(now)
        watch = watched.watches["sleeper"]
        watch.since = now
        select.select([watch.pidfd], [], [], PATIENCE)
        watched.ended("sleeper", now)
        pauses.append(watched.watches["sleeper"].not_before - now)
        now = watched.watches["sleeper"].not_before
    assert pauses == sorted(pauses)
    assert pauses[-1] == module.BACKOFF[1]
    watched.converge(now)
    watched.ended("sleeper", now + module.STEADY)
    assert watched.watches["sleeper"].not_before == now + module.STEADY


def test_nothing_starts_before_what_it_needs(cloud: Cloud) -> None:
    needed = cloud.state / "run" / "there"
    watched = supervise(cloud, process(cloud, needs=needed))
    watched.converge(time.monotonic())
    assert pids(cloud) == []
    needed.touch()
    watched.converge(time.monotonic())
    assert len(pids(cloud)) == 1


def test_a_successor_adopts_and_watches(cloud: Cloud) -> None:
    supervise(cloud, process(cloud)).converge(time.monotonic())
    before = pids(cloud)
    successor = supervise(cloud, process(cloud))
    successor.converge(time.monotonic())
    assert pids(cloud) == before
    kill(before[0])
    successor.wait()
    successor.converge(time.monotonic() + 1)
    assert pids(cloud) not in ([], before)


@pytest.mark.parametrize("monitored", [True, False])
def test_a_child_left_alone_is_kept_only_when_it_is_the_worker_of_a_monitor(cloud: Cloud, monitored: bool) -> None:
    watched = supervise(cloud, process(cloud, MONITOR, monitored=monitored))
    watched.converge(time.monotonic())
    assert eventually(lambda: len(pids(cloud)) == 2)
    leader = next(one.pid for one in find(cloud) if one.leader)
    (worker,) = set(pids(cloud)) - {leader}
    kill(leader)
    watched.wait()
    watched.converge(time.monotonic() + 1)
    assert (worker in pids(cloud)) is monitored
    assert watched.watches["sleeper"].pid in pids(cloud)


def test_logs_begin_anew_when_they_are_large(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_SIZE", 10)
    log = cloud.state / "log" / "api.log"
    log.write_text("a long story")
    supervise(cloud, process(cloud)).trim_logs()
    assert (log.read_text(), log.with_suffix(".log.1").read_text()) == ("", "a long story")


def test_a_full_disk_costs_the_old_log_and_not_the_supervisor(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "LOG_SIZE", 10)
    monkeypatch.setattr(module.shutil, "copyfile", full)
    log = cloud.state / "log" / "api.log"
    log.write_text("a long story")
    supervise(cloud, process(cloud)).trim_logs()
    assert log.read_text() == "" and not log.with_suffix(".log.1").exists()
