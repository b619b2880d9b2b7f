"""Flows into one switch: ours against `ovs-ofctl --bundle add-flows` of the same flows, on the same switch, in turns.

`python -m bench.flows`, as root. The clock runs from what either has in hand, flows with their cookies as the engine
remembers them or a file of text, to the confirmed commit. The CPU of ours includes the making of the cookies.
"""

import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from rich.console import Console
from rich.table import Table as Columns

from controller.flow import (
    ARP,
    ARP_OP,
    ARP_SHA,
    ARP_SPA,
    ARP_THA,
    ARP_TPA,
    ETH_DST,
    ETH_SRC,
    IN_PORT,
    IPV4,
    IPV4_SRC,
    TUN_DST,
    TUN_ID,
    Flow,
    Reg,
    Table,
    cookie,
    flow,
    goto,
    load,
    match,
    move,
    output,
    set_field,
    text,
    to_in_port,
)
from controller.openflow.app import Switches
from controller.openflow.connection import Connection
from controller.openflow.push import push
from controller.openflow.readback import read
from unryu import tls
from unryu.tls import authority

FLOWS, ROUNDS = 50_000, 5
LINK, OURS, THEIRS = "unryu-bench", "198.19.255.253", "198.19.255.254"  # of the range for benchmarks, RFC 2544

CLASSIFY = Table("br-int", 0, "classify", "Which port?", next=("spoof",))
SPOOF = Table("br-int", 10, "spoof", "May it send from there?", next=("local",))
LOCAL = Table("br-int", 20, "local", "Does the cloud itself answer?")
L2 = Table("br-int", 60, "l2", "Which port is it for?", next=("output",))
OUTPUT = Table("br-int", 80, "output", "Out of which port?")
NETWORK, OUT_PORT = Reg("network", 0, 0, 15), Reg("out_port", 1, 0, 16)


def tenant_flows(count: int) -> list[Flow]:
    """What ports of tenants cost: six flows a port."""
    return [each for port in range(-(-count // 6)) for each in _port(port)][:count]


def _port(number: int) -> Iterator[Flow]:
    network, ofport, mac = number // 50 + 1, number % 60_000 + 100, 0xFA163E000000 + number
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    here = NETWORK == network
    yield flow(CLASSIFY, 100, match(IN_PORT == ofport), load(NETWORK, network), goto(SPOOF))
    yield flow(SPOOF, 100, match(IN_PORT == ofport, ETH_SRC == mac, IPV4, IPV4_SRC == address), goto(LOCAL))
    yield flow(LOCAL, 100, match(here, ARP, ARP_OP == 1, ARP_TPA == address), move(ETH_SRC, ETH_DST),
               set_field(ETH_SRC, mac), set_field(ARP_OP, 2), move(ARP_SHA, ARP_THA), set_field(ARP_SHA, mac),
               move(ARP_SPA, ARP_TPA), set_field(ARP_SPA, address), to_in_port())
    yield flow(L2, 100, match(here, ETH_DST == mac), load(OUT_PORT, ofport), goto(OUTPUT))
    yield flow(L2, 90, match(here, ETH_DST == mac), set_field(TUN_ID, network), set_field(TUN_DST, "192.0.2.1"),
               output(1))
    yield flow(OUTPUT, 100, match(here, OUT_PORT == ofport), output(ofport))


def run(flows: int = FLOWS, rounds: int = ROUNDS) -> dict[str, Any]:
    wanted = tenant_flows(flows)
    entries: list[tuple[int, Flow]] = []
    _, cookies = _timed(lambda: entries.extend((cookie("bench", each), each) for each in wanted))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unryu-bench-")))
        file = folder / "flows"
        file.write_text("".join(f"cookie={number:#x}, {text(each)}\n" for number, each in entries))
        management = f"unix:{folder}/br-int.mgmt"
        switch, secured = stack.enter_context(_switch(folder))

        def ours(switch: Connection) -> None:
            refused = push(switch, entries, [])
            if refused:
                raise RuntimeError(f"the switch refused {refused[0]}")

        def theirs() -> None:
            _run("ovs-ofctl", "-O", "OpenFlow13", "--bundle", "add-flows", management, str(file))

        figures: dict[str, list[tuple[float, float]]] = {"ours": [], "secured": [], "theirs": []}
        for _ in range(rounds):
            for name, way in (("ours", partial(ours, switch)), ("secured", partial(ours, secured)), ("theirs", theirs)):
                _run("ovs-ofctl", "-O", "OpenFlow13", "del-flows", management)
                time.sleep(0.5)  # it frees deleted flows behind our back
                figures[name].append(_timed(way))
                if {(each.cookie, each.flow) for each in read(switch, "br-int")} != set(entries):
                    raise RuntimeError(f"{name}: the switch does not hold the flows it was given")
    wall, cpu = ({name: statistics.median(pair[index] for pair in pairs) for name, pairs in figures.items()}
                 for index in (0, 1))
    return {
        "flows": flows, "rounds": rounds,
        "flows_per_second": flows / wall["ours"],
        "ovs_ofctl_flows_per_second": flows / wall["theirs"],
        "ratio": wall["theirs"] / wall["ours"],
        "tls_flows_per_second": flows / wall["secured"],
        "tls_us_per_flow": (cookies + cpu["secured"]) / flows * 1e6,
        "controller_us_per_flow": (cookies + cpu["ours"]) / flows * 1e6,
        "ovs_ofctl_us_per_flow": cpu["theirs"] / flows * 1e6,
    }


def _timed(way: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock and of CPU, this process's and its children's."""
    wall, cpu = time.perf_counter(), os.times()
    way()
    return time.perf_counter() - wall, sum(os.times()[:4]) - sum(cpu[:4])


@contextmanager
def _switch(folder: Path) -> Iterator[tuple[Connection, Connection]]:
    """An Open vSwitch of its own, in a namespace of its own, connected to us as it is and by mutual TLS."""
    database, env = f"unix:{folder}/db.sock", {"OVS_RUNDIR": str(folder), "OVS_DBDIR": str(folder)}
    inside = ("ip", "netns", "exec", LINK)
    keys = folder / "tls"
    authority.make(keys, tls.CONTROLLER)
    authority.freshen(keys, authority.HOSTS, keys / "host.pem", tls.of_host("h1"))
    files = [str(keys / name) for name in ("host.pem", "host.pem", "services-ca.pem")]
    with ExitStack() as stack:
        _run("ip", "netns", "add", LINK)
        stack.callback(_run, "ip", "netns", "del", LINK)
        _run("ip", "link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", LINK)
        _run("ip", "addr", "add", f"{OURS}/30", "dev", LINK)
        _run("ip", "link", "set", LINK, "up")
        _run(*inside, "ip", "addr", "add", f"{THEIRS}/30", "dev", "eth0")
        _run(*inside, "ip", "link", "set", "eth0", "up")
        ways: list[tuple[SimpleQueue[Connection], Switches]] = []
        for identity in (None, authority.own(keys, tls.CONTROLLER)):
            came: SimpleQueue[Connection] = SimpleQueue()
            ways.append((came, Switches([(OURS, 0)], lambda dpid, peer: "", came.put, lambda c: None, identity=identity)))
            ways[-1][1].start()
            stack.callback(ways[-1][1].stop)
        targets = [f"{kind}:{OURS}:{switches.addresses[0][1]}" for kind, (_, switches) in zip(("tcp", "ssl"), ways, strict=True)]
        stack.callback(_end, folder)
        daemon = ("--detach", "--no-chdir", "--log-file=/dev/null")
        _run("ovsdb-tool", "create", f"{folder}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
        _run("ovsdb-server", f"{folder}/conf.db", f"--remote=punix:{folder}/db.sock", f"--unixctl={folder}/ovsdb.ctl",
             f"--pidfile={folder}/ovsdb.pid", *daemon, env=env)
        _run("ovs-vsctl", f"--db={database}", "--no-wait", "init")
        _run(*inside, "ovs-vswitchd", database, f"--unixctl={folder}/vswitchd.ctl", f"--pidfile={folder}/vswitchd.pid",
             *daemon, env=env)
        _run("ovs-vsctl", f"--db={database}", "add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev",
             "protocols=OpenFlow13", "fail_mode=secure", "other_config:disable-in-band=true",
             "--", "set-ssl", *files, "--", "set-controller", "br-int", *targets)
        plain, secured = (came.get(timeout=10) for came, _ in ways)
        yield plain, secured


def _end(folder: Path) -> None:
    pids = [int(file.read_text()) for file in folder.glob("*.pid")]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 3
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)


def _run(*words: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


def show(figures: dict[str, Any]) -> None:
    columns = Columns(title=f"{figures['flows']:,} flows of a tenant's pipeline, median of {figures['rounds']} rounds")
    for heading in ("", "flows/s", "us of CPU a flow"):
        columns.add_column(heading, justify="right" if heading else "left")
    columns.add_row("Unryu", f"{figures['flows_per_second']:,.0f}", f"{figures['controller_us_per_flow']:.1f}")
    columns.add_row("Unryu, mutual TLS", f"{figures['tls_flows_per_second']:,.0f}", f"{figures['tls_us_per_flow']:.1f}")
    columns.add_row("ovs-ofctl --bundle", f"{figures['ovs_ofctl_flows_per_second']:,.0f}",
                    f"{figures['ovs_ofctl_us_per_flow']:.1f}")
    columns.add_row("ratio", f"{figures['ratio']:.2f}", "")
    Console().print(columns)


if __name__ == "__main__":
    show(run())
