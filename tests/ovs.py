"""A real Open vSwitch of a test's own: a namespace with its own ovsdb-server and ovs-vswitchd, gone at the end."""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType


def run(*words: str, check: bool = True, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class OvsHost:
    """`with OvsHost("h1") as h: h.vsctl("add-br", "br-int", …)`. `h.ns` is its namespace, `h.dir` its run directory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dir = Path(tempfile.mkdtemp(prefix=f"unryu-test-{name}-"))
        self.ns = f"ut{os.getpid()}-{name}"
        self.env = {"OVS_RUNDIR": str(self.dir), "OVS_DBDIR": str(self.dir), "OVS_LOGDIR": str(self.dir)}
        self.db = self.dir / "db.sock"

    def __enter__(self) -> "OvsHost":
        run("ip", "netns", "add", self.ns)
        run("ip", "-n", self.ns, "link", "set", "lo", "up")
        self.start_ovsdb()
        self.vsctl("--no-wait", "init")
        self.start_vswitchd()
        return self

    def start_ovsdb(self) -> None:
        """With the database that is there, or else an empty one."""
        if not (self.dir / "conf.db").exists():
            run("ovsdb-tool", "create", f"{self.dir}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
        run("ovsdb-server", f"{self.dir}/conf.db", f"--remote=punix:{self.db}", f"--unixctl={self.dir}/ovsdb.ctl",
            f"--pidfile={self.dir}/ovsdb.pid", f"--log-file={self.dir}/ovsdb.log", "--detach", "--no-chdir", env=self.env)

    def start_vswitchd(self) -> None:
        run("ip", "netns", "exec", self.ns, "ovs-vswitchd", f"unix:{self.db}", f"--unixctl={self.dir}/vswitchd.ctl",
            f"--pidfile={self.dir}/vswitchd.pid", f"--log-file={self.dir}/vswitchd.log", "--detach", "--no-chdir",
            env=self.env)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        pids = [int(f.read_text()) for f in self.dir.glob("*.pid")]
        for pid in pids:
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + 3
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        run("ip", "netns", "del", self.ns, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def exec(self, *words: str, check: bool = True) -> str:
        return run("ip", "netns", "exec", self.ns, *words, check=check, env=self.env)

    def vsctl(self, *words: str) -> str:
        return run("ovs-vsctl", f"--db=unix:{self.db}", *words)

    def ofctl(self, verb: str, bridge: str, *words: str) -> str:
        return run("ovs-ofctl", "-O", "OpenFlow13", verb, f"unix:{self.dir}/{bridge}.mgmt", *words)

    def appctl(self, *words: str) -> str:
        return self.exec("ovs-appctl", "-t", f"{self.dir}/vswitchd.ctl", *words)

    def management(self) -> str:
        """A link between the test's namespace and the host's; gives the address of our end, for a controller."""
        # 198.18.0.0/15 is for benchmarks (RFC 2544): nobody's network; a /30 for each link, the first that no process has.
        for number in (each % 32768 for each in itertools.count(os.getpid() * 256)):
            link = f"utm{number:x}"
            try:
                run("ip", "link", "add", link, "type", "veth", "peer", "name", "management", "netns", self.ns)
                break
            except RuntimeError as error:
                if "File exists" not in str(error):
                    raise
        ours, theirs = (f"198.{18 + number // 16384}.{number // 64 % 256}.{number * 4 % 256 + end}" for end in (1, 2))
        run("ip", "addr", "add", f"{ours}/30", "dev", link)
        run("ip", "link", "set", link, "up")
        self.exec("ip", "addr", "add", f"{theirs}/30", "dev", "management")
        self.exec("ip", "link", "set", "management", "up")
        return ours

    def vswitchd(self) -> int:
        """The pid of ovs-vswitchd."""
        return int((self.dir / "vswitchd.pid").read_text())

    def buried(self) -> None:
        """Wait until the ovs-vswitchd that was killed is gone: it holds its pid file as long as it is there."""
        while Path(f"/proc/{self.vswitchd()}").exists():
            time.sleep(0.01)

    def add_bridge(self, name: str, *settings: str) -> None:
        self.vsctl("--may-exist", "add-br", name, "--", "set", "bridge", name, "datapath_type=netdev",
                   "protocols=OpenFlow13", "fail_mode=secure", "other_config:disable-in-band=true", *settings)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
