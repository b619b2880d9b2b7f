"""The metadata address: requests a second and ms a request, through a real switch, with real guests.

`python -m bench.metadata`, as root. Beside it, in the same run, the floor: the same client and as many bytes back, from a
loop that reads nothing in the question, in another guest's namespace, whose flows are those of any two guests. A guest may
ask 100 times a second for long and 400 at once, so it takes some of them to find out what the agent can do.
"""

import re
import selectors
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table as Columns

from bench.cloud import Lab, lab
from ovsagent.links import inside

GUESTS, REQUESTS, CONNECTIONS = 8, 300, 60
QUESTION = b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"
FLOOR = """\
import selectors, socket, sys
door = socket.create_server(("", 8080), backlog=64)
answer, ears = bytes(int(sys.argv[1])), selectors.DefaultSelector()
ears.register(door, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in ears.select():
        if key.fileobj is door:
            ears.register(door.accept()[0], selectors.EVENT_READ)
        elif key.fileobj.recv(8192):
            key.fileobj.sendall(answer)
        else:
            ears.unregister(key.fileobj)
            key.fileobj.close()
"""

def dial(namespace: str, where: tuple[Any, ...]) -> socket.socket:
    with inside(namespace):
        line = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET)
        line.settimeout(5)
        line.connect((*where, 0, socket.if_nametoindex("eth0")) if ":" in where[0] else where)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def heard(line: socket.socket) -> int:
    """Bytes."""
    piece = line.recv(1 << 16)
    if not piece:
        raise ConnectionError("it has hung up")
    return len(piece)


def milliseconds(namespace: str, where: tuple[Any, ...], size: int) -> list[float]:
    """Of a request with a connection of its own."""
    found = []
    for _ in range(CONNECTIONS):
        began = time.perf_counter()
        with dial(namespace, where) as line:
            line.sendall(QUESTION)
            left = size
            while left > 0:
                left -= heard(line)
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.03)        # within what one guest may ask for long
    return found


def rate(namespaces: list[str], where: tuple[Any, ...], size: int) -> float:
    """Requests a second of all of them at once, each by one connection."""
    ears = selectors.DefaultSelector()
    left = {dial(namespace, where): REQUESTS * size for namespace in namespaces}
    began = time.perf_counter()
    for line in left:
        ears.register(line, selectors.EVENT_READ, line)
        line.sendall(QUESTION)
    while left:
        if not (answered := ears.select(5)):
            raise TimeoutError("nobody is answered any more")
        for key, _ in answered:
            line = key.data
            before = left[line]
            left[line] -= heard(line)
            if not left[line]:
                del left[line]
                ears.unregister(line)
                line.close()
            elif before // size != left[line] // size:
                line.sendall(QUESTION)
    return len(namespaces) * REQUESTS / (time.perf_counter() - began)


def plugged(cloud: Lab) -> list[tuple[str, str]]:
    """Namespace and address of each guest."""
    import openstack

    config = openstack.config.OpenStackConfig(config_files=[f"{cloud.state}/clouds.yaml"])
    network = openstack.connection.Connection(config=config.get_one("unryu")).network
    net = network.create_network(name="metadata")
    network.create_subnet(network_id=net.id, ip_version=4, cidr="10.0.0.0/24")
    ports = [network.create_port(network_id=net.id) for _ in range(GUESTS + 1)]
    for n, port in enumerate(ports):
        cloud.unryu("lab", "plug", port.id, "--host", "h1", "--as", f"g{n}")
    spaces = {guest["name"]: guest["namespace"] for guest in cloud.status()["guests"]}
    return [(spaces[f"g{n}"], port.fixed_ips[0]["ip_address"]) for n, port in enumerate(ports)]


def run() -> dict[str, Any]:
    with lab() as (cloud, _):
        *askers, (server, address) = plugged(cloud)
        namespaces = [namespace for namespace, _ in askers]
        four, six = ("169.254.169.254", 80), ("fe80::a9fe:a9fe", 80)
        with dial(namespaces[0], four) as line:
            line.sendall(QUESTION)
            head, _, body = line.recv(1 << 16).partition(b"\r\n\r\n")
        size = len(head) + 4 + int(re.findall(rb"Content-Length: (\d+)", head)[0])
        words = ["ip", "netns", "exec", server, sys.executable, "-c", FLOOR, str(size)]
        floor = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            assert floor.stdout and floor.stdout.readline() == "ready\n"
            one = {name: milliseconds(namespaces[0], where, size)
                   for name, where in (("four", four), ("six", six), ("floor", (address, 8080)))}
            time.sleep(4)       # until everybody may ask again as much as one may at once
            most = {name: rate(namespaces, where, size) for name, where in (("four", four), ("floor", (address, 8080)))}
        finally:
            floor.kill()
            floor.wait()
    return {"guests": GUESTS, "requests_per_second": most["four"], "floor_per_second": most["floor"],
            "of_the_floor": most["four"] / most["floor"],
            **{f"ms_a_connection_{name}": statistics.median(found) for name, found in one.items()},
            "ms_a_connection_p95": sorted(one["four"])[CONNECTIONS * 95 // 100]}


def show(result: dict[str, Any]) -> None:
    columns = Columns("figure", "value", title="The metadata address", title_justify="left")
    for name, value in result.items():
        columns.add_row(name.replace("_", " "), f"{value:,.2f}" if value < 100 else f"{value:,.0f}")
    Console().print(columns)


if __name__ == "__main__":
    show(run())
