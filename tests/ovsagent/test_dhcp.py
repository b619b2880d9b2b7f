"""What the door answers, by pure functions: questions in, answers that scapy reads, and garbage that hurts nobody."""

import random
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import (
    DUID_LL,
    DHCP6_Advertise,
    DHCP6_Confirm,
    DHCP6_InfoRequest,
    DHCP6_Rebind,
    DHCP6_Release,
    DHCP6_Renew,
    DHCP6_Reply,
    DHCP6_Request,
    DHCP6_Solicit,
    DHCP6OptClientId,
    DHCP6OptDNSServers,
    DHCP6OptIA_NA,
    DHCP6OptIAAddress,
    DHCP6OptRapidCommit,
    DHCP6OptServerId,
    DHCP6OptStatusCode,
)
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ovsagent.answers import dhcp4, dhcp6, ra
from ovsagent.answers.book import Book
from ovsagent.answers.desk import BURST, MUTED, RATE, Desk, clerk
from ovsagent.answers.device import Meter, tag, untag
from ovsagent.answers.packet import parse
from ovsagent.ovsdb import Tables

MAC, SERVER_MAC, XID = "fa:16:3e:00:00:01", "fa:16:3f:ff:ff:fe", 0x12345678
DHCP4: dict[str, Any] = {
    "mac": MAC, "address": "10.0.0.5", "server": "10.0.0.1", "server_mac": SERVER_MAC, "lease": 600, "next": "0.0.0.0",
    "options": {"1": "ffffff00", "3": "0a000001", "6": "08080808", "12": b"host-10-0-0-5".hex(), "26": "05aa"},
}
DHCP6: dict[str, Any] = {
    "server_mac": SERVER_MAC, "lease": 600, "addresses": ["fd00::5"], "options": {"23": "fd00" + "00" * 13 + "08"}}
RA: dict[str, Any] = {
    "source_mac": SERVER_MAC, "lifetime": 0, "mtu": 1450, "managed": False, "other": True,
    "prefixes": [["fd00::/64", True], ["fd01::/64", False]], "dns": ["fd00::8"]}
BOOK = {"dhcp4": DHCP4, "dhcp6": DHCP6, "ra": RA}


def answer(frame: bytes) -> bytes | None:
    """As the desk does it."""
    question = parse(frame)
    who = clerk(question) if question else None
    return who[1](question, BOOK[who[0]]) if question and who else None


def asked(kind: str, *options: Any, source: str = "0.0.0.0", to: str = "255.255.255.255", **fields: Any) -> Packet | None:
    bootp = {"op": 1, "xid": XID, "chaddr": bytes.fromhex(MAC.replace(":", "")), **fields}
    frame = Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / IP(src=source, dst=to) / UDP(sport=68, dport=67) / BOOTP(**bootp) / DHCP(
        options=[("message-type", kind), *options, "end"])
    said = answer(bytes(frame))
    return Ether(said) if said else None


def told(reply: Packet | None) -> dict[str, Any]:
    assert reply is not None
    ip, udp = reply[IP].chksum, reply[UDP].chksum
    again = reply.copy()
    del again[IP].chksum, again[UDP].chksum
    again = Ether(bytes(again))
    assert (again[IP].chksum, again[UDP].chksum) == (ip, udp), "checksums"
    assert (reply[UDP].sport, reply[UDP].dport) == (67, 68) and reply[BOOTP].xid == XID and reply.src == SERVER_MAC
    return {o[0]: o[1] for o in reply[DHCP].options if isinstance(o, tuple)}


def test_discover_is_offered_and_the_request_granted() -> None:
    offer = asked("discover")
    options = told(offer)
    assert offer is not None and offer[BOOTP].yiaddr == "10.0.0.5" and offer[IP].dst == "10.0.0.5" and offer.dst == MAC
    assert options["message-type"] == 2 and options["server_id"] == "10.0.0.1" and options["lease_time"] == 600
    assert options["subnet_mask"] == "255.255.255.0" and options["router"] == "10.0.0.1"
    assert options["hostname"] == b"host-10-0-0-5" and options["interface-mtu"] == 1450 and options["name_server"] == "8.8.8.8"
    assert (options["renewal_time"], options["rebinding_time"]) == (300, 525)
    granted = told(asked("request", ("server_id", "10.0.0.1"), ("requested_addr", "10.0.0.5")))
    assert granted["message-type"] == 5


def test_a_broadcast_flag_is_obeyed() -> None:
    offer = asked("discover", flags="B")
    assert offer is not None and offer[IP].dst == "255.255.255.255" and offer.dst == "ff:ff:ff:ff:ff:ff"


def test_renewal_rebinding_and_reboot_know_the_lease() -> None:
    renewed = asked("request", source="10.0.0.5", to="10.0.0.1", ciaddr="10.0.0.5")
    assert told(renewed)["message-type"] == 5 and renewed is not None and renewed[IP].dst == "10.0.0.5"
    assert told(asked("request", source="10.0.0.5", ciaddr="10.0.0.5"))["message-type"] == 5
    assert told(asked("request", ("requested_addr", "10.0.0.5")))["message-type"] == 5


@pytest.mark.parametrize(("options", "fields"), [
    ([("requested_addr", "10.0.0.9")], {}),
    ([("requested_addr", "192.168.1.2")], {}),
    ([("server_id", "10.0.0.1"), ("requested_addr", "10.0.0.9")], {}),
    ([("server_id", "10.0.0.1")], {}),
    ([], {"ciaddr": "10.0.0.9", "source": "10.0.0.9"}),
])
def test_who_wants_another_address_is_refused(options: list[Any], fields: dict[str, Any]) -> None:
    refusal = asked("request", *options, **fields)
    said = told(refusal)
    assert refusal is not None and said["message-type"] == 6 and refusal[IP].dst == "255.255.255.255"
    assert refusal[BOOTP].yiaddr == "0.0.0.0" and "lease_time" not in said and "router" not in said


@pytest.mark.parametrize(("fields", "to"), [
    ({"source": "10.0.0.77", "ciaddr": "10.0.0.77"}, "10.0.0.77"), ({"source": "10.0.0.77"}, "10.0.0.77"),
    ({}, "255.255.255.255")])
def test_information_is_given_without_a_lease(fields: dict[str, Any], to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BOOK["dhcp4"], "options", BOOK["dhcp4"]["options"] | {"51": "00000e10", "58": "00000e10"})
    reply = asked("inform", **fields)
    said = told(reply)
    assert said["message-type"] == 5 and not {"lease_time", "renewal_time"} & said.keys() and said["name_server"] == "8.8.8.8"
    assert reply is not None and reply[BOOTP].yiaddr == "0.0.0.0" and reply[IP].dst == to


@pytest.mark.parametrize(("kind", "options", "fields"), [
    ("decline", [("requested_addr", "10.0.0.5"), ("server_id", "10.0.0.1")], {}),
    ("release", [("server_id", "10.0.0.1")], {"ciaddr": "10.0.0.5"}),
    ("request", [("server_id", "10.0.0.250"), ("requested_addr", "10.0.0.5")], {}),
    ("request", [], {}),
    ("offer", [], {}),
    ("discover", [], {"chaddr": b"\xfa\x16\x3e\0\0\x02"}),
    ("discover", [], {"giaddr": "10.0.0.9"}),
    ("discover", [], {"op": 2}),
    ("discover", [], {"hlen": 16}),
])
def test_what_needs_no_answer_gets_none(kind: str, options: list[Any], fields: dict[str, Any]) -> None:
    assert asked(kind, *options, **fields) is None


def test_long_options_are_cut_in_pieces_and_the_datagram_is_no_larger_than_the_client_takes() -> None:
    routes = b"\x18\x0a\x01\x02\x0a\x00\x00\x01" * 64
    DHCP4["options"]["121"] = routes.hex()
    try:
        small, large = asked("discover"), asked("discover", ("max_dhcp_size", 1500))
        assert small is not None and len(small[IP]) <= 576 and "classless_static_routes" not in told(small)
        assert large is not None and len(large[IP]) <= 1500
        payload = bytes(large[UDP].payload)
        assert dhcp4.options(payload[240:])[121] == routes
    finally:
        del DHCP4["options"]["121"]


def test_what_was_asked_for_comes_first() -> None:
    said = asked("discover", ("param_req_list", [26, 3]))
    codes = [o[0] for o in said[DHCP].options if isinstance(o, tuple)] if said else []
    assert codes.index("interface-mtu") < codes.index("router") < codes.index("name_server")


def test_routes_are_told_under_their_old_number_to_who_asks_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = "18 0a0102 0a000001".replace(" ", "")
    monkeypatch.setitem(DHCP4["options"], "121", routes)
    for wished, found in (([1, 3, 249], {249, 121}), ([1, 3], {121})):
        said = asked("discover", ("param_req_list", wished))
        given = dhcp4.options(bytes(said[UDP].payload)[240:]) if said else {}
        assert {code for code in (121, 249) if given.get(code) == bytes.fromhex(routes)} == found


# DHCPv6


def asked6(message: Packet, *options: Packet, source: str = "fe80::f816:3eff:fe00:1") -> Packet | None:
    message.trid = 0xABCDEF
    frame = Ether(src=MAC, dst="33:33:00:01:00:02") / IPv6(src=source, dst="ff02::1:2") / UDP(sport=546, dport=547) / message
    for option in options:
        frame = frame / option
    said = answer(bytes(frame))
    if said is None:
        return None
    reply = Ether(said)
    summed = reply[UDP].chksum
    again = reply.copy()
    del again[UDP].chksum
    assert Ether(bytes(again))[UDP].chksum == summed and reply[IPv6].dst == source and reply.dst == MAC
    return reply


CLIENT = DHCP6OptClientId(duid=DUID_LL(lladdr=MAC))
SERVER = DHCP6OptServerId(duid=DUID_LL(lladdr=SERVER_MAC))
ASSOCIATION = DHCP6OptIA_NA(iaid=7)


def holding(address: str) -> Packet:
    return DHCP6OptIA_NA(iaid=7, ianaopts=[DHCP6OptIAAddress(addr=address)])


def addresses(reply: Packet | None) -> dict[str, int]:
    assert reply is not None
    return {o.addr: o.validlft for o in reply[DHCP6OptIA_NA].ianaopts if isinstance(o, DHCP6OptIAAddress)}


def test_solicit_request_renew_rebind_and_release() -> None:
    advertised = asked6(DHCP6_Solicit(), CLIENT, ASSOCIATION)
    assert advertised is not None and DHCP6_Advertise in advertised and addresses(advertised) == {"fd00::5": 600}
    assert advertised[DHCP6OptDNSServers].dnsservers == ["fd00::8"]
    assert advertised[DHCP6OptServerId].duid.lladdr == SERVER_MAC and advertised[DHCP6OptClientId].duid.lladdr == MAC
    assert addresses(asked6(DHCP6_Request(), CLIENT, SERVER, ASSOCIATION)) == {"fd00::5": 600}
    assert addresses(asked6(DHCP6_Renew(), CLIENT, SERVER, holding("fd00::5"))) == {"fd00::5": 600}
    assert addresses(asked6(DHCP6_Rebind(), CLIENT, holding("fd00::5"))) == {"fd00::5": 600}
    assert addresses(asked6(DHCP6_Rebind(), CLIENT, holding("fd00::6"))) == {"fd00::5": 600, "fd00::6": 0}
    released = asked6(DHCP6_Release(), CLIENT, SERVER, holding("fd00::5"))
    assert released is not None and DHCP6_Reply in released and released[DHCP6OptStatusCode].statuscode == 0


def test_rapid_commit_confirm_and_information() -> None:
    assert DHCP6_Reply in (asked6(DHCP6_Solicit(), CLIENT, DHCP6OptRapidCommit(), ASSOCIATION) or Packet())
    for address, status in (("fd00::5", 0), ("fd00::6", 4)):
        confirmed = asked6(DHCP6_Confirm(), CLIENT, holding(address))
        assert confirmed is not None and confirmed[DHCP6OptStatusCode].statuscode == status
    informed = asked6(DHCP6_InfoRequest(), CLIENT)
    assert informed is not None and informed[DHCP6OptDNSServers].dnsservers == ["fd00::8"]


def test_another_servers_client_and_a_stranger_hear_nothing() -> None:
    other = DHCP6OptServerId(duid=DUID_LL(lladdr="02:00:00:00:00:09"))
    assert asked6(DHCP6_Request(), CLIENT, other, ASSOCIATION) is None
    assert asked6(DHCP6_Renew(), CLIENT, holding("fd00::5")) is None, "it must name its server"
    assert asked6(DHCP6_Solicit(), ASSOCIATION) is None
    assert asked6(DHCP6_Solicit(), CLIENT, ASSOCIATION, source="2001:db8::1") is None


def test_where_addresses_are_self_made_none_is_leased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DHCP6, "addresses", [])
    assert asked6(DHCP6_Solicit(), CLIENT, ASSOCIATION) is None
    assert asked6(DHCP6_InfoRequest(), CLIENT) is not None


# Routers


def test_a_solicitation_is_answered_with_every_prefix() -> None:
    for source, to in (("fe80::f816:3eff:fe00:1", "fe80::f816:3eff:fe00:1"), ("::", "ff02::1")):
        said = answer(bytes(Ether(src=MAC, dst="33:33:00:00:00:02") / IPv6(src=source, dst="ff02::2") / ICMPv6ND_RS()))
        assert said is not None
        frame = Ether(said)
        assert frame[IPv6].dst == to and frame[IPv6].hlim == 255 and frame[IPv6].src == "fe80::f816:3fff:feff:fffe"
        advertised = frame[ICMPv6ND_RA]
        assert (advertised.M, advertised.O, advertised.routerlifetime) == (0, 1, 0)
        first = frame[ICMPv6NDOptPrefixInfo]
        second = first.payload[ICMPv6NDOptPrefixInfo]
        assert (first.prefix, first.A, first.L, first.prefixlen) == ("fd00::", 1, 1, 64)
        assert (second.prefix, second.A) == ("fd01::", 0)
        assert frame[ICMPv6NDOptMTU].mtu == 1450 and frame[ICMPv6NDOptRDNSS].dns == ["fd00::8"]
        summed = advertised.cksum
        del advertised.cksum
        assert Ether(bytes(frame))[ICMPv6ND_RA].cksum == summed


# What hurts nobody


def test_cut_stretched_and_mangled_questions_hurt_nobody() -> None:
    """Every cut of every question, and 30,000 with bytes changed: an answer or none, never an exception."""
    chance = random.Random(4)
    link_local = "fe80::f816:3eff:fe00:1"
    questions = [bytes(q) for q in (
        Ether(src=MAC) / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / BOOTP(
            chaddr=bytes.fromhex(MAC.replace(":", "")), xid=1) / DHCP(options=[
                ("message-type", "request"), ("requested_addr", "10.0.0.5"), (52, b"\3"), ("max_dhcp_size", 9000), "end"]),
        Ether(src=MAC) / IPv6(src=link_local, dst="ff02::1:2") / UDP(sport=546, dport=547) / (
            DHCP6_Solicit() / CLIENT / holding("fd00::5")),
        Ether(src=MAC) / IPv6(src=link_local, dst="ff02::2") / ICMPv6ND_RS(),
    )]
    for question in questions:
        assert answer(question)
        for end in range(len(question)):
            answer(question[:end])
        answer(question + bytes(9000))
    for _ in range(30000):
        frame = bytearray(chance.choice(questions))
        for _ in range(chance.randint(1, 8)):
            frame[chance.randrange(len(frame))] = chance.randrange(256)
        said = answer(bytes(frame))
        assert said is None or len(said) <= 1514


def test_fragments_and_packets_from_beyond_a_router_are_not_read() -> None:
    whole = Ether(src=MAC) / IP(src="0.0.0.0", dst="255.255.255.255", flags="MF") / UDP(sport=68, dport=67) / Raw(bytes(300))
    assert parse(bytes(whole)) is None
    assert answer(bytes(Ether(src=MAC) / IPv6(src="fe80::1", dst="ff02::2", hlim=64) / ICMPv6ND_RS())) is None


def test_an_entry_that_nobody_understands_hurts_its_own_guest_only(tmp_path: Path) -> None:
    book = Book(tmp_path / "b")
    book.replace({"revision": 1, "answers": [["dhcp4", "odd", "", {"mac": MAC}], ["dhcp4", "good", "", DHCP4]]})
    desk = Desk(book, Tables)
    frame = bytes(Ether(src=MAC) / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / BOOTP(
        chaddr=bytes.fromhex(MAC.replace(":", ""))) / DHCP(options=[("message-type", "discover"), "end"]))
    assert desk._answer(frame, "odd") is None and desk._answer(frame, "good") and desk._answer(frame, "unknown") is None


def test_a_port_that_asks_too_often_is_muted_and_heard_again() -> None:
    meter = Meter(RATE, BURST, MUTED)
    passed = sum(meter.pass_(100, 0.0) for _ in range(1000))
    assert passed == BURST and 100 in meter.muted
    assert all(meter.pass_(101, 0.0) for _ in range(int(BURST))), "another port has its own bucket"
    assert not meter.release(0.5) and meter.release(1.0) and not meter.muted
    assert sum(meter.pass_(100, 1.0 + n / 1000) for n in range(1000)) == pytest.approx(2 * RATE, abs=2)


def test_the_tag_carries_fifteen_bits() -> None:
    assert all(untag(tag(ofport)) == ofport and not tag(ofport) & 0x1000 for ofport in range(1 << 15))
    assert dhcp6.options(b"") == [] and ra.INTERVAL[1] <= 60
