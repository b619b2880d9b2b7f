"""Machines that share nothing but a network: namespaces for links, files and names, with Debian's files below their own."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from tests.clouds import BIN
from tests.ovs import run
from topology import processes

ROOT = Path(__file__).parent.parent
FOLDERS = ("/etc", "/var", "/run", "/root", "/usr/local")  # each machine's own, above what Debian put there
EMPTY = "/var/lib/unryu /etc/openvswitch /run/openvswitch /etc/postgresql /var/lib/postgresql /run/postgresql"

# What systemd, ssh and scp do on real machines, as far as docs/deploy.md needs it.
SYSTEMCTL = r"""#!/bin/bash
unit=${!#}
case $unit in
daemon-reload) ;;
postgresql) pg_ctlcluster 15 main restart 2>&1 ;;
haproxy) haproxy -f /etc/haproxy/haproxy.cfg -D -p /run/haproxy.pid ;;
openvswitch-switch)
    mkdir -p /run/openvswitch /etc/openvswitch /var/log/openvswitch && cd /etc/openvswitch
    ovsdb-tool create conf.db /usr/share/openvswitch/vswitch.ovsschema
    ovsdb-server conf.db --remote=punix:/run/openvswitch/db.sock --pidfile --detach --no-chdir --log-file=/dev/null
    ovs-vsctl --no-wait init
    ovs-vswitchd --pidfile --detach --no-chdir --log-file=/var/log/openvswitch/ovs-vswitchd.log ;;
*)
    command=$(sed -n s/^ExecStart=//p /etc/systemd/system/$unit.service) || exit 1
    if [ $1 = restart ]; then
        kill -- -$(cat /run/$unit.pid)
        while kill -0 -- -$(cat /run/$unit.pid) 2> /dev/null; do sleep 0.05; done
    fi
    setsid $command < /dev/null > /var/log/$unit.log 2>&1 &
    echo $! > /run/$unit.pid ;;
esac
"""
SSH = r"""#!/bin/bash
machine=$1; shift
exec nsenter -t $(cat {folder}/$machine/pid) -m -u -n -- bash -c "$*"
"""
SCP = r"""#!/bin/bash
set -eo pipefail
if [ $1 = -r ]; then
    tar -C $(dirname $2) -cf - $(basename $2) | ssh ${3%%:*} "tar -C ${3#*:} -xf -"
else
    ssh ${2%%:*} "umask 077; cat > ${2#*:}" < $1
fi
"""


class Machines:
    """`with Machines({"a": ["192.0.2.1"], "b": ["192.0.2.2", None]}) as all:`: an address, or None, for each link."""

    def __init__(self, links: dict[str, list[str | None]]) -> None:
        self.links = links
        self.folder = Path(tempfile.mkdtemp(prefix="unryu-machines-"))
        self.prefix = f"um{os.getpid()}"
        self.holders: list[subprocess.Popen[bytes]] = []

    def namespace(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def __enter__(self) -> "Machines":
        try:
            run("ip", "netns", "add", self.namespace("net"))
            for number in range(max(map(len, self.links.values()))):
                run("ip", "-n", self.namespace("net"), "link", "add", f"br{number}", "mtu", "1600", "type", "bridge")
                run("ip", "-n", self.namespace("net"), "link", "set", f"br{number}", "up")
            for name, addresses in self.links.items():
                self._build(name, addresses)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _build(self, name: str, addresses: list[str | None]) -> None:
        space, net = self.namespace(name), self.namespace("net")
        run("ip", "netns", "add", space)
        run("ip", "-n", space, "link", "set", "lo", "up")
        for number, address in enumerate(addresses):
            run("ip", "-n", net, "link", "add", f"{name}-{number}", "mtu", "1600", "type", "veth",
                "peer", "name", f"eth{number}", "mtu", "1600", "netns", space)
            run("ip", "-n", net, "link", "set", f"{name}-{number}", "master", f"br{number}", "up")
            run("ip", "-n", space, "link", "set", f"eth{number}", "up")
            if address:
                run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", f"eth{number}")
        words = ("ip", "netns", "exec", space, "unshare", "--mount", "--uts", "--propagation", "private", "sleep", "infinity")
        holder = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        self.holders.append(holder)
        mine = self.folder / name
        mine.mkdir()
        (mine / "pid").write_text(str(holder.pid))
        deadline = time.monotonic() + 60
        while Path(f"/proc/{holder.pid}/comm").read_text() != "sleep\n" and time.monotonic() < deadline:
            time.sleep(0.005)
        mounts = [f"hostname {name}"]
        for path in FOLDERS:
            upper, work = (f"{mine}/{kind}{path.replace('/', '-')}" for kind in ("upper", "work"))
            layers = f"lowerdir={path},upperdir={upper},workdir={work}"
            mounts.append(f"mkdir {upper} {work} && mount -t overlay overlay -o {layers} {path}")
        mounts += ["umount -l /run/netns 2> /dev/null; mkdir -p /run/netns",
                   f"for empty in {EMPTY}; do rm -rf $empty; mkdir -p $empty; done; rm -f /usr/local/bin/*",
                   f"mkdir -p /etc/haproxy /usr/local/bin && ln -s {BIN}/unryu /usr/local/bin/unryu"]
        self.run(name, " && ".join(f"{{ {each}; }}" for each in mounts))
        for program, text in (("systemctl", SYSTEMCTL), ("ssh", SSH.replace("{folder}", str(self.folder))), ("scp", SCP)):
            self.run(name, f"cat > /usr/local/bin/{program} && chmod 755 /usr/local/bin/{program}", given=text)

    def run(self, name: str, command: str, given: str = "", check: bool = True) -> str:
        """A command line on a machine, in the repository's folder, stopping at the first that fails."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("UNRYU_", "OS_"))}
        done = subprocess.run(
            ["nsenter", "-t", (self.folder / name / "pid").read_text(), "-m", "-u", "-n", "--", "bash", "-e", "-c",
             f"cd {shlex.quote(str(ROOT))}\n{command}"],
            input=given, capture_output=True, text=True, check=False, timeout=600,
            env={**environment, "PATH": f"/usr/local/bin:{environment['PATH']}", "HOME": "/root"})
        if check and done.returncode:
            raise AssertionError(f"on {name}: {command}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def kill(self, name: str, unit: str) -> None:
        """With its children, at once."""
        os.killpg(int(self.run(name, f"cat /run/{unit}.pid")), signal.SIGKILL)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        spaces = [self.namespace(name) for name in (*self.links, "net")]
        living = set(processes.inside(spaces)) | {holder.pid for holder in self.holders}
        processes.end(living, patience=2)
        for holder in self.holders:
            holder.wait()
        for space in spaces:
            run("ip", "netns", "del", space, check=False)
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)
