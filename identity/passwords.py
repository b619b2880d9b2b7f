"""Passwords: kept as argon2id hashes, compared in the same time whether the user exists or not, guessed slowly."""

import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from unryu.errors import Unavailable

AT_ONCE = threading.BoundedSemaphore(2)  # hashings of this process, each 19 MiB
PATIENCE = 10.0  # seconds to wait for a turn


@cache
def _hasher() -> Any:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@cache
def _nobodys() -> str:
    return str(_hasher().hash("nobody's password"))


def _in_turn(work: Callable[..., Any], *words: str) -> Any:
    if not AT_ONCE.acquire(timeout=PATIENCE):
        raise Unavailable("Too many passwords are being checked. Try again in some seconds.")
    try:
        return work(*words)
    finally:
        AT_ONCE.release()


def hashed(password: str | None) -> str | None:
    """None and the empty word are no password: nobody logs in with it."""
    return _in_turn(_hasher().hash, password) if password else None


def matches(password: str, password_hash: str | None) -> bool:
    """Takes as long where there is no hash."""
    from argon2.exceptions import VerificationError

    try:
        _in_turn(_hasher().verify, password_hash or _nobodys(), password)
    except VerificationError:
        return False
    return password_hash is not None


class Guessing:
    """Slows guessing down: after some wrong passwords in a row for one user, the next is only looked at after a pause
    that doubles from 1 to 10 seconds; the right password ends that. Every process counts for itself. The pause is
    short because anybody can cause it: it must cost a guesser days and the user a moment."""

    FREE = 5
    SHORTEST, LONGEST = 1.0, 10.0
    USERS = 10_000  # remembered at once; then all is forgotten, so that made-up names cost no memory

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._wrong: dict[str, tuple[int, float]] = {}  # user → (wrong in a row, not before)

    def pause(self, user: str) -> float:
        """Seconds until this user's next password is looked at."""
        return max(0.0, self._wrong.get(user, (0, 0.0))[1] - self.clock())

    def wrong(self, user: str) -> None:
        if len(self._wrong) >= self.USERS:
            self._wrong.clear()
        count = self._wrong.get(user, (0, 0.0))[0] + 1
        pause = min(self.SHORTEST * 2 ** min(count - self.FREE, 10), self.LONGEST) if count >= self.FREE else 0.0
        self._wrong[user] = count, self.clock() + pause

    def right(self, user: str) -> None:
        self._wrong.pop(user, None)
