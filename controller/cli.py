"""`unryu host`, where the database is: who may join, who is here, who must go. (`join` and `renew` are the host's own verbs.)"""

from typing import TYPE_CHECKING

import click

from unryu.output import output, show_rows

if TYPE_CHECKING:
    from controller.admission import Admission


def _admission() -> "Admission":
    from controller.admission import Admission
    from unryu.db import Database
    from unryu.service import load_nouns
    from unryu.tls import authority

    load_nouns()
    return Admission(Database(), authority.home())


@click.command()
@click.option("--host", default="", metavar="NAME", help="Only for a host of this name.")
@click.option("--minutes", type=click.FloatRange(0.001, 10080), default=60, show_default=True, help="How long it is good.")
def token(host: str, minutes: float) -> None:
    """Print a token that lets one host join, once."""
    from unryu.errors import Fault
    from unryu.tls import authority

    file = authority.certificate(authority.home(), authority.SERVICES)
    if not file.exists():
        raise click.ClickException(f"{file} is missing: tokens are made where a controller runs, or ran once.")
    try:
        click.echo(_admission().token(host, minutes * 60, authority.fingerprint(file.read_text())))
    except Fault as fault:
        raise click.ClickException(fault.sentence) from None


@click.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take a host out of the cloud. Its certificates are worth nothing from now on."""
    from unryu.errors import Fault

    try:
        _admission().remove(name)
    except Fault as fault:
        raise click.ClickException(fault.sentence) from None


@click.command("list")
@output
def list_hosts(output: str) -> None:
    """The hosts that report. Alive or not, where they are, how many ports they hold."""
    from controller.features.agents import SILENT

    with _admission().database.reading() as tx:
        rows = [
            {"host": agent.host, "alive": agent.age(tx.now) < SILENT, "tunnel": agent.tunnel_ip, "door": agent.door,
             "ports": len(tx.where("port", binding_host_id=agent.host)), "heard": agent.heartbeat_timestamp}
            for agent in sorted(tx.where("agent"), key=lambda agent: agent.host)
        ]
    show_rows(rows, output)
