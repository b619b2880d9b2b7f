"""The metadata address, without a switch: what is answered to which request, and a listener that its guests cannot hurt."""

import contextlib
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from controller.features import metadata as feature
from controller.pipeline import DOOR_MAC
from ovsagent.answers import listener
from ovsagent.answers.book import Book
from ovsagent.answers.listener import EACH, MOST, PORT, Listener
from ovsagent.answers.metadata import EC2, HEAD, OPENSTACK, Files, document, reply
from ovsagent.links import inside
from ovsagent.ovsdb import Tables, Uuid

FILES = {"openstack/meta_data.json": '{"uuid":"port"}', "openstack/network_data.json": "{}", "openstack/vendor_data.json": "{}",
         "ec2/meta-data/hostname": "host-10-0-0-5", "ec2/meta-data/mac": "fa:16:3e:00:00:05",
         "ec2/meta-data/placement/availability-zone": "nova"}


def asked(target: str, verb: str = "GET", version: str = "1.1", *headers: str,
          files: Files | None = FILES) -> tuple[int, str, str, bool]:
    """Status, headers, body, and whether more may be asked."""
    head = "\r\n".join((f"{verb} {target} HTTP/{version}", "Host: 169.254.169.254", *headers))
    said, lasting = reply(head.encode(), files)
    head, _, body = said.decode().partition("\r\n\r\n")
    return int(head.split()[1]), head, body, lasting


def test_flows_and_listener_mean_the_same() -> None:
    assert (feature.GUESTS, feature.AGENT, feature.LINK_LOCAL, feature.AGENT6, feature.PORT, DOOR_MAC) == (
        listener.GUESTS, listener.HERE, listener.GUESTS6, listener.HERE6, listener.PORT, listener.MAC)


def test_what_cloud_init_asks_in_its_order() -> None:
    """Of OpenStack's data source, then EC2's."""
    assert document("/openstack", FILES) == "\n".join(OPENSTACK) and "latest" in OPENSTACK
    for version in ("2018-08-27", "latest"):
        assert document(f"/openstack/{version}/meta_data.json", FILES) == '{"uuid":"port"}'
        assert document(f"/openstack/{version}/user_data", FILES) is None
        assert document(f"/openstack/{version}/vendor_data.json", FILES) == "{}"
        assert document(f"/openstack/{version}/", FILES) == "meta_data.json\nnetwork_data.json\nvendor_data.json"
    assert document("/", FILES) == "\n".join(EC2)
    for version in ("2009-04-04", "latest"):
        assert document(f"/{version}/", FILES) == document(f"/{version}", FILES) == "meta-data/"
        assert document(f"/{version}/meta-data/", FILES) == "hostname\nmac\nplacement/"
        assert document(f"/{version}/meta-data/placement/", FILES) == "availability-zone"
        assert document(f"//{version}//meta-data/placement/availability-zone", FILES) == "nova"
        assert document(f"/{version}/user-data", FILES) is None


@pytest.mark.parametrize("path", [
    "/1999-01-01/meta-data", "/openstack/1999", "/openstack/../latest", "/latest/../openstack", "/ec2", "/latest/meta-data/host",
    "/latest/meta-data/hostname/x", "/etc/passwd", "/openstack/content/0000"])
def test_what_is_not_there(path: str) -> None:
    assert asked(path)[0] == 404


def test_requests_and_answers() -> None:
    status, head, body, lasting = asked("/openstack/latest/meta_data.json")
    assert (status, body, lasting) == (200, FILES["openstack/meta_data.json"], True)
    assert "Content-Type: application/json" in head and "Content-Length: 15" in head and "Connection: keep-alive" in head
    assert "text/plain" in asked("/latest/meta-data/")[1]
    assert asked("/latest", "GET", "1.0")[3] is asked("/latest", "GET", "1.1", "Connection: close")[3] is False
    assert asked("/latest", "GET", "1.0", "Connection: Keep-Alive")[3]
    assert asked("/latest/meta-data/mac", "HEAD")[1:3] == (asked("/latest/meta-data/mac")[1], "")
    assert asked("http://169.254.169.254/latest/meta%2Ddata/mac?x=y")[2] == "fa:16:3e:00:00:05"
    assert asked("/openstack/latest/password", "POST", "1.1", "Content-Length: 3")[::3] == (405, False)
    assert asked("/latest/api/token", "PUT")[0] == 405
    for body in ("Content-Length: 3", "Transfer-Encoding: chunked"):
        assert asked("/latest", "GET", "1.1", body)[::3] == (400, False)
    assert asked("/latest", "GET", "2.0")[0] == asked("/la test")[0] == asked("")[0] == 400
    assert asked("/latest", files=None)[0] == 503, "a port that is plugged before its book has come"


def test_garbage_is_refused() -> None:
    chance = random.Random(1)
    for _ in range(3000):
        text = bytearray(b"GET /latest/meta-data/ HTTP/1.1\r\nHost: a\r\nConnection: close")
        for _ in range(chance.randint(1, 8)):
            text[chance.randrange(len(text))] = chance.randrange(256)
        assert reply(bytes(text), FILES)[0].startswith(b"HTTP/1.1 ")


# The listener at a device of its own: the other end of a veth pair stands for the switch and all its guests.

LONG = "x" * 4_000_000
NAMESPACE = f"ut{os.getpid()}-metadata"


def ip(*words: str) -> None:
    subprocess.run(["ip", "-n", NAMESPACE, *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    """To guests with the numbers 100 to 199; the book says nothing of use of 198, and nothing of 199."""
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    subprocess.run(["ip", "netns", "add", f"{NAMESPACE}-guests"], check=True)
    there = None
    try:
        ip("link", "set", "lo", "up")
        ip("link", "add", "metadata", "type", "veth", "peer", "name", "guests", "netns", f"{NAMESPACE}-guests")
        for words in ("link set guests up arp off address fa:16:3f:ff:ff:fe", "addr add 240.0.0.5/32 dev guests",
                      "route add 248.0.0.0/12 dev guests src 240.0.0.5", "addr add fe80::5/64 dev guests nodad"):
            subprocess.run(["ip", "-n", f"{NAMESPACE}-guests", *words.split()], check=True)
        ports = {Uuid(str(n)): {"external_ids": {"iface-id": f"port{n}"}, "ofport": n} for n in range(100, 200)}
        book = Book(tmp_path_factory.mktemp("book") / "book.json")
        book.replace({"revision": 1, "answers": [
            ["metadata", f"port{n}", "", {"files": {
                "ec2/meta-data/instance-id": f"port{n}", "ec2/long": LONG if n == 103 else ""}}]
            for n in range(100, 198)] + [["metadata", "port198", "", {"of another version": True}]]})
        there = Listener(book, lambda: Tables({"Interface": ports}))

        def stand() -> None:
            with inside(NAMESPACE):
                there.run()

        thread = threading.Thread(target=stand)
        thread.start()
        yield there
        there.stop()
        thread.join()
    finally:
        for name in (NAMESPACE, f"{NAMESPACE}-guests"):
            subprocess.run(["ip", "netns", "del", name], check=True)


def dial(ofport: int, version: int = 4) -> socket.socket:
    deadline = time.monotonic() + 60
    with inside(f"{NAMESPACE}-guests"):
        where = (f"248.7.{ofport >> 8 | 0x80}.{ofport & 255}", PORT) if version == 4 else (
            f"fe80::a9fe:0:0:{ofport:x}", PORT, 0, socket.if_nametoindex("guests"))
        while True:
            line = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6)
            line.settimeout(60)
            try:
                line.connect(where)
                return line
            except ConnectionRefusedError:      # it has not opened yet; and a socket that was refused is good for nothing more
                line.close()
                assert time.monotonic() < deadline
                time.sleep(0.05)


def heard(line: socket.socket) -> str:
    """All that comes until it hangs up."""
    said = b""
    with line, contextlib.suppress(ConnectionResetError):
        while piece := line.recv(1 << 16):
            said += piece
    return said.decode()


def ask(ofport: int, version: int = 4, path: str = "/latest/meta-data/instance-id") -> str:
    line = dial(ofport, version)
    line.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    return heard(line).rpartition("\r\n\r\n")[2]


@pytest.mark.system
@pytest.mark.parametrize("version", [4, 6])
def test_who_asks_is_told_of_its_own_port(served: Listener, version: int) -> None:
    assert [ask(n, version) for n in (100, 101, 197)] == ["port100", "port101", "port197"]
    assert ask(198, version) == ask(199, version) == ask(300, version) == "Service Unavailable.\n"


@pytest.mark.system
def test_who_is_on_the_host_is_no_guest(served: Listener) -> None:
    ask(100)
    with inside(NAMESPACE):
        line = socket.create_connection(("248.7.128.100", PORT), 5)
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert heard(line) == ""
        with socket.socket(socket.AF_INET6) as line, pytest.raises(OSError):     # none of its addresses leads there
            line.connect(("fe80::a9fe:0:0:64", PORT, 0, socket.if_nametoindex("metadata")))


@pytest.mark.system
def test_a_port_that_is_somebody_elses_is_asked_for_again(served: Listener, caplog: pytest.LogCaptureFixture) -> None:
    ask(100)
    second = Listener(served.book, served.tables)
    with inside(NAMESPACE):
        second._attend()
        second._attend()
    assert [r.message for r in caplog.records] == ["guests get no metadata; trying again until they do"]
    assert ask(100) == "port100"


@pytest.mark.system
def test_many_questions_by_one_connection(served: Listener) -> None:
    with dial(102) as line:
        line.sendall(b"GET /latest/meta-data/instance-id HTTP/1.1\r\n\r\n" * 50 + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert heard(line).count("port102") == 50
    with dial(102) as line:
        for piece in (b"GET /latest/meta-", b"data/instance-id HTTP/1.1\r", b"\n\r", b"\n"):
            line.sendall(piece)
            time.sleep(0.05)
        assert line.recv(1000).endswith(b"port102")
        line.sendall(b"GET / HTTP/1.1\r\n\r\nPOST")
        line.shutdown(socket.SHUT_WR)
        assert heard(line).endswith("latest")


@pytest.mark.system
def test_who_reads_slowly_gets_all_of_it_and_holds_up_nobody(served: Listener) -> None:
    with dial(103) as line:
        line.sendall(b"GET /latest/long HTTP/1.0\r\n\r\n")
        time.sleep(0.3)
        assert ask(104) == "port104"
        assert len(heard(line).rpartition("\r\n\r\n")[2]) == len(LONG)


@pytest.mark.system
def test_what_is_too_long_or_no_request_ends(served: Listener) -> None:
    for words, status in ((b"GET /" + b"a" * HEAD * 2, "431"), (b"x" * 50 + b"\r\n\r\n", "400")):
        with dial(105) as line:
            line.sendall(words)
            assert heard(line).startswith(f"HTTP/1.1 {status}")


@pytest.mark.system
def test_who_says_nothing_is_left_and_only_so_many_are_held(served: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [dial(106) for _ in range(EACH + 1)]
    assert lines[0].recv(1) == b"", "its oldest has ended for its newest"
    lines[1].sendall(b"GET /latest/meta-data/instance-id HTTP/1.0\r\n\r\n")
    assert heard(lines[1]).endswith("port106"), "the others have not"
    monkeypatch.setattr(listener, "PATIENCE", 0.5)
    with dial(107) as silent, dial(107) as slow:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() < began + 60:      # a byte now and then is no question
                slow.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - began < 30 and silent.recv(1) == b""
    for line in lines:
        line.close()


@pytest.mark.system
def test_who_asks_without_end_is_not_heard_and_the_others_are(served: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.meter, "rate", 0.0)
    monkeypatch.setattr(served.meter, "silence", 2.0)
    monkeypatch.setattr(served.meter, "burst", 20.0)
    before = served.refused
    with dial(108) as line:
        line.sendall(b"GET /latest/meta-data/instance-id HTTP/1.1\r\n\r\n" * 50)
        said = heard(line)
        assert said.count("port108") == 19 and said.count("HTTP/1.1 429") == 1 and "Retry-After: 1" in said
    with inside(f"{NAMESPACE}-guests"), socket.socket() as muted:
        muted.settimeout(0.2)
        with pytest.raises(TimeoutError):
            muted.connect(("248.0.128.108", PORT))
    monkeypatch.setattr(served.meter, "rate", 5.0)
    assert served.refused > before and ask(109) == "port109"
    assert ask(108) == "port108", "it is heard again"


@pytest.mark.system
def test_no_more_than_so_many_in_all(served: Listener) -> None:
    lines = [dial(110 + n // EACH) for n in range(MOST + 4)]
    assert ask(197) == "port197"
    assert len(served._lines) <= MOST
    for line in lines:
        line.close()
