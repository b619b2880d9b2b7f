"""Who is let in, by every door of the cloud: certificates of another cloud, of another host, and none."""

import json
import os
import re
import signal
import socket
import ssl
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from controller.openflow import gate
from controller.openflow.app import Switches
from controller.openflow.connection import Connection
from tests import identities
from tests.clouds import RunningCloud, eventually
from tests.ovs import OvsHost
from topology import api
from topology.cloud import Cloud
from unryu import tls

pytestmark = pytest.mark.system


@contextmanager
def asked(identity: tls.Identity | None, address: str, peer: str = tls.CONTROLLER) -> Iterator[tls.Line]:
    """A line to a door; without an identity, one that shows none and believes anybody."""
    if identity:
        line = tls.Line(address, identity, peer, 60)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        line = tls.http.client.HTTPSConnection(address, timeout=60, context=context)  # type: ignore[assignment]
    yield line
    line.close()


def answer(line: tls.Line, verb: str, path: str, body: object = None) -> tuple[int, str]:
    line.request(verb, path, None if body is None else json.dumps(body))
    said = line.getresponse()
    return said.status, said.read().decode()


def listen(cloud: RunningCloud) -> str:
    return str(tomllib.loads((cloud.state / "unryu.toml").read_text())["controller"]["listen"])


REPORT = {"host": "h1", "tunnel_ip": "198.18.0.1", "datapaths": {}, "ofports": {}, "vifs": {}}


def test_the_controllers_door_knows_who_may_say_what(cloud: RunningCloud, tmp_path: Path) -> None:
    folder, door = cloud.state / "secrets" / "tls", listen(cloud)
    h2 = tls.Identity(cloud.state / "hosts/h2/tls/host.pem", folder / "services-ca.pem")
    for who in (None, h2, api.identity(Cloud(cloud.state))):
        for verb, path, body in (("PUT", "/agents/h1", REPORT), ("PATCH", "/agents/h1", {"vifs": {}})):
            with asked(who, door) as line:
                status, said = answer(line, verb, path, body)
                assert status == 401 and "needs a certificate of host/h1, not of" in said
    with asked(h2, door) as line:
        assert answer(line, "GET", "/switches")[0] == 401
    with asked(h2, door) as line:
        assert answer(line, "PATCH", "/agents/h2", {"vifs": {}})[0] == 200
    with asked(None, door) as line:
        assert answer(line, "GET", "/healthz")[0] == 200
    foreign = identities.service(tmp_path / "foreign")
    with asked(foreign, door) as line, pytest.raises(ssl.SSLCertVerificationError):
        answer(line, "GET", "/switches")  # it is we who do not believe it
    shown = tls.Identity(foreign.path, folder / "services-ca.pem")
    with asked(shown, door) as line, pytest.raises(OSError):
        answer(line, "GET", "/switches")
    address, _, port = door.rpartition(":")
    with socket.create_connection((address, int(port)), 60) as plain, suppress(ConnectionError):
        plain.sendall(b"GET /switches HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in plain.recv(100)
    with asked(None, door) as line:
        _, said = answer(line, "GET", "/metrics")
    assert float(re.findall(r'unryu_refused_connections{door="reports"} (\S+)', said)[0]) >= 10
    log = (cloud.state / "log" / "controller.log").read_text()
    assert log.count("is refused at the door of the controller") >= 1


def test_a_hosts_door_opens_to_services_only(cloud: RunningCloud) -> None:
    folder, host = cloud.state / "secrets" / "tls", Cloud(cloud.state).host("h1")
    h2 = tls.Identity(cloud.state / "hosts/h2/tls/host.pem", folder / "services-ca.pem", folder / "hosts-ca.pem")
    with asked(h2, host.door, "host/h1") as line, pytest.raises((ssl.SSLError, ConnectionError)):
        answer(line, "GET", "/vifs")  # whoever is no service is not even let in
    with asked(None, host.door) as line:
        assert answer(line, "GET", "/vifs")[0] == 401
    lab = api.identity(Cloud(cloud.state))
    with asked(lab, host.door, "host/h1") as line:
        assert answer(line, "GET", "/vifs")[0] == 200
        assert answer(line, "PUT", "/book", {"revision": 1, "answers": []})[0] == 401, "only the controller brings a book"
    with asked(lab, host.door, "host/h2") as line, pytest.raises(tls.Stranger, match="is host/h1, not host/h2"):
        answer(line, "GET", "/vifs")


def test_no_private_key_can_be_read_by_others(cloud: RunningCloud) -> None:
    keys = [file for file in cloud.state.rglob("*") if file.is_file() and b"PRIVATE KEY" in file.read_bytes()[:2000]]
    assert {file.name for file in keys} >= {"services-ca.key", "hosts-ca.key", "controller.pem", "lab.pem", "host.pem"}
    assert {file.stat().st_mode & 0o777 for file in keys} == {0o600}


@pytest.fixture(scope="module")
def ovs() -> Iterator[OvsHost]:
    with OvsHost("tls") as host:
        host.add_bridge("br-int")
        yield host


def test_a_switch_needs_the_certificate_of_its_host(ovs: OvsHost, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    came: SimpleQueue[Connection] = SimpleQueue()
    switches = Switches([(ovs.management(), 0)], lambda dpid, peer: "" if peer and peer.name == "host/h1" else "it is another's",
                        came.put, lambda connection: None, identity=identities.service(tmp_path / "ours"))
    switches.start()
    ours = identities.host(tmp_path / "ours")
    refused = [identities.host(tmp_path / "ours", "stranger", authorities=tmp_path / "theirs"),
               identities.host(tmp_path / "ours", "h2")]
    try:
        address, port = switches.addresses[0]
        ovs.vsctl("set-controller", "br-int", f"tcp:{address}:{port}", "--", "set", "controller", "br-int", "max_backoff=1000")
        with pytest.raises(Empty):
            came.get(timeout=1)
        for identity in (*refused, ours):
            ovs.vsctl("set-ssl", str(identity.path), str(identity.path), str(identity.authorities[0]),
                      "--", "set-controller", "br-int", f"ssl:{address}:{port}")
            ovs.vsctl("set", "controller", "br-int", "max_backoff=1000")
            if identity in refused:
                before = switches.gate.refusals.count
                assert eventually(lambda: switches.gate.refusals.count > before)  # noqa: B023 - asked at once
                with pytest.raises(Empty):
                    came.get(timeout=1)
                assert switches.gate.refusals.count - before <= 10, "it comes again, and not in a hurry"
        assert came.get(timeout=60).peer.name == "host/h1"
        said = [record.getMessage() for record in caplog.records if "refused at the door of the switches" in record.getMessage()]
        assert len(said) == 1 and "wrong version number" in said[0] or "http" in said[0], said
    finally:
        switches.stop()


def test_who_connects_and_says_nothing_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "SECONDS", 1.0)
    came: SimpleQueue[Connection] = SimpleQueue()
    switches = Switches([("127.0.0.1", 0)], lambda dpid, peer: "", came.put, lambda connection: None,
                        identity=identities.service(tmp_path / "ours"))
    switches.start()
    try:
        silent = [socket.create_connection(switches.addresses[0], 60) for _ in range(50)]
        h1 = identities.host(tmp_path / "ours")
        with socket.create_connection(switches.addresses[0], 60) as quick, h1.client.wrap_socket(quick) as secured:
            assert tls.name(secured) == tls.CONTROLLER and secured.recv(1) == b"\x04", "a hello at once"
        assert eventually(lambda: switches.gate.refusals.count >= 50), "and the silent are put out"
        for each in silent:
            each.close()
    finally:
        switches.stop()


@pytest.fixture(scope="module")
def brief() -> Iterator[RunningCloud]:
    """A cloud in which a certificate lives for 15 seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNRYU_TLS_LIFETIME", "15")
        with RunningCloud(hosts=1) as cloud:
            yield cloud


def test_certificates_are_renewed_and_no_connection_is_lost(brief: RunningCloud) -> None:
    """After more than a life all of them are new, and who connects then is let in; the switches' connections are those of
    the beginning."""
    cloud, state = brief, brief.state
    files = [state / "secrets/tls/controller.pem", state / "hosts/h1/tls/host.pem"]
    before = [file.read_text() for file in files]
    until = max(tls.validity(file)[1] for file in files)
    assert eventually(lambda: time.time() > until + 1 and all(
        file.read_text() != old for file, old in zip(files, before, strict=True)), 60)
    said = (state / "log/controller.log").read_text()
    assert said.count('"a switch is there"') == 3 and "is gone" not in said
    [door] = [host.door for host in Cloud(state).hosts()]
    with asked(api.identity(Cloud(state)), door, "host/h1") as line:
        assert answer(line, "GET", "/vifs")[0] == 200
    old = cloud.pid("controller")
    assert old
    os.kill(old, signal.SIGKILL)  # everybody must come anew
    assert eventually(lambda: cloud.pid("controller") not in (None, old))
    assert cloud.settled()
    assert "certificate verify failed" not in (state / "log/h1-ovs-vswitchd.log").read_text()


def test_the_apis_speak_tls_where_they_are_told_to(brief: RunningCloud) -> None:
    cloud, state = brief, brief.state
    file, plain = state / "unryu.toml", Cloud(state).url
    cloud.unryu("certificate", str(state / "secrets/api.pem"), "127.0.0.1")
    lines = f'certificate = "{state}/secrets/api.pem"\nauthority = "{state}/secrets/tls/web-ca.pem"\n'
    file.write_text(file.read_text().replace("[api]\n", "[api]\n" + lines).replace(plain, plain.replace("http:", "https:")))
    old = cloud.pid("api")
    assert old
    os.kill(old, signal.SIGTERM)
    cloud.unryu("up")
    assert f"OS_CACERT={state}/secrets/tls/web-ca.pem" in cloud.unryu("openrc")
    assert cloud.openstack_json("network", "create", "blue")["name"] == "blue", "by clouds.yaml"
    assert cloud.openstack_json("network", "list")
    port = cloud.openstack_json("port", "create", "p", "--network", "blue")
    assert cloud.plug(port["id"], "h1", "vm1", "--static")["name"] == "vm1", "our own client, too"
    cloud.unplug("vm1")
    with socket.create_connection(("127.0.0.1", int(plain.rpartition(":")[2])), 60) as stranger, suppress(ConnectionError):
        stranger.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"ready" not in stranger.recv(1000)
