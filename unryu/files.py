"""Files that others must not read, or must never find half written."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and readable by the owner alone from the first byte."""
    draft = path.with_name(path.name + ".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    draft.replace(path)


def private_folder(path: Path) -> None:
    """And whatever is missing above it: `mkdir(parents=True)` would let others look into those."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
