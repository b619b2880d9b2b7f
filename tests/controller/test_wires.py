"""The flows of routers on wires: what machines out there cost, on the host that speaks for them and on all others."""

from typing import Any

from controller.derive import BOOK, Engine, catalogue
from controller.flow import text
from controller.picture import Picture
from controller.pipeline import BRIDGES, TABLES
from tests.controller import routed, wired
from tests.controller.test_routing import lines, showing

GOLDEN = """
table=local, priority=200,arp,reg0=0x200007/0x207fff,arp_op=1,arp_sha=fa:16:3e:00:01:01,arp_tha=3e:f3:54:4c:ac:b5
    actions=learn(table=yielded_to,priority=100,delete_learned,cookie=0x83e6304a5c85a860,NXM_NX_REG10[0..15]=0xfa16,
        reg11=0x3e000101,load:0x1->NXM_NX_REG0[26],load:0x0->NXM_NX_REG0[22],load:0x0->NXM_NX_REG7[16..23]),goto_table:l2
table=local, priority=200,arp,reg0=0x200007/0x207fff,arp_op=1,arp_sha=fa:16:3e:00:01:01,arp_tha=86:eb:34:e3:04:08
    actions=learn(table=yielded_to,priority=100,delete_learned,cookie=0x83e6304a5c85a860,NXM_NX_REG10[0..15]=0xfa16,
        reg11=0x3e000101,load:0x1->NXM_NX_REG0[26],load:0x0->NXM_NX_REG0[22],load:0x0->NXM_NX_REG7[16..23]),goto_table:l2
table=local, priority=200,arp,reg0=0x200007/0x207fff,arp_op=1,arp_sha=fa:16:3e:00:01:01,arp_tha=ee:78:59:0a:81:22
    actions=learn(table=yielded_to,priority=100,delete_learned,cookie=0x83e6304a5c85a860,NXM_NX_REG10[0..15]=0xfa16,
        reg11=0x3e000101,load:0x1->NXM_NX_REG0[26],load:0x0->NXM_NX_REG0[22],load:0x0->NXM_NX_REG7[16..23]),goto_table:l2
table=whose, priority=201,reg0=0x200007/0x207fff,reg12=0,reg13=0,reg14=0xffff,reg15=0xa000001
    actions=load:0x1->NXM_NX_REG0[20],load:0x1->NXM_NX_REG0[22],load:0xfa163e000101->OXM_OF_PKT_REG2[0..47],
        load:0x1->NXM_NX_REG0[25],load:0xfa163e000101->OXM_OF_PKT_REG5[0..47],resubmit(,yielded_to)
table=l2, priority=100,ip,reg0=0x200007/0x207fff,dl_dst=fa:16:3e:00:01:01
    actions=load:0xffff->NXM_NX_XXREG3[32..63],move:NXM_OF_IP_SRC[]->NXM_NX_XXREG3[0..31],resubmit(,whose),
        load:0x3->NXM_NX_REG6[0..15],load:0->NXM_NX_REG0[15],load:0->NXM_NX_REG0[21],load:0->NXM_NX_REG0[24],
        load:0->NXM_NX_REG0[23],load:0->NXM_OF_IN_PORT[],load:0xfa163e000101->OXM_OF_PKT_REG5[0..47],resubmit(,yielded_to),
        goto_table:whence
table=l2, priority=100,reg0=0x9/0x7fff,dl_dst=fa:16:3e:00:01:01
    actions=load:0x3->NXM_NX_REG6[0..15],load:0->NXM_NX_REG0[15],load:0->NXM_NX_REG0[21],load:0->NXM_NX_REG0[24],
        load:0->NXM_NX_REG0[23],load:0->NXM_OF_IN_PORT[],goto_table:route
table=whence, priority=34,ip,reg0=0x7/0x7fff,reg6=0x3/0xffff,nw_src=10.0.0.0/24 actions=goto_table:route
table=wire, priority=151,arp,in_port=1,dl_vlan=7,dl_vlan_pcp=0,dl_src=fa:16:3e:00:01:01
    actions=load:0xc8->NXM_OF_VLAN_TCI[0..11],load:0->NXM_OF_VLAN_TCI[13..15],output:2
table=wire, priority=151,icmp6,in_port=1,dl_vlan=7,dl_vlan_pcp=0,dl_src=fa:16:3e:00:01:01,icmp_type=136,icmp_code=0
    actions=load:0xc8->NXM_OF_VLAN_TCI[0..11],load:0->NXM_OF_VLAN_TCI[13..15],output:2
"""
FOUR: routed.State = (wired.VLAN, *routed.GREEN, routed.router(), *routed.INTO_BLUE[:2], *routed.INTO_GREEN)


def flows(picture: Picture, host: str) -> set[str]:
    engine = Engine(picture, catalogue.values())
    assert not engine.failed and not engine.contested
    return {text(flow, TABLES) for bridge in BRIDGES for _, flow in engine.wanted[host][bridge].values()}


def book(picture: Picture, host: str) -> dict[tuple[str, ...], Any]:
    wanted = Engine(picture, catalogue.values()).wanted[host][BOOK]
    return {key: entry.data for key, (_, entry) in wanted.items() if key[0] in ("router", "announce")}


def test_what_it_costs_to_speak_for_a_router() -> None:
    """Of IPv4 only; on the host that does, and on no other."""
    spoken, silent = showing(FOUR, wired.spoken_for("h1", "h2")[:1]), showing(FOUR)
    assert lines(flows(spoken, "h1") - flows(silent, "h1")) == GOLDEN.replace("\n        ", "").replace(
        "\n    ", " ").strip().splitlines()
    assert flows(spoken, "h2") == flows(silent, "h2")
    assert book(spoken, "h1").keys() - book(silent, "h1").keys() == {("announce", "i-r-blue-blue4", "")}
    assert book(spoken, "h2") == book(silent, "h2")


def test_a_host_without_the_wire_leaves_it_to_the_one_that_speaks() -> None:
    on, off = (flows(showing(wired.MACHINES, more), "h2") for more in ((), wired.OFF_THE_WIRE))
    assert "table=depart, priority=100,reg0=0x9/0x7fff,dl_dst=fa:16:3e:00:01:01 actions=" \
        "set_field:0x138a->tun_id,set_field:198.18.0.1->tun_dst,output:2" in off - on
    [way] = [line for line in off - on if line.startswith("table=route, priority=34,ip,reg6=0x3/0xffff,nw_dst=10.0.0.0/24")]
    assert "set_field:fa:16:3e:00:01:01->eth_dst" in way and "resubmit(,overlay)" in way and "dec_ttl" not in way
    assert any(line.startswith("table=l2, priority=100,reg0=0x9/0x7fff,dl_dst=fa:16:3e:00:01:01 ")
               for line in flows(showing(wired.MACHINES), "h1"))


def test_in_a_tunnel_nobody_speaks() -> None:
    for host in ("h1", "h2"):
        assert flows(showing(routed.JOINED, wired.spoken_for("h1")), host) == flows(showing(routed.JOINED), host)


def test_on_a_wire_each_host_asks_as_itself() -> None:
    asked = {host: book(showing(wired.MACHINES), host) for host in ("h1", "h2")}
    askers = [asked[host]["router", "r-blue-blue4", ""]["asker"] for host in asked]
    assert len(set(askers)) == 2 and all(asker.startswith("0e:") for asker in askers)
    assert "asker" not in asked["h1"]["router", "r-green-green4", ""]


def test_who_is_on_a_wire_speaks_from_where_the_router_would_look_for_him() -> None:
    """By the longest prefix; never from a network of ours, or from behind one of our guests."""
    state = wired.STATES["a router into a VLAN, with routes and a way out by machines there"]
    found = [line.replace(",reg0=0x7/0x7fff,reg6=0x3/0xffff", "") for line in flows(showing(state), "h1")
             if line.startswith("table=whence") and "reg6" in line]
    assert sorted(found) == [
        "table=whence, priority=10,ipv6 actions=goto_table:route",
        "table=whence, priority=26,ip,nw_src=10.8.0.0/16 actions=goto_table:route",
        "table=whence, priority=34,ip,nw_src=10.0.0.0/24 actions=goto_table:route",
        "table=whence, priority=34,ip,nw_src=10.8.8.0/24 actions=drop",
        "table=whence, priority=34,ip,nw_src=10.8.9.0/24 actions=drop",
        "table=whence, priority=74,ipv6,ipv6_src=fd00::/64 actions=goto_table:route",
    ]
