"""Flows into a real ovs-vswitchd and back, and switches that die."""

import logging
import os
import random
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import product
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from os_ken.ofproto import ofproto_v1_3_parser

from controller.derive import Change
from controller.flow import ETH_DST, Flow, Reg, Table, cookie, flow, load, match, output, text
from controller.openflow import wire
from controller.openflow.app import Switches
from controller.openflow.connection import Connection, ConnectionLost, NoAnswer
from controller.openflow.push import Refused, push
from controller.openflow.readback import read
from controller.openflow.wire import Entry
from controller.pusher import Switch
from tests.clouds import PATIENCE, eventually
from tests.controller.test_flow import EVERY_WORD
from tests.ovs import OvsHost

pytestmark = pytest.mark.system

L2 = Table("br-int", 60, "l2", "Which port is it for?")
NETWORK = Reg("network", 0, 0, 15)


class Door:
    """`Switches` on one address, and who came and went."""

    def __init__(self, address: str, known: Callable[[int, Any], str | None] = lambda dpid, peer: "") -> None:
        self.came: SimpleQueue[Connection] = SimpleQueue()
        self.went: SimpleQueue[Connection] = SimpleQueue()
        self.switches = Switches([(address, 0)], known, self.came.put, self.went.put)
        self.switches.start()

    def let_in(self, host: OvsHost) -> None:
        address, port = self.switches.addresses[0]
        host.vsctl("set-controller", "br-int", f"tcp:{address}:{port}", "--", "set", "controller", "br-int",
                   "max_backoff=1000", "inactivity_probe=0")


@pytest.fixture(scope="module")
def host() -> Iterator[OvsHost]:
    with OvsHost("push") as host:
        host.add_bridge("br-int")
        yield host


@pytest.fixture(scope="module")
def address(host: OvsHost) -> str:
    return host.management()


@pytest.fixture
def door(host: OvsHost, address: str) -> Iterator[Door]:
    door = Door(address)
    yield door
    door.switches.stop()


@pytest.fixture
def switch(host: OvsHost, door: Door) -> Connection:
    host.ofctl("del-flows", "br-int")
    door.let_in(host)
    return door.came.get(timeout=PATIENCE)


def entries(*flows: Flow) -> list[Entry]:
    return [(cookie("test", flow), flow) for flow in flows]


def some_flows(count: int, first: int = 0) -> list[Flow]:
    return [flow(L2, 100, match(index % 1000 == NETWORK, 0xFA163E000000 + index == ETH_DST), output(index % 100 + 1))
            for index in range(first, first + count)]


def held(switch: Connection) -> set[Flow]:
    return {installed.flow for installed in read(switch, "br-int")}


def bad_port(number: int) -> Flow:
    """A port beyond Open vSwitch's 16 bits: it says so when the message is added."""
    return flow(L2, number, match(), output(0x10000))


def missing_meter(number: int) -> Flow:
    """A flow that only the commit can refuse."""
    return flow(L2, number, match())._replace(instructions=bytes([0, 6, 0, 8, 0, 0, 0, 77]))


def test_a_switch_gives_back_every_word_byte_for_byte(host: OvsHost, switch: Connection) -> None:
    sent = entries(*EVERY_WORD)
    assert push(switch, sent, []) == []
    back = read(switch, "br-int")
    assert {installed.flow.key: (installed.cookie, installed.flow) for installed in back} == {
        flow.key: (number, flow) for number, flow in sent}
    assert all(installed.packets == installed.bytes == 0 and 0 <= installed.duration < 60 for installed in back)


def test_our_text_is_what_ovs_ofctl_prints(host: OvsHost, switch: Connection) -> None:
    push(switch, entries(*EVERY_WORD), [])
    dump = host.ofctl("dump-flows", "br-int", "--no-stats")
    printed = {re.sub(r"^ cookie=0x[0-9a-f]+, ", "", line) for line in dump.splitlines() if "cookie=" in line}
    assert {text(flow) for flow in EVERY_WORD} == printed


@pytest.mark.parametrize("bad, error", [
    (bad_port, "bad action: bad out port"), (missing_meter, "meter mod failed: invalid meter")])
def test_refused_flows_are_named_and_the_others_go_in(switch: Connection, bad: Callable[[int], Flow],
                                                      error: str) -> None:
    good = some_flows(600)
    stale = some_flows(3, first=900)
    push(switch, entries(*stale), [])
    refused = push(switch, entries(*good[:300], bad(1), *good[300:], bad(2)), entries(stale[0]))
    assert refused == [Refused(bad(1), error), Refused(bad(2), error)]
    assert held(switch) == {*good, *stale[1:]}


def test_nothing_of_a_change_is_there_before_all_of_it(host: OvsHost, switch: Connection) -> None:
    """What another connection sees while a big change comes in: none or all."""
    flows = some_flows(20_000)
    seen: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(int(re.search(r"flow_count=(\d+)", host.ofctl("dump-aggregate", "br-int"))[1]))  # type: ignore[index]

    watcher = threading.Thread(target=look)
    watcher.start()
    push(switch, entries(*flows), [])
    eventually(lambda: 20_000 in seen)
    done.set()
    watcher.join()
    assert {0, 20_000} >= seen and 20_000 in seen


def test_a_late_delete_misses_the_successor(switch: Connection) -> None:
    old = flow(L2, 5, match(NETWORK == 1), load(NETWORK, 1))
    new = flow(L2, 5, match(NETWORK == 1), load(NETWORK, 2))
    push(switch, entries(old), [])
    push(switch, entries(new), [])
    push(switch, [], entries(old))
    [after] = read(switch, "br-int")
    assert after.flow == new and after.cookie == cookie("test", new)
    push(switch, [], entries(new))
    assert held(switch) == set()


def test_it_holds_what_was_wanted_last_however_many_changes_go_in_at_once(switch: Connection) -> None:
    """Flows come, change in their place and go, some of that before any of it is pushed."""
    chance, asked, wanted = random.Random(1), Switch("h1", "br-int"), dict[int, Entry]()
    for _ in range(100):
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(3)
            before = wanted.pop(place, None)
            if chance.random() < 0.6:
                [wanted[place]] = entries(flow(L2, place + 1, match(), load(NETWORK, chance.randrange(3))))
            after = wanted.get(place)
            asked.want(Change(add=[after] if after and after != before else [], delete=[before] if before and not after else []))
        change = asked.take()
        assert push(switch, change.add, change.delete) == []
        assert held(switch) == {flow for _, flow in wanted.values()}


def test_nothing_to_push_is_nothing_sent(switch: Connection) -> None:
    switch.close()
    assert push(switch, [], []) == []


def test_a_big_dump_is_read_whole(switch: Connection) -> None:
    flows = some_flows(50_000)
    push(switch, entries(*flows), [])
    back = read(switch, "br-int")
    assert {(at.cookie, at.flow) for at in back} == set(entries(*flows))


def test_others_are_heard_during_bulk(switch: Connection) -> None:
    """A question asked in the middle of a big push waits behind a window, not behind all of it."""
    bulk = entries(*some_flows(40_000))
    pushing = threading.Thread(target=push, args=(switch, bulk, []))
    waits = []
    pushing.start()
    while pushing.is_alive():
        asked = time.monotonic()
        assert [type(reply) for reply in switch.ask(ofproto_v1_3_parser.OFPGetConfigRequest(switch))] == [
            ofproto_v1_3_parser.OFPGetConfigReply]
        waits.append(time.monotonic() - asked)
    assert len(waits) > 3


def test_an_error_comes_back_to_who_asked(switch: Connection) -> None:
    parser = ofproto_v1_3_parser
    [error] = switch.ask(parser.OFPGroupMod(switch, 0, 99, 1, []))  # no type 99
    assert isinstance(error, parser.OFPErrorMsg)


def test_a_frozen_switch_is_noticed_within_a_second(host: OvsHost, door: Door, switch: Connection) -> None:
    os.kill(host.vswitchd(), signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(ConnectionLost):
            push(switch, entries(*some_flows(10_000)), [])
        assert door.went.get(timeout=PATIENCE) is switch  # 0.9 s on a quiet machine; TCP alone would take minutes
        assert time.monotonic() - started < PATIENCE
        with pytest.raises(ConnectionLost):
            read(switch, "br-int")
    finally:
        os.kill(host.vswitchd(), signal.SIGCONT)
    door.came.get(timeout=PATIENCE)
    with pytest.raises(Empty):
        door.went.get(timeout=0.5)


def test_a_killed_switch_is_noticed_at_once(host: OvsHost, door: Door, switch: Connection) -> None:
    os.kill(host.vswitchd(), signal.SIGKILL)
    assert door.went.get(timeout=PATIENCE) is switch
    host.buried()
    host.start_vswitchd()
    again = door.came.get(timeout=PATIENCE)
    assert again.dpid == switch.dpid and held(again) == set()


def test_a_silent_link_is_noticed(host: OvsHost, door: Door, switch: Connection) -> None:
    host.exec("ip", "link", "set", "management", "down")
    try:
        assert door.went.get(timeout=PATIENCE) is switch
    finally:
        host.exec("ip", "link", "set", "management", "up")
    door.came.get(timeout=PATIENCE)


def test_no_answer_is_an_error_with_a_limit(switch: Connection) -> None:
    with switch.watch(1) as replies, pytest.raises(NoAnswer, match="did not answer within 0.05 s"):
        replies.next(0.05)


def test_an_unknown_switch_is_refused_and_said_once(host: OvsHost, address: str,
                                                    caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    known: set[int] = set()
    door = Door(address, lambda dpid, peer: "" if dpid in known else "no host has reported it")
    try:
        door.let_in(host)
        with pytest.raises(Empty):
            door.came.get(timeout=3)
        said = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
        assert len(said) == 1 and "no host has reported" in said[0]
        known.add(int(host.vsctl("get", "bridge", "br-int", "datapath_id").strip().strip('"'), 16))
        assert door.came.get(timeout=PATIENCE).dpid in known
    finally:
        door.switches.stop()


def test_who_comes_before_we_know_our_switches_is_held_and_kept_alive(host: OvsHost, address: str) -> None:
    said: list[str | None] = [None]
    door = Door(address, lambda dpid, peer: said[0])
    try:
        door.let_in(host)
        with pytest.raises(Empty):
            door.came.get(timeout=2.0)  # twice as long as a silent one lives
        said[0] = ""
        assert held(door.came.get(timeout=PATIENCE)) is not None and door.went.empty()
    finally:
        door.switches.stop()


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x04\x00\x00\x03\0\0\0\0", b"\x04\x06\x00\x08\0\0\0\1",
                                   b"\x01\x00\x00\x08\0\0\0\1", bytes(100)])
def test_noise_at_the_door_harms_nobody(door: Door, switch: Connection, noise: bytes) -> None:
    with socket.create_connection(door.switches.addresses[0], timeout=PATIENCE) as stranger:
        stranger.sendall(noise)
        while stranger.recv(4096):  # our hello, perhaps a complaint, then the end
            continue
    assert held(switch) == set()
    assert door.went.empty()


def test_no_message_of_a_stranger_ends_the_service(host: OvsHost, door: Door) -> None:
    chance = random.Random(1)
    for version, kind in product(range(7), range(31)):
        hello = bytes([version, 0, 0, 8]) + bytes(4)
        body = chance.randbytes(chance.randrange(64))
        with socket.create_connection(door.switches.addresses[0], timeout=PATIENCE) as stranger:
            stranger.sendall(hello + bytes([version, kind]) + (8 + len(body)).to_bytes(2, "big") + bytes(4) + body)
            stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(4096):
                continue
    door.let_in(host)
    assert held(door.came.get(timeout=PATIENCE)) is not None


def test_stopping_says_goodbye_once_and_leaves_no_thread(host: OvsHost, address: str) -> None:
    threads = threading.active_count()
    door = Door(address)
    door.let_in(host)
    switch = door.came.get(timeout=PATIENCE)
    door.switches.stop()
    assert door.went.get(timeout=PATIENCE) is switch and door.went.empty()
    assert threading.active_count() == threads
    with pytest.raises(ConnectionLost):
        switch.send(wire.barrier(1))
