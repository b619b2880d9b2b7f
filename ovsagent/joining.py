"""`unryu host join` and `renew`: how a machine becomes a host of a cloud, with nothing but a token, and stays one."""

import http.client
import json
import ssl
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from unryu.tls import Identity

FILE = """\
# Written by `unryu host join`; `unryu config show` lists every setting.
[agent]
host = {name}
controller_url = {url}
openflow = {openflow}
tunnel_ip = {tunnel_ip}
listen = {listen}
ovsdb = {ovsdb}
"""
TIMEOUT = 20.0


@click.command()
@click.option("--controller", "controllers", required=True, multiple=True, metavar="HOST:PORT",
              help="The controller's door ([controller] listen there); of several controllers each, the first is asked.")
@click.option("--token", required=True, help="From `unryu host token`; `-` reads it from the standard input.")
@click.option("--name", metavar="NAME", help="Of this host (default: the machine's).")
@click.option("--tunnel-ip", required=True, metavar="ADDRESS", help="Of this host's end of tunnels.")
@click.option("--listen", metavar="ADDRESS[:PORT]", help="Of this agent's own door (default: the tunnels' address, 6681).")
@click.option("--ovsdb", default="/run/openvswitch/db.sock", show_default=True, help="Socket of this host's ovsdb-server.")
def join(controllers: tuple[str, ...], token: str, name: str | None, tunnel_ip: str, listen: str | None, ovsdb: str) -> None:
    """Make this machine a host of a cloud. It gets a certificate and settings, in the state folder.

    The token says by whom the controller must be vouched for: nobody else is told it.
    """
    import socket

    from unryu import tls
    from unryu.config import state_dir
    from unryu.files import private_folder, write_private
    from unryu.tls import authority

    controller = controllers[0]
    fingerprint, _, secret = (sys.stdin.read().strip() if token == "-" else token).partition(".")
    name = name or socket.gethostname()
    folder, settings = authority.home(), state_dir() / "unryu.toml"
    words = {
        "name": name, "url": " ".join(f"https://{one}" for one in controllers), "tunnel_ip": tunnel_ip, "ovsdb": ovsdb,
        "listen": listen if listen and ":" in listen else f"{listen or tunnel_ip}:6681",
    }
    held = tomllib.loads(settings.read_text()) if settings.exists() else {}
    if held.get("agent", {}).get("host", name) != name:
        raise click.ClickException(f"{settings} says that this is {held['agent']['host']}; take [agent] out to join anew.")
    trusted = _authority(controller)
    if authority.fingerprint(trusted) != fingerprint:
        raise click.ClickException(f"{controller} is not the cloud that this token is of: its authority is another one.")
    private_folder(folder)
    ours = authority.certificate(folder, authority.SERVICES)
    write_private(ours, trusted)
    key, request = authority.request()
    answer = _ask(tls.Identity(None, ours), controller, "/join", {"token": secret, "host": name, "request": request})
    authority.write_identity(folder / "host.pem", tls.of_host(name), key, answer["certificate"])
    if "agent" not in held:
        openflow = [f"ssl:{one.rpartition(':')[0]}:{answer['openflow']}" for one in controllers]
        section = FILE.format(**{word: json.dumps(value) for word, value in words.items()}, openflow=json.dumps(openflow))
        write_private(settings, (settings.read_text() + "\n" if held else "") + section)
    click.echo(f"{name} is a host of the cloud at {controller}: `unryu serve agent` makes it one that works.")


@click.command()
def renew() -> None:
    """Ask the controller for a new certificate. By the one that we have, as the agent does in time."""
    from urllib.parse import urlsplit

    from ovsagent.agent import AgentSettings
    from unryu import tls
    from unryu.config import state_dir
    from unryu.files import write_private
    from unryu.tls import authority

    settings = AgentSettings.read()
    folder = settings.tls if settings.tls != Path() else state_dir() / "secrets" / "tls"
    mine, ours = folder / "host.pem", authority.certificate(folder, authority.SERVICES)
    key, request = authority.request()
    *others, last = (urlsplit(url).netloc for url in settings.controller_url.split())
    for controller in (*others, last):
        try:
            answer = _ask(tls.Identity(mine, ours), controller, f"/renew/{settings.host}", {"request": request})
            break
        except click.ClickException:
            if controller == last:
                raise
    authority.write_identity(mine, tls.of_host(settings.host), key, answer["certificate"])
    if authority.fingerprint(answer["authority"]) and answer["authority"] != ours.read_text():  # it has a successor
        write_private(ours, answer["authority"])


def _authority(controller: str) -> str:
    """What the controller says that it is vouched for by: believed by its fingerprint only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return str(_said(http.client.HTTPSConnection(controller, timeout=TIMEOUT, context=context), "GET", "/authority")["authority"])


def _ask(identity: "Identity", controller: str, path: str, body: dict[str, Any]) -> Any:
    from unryu import tls

    return _said(tls.Line(controller, identity, tls.CONTROLLER, TIMEOUT), "POST", path, body)


def _said(line: http.client.HTTPConnection, verb: str, path: str, body: Any = None) -> Any:
    try:
        line.request(verb, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = line.getresponse()
        said = json.loads(answer.read(1 << 20) or b"{}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise click.ClickException(f"The controller at {line.host}:{line.port} gives no answer: {error}.") from None
    finally:
        line.close()
    if answer.status >= 300:
        raise click.ClickException(str(said.get("error") or answer.reason))
    return said
