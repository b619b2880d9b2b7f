"""Identities for tests: authorities in a folder of their own, and whoever a test needs."""

from pathlib import Path

from unryu import tls
from unryu.tls import authority


def service(folder: Path, name: str = tls.CONTROLLER) -> tls.Identity:
    """One that trusts hosts too."""
    authority.make(folder, name)
    return authority.own(folder, name)


def host(folder: Path, name: str = "h1", authorities: Path | None = None) -> tls.Identity:
    """As an agent finds it: `host.pem` and `services-ca.pem` in a folder of the host's. `authorities`: of another cloud, whose
    certificate it shows."""
    authority.make(folder)
    mine = folder / name
    mine.mkdir(exist_ok=True)
    authority.make(authorities or folder)
    authority.freshen(authorities or folder, authority.HOSTS, mine / "host.pem", tls.of_host(name))
    (mine / "services-ca.pem").write_text(authority.certificate(folder, authority.SERVICES).read_text())
    return tls.Identity(mine / "host.pem", mine / "services-ca.pem")
