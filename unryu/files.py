"""Files that others must not read, or must never find half written."""

import os
import tempfile
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and readable by the owner alone from the first byte."""
    # A draft of one's own: two processes may be at the same file.
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w") as out:
        out.write(text)
    Path(draft).replace(path)


def private_folder(path: Path) -> None:
    """And whatever is missing above it: `mkdir(parents=True)` would let others look into those."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
