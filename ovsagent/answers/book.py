"""The book of answers: what the controller last said, in memory and on disk, so that it outlives everybody.

On disk are the book as it once was and, in a file of their own, the news since: to write the book of a thousand ports anew for
every port would take longer than all else that is done for it.
"""

import json
import logging
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger("book")

NEWS = 256 << 10  # bytes; with more of them the book is written anew

Key = tuple[str, str, str]
"""Kind, port, part."""
Entry = dict[str, Any]
MISWRITTEN = ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error
"""How an entry of another version's controller can fail who reads it."""


@contextmanager
def forgiving(entry: Entry | None) -> Iterator[None]:
    """Where it says nothing of use, its guest waits, and nobody else does."""
    try:
        yield
    except MISWRITTEN as error:
        log.warning("an entry of the book says nothing of use", extra={"entry": entry, "reason": repr(error)})


class Stale(Exception):
    """A difference to a book that is not ours."""


class Outgrown(Exception):
    """A word of a controller that another has succeeded: it slept, say, and does not know."""


class Wrong(Exception):
    """What came is no book."""


class Book:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.news = path.with_suffix(".news")
        self.revision = 0
        self.generation = 0
        """The greatest of a controller that has spoken here."""
        self.changes = 0
        """How often it became another one: who sleeps over it looks whether it moved."""
        self.on_change: list[Callable[[], None]] = []
        """Called when it did, for who should not sleep."""
        self.mended = 0
        """How often it was another one than the controller had said."""
        self.answers: dict[Key, Entry] = {}
        self._lock = threading.Lock()
        self._noted = NEWS
        """Bytes of news. At first, and where one may be cut off, as many as may be: the next change writes the book anew."""
        try:
            self.generation, self.revision, self.answers = self._read()
            self.changes += 1
            log.info("opened", extra={"path": path, "answers": len(self.answers), "revision": self.revision})
        except FileNotFoundError:
            pass
        except (ValueError, Wrong) as error:  # half a disk is no reason to stay away: the controller brings another
            log.warning("the book on disk cannot be read; waiting for the controller's", extra={"path": path, "reason": error})

    def get(self, kind: str, port: str) -> Entry | None:
        return self.answers.get((kind, port, ""))

    def replace(self, content: Any) -> None:
        """All of it."""
        with self._lock:
            _checked(content)
            self._heed(content)
            before = self.revision, self.answers
            self._become(content)
            if before[0] == self.revision != 0 and before[1] != self.answers:
                self.mended += 1
                log.warning("the book was not what the controller said; it is again", extra={"revision": self.revision})
            if self.answers != before[1] or not self._saved():
                self._save()

    def amend(self, content: Any) -> None:
        """What differs since the revision that it names."""
        with self._lock:
            revision, answers = _checked(content)
            self._heed(content)
            if content.get("since") != self.revision:
                raise Stale(f"this book is of revision {self.revision}, not {content.get('since')}")
            changed = {key: entry for key, entry in {**self.answers, **answers}.items() if entry is not None}
            self.generation = content.get("generation", 0)
            self.revision, self.answers = revision, changed  # a new one: who reads the old one reads on undisturbed
            self.changes += 1
            self._tell()
            self._note(json.dumps(content, separators=(",", ":")) + "\n")

    def _heed(self, content: Any) -> None:
        generation = content.get("generation", 0)
        if generation < self.generation:
            raise Outgrown(f"a controller of generation {self.generation} has this book; yours is {generation}")

    def _become(self, content: Any) -> None:
        revision, answers = _checked(content)
        self.generation = content.get("generation", 0)
        self.revision, self.answers = revision, {key: entry for key, entry in answers.items() if entry is not None}
        self.changes += 1
        self._tell()

    def _tell(self) -> None:
        for wake in self.on_change:
            wake()

    # On disk, before the controller hears that we have it.

    def _save(self) -> None:
        """Whole or not at all. News that we do not come to take away are of an earlier book, and nobody heeds them."""
        answers = [[*key, entry] for key, entry in self.answers.items()]
        content = {"generation": self.generation, "revision": self.revision, "answers": answers}
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps(content, separators=(",", ":")))
        draft.replace(self.path)
        self.news.unlink(missing_ok=True)
        self._noted = 0

    def _note(self, line: str) -> None:
        noted, self._noted = self._noted, NEWS  # should the disk be full in the middle of it
        if noted + len(line) > NEWS or not self.path.exists():
            self._save()
            return
        with self.news.open("a") as file:
            file.write(line)
        self._noted = noted + len(line)

    def _read(self) -> tuple[int, int, dict[Key, Entry]]:
        """Generation, revision, answers."""
        content = json.loads(self.path.read_bytes())
        revision, answers = _checked(content)
        for line in self.news.read_bytes().splitlines() if self.news.exists() else ():
            try:
                later = json.loads(line)
                number, changed = _checked(later)
            except (ValueError, Wrong):
                break  # cut off
            if later.get("since") == revision:
                content, revision, answers = later, number, {**answers, **changed}
        return content.get("generation", 0), revision, {key: entry for key, entry in answers.items() if entry is not None}

    def _saved(self) -> bool:
        try:
            return self._read() == (self.generation, self.revision, self.answers)
        except (OSError, ValueError, Wrong):
            return False


def _checked(content: Any) -> tuple[int, dict[Key, Entry | None]]:
    match content:
        case {"revision": int(revision), "answers": list(answers)} if isinstance(content.get("generation", 0), int):
            pass
        case _:
            raise Wrong("a book has a revision and answers")
    found: dict[Key, Entry | None] = {}
    for item in answers:
        match item:
            case [str(kind), str(port), str(part), dict() | None as entry]:
                found[kind, port, part] = entry
            case _:
                raise Wrong("an answer is its kind, port, part and what it says")
    return revision, found
