"""What a command says: the same facts as a table for a person, as JSON or YAML for a program."""

import sys
from typing import Any

import click

output = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True,
    help="How to print.",
)


def show_rows(rows: list[dict[str, Any]], output: str, title: str = "") -> None:
    """The same facts for a person or for a program."""
    if output == "table":
        show_table(rows, title)
    else:
        show_value(rows, output)


def show_value(value: Any, output: str) -> None:
    if output == "json":
        import json

        click.echo(json.dumps(value, indent=2))
    else:
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False), nl=False)


def show_table(rows: list[dict[str, Any]], title: str = "") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for name in rows[0] if rows else ["(none)"]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    # In a pipe nobody's window is narrow: a row is a line there.
    Console(width=None if sys.stdout.isatty() else 250).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
