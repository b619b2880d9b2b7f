"""What a test sees of a cloud, and how it troubles it."""

import contextlib
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator

from tests.clouds import RunningCloud, eventually
from topology import api
from topology.cloud import Cloud


def connected(cloud: RunningCloud, host: str) -> bool:
    return all(s["connected"] for s in cloud.switches() if s["host"] == host)


def waits(cloud: RunningCloud, host: str) -> list[str]:
    return [s["waits"] for s in cloud.switches() if s["host"] == host]


def metrics(cloud: RunningCloud, process: str) -> str:
    if process == "controller":
        return str(api.controller(Cloud(cloud.state).controllers()[0], "/metrics"))
    with urllib.request.urlopen(f"{Cloud(cloud.state).url}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def new_port(cloud: RunningCloud, host: str, network: str = "alone") -> float:
    """Seconds from the plug of a new port until it is ACTIVE (and it is gone again)."""
    sdk = cloud.connect()
    port = sdk.network.create_port(network_id=sdk.network.find_network(network).id)
    began = time.monotonic()
    cloud.plug(port.id, host, "brief")
    took = time.monotonic() - began
    assert sdk.network.get_port(port.id).status == "ACTIVE"
    cloud.unplug("brief")
    sdk.network.delete_port(port.id)
    return took


@contextlib.contextmanager
def tagged(cloud: RunningCloud, tag: str) -> Iterator[None]:
    """The port of vm1 has a tag that the rogue feature hears, and is in ERROR for as long."""
    sdk = cloud.connect().network
    port = next(p for p in sdk.ports() if p.fixed_ips[0]["ip_address"] == "10.0.0.11")
    sdk.set_tags(port, [tag])
    assert eventually(lambda: sdk.get_port(port.id).status == "ERROR")
    yield
    sdk.set_tags(port, [])
    assert eventually(lambda: sdk.get_port(port.id).status == "ACTIVE")


@contextlib.contextmanager
def frozen(cloud: RunningCloud, name: str, host: str | None = None) -> Iterator[int]:
    pid = cloud.pid(name, host)
    assert pid, name
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def pulsed(pid: int, on: float, off: float) -> Iterator[None]:
    """A process that runs for a moment, then for a moment does not, and so on: a slow one."""
    stop = threading.Event()

    def pulse() -> None:
        while not stop.is_set():
            os.kill(pid, signal.SIGSTOP)
            stop.wait(off)
            os.kill(pid, signal.SIGCONT)
            stop.wait(on)

    thread = threading.Thread(target=pulse)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
