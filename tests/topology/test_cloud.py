"""Names and addresses of a cloud come from its path, and only from there."""

import stat
from pathlib import Path

import click
import pytest

from topology.cloud import Cloud, Host


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    made = Cloud(tmp_path / "cloud")
    made.make()
    return made


def test_names_fit_a_link_and_belong_to_the_path() -> None:
    one, other = Cloud(Path("/var/lib/unryu")), Cloud(Path("/var/lib/other"))
    assert one.name == Cloud(Path("/var/lib/unryu")).name != other.name
    assert len(Host(one, 1000).namespace) <= 15


def test_addresses_come_from_one_network(cloud: Cloud) -> None:
    hosts = [Host(cloud, number) for number in (1, 2, 1000)]
    assert len({host.address for host in hosts} | {one.address for one in cloud.controllers()}) == 4
    assert len({host.tunnel_ip for host in hosts}) == 3
    assert cloud.url.startswith("http://127.0.0.1:")


def test_secrets_are_for_the_owner_alone(cloud: Cloud) -> None:
    assert stat.S_IMODE(cloud.file.stat().st_mode) == 0o600
    assert stat.S_IMODE((cloud.state / "secrets").stat().st_mode) == 0o700


def test_making_again_changes_nothing(cloud: Cloud) -> None:
    cloud.file.write_text(cloud.file.read_text() + "\n# mine\n")
    before = cloud.file.read_text()
    again = Cloud(cloud.state)
    again.make()
    assert again.file.read_text() == before


def test_a_broken_settings_file_is_named(cloud: Cloud) -> None:
    cloud.file.write_text("[api\n")
    with pytest.raises(click.ClickException, match=r"unryu\.toml"):
        Cloud(cloud.state).url  # noqa: B018


def test_hosts_are_the_folders(cloud: Cloud) -> None:
    for name in ("h1", "h10", "h2", "hx", "h0"):
        (cloud.state / "hosts" / name).mkdir()
    assert [host.name for host in cloud.hosts()] == ["h1", "h2", "h10"]
    with pytest.raises(click.ClickException, match="h1, h2, h10"):
        cloud.host("h3")


def test_keep_keeps_what_the_next_cloud_goes_on_with(cloud: Cloud) -> None:
    (cloud.state / "unryu.db").touch()
    assert cloud.remove(keep=True)
    assert {path.name for path in cloud.state.iterdir()} == {"secrets", "unryu.toml", "unryu.db"}
    assert cloud.remove()
    assert not cloud.state.exists()
