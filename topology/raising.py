"""Raising a cloud: wires, processes, schema, users; then waiting until all of it answers."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import entry_points
from ipaddress import ip_interface

import click

from topology import api, internet, links, processes, supervisor
from topology.cloud import Cloud, Host
from topology.credentials import write_clouds
from unryu import tls
from unryu.files import write_private
from unryu.tls import authority

FIRST_HOSTS = 2


def raise_cloud(
    cloud: Cloud, hosts: int | None, patience: float, say: Callable[[str], None], database: str = "", controllers: int = 1
) -> dict[str, float]:
    """Make whole what is wanted, from any state; returns seconds until each part was there."""
    began = time.monotonic()
    timings: dict[str, float] = {}

    def reached(part: str) -> None:
        timings[part] = round(time.monotonic() - began, 2)

    cloud.make(database, controllers)
    with _alone(cloud):
        there = len(cloud.hosts())
        say(f"Wiring {max(hosts or FIRST_HOSTS, there)} hosts")
        _wire(cloud, max(hosts or 0, there) or FIRST_HOSTS)
        _certify(cloud)
        reached("wired")
        prepared = cloud.state / "run" / "prepared"  # the supervisor waits for it before it starts services
        raw = not processes.find(cloud, "api")
        if raw:
            prepared.unlink(missing_ok=True)  # of an earlier life: this version's schema may be newer
        started = supervisor.ensure(cloud)
        say("Starting the supervisor" if started else "This cloud's supervisor runs; it looks again")
        if raw:
            say("Preparing the database and the first users")
            _prepare()
            prepared.touch()
        write_clouds(cloud)
        reached("prepared")
    deadline = began + patience
    _await("api", partial(api.ready, cloud), cloud, deadline, say)
    reached("api")
    for one in cloud.controllers():
        _await(one.name, partial(api.controller, one, "/readyz"), cloud, deadline, say)
    for host in cloud.hosts():
        _await(f"{host.name}/agent", partial(api.agent, host, "GET", "/health"), cloud, deadline, say)
        _await(f"{host.name}/ovs-vswitchd", partial(_connected, host), cloud, deadline, say)
    reached("hosts")
    _provide(cloud)
    return timings


def _connected(host: Host) -> None:
    """Whether the controller holds this host's switches, and they hold all that it wants."""
    mine = [switch for switch in api.switches(host.cloud) if switch["host"] == host.name]
    late = [one["bridge"] for one in mine if not one["connected"] or one["wanted"] != one["realised"]]
    if late or not mine:
        raise api.Refused(f"{', '.join(late) or 'every bridge'} of {host.name} still waits for the controller.")


def _provide(cloud: Cloud) -> None:
    """The external network, once in a cloud's life: who deletes it wants none. Its note lies with the settings, and so lives as
    long as the database."""
    note = cloud.state / "internet.json"
    if note.exists():
        return
    network, name = api.Network(cloud), internet.NAME
    found = network.get(f"networks?name={name}&router:external=true")["networks"]  # made by who was killed before the note
    made = found[0] if found else network.post("networks", {"network": {
        "name": name, "router:external": True, "is_default": True, "provider:network_type": "flat",
        "provider:physical_network": internet.PHYSICAL}})["network"]
    if not made["subnets"]:
        network.post("subnets", {"subnets": [{
            "name": f"{name}-v{version}", "network_id": made["id"], "ip_version": version, "gateway_ip": str(router.ip),
            "cidr": str(router.network), "allocation_pools": [{"start": str(router.ip + 9), "end": str(router.ip + 249)}],
        } for version, router in ((version, ip_interface(address)) for version, address in internet.ROUTER.items())]})
    note.write_text(json.dumps({"network": made["id"]}) + "\n")


def _wire(cloud: Cloud, count: int) -> None:
    links.wire_cloud(cloud)
    internet.wire(cloud)

    def build(number: int) -> None:
        host = Host(cloud, number)
        links.wire_host(host)
        internet.wire_host(host)
        links.make_database(host)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(build, range(1, count + 1)))


def _certify(cloud: Cloud) -> None:
    """The authorities, and who is who. A real host asks for its certificate (`unryu host join`); these are given theirs."""
    authority.make(cloud.tls, tls.CONTROLLER, tls.LAB)
    for host in cloud.hosts():
        host.tls.mkdir(mode=0o700, exist_ok=True)
        authority.freshen(cloud.tls, authority.HOSTS, host.tls / "host.pem", tls.of_host(host.name))
        write_private(host.tls / "services-ca.pem", authority.certificate(cloud.tls, authority.SERVICES).read_text())


def _prepare() -> None:
    """The schema, then each room's first rows. In this process: another Python would cost a second."""
    from unryu.db import upgrade

    upgrade()
    for room in sorted(entry_points(group="unryu.bootstrap")):
        room.load()()


def _await(
    process: str, ask: Callable[[], object], cloud: Cloud, deadline: float, say: Callable[[str], None]
) -> None:
    """Ask until there is no refusal, or no time."""
    say(f"Waiting for {process}")
    while True:
        try:
            ask()
            return
        except api.Refused as error:
            if time.monotonic() > deadline:
                log = cloud.state / "log" / f"{process.replace('/', '-')}.log"
                raise click.ClickException(f"{process} is not ready: {error.message} Its log: {log}") from None
        time.sleep(0.02)


@contextlib.contextmanager
def _alone(cloud: Cloud) -> Iterator[None]:
    """Two hands on one cloud take turns."""
    lock = os.open(cloud.state / "run" / "up.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
