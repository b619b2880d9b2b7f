"""The `unryu` command: quick, clear, and never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

UNRYU = [sys.executable, "-P", "-m", "unryu"]


def unryu(*words: str, state: Path | str = "/nonexistent/cloud") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "UNRYU_STATE": str(state)}
    return subprocess.run([*UNRYU, *words], capture_output=True, text=True, env=environment, check=False)


def test_help_has_verbs_of_rooms_and_examples() -> None:
    said = unryu("--help")
    assert said.returncode == 0
    for words in ("up ", "lab ", "status ", "openrc ", "unryu lab plug PORT --host h1 --as vm1", "Exit codes"):
        assert words in said.stdout


@pytest.mark.parametrize("words", [(), ("lab",), ("host",), ("identity",), ("db",), ("config",)])
def test_verbs_are_named_in_whole_sentences(words: tuple[str, ...]) -> None:
    listed = unryu(*words, "--help").stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    assert listed and not [line for line in listed.splitlines() if line.endswith("...")]


@pytest.mark.parametrize("words", [("--help",), ("up", "--help"), ("lab", "plug", "--help")])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    said = subprocess.run([sys.executable, "-P", "-X", "importtime", "-m", "unryu", *words], capture_output=True, text=True,
                          check=True).stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in said.splitlines()}
    assert "click" in imported
    assert not imported & {"rich", "pydantic", "sqlalchemy", "flask", "openstack", "openstackclient", "yaml"}


@pytest.mark.parametrize(("words", "code", "sentence"), [
    (("status",), 1, "There is no cloud in /nonexistent/cloud"),
    (("openrc",), 1, "There is no cloud"),
    (("network", "list"), 1, "There is no cloud"),
    (("lab", "list", "-o", "xml"), 2, "'xml' is not one of"),
    (("up", "--hosts", "0"), 2, "0 is not in the range"),
    (("lab", "plug"), 2, "Missing argument 'PORT'"),
    (("serve", "nothing"), 2, "There is no 'nothing'"),
    (("lab", "exec", "vm1"), 1, "No guest vm1 here"),
])
def test_failures_are_sentences_on_stderr(words: tuple[str, ...], code: int, sentence: str) -> None:
    said = unryu(*words)
    assert said.returncode == code
    assert sentence in said.stderr
    assert "Traceback" not in said.stderr


def test_down_where_nothing_is_succeeds(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("not a cloud's")
    said = unryu("down", state=tmp_path)
    assert (said.returncode, "Nothing of a cloud" in said.stdout) == (0, True)
    assert (tmp_path / "mine.txt").exists()


def test_up_refuses_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("not a cloud's")
    said = unryu("up", state=tmp_path)
    assert said.returncode == 1
    assert "is no cloud of ours" in said.stderr


def test_up_refuses_a_path_too_long_for_sockets(tmp_path: Path) -> None:
    said = unryu("up", state=tmp_path / ("long" * 30))
    assert said.returncode == 1
    assert "unix sockets" in said.stderr
    assert not list(tmp_path.iterdir())


def test_completion_knows_the_verbs() -> None:
    assert "_UNRYU_COMPLETE" in unryu("completion", "bash").stdout
    environment = {**os.environ, "_UNRYU_COMPLETE": "bash_complete", "COMP_WORDS": "unryu lab plu", "COMP_CWORD": "2"}
    said = subprocess.run(UNRYU, capture_output=True, text=True, env=environment, check=False)
    assert said.stdout.split() == ["plain,plug"]


def test_config_show_lists_settings_where_they_are_declared() -> None:
    rows = json.loads(unryu("config", "show", "-o", "json").stdout)
    assert "UNRYU_DATABASE_URL" in {row["environment"] for row in rows}
    assert all(row["description"] for row in rows)


@pytest.mark.parametrize(("setting", "value", "words"), [
    ("UNRYU_NETWORK_TENANT_TYPES", '["token-ring"]', "begins with no type of tenants' networks"),
    ("UNRYU_NETWORK_TENANT_TYPES", "vlan", "lists and maps are said as JSON"),
    ("UNRYU_API_WORKERS", "0", "workers cannot be '0'"),
])
def test_a_service_with_wrong_settings_says_so_and_ends(setting: str, value: str, words: str, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(setting, value)
    said = unryu("serve", "api", state=tmp_path)
    assert said.returncode == 2 and "The api cannot start: " in said.stderr and words in said.stderr
    assert "Traceback" not in said.stderr


def test_config_show_hides_passwords_and_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRYU_DATABASE_URL", "postgresql://unryu:geheim@db/unryu")
    said = unryu("config", "show", "-o", "yaml").stdout
    assert "geheim" not in said
    assert "postgresql://unryu:***@db/unryu" in said
    monkeypatch.setenv("UNRYU_API_WORKERS", "many")
    said = unryu("config", "show")
    assert (said.returncode, "workers cannot be 'many'" in said.stderr) == (1, True)
