"""The verbs of a cloud on one machine. Everything else is imported by the verb that needs it."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from unryu.output import output, show_rows, show_table, show_value

if TYPE_CHECKING:
    from topology.cloud import Cloud


def _cloud() -> "Cloud":
    from topology.cloud import Cloud

    return Cloud.here()


# `unryu up --state DIR` reads as well as `unryu --state DIR up`, and is what most hands type.
state = click.option(
    "--state", type=click.Path(file_okay=False, resolve_path=True), expose_value=False, is_eager=True,
    help="The folder of this cloud (as before the verb).",
    callback=lambda ctx, option, value: os.environ.update(UNRYU_STATE=value) if value else None,
)


def _root() -> None:
    if os.geteuid():
        raise click.ClickException("Namespaces and switches need root: run this as root.")
    for tool in ("ip", "ovs-vswitchd", "ovsdb-server", "ovsdb-tool"):
        if shutil.which(tool) is None:
            raise click.ClickException(f"`{tool}` is not installed; `make setup` installs what is missing.")


@click.command()
@click.option("--hosts", type=click.IntRange(1, 1000), help="How many emulated hosts: 2 at first; more may be added.")
@click.option("--database", metavar="URL", default="", help="Of an empty PostgreSQL, for a new cloud; SQLite otherwise.")
@click.option("--controllers", type=click.IntRange(1, 9), default=1, show_default=True,
              help="How many controllers share the hosts of a new cloud; more than one need a PostgreSQL.")
@click.option("--timeout", type=float, default=60, show_default=True, help="Seconds to wait until all is ready.")
@state
@output
def up(hosts: int | None, database: str, controllers: int, timeout: float, output: str) -> None:
    """Raise a cloud, or make whole the one that runs.

    What lives is left alone; what is missing is started.
    """
    from topology.raising import raise_cloud

    _root()
    began = time.monotonic()
    cloud = _cloud()
    with _progress(output) as say:
        timings = raise_cloud(cloud, hosts, timeout, say, database, controllers)
    took = time.monotonic() - began
    if output != "table":
        names = [host.name for host in cloud.hosts()]
        facts = {"state": str(cloud.state), "name": cloud.name, "url": cloud.url, "hosts": names}
        show_value({**facts, "seconds": {**timings, "all": round(took, 2)}}, output)
        return
    from topology.credentials import clouds_file

    option = "" if str(cloud.state) == "/var/lib/unryu" else f" --state {cloud.state}"
    click.echo(
        f"The cloud in {cloud.state} is ready after {took:.1f} s: {len(cloud.hosts())} hosts, APIs at {cloud.url}\n\n"
        f"  unryu{option} network create blue          any verb of the OpenStack client, as user demo\n"
        f"  unryu{option} status\n"
        f"  export OS_CLIENT_CONFIG_FILE={clouds_file(cloud)} OS_CLOUD=unryu      for `openstack` and SDKs\n"
        f"  unryu{option} down"
    )


@contextlib.contextmanager
def _progress(output: str) -> Iterator[Callable[[str], None]]:
    """Steps as they happen: a live line on a terminal, plain lines on stderr elsewhere."""
    if output == "table" and sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("Looking around") as status:
            yield lambda sentence: status.update(sentence)
    else:
        yield lambda sentence: click.echo(sentence, err=True)


@click.command()
@click.option("--keep", is_flag=True, help="Keep settings, database and secrets: `up` goes on with them.")
@state
def down(keep: bool) -> None:
    """Take a cloud down. No process, namespace, link or file is left, whatever state it is in."""
    from topology import links, processes

    _root()
    cloud = _cloud()
    watchers = (*processes.SUCCESSORS, processes.SUPERVISOR)  # first, or they would start again what we end
    supervisors = [one for one in processes.find(cloud) if one.process in watchers]
    processes.end((one.pid for one in supervisors), patience=0.5)
    ended = len(supervisors)
    for _ in range(5):  # what was being started when we looked shows itself in the next round
        living = {one.pid for one in processes.find(cloud)} | set(processes.inside(links.namespaces(cloud)))
        if not living:
            break
        processes.end(living)
        ended += len(living)
    removed = links.unwire(cloud)
    folder = cloud.remove(keep)
    if ended or removed or folder:
        kept = "kept: settings, database, secrets" if keep else "removed" if folder else "was gone"
        click.echo(f"Ended {ended} processes, removed {removed} namespaces and links; {cloud.state}: {kept}.")
    else:
        click.echo(f"Nothing of a cloud in {cloud.state} is here.")


@click.command()
@state
@output
def status(output: str) -> None:
    """What runs: processes, hosts, switches, guests."""
    from topology import api, lab, processes

    cloud = _cloud()
    running = [
        {"name": processes.title(one), "pid": one.pid, "host": one.host}
        for one in sorted(processes.find(cloud), key=lambda one: (one.host or "", one.name, one.pid))
    ]
    if not cloud.exists and not running:
        raise click.ClickException(f"There is no cloud in {cloud.state}: `unryu up` makes one.")
    hosts = [
        {"name": host.name, "namespace": host.namespace, "ovsdb": str(host.ovsdb), "bridges": host.bridges()}
        for host in cloud.hosts()
    ]
    complaint, switches = "", []
    try:
        columns = ("host", "bridge", "controller", "connected", "wanted", "realised", "waits")
        switches = [{name: switch.get(name) for name in columns} for switch in api.switches(cloud)]
    except click.ClickException as error:
        complaint = f"The controller does not answer: {error.message}"
    guests = [asdict(guest) for guest in lab.guests(cloud)]
    parts: dict[str, list[dict[str, Any]]] = {
        "processes": running, "hosts": hosts, "switches": switches, "guests": guests,
    }
    if output == "table":
        for title, rows in parts.items():
            show_table(rows, title)
    else:
        show_value(parts, output)
    if complaint:
        click.echo(complaint, err=True)


@click.command()
@click.option("--project", help="Whose environment (default: demo).")
@state
@click.pass_context
def openrc(ctx: click.Context, project: str | None) -> None:
    """Print the environment for OpenStack clients. For `eval "$(unryu openrc)"`."""
    import shlex

    from topology.credentials import clouds_file, of

    cloud = _cloud()
    click.echo(f"# or: export OS_CLIENT_CONFIG_FILE={clouds_file(cloud)} OS_CLOUD=unryu")
    for name, value in of(cloud, project or ctx.obj).items():
        click.echo(f"export {name}={shlex.quote(value)}")


@click.group()
@state
def lab() -> None:
    """Guests to try a network with: a namespace on a port."""


@lab.command()
@click.argument("port")
@click.option("--host", required=True, metavar="HOST", help="Where: h1, h2, …")
@click.option("--as", "name", required=True, metavar="NAME", help="The guest's name, for `exec` and `unplug`.")
@click.option("--wait/--no-wait", default=True, help="Wait until the port is ACTIVE.")
@click.option("--timeout", type=float, default=10, show_default=True, help="Seconds to wait at most.")
@click.option("--static", is_flag=True, help="Set the guest's addresses by hand: it asks nobody.")
@output
def plug(port: str, host: str, name: str, wait: bool, timeout: float, static: bool, output: str) -> None:
    """Give PORT (name or id) a guest on a host. It asks for its addresses by DHCP, or hears them from routers."""
    from topology import lab

    _root()
    guest = lab.plug(_cloud(), port, host, name, timeout if wait else 0, static)
    if output == "table":
        click.echo(f"{guest.name} on {guest.host}: {guest.mac_address} {' '.join(guest.addresses)}")
    else:
        show_value(asdict(guest), output)


@lab.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def execute(name: str, command: tuple[str, ...]) -> None:
    """Run a command in a guest, or a shell. `unryu lab exec vm1 -- ping -c 1 10.0.0.2`

    The guest `internet` is what lies outside the cloud: a router at 203.0.113.1 and 2001:db8:cafe::1, and behind it a web
    server at 198.51.100.80 and 2001:db8:80::80 that answers with the address of whoever asks.
    """
    from topology import internet, lab

    _root()
    cloud = _cloud()
    namespace = internet.namespace(cloud) if name == internet.NAME else lab.guest(cloud, name).namespace
    lab.execute(namespace, command[1:] if command[:1] == ("--",) else command)


@lab.command()
@click.argument("name")
def unplug(name: str) -> None:
    """Take a guest off its port and end what runs in it."""
    from topology import lab

    _root()
    cloud = _cloud()
    for complaint in lab.unplug(cloud, lab.guest(cloud, name)):
        click.echo(f"Left as it is, unplug it again: {complaint}", err=True)


@lab.command()
@output
def plans(output: str) -> None:
    """The topologies that have a name, for `build`."""
    from topology.plan import plans

    show_rows([{"name": name, "about": about} for name, about in sorted(plans().items())], output)


@lab.command()
@click.argument("plan")
def build(plan: str) -> None:
    """Build PLAN: networks, routers, guests. It is a name, or a YAML file of your own; building again makes it whole."""
    from topology.plan import Site, named

    _root()
    site = Site(_cloud(), *named(plan))
    with _progress("table") as say:
        built = site.build(say)
    for guest, addresses in built.items():
        click.echo(f"{guest} {' '.join(addresses)}")


@lab.command()
@click.argument("plan")
def clear(plan: str) -> None:
    """Take away what `build` made of PLAN."""
    from topology.plan import Site, named

    _root()
    site = Site(_cloud(), *named(plan))
    with _progress("table") as say:
        site.clear(say)


@lab.command("list")
@output
def list_guests(output: str) -> None:
    """The guests that are plugged."""
    from topology import lab

    show_rows([asdict(guest) for guest in lab.guests(_cloud())], output)
