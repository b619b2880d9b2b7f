"""`unryu identity`: what an operator does to identity besides its API."""

import click


@click.group()
def identity() -> None:
    """Keys and first users of this cloud's identity service."""


@identity.command("rotate-keys")
def rotate_keys() -> None:
    """Seal new tokens with a new key. Tokens given out before stay good until they expire."""
    from identity.settings import IdentitySettings
    from identity.tokens import Keys, keys_folder

    count = Keys(keys_folder()).rotate(IdentitySettings.read().token_lifetime)
    click.echo(f"A new key seals tokens from now on; {count - 1} older {'opens' if count == 2 else 'open'} those before.")


@identity.command("bootstrap")
def bootstrap() -> None:
    """Make the first users, unless they are there. Their domain, roles and projects, too; `unryu up` does it."""
    from identity.bootstrap import bootstrap as first_rows
    from unryu.service import load_nouns

    load_nouns()
    first_rows()
