"""Who may be a host: one token, one host, once; and who was removed stays out."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from controller import hosts
from controller.admission import Admission
from controller.hosts import Report, take_report
from controller.loop import Loop
from tests.inprocess import fresh_database
from unryu.errors import BadRequest, Conflict, Fault, Forbidden, NotFound
from unryu.resource import nouns
from unryu.tls import Peer, authority


@pytest.fixture
def admission(tmp_path: Path) -> Iterator[Admission]:
    authority.make(tmp_path / "tls")
    database = fresh_database(tmp_path)
    yield Admission(database, tmp_path / "tls")
    database.close()


def report(host: str) -> Report:
    return Report(host=host, tunnel_ip="198.18.0.1", datapaths={}, ofports={}, vifs={})


def joined(admission: Admission, host: str, seconds: float = 60, bound: str = "") -> x509.Certificate:
    token = admission.token(bound, seconds, "fingerprint")
    assert token.startswith("fingerprint.")
    _, request = authority.request()
    return x509.load_pem_x509_certificate(admission.join(token.partition(".")[2], host, request).encode())


def issued(certificate: x509.Certificate) -> int:
    return certificate.serial_number >> 64


def test_a_certificate_names_the_host_whatever_was_asked_for(admission: Admission) -> None:
    certificate = joined(admission, "h1")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["unryu:host/h1"]
    assert abs(issued(certificate) / 1000 - time.time()) < 60


@pytest.mark.parametrize(("bound", "seconds", "host"), [("h1", 60, "h2"), ("", -1, "h1")])
def test_a_token_for_another_or_too_old_lets_nobody_in(admission: Admission, bound: str, seconds: float, host: str) -> None:
    with pytest.raises(Forbidden, match="does not let"):
        joined(admission, host, seconds, bound)


def test_a_token_is_good_once_and_kept_as_a_digest_only(admission: Admission) -> None:
    secret = admission.token("", 60, "x").partition(".")[2]
    with admission.database.reading() as tx:
        [row] = tx.connection.exec_driver_sql("SELECT * FROM join_token").all()
        assert secret not in str(row)
    with pytest.raises(BadRequest, match="no request"):
        admission.join(secret, "h1", "nonsense")
    _, request = authority.request()
    admission.join(secret, "h1", request)  # what failed did not use it up
    for host in ("h1", "h2"):
        with pytest.raises(Forbidden):
            admission.join(secret, host, request)
    with pytest.raises(Forbidden):
        admission.join("guess", "h1", request)
    for name in ("", "../x", "a b"):
        with pytest.raises(BadRequest):
            admission.token(name or "-", 60, "x")


def test_who_was_removed_stays_out_until_it_joins_again(admission: Admission) -> None:
    database, old = admission.database, issued(joined(admission, "h1"))
    take_report(database, "h1", report("h1"), old)
    with pytest.raises(Conflict, match="There is a host h1"):
        joined(admission, "h1")
    time.sleep(0.002)
    admission.remove("h1")
    _, request = authority.request()
    for act in (lambda: take_report(database, "h1", report("h1"), old), lambda: admission.renew("h1", request, old)):
        with pytest.raises(Forbidden, match="was removed"):
            act()
    time.sleep(0.002)
    new = issued(joined(admission, "h1"))
    take_report(database, "h1", report("h1"), new)
    hosts.take_delta(database, "h1", hosts.Delta(vifs={}), new)
    admission.renew("h1", request, new)
    for act in (lambda: take_report(database, "h1", report("h1"), old),
                lambda: hosts.take_delta(database, "h1", hosts.Delta(vifs={}), old)):
        with pytest.raises(Forbidden, match="was removed"):
            act()


def test_its_switches_stay_out_too_and_so_do_those_of_others(admission: Admission) -> None:
    database, claimed = admission.database, report("h1").model_copy(update={"datapaths": {"br-int": f"{0xa1:016x}"}})
    old = issued(joined(admission, "h1"))
    take_report(database, "h1", claimed, old)
    time.sleep(0.002)
    admission.remove("h1")
    time.sleep(0.002)
    new = issued(joined(admission, "h1"))
    take_report(database, "h1", claimed, new)
    loop = Loop(database, ())
    loop.load()
    try:
        assert loop.known(0xa1, Peer("host/h1", new)) == ""
        for dpid, peer, why in ((0xa1, Peer("host/h1", old), "older than h1"), (0xa1, Peer("host/h2", new), "of host/h2"),
                                (0xa2, Peer("host/h1", new), "no host has reported")):
            assert why in (loop.known(dpid, peer) or "")
    finally:
        loop.feed.close()


def test_a_host_with_ports_is_not_removed(admission: Admission) -> None:
    database = admission.database
    take_report(database, "h1", report("h1"))
    with database.transaction() as tx:
        network = tx.insert(nouns["network"](project_id="p", number=1, qos_policy_id=None))
        port = tx.insert(nouns["port"](project_id="p", network_id=network.id, mac_address="fa:16:3e:00:00:01",
                                       binding_host_id="h1", fixed_ips=[], security_groups=[],
                                       port_security_enabled=False))
    with pytest.raises(Fault, match=f"1 ports are bound to h1, such as {port.id}"):
        admission.remove("h1")
    with pytest.raises(NotFound, match="no host h9"):
        admission.remove("h9")




def test_no_host_claims_the_bridges_of_another(admission: Admission) -> None:
    bridges = {"br-int": "00000000000000a1"}
    for host in ("h1", "h2"):
        take_report(admission.database, host, report(host))
    take_report(admission.database, "h1", report("h1").model_copy(update={"datapaths": bridges}))
    with pytest.raises(Conflict, match="Datapath 00000000000000a1 is a bridge of h1"):
        take_report(admission.database, "h2", report("h2").model_copy(update={"datapaths": bridges}))
