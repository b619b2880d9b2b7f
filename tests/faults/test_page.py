"""Nothing is told that is not tried, and nothing tried that is not told."""

import re
from pathlib import Path

from tests.faults.page import PAGE, sections


def test_every_section_is_tried_and_every_fault_is_told() -> None:
    files = [Path(__file__).with_name(f"test_{name}.py") for name in ("cloud", "ground", "routers")]
    here = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), flags=re.MULTILINE)}
    titles = re.findall(r"^## .*", PAGE.read_text(), flags=re.MULTILINE)
    named = {name for name in sections() if "::" in name}
    assert set(sections()) - named == here
    for file, _, test in (name.partition("::") for name in named):
        assert f"\ndef {test}(" in (PAGE.parents[1] / file).read_text(), f"{file} has no {test}"
    assert len(titles) - len(sections()) == 1, "one section tells how to look; the others what happens"
