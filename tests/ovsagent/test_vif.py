"""Plugging on a real Open vSwitch, judged by the guests' packets and by what the kernel and the switch hold."""

import re
import socket
import statistics
import threading
import time

import pytest

from ovsagent import links
from tests.clouds import PATIENCE
from tests.ovs import run
from tests.ovsagent.conftest import Host, until
from tests.ovsagent.test_agent import OTHER, PORT, SOON, ping, two_guests

pytestmark = pytest.mark.system

DEVICE = "tap0a0b0c00-00"


def test_a_guest_has_its_link_and_tcp_flows(host: Host) -> None:
    left, right = two_guests(host)
    link = run("ip", "-n", left, "link", "show", "eth0")
    assert "fa:16:3e:0a:0b:0c" in link and "mtu 1450" in link and "UP" in link
    assert "tx-checksumming: off" in run("ip", "netns", "exec", left, "ethtool", "-k", "eth0")
    ids = host.interface(DEVICE, "external_ids")
    assert f'iface-id="{PORT}"' in ids and 'attached-mac="fa:16:3e:0a:0b:0c"' in ids and "iface-status=active" in ids

    with links.inside(right):
        server = socket.create_server(("10.0.0.2", 5000))
    with links.inside(left):
        client = socket.socket()
    threading.Thread(target=lambda: server.accept()[0].sendall(bytes(1_000_000)), daemon=True).start()
    client.settimeout(PATIENCE)
    client.connect(("10.0.0.2", 5000))
    received = 0
    while received < 1_000_000:
        received += len(client.recv(1 << 16))
    client.close()
    server.close()


def test_again_is_the_same_and_elsewhere_is_a_move(host: Host) -> None:
    left, right = two_guests(host)
    assert host.plug(PORT, left)[1] == {"ofport": 100, "device": DEVICE}
    assert ping(host, left, "10.0.0.2"), "the same again kept its address"
    status, _ = host.ask("PUT", f"/vifs/{PORT}", {"mac_address": "fa:16:3e:99:99:99", "mtu": 1400, "netns": left})
    assert status == 200
    assert re.search("mtu 1400.*fa:16:3e:99:99:99", run("ip", "-n", left, "link", "show", "eth0"), re.DOTALL)
    assert "fa:16:3e:99:99:99" in host.interface(DEVICE, "external_ids")

    for number in range(10):
        home = host.guest(f"m{number}")
        assert host.plug(PORT, home, "10.0.0.1/24", ifname="net0") == (200, {"ofport": 100, "device": DEVICE})
        until(lambda home=home: ping(host, home, "10.0.0.2"), "it reaches its peer from there")
    assert "eth0" not in run("ip", "-n", left, "link"), "and left its old place"


def test_unplug_leaves_nothing_and_numbers_are_not_given_again_at_once(host: Host) -> None:
    left, right = two_guests(host)
    for _ in range(2):
        assert host.ask("DELETE", f"/vifs/{OTHER}") == (204, "")
    assert "tap0a0b0d00-00" not in host.vsctl("list-ports", "br-int") and "eth0" not in run("ip", "-n", right, "link")
    assert host.plug(OTHER, right)[1]["ofport"] == 102
    host.ask("DELETE", f"/vifs/{OTHER}")
    host.stop_agent()
    host.start_agent()
    host.ready()
    assert host.plug(OTHER, right)[1]["ofport"] == 103, "also not by the next agent"


def test_plugged_anew_under_the_same_name_at_once(host: Host) -> None:
    left, right = two_guests(host)
    for _ in range(20):
        host.ask("DELETE", f"/vifs/{OTHER}")
        assert host.plug(OTHER, right, "10.0.0.2/24")[0] == 200
        assert ping(host, left, "10.0.0.2"), "vswitchd has the new link, not the dead one"


def test_refusals_are_sentences(host: Host) -> None:
    netns = host.guest("a")
    wish = {"mac_address": "fa:16:3e:00:00:01", "mtu": 1450, "netns": netns}

    def refused(status: int, words: str, path: str = f"/vifs/{PORT}", verb: str = "PUT", body: object = wish,
                **more: str) -> None:
        answer = host.ask(verb, path, body, **more)
        assert answer[0] == status and words in answer[1]["error"], answer

    refused(404, "there is no network namespace nowhere", body=wish | {"netns": "nowhere"})
    refused(400, "netns cannot be '../x'", body=wish | {"netns": "../x"})
    refused(400, "netns cannot be None", body={"mac_address": "fa:16:3e:00:00:01", "mtu": 1450})
    refused(400, "mac_address cannot be 'x'", body=wish | {"mac_address": "x"})
    refused(400, "mtu is a number", body=wish | {"mtu": "1450"})
    refused(400, "mtu is a number", body=wish | {"mtu": True})
    refused(400, "ifname cannot be", body=wish | {"ifname": "sixteen-letters-"})
    refused(400, "kind is veth or tap", body=wish | {"kind": "vhost"})
    refused(400, "a VIF has no vlan", body=wish | {"vlan": 1})
    refused(400, "no link with MAC 01:00:00:00:00:01", body=wish | {"mac_address": "01:00:00:00:00:01"})
    refused(400, "the port id cannot be 'x'", path="/vifs/x")
    refused(400, "the port id cannot be '..'", path="/vifs/..", verb="DELETE")
    refused(400, "no JSON", body="{")
    refused(400, "must be a JSON object", body="[]")
    refused(400, "Content-Length", **{"Transfer-Encoding": "chunked"})
    refused(400, "Content-Length", **{"Content-Length": "9" * 5000})
    refused(413, "65536 bytes", body="x" * 70_000)
    refused(401, "needs a certificate of controller, not of lab", path="/book", verb="PUT", caller="lab")
    refused(401, "needs a certificate of controller, not of lab", path="/dial", verb="POST", caller="lab")
    refused(400, "controller cannot be 'h1:6653'", "/dial", "POST", {"controller": "h1:6653"})
    refused(401, "not of nobody", path="/vifs", verb="GET", caller="")
    refused(404, "there is no GET /nothing", path="/nothing", verb="GET")
    run("ip", "-n", host.ns, "link", "add", DEVICE, "up", "type", "veth", "peer", "name", "other")
    refused(409, f"the name {DEVICE} is taken")
    assert host.ask("DELETE", f"/vifs/{PORT}")[0] == 204 and DEVICE in host.exec("ip", "link"), "it is not ours"
    run("ip", "-n", host.ns, "link", "del", DEVICE)
    run("ip", "-n", netns, "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    refused(409, "has an interface eth0 already")
    assert DEVICE not in host.exec("ip", "link") and host.ask("GET", "/vifs") == (200, {"vifs": {}})
    assert "unryu_agent_vifs 0\n" in host.ask("GET", "/metrics")[1]


def test_ports_whose_ids_begin_alike_keep_apart(host: Host) -> None:
    left, right = host.guest("a"), host.guest("b")
    twin = PORT[:-1] + "9"
    assert host.plug(PORT, left)[0] == 200
    assert host.plug(twin, right)[0] == 409
    assert host.ask("DELETE", f"/vifs/{twin}")[0] == 204
    assert host.ask("GET", "/vifs")[1]["vifs"].keys() == {PORT} and "eth0" in run("ip", "-n", left, "link")


def test_a_pair_left_half_made_is_replaced(host: Host) -> None:
    netns = host.guest("a")
    run("ip", "-n", host.ns, "link", "add", DEVICE, "type", "veth", "peer", "name", "eth0", "netns", netns)
    assert host.plug(PORT, netns)[0] == 200


def test_a_tap_of_somebody_else_is_recognised_and_keeps_its_number(host: Host) -> None:
    netns = host.guest("vm")
    run("ip", "-n", host.ns, "link", "add", "vnet0", "up", "type", "veth", "peer", "name", "eth0", "netns", netns)
    run("ip", "-n", netns, "link", "set", "eth0", "up")
    host.vsctl("add-port", "br-int", "vnet0", "--", "set", "interface", "vnet0", f"external_ids:iface-id={PORT}",
               "external_ids:attached-mac=fa:16:3e:00:00:01")
    status, answer = host.ask("PUT", f"/vifs/{PORT}", {"kind": "tap"})
    assert status == 200 and answer["device"] == "vnet0"
    until(lambda: host.interface("vnet0", "ofport_request") == str(answer["ofport"]), "its number is kept")
    until(lambda: host.controller.vif(PORT), "it is told")
    assert host.controller.vif(PORT) == {"ofport": answer["ofport"], "link": "up", "mac": "fa:16:3e:00:00:01"}


def test_the_hosts_own_stack_does_not_hear_guests(host: Host) -> None:
    netns = host.guest("a")
    for scope in ("all", "default"):
        host.exec("sysctl", "-q", f"net.ipv4.conf.{scope}.rp_filter=0")
    host.exec("ip", "link", "add", "mgmt", "type", "veth", "peer", "name", "mgmt0")
    host.exec("ip", "addr", "add", "100.64.0.9/24", "dev", "mgmt")
    host.exec("ip", "link", "set", "mgmt", "up")
    host.plug(PORT, netns, "100.64.0.10/24")
    with links.inside(host.ns):
        door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        door.bind(("100.64.0.9", 5000))
        door.settimeout(0.3)
    with links.inside(netns):
        intruder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    ping(host, netns, "100.64.0.9")
    assert "lladdr" not in run("ip", "-n", netns, "neigh", "show", "100.64.0.9"), "no answer to ARP"
    tap = re.findall("link/ether (\\S+)", host.exec("ip", "link", "show", DEVICE))[0]
    run("ip", "-n", netns, "neigh", "replace", "100.64.0.9", "lladdr", tap, "dev", "eth0")
    intruder.sendto(b"knock", ("100.64.0.9", 5000))
    with pytest.raises(TimeoutError):
        door.recv(100)
    door.close()
    intruder.close()
    assert "fe80" not in host.exec("ip", "addr", "show", DEVICE)


def test_many_plugs_at_once_and_how_long_one_takes(host: Host) -> None:
    netns = host.guest("many")
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(30)]
    answers: dict[str, tuple[int, dict[str, int]]] = {}

    def plug(number: int) -> None:
        answers[ids[number]] = host.plug(ids[number], netns, ifname=f"e{number}")

    threads = [threading.Thread(target=plug, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers.values()} == {200}
    assert len({answer["ofport"] for _, answer in answers.values()}) == 20
    until(lambda: all(host.controller.vif(each) for each in answers), "all are told", SOON)

    times = []
    for number in range(20, 30):
        began = time.perf_counter()
        plug(number)
        times.append(1000 * (time.perf_counter() - began))
    print(f"one plug by the door: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms")


def zones(host: Host) -> set[int]:
    """Those that remember something."""
    return {int(number) for number in re.findall(r"zone=(\d+)", host.appctl("dpctl/dump-conntrack"))}


def test_a_number_is_given_again_without_the_sessions_of_its_former_port(host: Host) -> None:
    left, _ = two_guests(host)
    host.ofctl("add-flow", "br-int", "priority=40000,icmp,actions=ct(commit,zone=100),ct(commit,zone=101),NORMAL")
    until(lambda: ping(host, left, "10.0.0.2") and zones(host) == {100, 101}, "old sessions")
    host.ask("DELETE", f"/vifs/{PORT}")
    host.stop_agent()
    host.vsctl("set", "bridge", "br-int", "external_ids:unryu-last-vif=99")     # all the others have had their turn
    host.start_agent()
    host.ready()
    assert zones(host) == {100, 101}
    assert host.plug(PORT[:-1] + "3", left)[1]["ofport"] == 100
    assert zones(host) == {101}, "and nobody else's sessions ended"


def test_a_tap_of_somebody_else_is_told_after_its_number_is_empty(host: Host) -> None:
    """Open vSwitch gives numbers again when it likes; so every one that it may give next has old sessions here."""
    left, _ = two_guests(host)
    possible = set(range(4, 30))
    commits = ",".join(f"ct(commit,zone={number})" for number in possible)
    host.ofctl("add-flow", "br-int", f"priority=40000,icmp,actions={commits},NORMAL")
    until(lambda: ping(host, left, "10.0.0.2") and zones(host) == possible, "old sessions")
    host.exec("ip", "link", "add", "vnet0", "up", "type", "veth", "peer", "name", "vnet1")
    third = PORT[:-1] + "3"
    host.vsctl("add-port", "br-int", "vnet0", "--", "set", "interface", "vnet0", f"external_ids:iface-id={third}")
    told = until(lambda: host.controller.vif(third), "it is told")
    assert zones(host) == possible - {told["ofport"]} != possible
    host.stop_agent()
    host.ofctl("mod-flows", "br-int", f"priority=40000,icmp,actions=ct(commit,zone={told['ofport']}),NORMAL")
    assert ping(host, left, "10.0.0.2")
    host.start_agent()
    host.ready()
    assert told["ofport"] in zones(host), "the next agent ends no sessions of ports that are there already"
