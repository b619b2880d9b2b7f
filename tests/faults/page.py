"""docs/operate.md: each section names the test that does what it tells of, here or by its file, and what the logs must say then.

The whole page takes minutes (`UNRYU_FAULTS=1`, as `make drill` has it); without, the quick half of it.
"""

import os
import re
from pathlib import Path

import pytest

from tests.clouds import RunningCloud, eventually

PAGE = Path(__file__).parents[2] / "docs" / "operate.md"

drill = pytest.mark.skipif("UNRYU_FAULTS" not in os.environ, reason="UNRYU_FAULTS=1 runs it")


def sections() -> dict[str, list[tuple[str, str]]]:
    """By the test that tries it: which process says what."""
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        for name in re.findall(r"^\*Tried by\* `([\w/.:]+)`", section, flags=re.MULTILINE):
            assert name not in found, f"{name} tries two sections"
            found[name] = re.findall(r"^\| (\S+) \| `([^`]+)` \|", section, flags=re.MULTILINE)
    return found


def spoken(sentence: str) -> re.Pattern[str]:
    return re.compile(".*?".join(map(re.escape, sentence.split("…"))))


def said(cloud: RunningCloud, test: str, since: dict[str, int] | None = None) -> None:
    """Every sentence of the section, in the log of who says it (and after where the log was)."""
    rows = sections()[test]
    assert rows, f"the section of {test} says nothing of logs"

    def missing() -> list[tuple[str, str]]:
        return [(who, words) for who, words in rows
                if not spoken(words).search(log_of(cloud, who)[(since or {}).get(who, 0):])]

    assert eventually(lambda: not missing()), missing()


def log_of(cloud: RunningCloud, process: str) -> str:
    return (cloud.state / "log" / f"{process.replace('/', '-')}.log").read_text()


def lengths(cloud: RunningCloud) -> dict[str, int]:
    names = {who for rows in sections().values() for who, _ in rows}
    return {who: len(log_of(cloud, who)) for who in names if (cloud.state / "log" / f"{who.replace('/', '-')}.log").exists()}
