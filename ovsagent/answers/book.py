"""The book of answers: what the controller last said, in memory and on disk, so that it outlives everybody."""

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger("book")

Key = tuple[str, str, str]
"""Kind, port, part."""
Entry = dict[str, Any]


class Stale(Exception):
    """A difference to a book that is not ours."""


class Outgrown(Exception):
    """A word of a controller that another has succeeded: it slept, say, and does not know."""


class Wrong(Exception):
    """What came is no book."""


class Book:
    def __init__(self, path: Path) -> None:
        self.path = path
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
        try:
            self._become(json.loads(path.read_bytes()))
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
            self._save()

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

    def _save(self) -> None:
        """Whole or not at all. Before the controller hears that we have it."""
        draft = self.path.with_suffix(".new")
        draft.write_text(self._content())
        draft.replace(self.path)

    def _saved(self) -> bool:
        try:
            return self.path.read_text() == self._content()
        except (OSError, ValueError):
            return False

    def _content(self) -> str:
        answers = [[*key, entry] for key, entry in self.answers.items()]
        content = {"generation": self.generation, "revision": self.revision, "answers": answers}
        return json.dumps(content, separators=(",", ":"))


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
