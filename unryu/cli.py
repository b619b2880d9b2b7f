"""The `unryu` command: the cloud's own verbs, found by entry point; every other verb is the OpenStack client's.

Imports are lazy, so that `unryu --help` and completion answer at once: a room's `cli.py` imports click and little else.
"""

import gc
import os
import re
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from unryu.errors import WrongSettings
from unryu.output import output, show_rows

if TYPE_CHECKING:
    from unryu.config import Settings

DEFAULT_STATE = "/var/lib/unryu"


class Verbs(click.Group):
    """Verbs of our own, and of the rooms by the entry points of one group. `unryu.commands.host` makes `unryu host …`: several
    rooms may have verbs there, and none knows of the other."""

    place = "unryu.commands"

    def list_commands(self, ctx: click.Context) -> list[str]:
        below = (group.removeprefix(f"{self.place}.") for group in entry_points().groups if group.startswith(f"{self.place}."))
        return sorted({*super().list_commands(ctx), *entry_points(group=self.place).names, *below})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if own := super().get_command(ctx, name):
            return own
        for room in entry_points(group=self.place, name=name):
            command: click.Command = room.load()
            return command
        below = Verbs(name, help=f"Verbs of {name}s.")
        below.place = f"{self.place}.{name}"
        return below if entry_points(group=below.place) else None


class Commands(Verbs):
    """And for the rest the OpenStack client with this cloud's credentials."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None:
            return args[0], openstack, args[1:]
        return super().resolve_command(ctx, args)


EPILOG = """\b
Examples:
  unryu up --hosts 2                          raise a cloud of two emulated hosts
  unryu network create blue                   any verb of the OpenStack client, as user demo
  unryu --project alt port list               the same, in another project
  unryu lab plug PORT --host h1 --as vm1      give a port a guest
  unryu lab exec vm1 -- ping -c 3 10.0.0.2
  unryu status -o json
  unryu down                                  leave nothing

Exit codes: 0 done, 1 failed (a sentence says why), 2 the command was not understood.
"""


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--state", envvar="UNRYU_STATE", default=DEFAULT_STATE, show_default=True,
              type=click.Path(file_okay=False), help="The folder of this cloud: one cloud each. Also UNRYU_STATE.")
@click.option("--project", metavar="NAME", help="Speak to the APIs in this project (default: demo).")
@click.version_option(package_name="unryu", message="%(package)s %(version)s")
@click.pass_context
def unryu(ctx: click.Context, state: str, project: str | None) -> None:
    """A cloud on this machine: raise it, use it, look inside, take it down.

    A verb that is not below goes to the OpenStack client, with this cloud's credentials.
    """
    os.environ["UNRYU_STATE"] = str(Path(state).resolve())
    ctx.obj = project


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def openstack(ctx: click.Context, words: tuple[str, ...]) -> None:
    """The OpenStack client in this process, as a user of this cloud."""
    for name in [name for name in os.environ if name.startswith("OS_")]:
        del os.environ[name]  # another cloud's, from a shell that was used for it
    for room in entry_points(group="unryu.credentials"):
        os.environ.update(room.load()(ctx.obj))
    from openstackclient import shell

    ctx.exit(shell.main([str(ctx.info_name), *words]))


@unryu.command()
@click.argument("name")
def serve(name: str) -> None:
    """Run one service in the foreground, until SIGTERM. `unryu up` does it for you."""
    gc.disable()  # what is imported stays: to look for garbage in it takes a tenth of the start
    service = _one("unryu.services", name).load()
    gc.freeze()
    gc.enable()
    try:
        service()
    except WrongSettings as error:
        click.echo(f"The {name} cannot start: {error}", err=True)
        sys.exit(2)


@unryu.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("names", nargs=-1, required=True)
@click.option("--days", type=click.FloatRange(0.01, 3650), default=365, show_default=True)
def certificate(file: Path, names: tuple[str, ...], days: float) -> None:
    """Write certificate and key of a server. It is known by these NAMES and addresses: an API, a balancer, a database.

    It is signed by an authority that vouches for nothing else: web-ca.pem in the folder of secrets is what clients need.
    """
    from unryu.files import private_folder
    from unryu.tls import authority

    folder = authority.home()
    private_folder(folder)
    authority.Authority.make(folder, authority.WEB)
    authority.Authority(folder, authority.WEB).web(file, names, days * 86400)
    click.echo(f"{file} is for {', '.join(names)}; who trusts {authority.certificate(folder, authority.WEB)} believes it.")


@unryu.command()
@click.argument("name", type=click.Choice(["services", "hosts", "web"]))
@click.argument("step", type=click.Choice(["prepare", "change", "finish"]))
def authority(name: str, step: str) -> None:
    """Have an authority followed by another. In three steps, with a lifetime of certificates between them (docs/deploy.md)."""
    from unryu.tls.authority import Authority, home

    {"prepare": Authority.prepare, "change": Authority.change, "finish": Authority.finish}[step](home(), name)
    click.echo({"prepare": "Its successor is believed, too. Go on when every certificate has been renewed.",
                "change": "The successor signs from now on. Go on when every certificate has been renewed.",
                "finish": "The old one is believed no more."}[step])


@unryu.group()
def db() -> None:
    """The database and its schema."""


@db.command()
def upgrade() -> None:
    """Bring the database's schema to this version's."""
    from unryu.db import upgrade

    upgrade()


@unryu.group()
def config() -> None:
    """Settings: what can be said, and what holds now."""


@config.command()
@output
def show(output: str) -> None:
    """Every setting. Its value here, its environment variable, what it is for."""
    from unryu.config import sections

    for group in ("unryu.services", "unryu.resources", "unryu.apis"):  # settings are declared where they are used
        for room in entry_points(group=group):
            room.load()
    rows = [
        {"section": section, "name": name, "value": values.get(name),
         "environment": f"UNRYU_{section}_{name}".upper(), "description": field.description or ""}
        for section, declared in sorted(sections.items())
        for values in (_values(declared),)
        for name, field in declared.model_fields.items()
    ]
    show_rows(rows, output)


def _values(declared: type["Settings"]) -> dict[str, Any]:
    """What holds here; the defaults of a section that nobody has filled in on this machine, such as a far host's."""
    from pydantic_core import to_jsonable_python

    try:
        values = declared.read().model_dump(mode="json")
    except WrongSettings as error:
        if not error.unsaid:
            raise click.ClickException(str(error)) from None
        fields = declared.model_fields.items()
        values = {name: None if field.is_required() else field.get_default() for name, field in fields}
    # A database's URL may hold a password.
    hidden = {name: re.sub(r"(://[^/@:]*:)[^/@]*@", r"\1***@", value)
              for name, value in values.items() if isinstance(value, str)}
    return {**to_jsonable_python(values), **hidden}


@unryu.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell. For `eval "$(unryu completion bash)"`."""
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(unryu, {}, "unryu", "_UNRYU_COMPLETE").source())


def _one(group: str, name: str) -> EntryPoint:
    for found in entry_points(group=group, name=name):
        return found
    names = ", ".join(sorted(entry_points(group=group).names))
    raise click.UsageError(f"There is no {name!r}; there are: {names}.")


def _fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A person gets a sentence; who mends us sets UNRYU_DEBUG=1 and gets the rest."""
    if os.environ.get("UNRYU_DEBUG"):
        sys.__excepthook__(kind, error, trace)
    else:
        refusal = getattr(error, "details", None)  # in an API's own words, round which the client has put some of its own
        text = str(error) or kind.__name__
        click.echo(f"Error: {refusal or (text if isinstance(error, OSError) else f'{kind.__name__}: {text}')} "
                   "(UNRYU_DEBUG=1 shows where)", err=True)


def main() -> None:
    sys.excepthook = _fault
    unryu(prog_name="unryu")


if __name__ == "__main__":
    main()
