"""docs/write-a-feature.md, done as it says: its package installed, its words typed into a cloud, its test run."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clouds import BIN, RunningCloud, eventually

pytestmark = pytest.mark.system
PAGE = Path(__file__).parents[1] / "docs" / "write-a-feature.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's package, by its own `pip install`, into a folder beside the environment."""
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "quarantine.py").write_text(blocks("python")[0])
    (source / "pyproject.toml").write_text(blocks("toml")[0])
    install = blocks("sh")[0].splitlines()[0].split()
    assert install[:2] == ["pip", "install"] and install[-1] == "."
    subprocess.run([sys.executable, "-m", *install, "-q", "--target", str(site), "--no-index", "--no-build-isolation",
                    "--disable-pip-version-check"], cwd=source, check=True)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH")))))
    return site


def cookies(cloud: RunningCloud, number: str) -> list[str]:
    flows = re.findall(r".*cookie=(0x[0-9a-f]+),.*", dump := cloud.ofctl("h1", "dump-flows", "br-int"))
    return [line for line, cookie in zip(re.findall(r".*cookie=.*", dump), flows, strict=True)
            if int(cookie, 16) >> 48 == int(number, 16)]


def begin_anew(cloud: RunningCloud) -> None:
    before = cloud.pid("controller")
    assert before
    os.kill(before, signal.SIGTERM)
    assert eventually(lambda: cloud.pid("controller") not in (None, before))
    assert cloud.settled()


def test_the_page(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_quarantine.py").write_text(blocks("python")[1])
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_quarantine.py")],
                          capture_output=True, text=True, check=False, cwd=PAGE.parents[1])
    assert done.returncode == 0, done.stdout
    described = subprocess.run([sys.executable, "-m", "controller.explain.describe", "--show"], capture_output=True,
                               text=True, check=True, cwd=PAGE.parents[1]).stdout
    [number] = re.findall(r"\| quarantine\.silence \| (0x[0-9a-f]{4}) \| port \| All that its guest sends is dropped", described)
    with RunningCloud(hosts=1) as cloud:
        lines = blocks("sh")[1].splitlines()
        for line in lines:
            assert "unryu " in line, "every line is tried"
            cloud.run("bash", "-c", line, PATH=f"{BIN}:{os.environ['PATH']}", UNRYU_STATE=str(cloud.state))
            if "--tag" in line:
                wanted = "unset" not in line
                assert eventually(lambda wanted=wanted: bool(cookies(cloud, number)) == wanted)  # type: ignore[misc]
            if line.startswith("!"):
                [silence] = cookies(cloud, number)
                assert eventually(lambda: int(re.findall(r"n_packets=(\d+)", cookies(cloud, number)[0])[0]) >= 3)
                assert "priority=200,in_port=" in silence and "actions=drop" in silence
        # Uninstalled with the tag on: its flow goes, and nothing else of anybody's changes.
        sdk = cloud.connect()
        sdk.network.set_tags(sdk.network.find_port("one"), ["quarantined"])
        assert eventually(lambda: cookies(cloud, number))
        installed.rename(tmp_path / "elsewhere")
        begin_anew(cloud)
        assert eventually(lambda: not cookies(cloud, number))
        assert cloud.pings("vm1", "10.20.0.12")
