"""Authorities and what they sign: one follows another while everybody goes on."""

import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509

from tests import identities
from unryu import tls
from unryu.errors import BadRequest
from unryu.tls import authority
from unryu.tls.authority import HOSTS, SERVICES, Authority


def meets(server: tls.Identity, client: tls.Identity) -> tuple[str, str]:
    """Whom either sees; an error of TLS where one does not believe the other."""
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.settimeout(5)
    seen: list[str] = []

    def serve() -> None:
        try:
            with server.server.wrap_socket(ours, server_side=True) as secured:
                seen.append(tls.name(secured))
                secured.sendall(b"!")
        except OSError:
            ours.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.client.wrap_socket(theirs) as secured:
            seen_here = tls.name(secured)
            if secured.recv(1) != b"!":
                raise ssl.SSLError("not believed")
    finally:
        theirs.close()
        thread.join()
    return seen[0], seen_here


def test_a_host_is_no_controller(tmp_path: Path) -> None:
    controller, h1, h2 = identities.service(tmp_path), identities.host(tmp_path, "h1"), identities.host(tmp_path, "h2")
    assert meets(controller, h1) == ("host/h1", "controller") and meets(h1, controller) == ("controller", "host/h1")
    with pytest.raises(OSError):
        meets(h2, h1)


def test_an_authority_is_followed_by_another_while_everybody_goes_on(tmp_path: Path) -> None:
    controller, h1 = identities.service(tmp_path), identities.host(tmp_path)

    def renewed() -> None:
        """As agent and controller do it in time."""
        Authority(tmp_path, HOSTS).identity(tmp_path / "h1" / "host.pem", "host/h1")
        Authority(tmp_path, SERVICES).identity(tmp_path / "controller.pem", "controller")
        (tmp_path / "h1" / "services-ca.pem").write_text(authority.certificate(tmp_path, SERVICES).read_text())

    first = identities.service(tmp_path / "copy")
    for name in ("h1/services-ca.pem", "services-ca.pem", "hosts-ca.pem", "controller.pem"):
        (tmp_path / "copy" / Path(name).name).write_text((tmp_path / name).read_text())
    for step in (Authority.prepare, Authority.change, Authority.finish):
        for name in (SERVICES, HOSTS):
            step(tmp_path, name)
            assert meets(controller, h1) == ("host/h1", "controller") == meets(h1, controller)[::-1]
        renewed()
        assert meets(controller, h1) == ("host/h1", "controller") == meets(h1, controller)[::-1]
    with pytest.raises(OSError):
        meets(first, h1)  # signed by the first authority
    assert {path.name for path in tmp_path.glob("*-ca.*")} == {
        "hosts-ca.key", "hosts-ca.pem", "services-ca.key", "services-ca.pem"}


def test_who_comes_while_another_reads_the_files_is_not_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity, meanwhile = identities.service(tmp_path), threading.Event()
    before = ssl.SSLContext.load_cert_chain
    made: list[ssl.SSLContext] = []

    def slowly(context: ssl.SSLContext, path: Path) -> None:
        if not meanwhile.is_set():
            meanwhile.set()
            other = threading.Thread(target=lambda: made.append(identity.client))
            other.start()
            other.join()
            assert made[0] is not context, "into which nothing has been loaded yet"
        before(context, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", slowly)
    assert identity.client and meanwhile.is_set()


def test_files_that_change_are_seen_and_the_first_line_tells_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    controller = identities.service(tmp_path)
    assert controller.client is controller.client
    before = controller.client
    monkeypatch.setenv("UNRYU_TLS_LIFETIME", "30")
    Authority(tmp_path, SERVICES).identity(tmp_path / "controller.pem", "controller")
    assert controller.client is not before
    since, until = tls.validity(tmp_path / "controller.pem")
    held = x509.load_pem_x509_certificate((tmp_path / "controller.pem").read_bytes())
    assert abs(held.not_valid_after_utc.timestamp() - until) < 1 and abs(since - time.time()) < 20
    assert 0 < tls.ageing(tmp_path / "controller.pem") <= 20
    assert abs((held.serial_number >> 64) / 1000 - since) < 1


@pytest.mark.parametrize("text", [
    "", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"])
def test_nonsense_is_not_signed(tmp_path: Path, text: str) -> None:
    authority.make(tmp_path)
    with pytest.raises(BadRequest, match="no request for a certificate"):
        Authority(tmp_path, HOSTS).sign(text, "host/h1")
