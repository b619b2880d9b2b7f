"""Tokens: a few words about a login, sealed with keys (Fernet) that only this cloud's identity processes read.

Nothing is stored when a token is made. What it allows is read from the rows whenever it is shown.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import msgpack
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from identity.nouns import Scope
from unryu.config import state_dir

FORM = 1  # of the sealed words; raise it when they change

UNSCOPED: Scope = ("", "")
"""Who somebody is, and nothing more: enough to ask for a scope."""


@dataclass(frozen=True, kw_only=True)
class Token:
    user_id: str
    methods: tuple[str, ...]
    scope: Scope
    issued: float
    expires: float
    audit_ids: tuple[str, ...]
    """Its own, then that of the login it was derived from."""


def keys_folder() -> Path:
    return state_dir() / "secrets" / "fernet"


class Keys:
    """The keys in a folder, named by number. The highest seals; all open. Changes in the folder are seen at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fernet: MultiFernet | None = None
        self._seen = 0

    def seal(self, token: Token) -> str:
        words = [FORM, token.user_id, token.methods, token.scope, token.issued, token.expires, token.audit_ids]
        return self._keys().encrypt(msgpack.packb(words)).decode().rstrip("=")

    def open(self, text: str) -> Token | None:
        """None where these keys did not seal it, or its time is over."""
        try:
            sealed = text.encode("ascii") + b"=" * (-len(text) % 4)
            form, user_id, methods, scope, issued, expires, audit_ids = msgpack.unpackb(self._keys().decrypt(sealed))
        except (InvalidToken, UnicodeEncodeError):
            return None
        if form != FORM or expires <= time.time():
            return None
        return Token(user_id=user_id, methods=tuple(methods), scope=(scope[0], scope[1]), issued=issued, expires=expires,
                     audit_ids=tuple(audit_ids))

    def exist(self) -> bool:
        return self.folder.is_dir() and bool(self._numbers())

    def rotate(self, lifetime: float) -> int:
        """A new key seals from now on; those go that seal no living token. Gives how many there are."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        numbers = self._numbers()
        number = numbers[0] + 1 if numbers else 1
        fresh = self.folder / f".{number}"
        write_secret(fresh, Fernet.generate_key().decode())
        fresh.rename(self.folder / str(number))
        # A key has sealed nothing since its successor was made.
        for successor, old in zip(numbers, numbers[1:], strict=False):
            if (self.folder / str(successor)).stat().st_mtime < time.time() - lifetime:
                (self.folder / str(old)).unlink(missing_ok=True)
        return len(self._numbers())

    def _numbers(self) -> list[int]:
        """Highest first."""
        return sorted((int(p.name) for p in self.folder.iterdir() if p.name.isdigit()), reverse=True)

    def _keys(self) -> MultiFernet:
        changed = self.folder.stat().st_mtime_ns
        if self._fernet is None or changed != self._seen:
            self._fernet = MultiFernet([Fernet((self.folder / str(n)).read_text().strip()) for n in self._numbers()])
            self._seen = changed
        return self._fernet


def write_secret(path: Path, text: str) -> None:
    """Readable by us alone, on the disk before we go on."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
