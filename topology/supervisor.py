"""The supervisor of a cloud on one machine: starts what is wanted, and again what died.

It holds nothing that would be lost with it: what it starts goes on without it, and its successor finds all that by the
environment (topology/processes.py) and watches it through pidfds, which do not ask for parenthood.

Successors are among the processes it keeps alive: each is flock(1), a megabyte, which waits for the lock that the supervisor
holds as long as it lives, and then becomes the next one (docs/decisions/0016-who-watches-the-watcher.md).
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from topology.cloud import Cloud
from topology.processes import SUCCESSORS, SUPERVISOR, Found, Process, end, find, succession, wanted

BACKOFF = (0.1, 5.0)  # seconds before the second start, and at most
STEADY = 10.0  # seconds; who lived longer is started again at once
LOG_SIZE = 5_000_000  # bytes; then the log begins anew and the old one is kept once
TRIM = 10.0  # seconds from one look at the logs' sizes to the next
LOOK_AGAIN = 0.02  # seconds, while something waits for what another has yet to make


@dataclass
class Watch:
    """What the supervisor knows of one wanted process."""

    pidfd: int | None = None
    pid: int = 0
    child: subprocess.Popen[bytes] | None = None  # ours to reap; an adopted one is init's
    since: float = 0.0
    starts: int = 0
    delay: float = BACKOFF[0]
    not_before: float = 0.0


class Supervisor:
    def __init__(self, cloud: Cloud, wanted: Callable[[Cloud], list[Process]] = wanted) -> None:
        self.cloud = cloud
        self.ask = wanted
        self.wanted: dict[str, Process] = {}
        self.watches: dict[str, Watch] = {}
        self.stopping = False
        self.told: list[str] = []
        self.told_at = 0.0
        self.reread = True
        self.wakeup, self.notify = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        signal.set_wakeup_fd(self.notify)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopping", True))
        signal.signal(signal.SIGINT, lambda *_: setattr(self, "stopping", True))
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "reread", True))
        trimmed = time.monotonic()
        while not self.stopping:
            self.converge(time.monotonic())
            self.tell()
            self.wait()
            if time.monotonic() > trimmed + TRIM:  # by the clock, not in quiet moments: who ends over and over writes most
                self.trim_logs()
                trimmed = time.monotonic()

    def converge(self, now: float) -> None:
        """Whatever is wanted, not watched and may start: adopt it if it lives, else start it."""
        if self.reread:
            self.reread = False
            self.wanted = {process.name: process for process in self.ask(Cloud(self.cloud.state))}  # by its settings of now
        due = [
            name for name, process in self.wanted.items()
            if self._idle(name) and self._watch(name).not_before <= now and process.needs.exists()
        ]
        if not due:
            return
        living = find(self.cloud)
        for name in due:
            process, watch = self.wanted[name], self._watch(name)
            mine = [one for one in living if one.process == name]
            alive = _working(process, mine)
            if alive is None:
                end((one.pid for one in mine), patience=0)  # workers whose master died hold its port
                try:
                    watch.child = _spawn(self.cloud, name, process.command, process.environment)
                except OSError as error:  # no memory, no process, no room for its log: it may be there in a moment
                    watch.not_before = now + BACKOFF[1]
                    say(f"{name} cannot be started: {error}; trying again in {BACKOFF[1]:.0f} s")
                    continue
                watch.pid = watch.child.pid
            else:
                watch.child, watch.pid = None, alive
            watch.starts += watch.child is not None
            say(f"{'started' if watch.child else 'found alive'}: {name}, pid {watch.pid}")
            with suppress(ProcessLookupError):  # an adopted one died this moment: the next round sees it
                watch.since, watch.pidfd = now, os.pidfd_open(watch.pid)

    def wait(self) -> None:
        """Until a process ends, a signal comes, or something may be started."""
        poll = select.poll()
        poll.register(self.wakeup, select.POLLIN)
        ends = {watch.pidfd: name for name, watch in self.watches.items() if watch.pidfd is not None}
        for pidfd in ends:
            poll.register(pidfd, select.POLLIN)
        idle = any(self._idle(name) for name in self.wanted)
        for fd, _ in poll.poll(LOOK_AGAIN * 1000 if idle else TRIM * 1000):
            if fd == self.wakeup:
                os.read(self.wakeup, 4096)
            else:
                self.ended(ends[fd], time.monotonic())

    def ended(self, name: str, now: float) -> None:
        watch = self.watches[name]
        assert watch.pidfd is not None
        os.close(watch.pidfd)
        watch.pidfd = None
        how = f" with {_words(watch.child.wait())}" if watch.child else ""
        steady = now - watch.since >= STEADY
        watch.delay = BACKOFF[0] if steady else min(watch.delay * 2, BACKOFF[1])
        watch.not_before = now + (0 if steady else watch.delay)
        say(f"{name}, pid {watch.pid}, ended{how}; starting it again in {max(0.0, watch.not_before - now):.1f} s")

    def tell(self) -> None:
        """That we live, and what of: in the words of Prometheus, in a file, since we listen nowhere. A new one after each event
        and every ten seconds."""
        lines = [f'unryu_process_{what}{{process="{name}"}} {number}\n' for name in sorted(self.wanted)
                 for what, number in (("up", int(not self._idle(name))), ("starts_total", self._watch(name).starts))]
        if lines != self.told or time.monotonic() >= self.told_at + 10:
            self.told, self.told_at = lines, time.monotonic()
            path = self.cloud.state / "run" / "supervisor.prom"
            with suppress(OSError):  # a full disk
                path.with_suffix(".new").write_text("".join(lines))
                path.with_suffix(".new").replace(path)

    def trim_logs(self) -> None:
        """Copy and truncate, since every writer holds its file open (to append, so it goes on at the new end)."""
        for path in (self.cloud.state / "log").glob("*.log"):
            with suppress(FileNotFoundError):
                if path.stat().st_size > LOG_SIZE:
                    old = path.with_suffix(".log.1")
                    try:
                        shutil.copyfile(path, old)
                    except OSError:  # a full disk: half a copy helps nobody, the room does
                        old.unlink(missing_ok=True)
                    os.truncate(path, 0)

    def _watch(self, name: str) -> Watch:
        return self.watches.setdefault(name, Watch())

    def _idle(self, name: str) -> bool:
        return self._watch(name).pidfd is None


def _working(process: Process, found: list[Found]) -> int | None:
    """The pid whose end means that this process must be started, if one lives."""
    leaders = [one.pid for one in found if one.leader]
    if leaders:
        return leaders[0]
    return found[0].pid if found and process.monitored else None


def _words(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def say(sentence: str) -> None:
    with suppress(OSError):  # a full disk
        print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} supervisor: {sentence}", file=sys.stderr, flush=True)


def serve() -> None:
    """What `unryu serve supervisor` runs, until SIGTERM; the processes stay, and the successor takes over."""
    cloud = Cloud.here()
    if os.environ.get("UNRYU_PROCESS") != SUPERVISOR:  # by hand: wait in the line, as everybody does
        os.execvp("flock", succession(cloud))
    Supervisor(cloud).run()


def ensure(cloud: Cloud) -> bool:
    """Start the cloud's supervisor, or tell the one that lives to look again. Says whether it was started."""
    living = find(cloud, SUPERVISOR)
    for one in living:
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGHUP)
    if living or any(find(cloud, name) for name in SUCCESSORS):  # one of those is about to be it, and looks at everything
        return False
    _spawn(cloud, SUCCESSORS[0], succession(cloud), cloud.environment(SUCCESSORS[0]))
    return True


def _spawn(cloud: Cloud, name: str, command: tuple[str, ...], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """In a session of its own, writing to its own log: it needs us for nothing from here on."""
    book = (SUPERVISOR if name in SUCCESSORS else name).replace("/", "-")  # it will be one and the same
    with (cloud.state / "log" / f"{book}.log").open("ab") as log:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
        )
