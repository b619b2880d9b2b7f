"""Flows as values: words, refusals, text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.flow import (
    ARP,
    ARP_OP,
    ARP_SHA,
    ARP_SPA,
    ARP_TPA,
    CONJ_ID,
    CT_IPV6_DST,
    CT_IPV6_SRC,
    CT_MARK,
    CT_NW_DST,
    CT_NW_PROTO,
    CT_NW_SRC,
    CT_TP_DST,
    CT_TP_SRC,
    CT_ZONE,
    EST,
    ETH_DST,
    ETH_SRC,
    FRAGMENT,
    IN_PORT,
    INV,
    IP_DSCP,
    IP_FRAG,
    IP_PROTO,
    IP_TTL,
    IPV4,
    IPV4_DST,
    IPV4_SRC,
    IPV6,
    IPV6_DST,
    METADATA,
    MPLS_LABEL,
    ND_NA,
    ND_NS,
    ND_OPTIONS_TYPE,
    ND_RESERVED,
    ND_TARGET,
    ND_TLL,
    NEW,
    REL,
    RPL,
    TCP,
    TCP6,
    TCP_DST,
    TRANSLATED,
    TRK,
    TUN_DST,
    TUN_ID,
    TUN_SRC,
    UDP,
    UDP_DST,
    VLAN_TCI,
    Flow,
    Reg,
    Table,
    conjunction,
    cookie,
    ct,
    ct_clear,
    ct_commit,
    ct_nat,
    ct_undo,
    dec_ttl,
    diff,
    drop,
    flow,
    goto,
    larger,
    learn,
    load,
    match,
    move,
    output,
    pop_vlan,
    push_mpls,
    push_vlan,
    remember,
    resubmit,
    set_field,
    text,
    through,
    to_in_port,
)

LOCAL = Table("br-int", 20, "local", "Does the cloud itself answer?", next=("l2", "back"))
L2 = Table("br-int", 60, "l2", "Which port is it for?", miss="flood")
FLOOD = Table("br-int", 61, "flood", "Who else?")
SEEN = Table("br-int", 63, "seen", "Where was it last?", learned=True)
NEXT_HOPS = Table("br-int", 102, "next_hops", "Which MAC did it say?", learned=True)
BACK = Table("br-int", 5, "back", "Before?")
ELSEWHERE = Table("br-tun", 70, "l2", "The same name on another bridge?")
NETWORK = Reg("network", 0, 0, 15)
ZONE = Reg("zone", 0, 16, 8)
OUT_PORT = Reg("out_port", 1, 0, 16)
POLICY = Reg("policy", 2, 0, 64)
REMOTE = Reg("remote", 4, 0, 128)
MAC = "fa:16:3e:00:00:01"

# One flow for each word, and the text of its match and actions.
EVERY_WORD = {
    flow(LOCAL, 100, match(ARP_OP == 1, ARP_TPA == "10.0.0.5", NETWORK == 5, ARP), goto(L2)):
        "priority=100,arp,reg0=0x5/0x7fff,arp_tpa=10.0.0.5,arp_op=1 actions=goto_table:l2",
    flow(LOCAL, 1, match(NETWORK == 5, ZONE == 2), drop): "priority=1,reg0=0x20005/0xff7fff actions=drop",
    flow(LOCAL, 0, match()): "priority=0 actions=drop",
    flow(LOCAL, 2, match(OUT_PORT == 0, METADATA == 7), output(OUT_PORT)):
        "priority=2,reg1=0/0xffff,metadata=0x7 actions=output:NXM_NX_REG1[0..15]",
    flow(LOCAL, 3, match(IN_PORT == 3, ETH_DST.masked("01:00:00:00:00:00", "01:00:00:00:00:00")), output(7)):
        "priority=3,in_port=3,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=output:7",
    flow(LOCAL, 4, match(IPV4, IPV4_SRC == "10.0.0.0/24", IPV4_DST == "0.0.0.0/0"), to_in_port()):
        "priority=4,ip,nw_src=10.0.0.0/24 actions=IN_PORT",
    flow(LOCAL, 5, match(IPV6, IPV6_DST == "fd00::/64"), resubmit(L2), output(1)):
        "priority=5,ipv6,ipv6_dst=fd00::/64 actions=resubmit(,l2),output:1",
    flow(LOCAL, 6, match(ND_NS, ND_TARGET == "fd00::1", NETWORK == 5), set_field(ETH_SRC, MAC), output(1)):
        "priority=6,icmp6,reg0=0x5/0x7fff,icmp_type=135,icmp_code=0,nd_target=fd00::1"
        " actions=set_field:fa:16:3e:00:00:01->eth_src,output:1",
    flow(LOCAL, 7, match(ND_NA), set_field(ND_RESERVED, 0x60000000), set_field(ND_OPTIONS_TYPE, 2),
         set_field(ND_TLL, MAC), move(ETH_SRC, ND_TLL), to_in_port()):
        "priority=7,icmp6,icmp_type=136,icmp_code=0 actions=set_field:1610612736->nd_reserved,"
        "set_field:2->nd_options_type,set_field:fa:16:3e:00:00:01->nd_tll,move:NXM_OF_ETH_SRC[]->NXM_NX_ND_TLL[],IN_PORT",
    flow(LOCAL, 8, match(VLAN_TCI == 0), push_vlan(), move(NETWORK.of[0:12], VLAN_TCI[0:12]), output(1)):
        "priority=8,vlan_tci=0x0000/0x1fff"
        " actions=push_vlan:0x8100,move:NXM_NX_REG0[0..11]->NXM_OF_VLAN_TCI[0..11],output:1",
    flow(LOCAL, 29, match(IPV4), push_mpls(), move(OUT_PORT, MPLS_LABEL[0:16]), push_mpls(), load(MPLS_LABEL[0:16], 9),
         push_vlan(), move(NETWORK.of[0:12], VLAN_TCI[0:12]), output(1)):
        "priority=29,ip actions=push_mpls:0x8847,move:NXM_NX_REG1[0..15]->OXM_OF_MPLS_LABEL[0..15],push_mpls:0x8847,"
        "load:0x9->OXM_OF_MPLS_LABEL[0..15],push_vlan:0x8100,move:NXM_NX_REG0[0..11]->NXM_OF_VLAN_TCI[0..11],output:1",
    flow(LOCAL, 9, match(VLAN_TCI == 0x3005), move(VLAN_TCI[12:13], NETWORK.of[0:1]), pop_vlan(), output(1)):
        "priority=9,dl_vlan=5,dl_vlan_pcp=1"
        " actions=move:NXM_OF_VLAN_TCI[12]->NXM_NX_REG0[0],pop_vlan,output:1",
    flow(LOCAL, 10, match(VLAN_TCI.masked(0x1000, 0x1000)), load(NETWORK, 0), load(IN_PORT, 0), goto(L2)):
        "priority=10,vlan_tci=0x1000/0x1000 actions=load:0->NXM_NX_REG0[0..14],load:0->NXM_OF_IN_PORT[],goto_table:l2",
    flow(LOCAL, 11, match(VLAN_TCI[0:12] == 5), load(VLAN_TCI, 0x1007), set_field(METADATA, 0), goto(L2)):
        "priority=11,vlan_tci=0x0005/0x0fff"
        " actions=load:0x1007->NXM_OF_VLAN_TCI[],set_field:0->metadata,goto_table:l2",
    flow(LOCAL, 12, match(TUN_ID == 70000, TUN_SRC == "192.0.2.1"), set_field(TUN_ID, 70001),
         set_field(TUN_DST, "192.0.2.2"), output(1)):
        "priority=12,tun_id=0x11170,tun_src=192.0.2.1"
        " actions=set_field:0x11171->tun_id,set_field:192.0.2.2->tun_dst,output:1",
    flow(LOCAL, 13, match(TCP, TCP_DST == 80)): "priority=13,tcp,tp_dst=80 actions=drop",
    flow(LOCAL, 14, match(TCP6, TCP_DST.masked(0x100, 0xFF00))): "priority=14,tcp6,tp_dst=0x100/0xff00 actions=drop",
    flow(LOCAL, 15, match(UDP, UDP_DST == 67, IPV4_DST.masked("10.0.0.1", "255.0.0.255"))):
        "priority=15,udp,nw_dst=10.0.0.1/255.0.0.255,tp_dst=67 actions=drop",
    flow(LOCAL, 16, match(VLAN_TCI == 0x1000, IN_PORT == 0xFFFFFFFE), set_field(NETWORK.of, 9), output(0xFFFFFFFE)):
        "priority=16,in_port=LOCAL,dl_vlan=0,dl_vlan_pcp=0 actions=set_field:0x9->reg0,LOCAL",
    flow(LOCAL, 17, match(IPV4), ct(IN_PORT[0:16], L2)): "priority=17,ip actions=ct(table=l2,zone=NXM_OF_IN_PORT[])",
    flow(LOCAL, 18, match(IPV6, NETWORK == 5), ct(OUT_PORT, L2), ct_commit(7), ct_commit(0)):
        "priority=18,ipv6,reg0=0x5/0x7fff actions=ct(table=l2,zone=NXM_NX_REG1[0..15]),ct(commit,zone=7),ct(commit)",
    flow(LOCAL, 18, match(IPV4, TRK == 1, CT_ZONE == 7, CT_MARK == 0), ct_commit(7, mark=1), ct_commit(OUT_PORT, mark=0)):
        "priority=18,ct_state=+trk,ct_zone=7,ct_mark=0,ip actions=ct(commit,zone=7,exec(set_field:0x1->ct_mark)),"
        "ct(commit,zone=NXM_NX_REG1[0..15],exec(set_field:0->ct_mark))",
    flow(LOCAL, 18, match(FRAGMENT), ct_nat(0x8001, L2, source="203.0.113.5")):
        "priority=18,ip,nw_frag=yes actions=ct(commit,table=l2,zone=32769,nat(src=203.0.113.5))",
    flow(LOCAL, 18, match(UDP), ct_clear(), ct_nat(0x8001, L2, destination="10.0.0.5", port=80), ct_undo(7, L2)):
        "priority=18,udp actions=ct_clear,ct(commit,table=l2,zone=32769,nat(dst=10.0.0.5:80)),ct(table=l2,zone=7,nat)",
    flow(LOCAL, 19, match(IPV4, TRK == 1, TRANSLATED == 0, CT_ZONE == 0x8001)):
        "priority=19,ct_state=+trk-snat,ct_zone=32769,ip actions=drop",
    flow(LOCAL, 19, match(IPV4, NEW == 1, EST == 0, TRK == 1, POLICY == 0x100000002, CT_NW_SRC == "10.0.0.0/8",
                          CT_NW_DST == "10.0.0.1", CT_NW_PROTO == 6, CT_TP_DST.masked(80, 0xFFF0), CT_TP_SRC == 5),
         load(POLICY, 0xFEDCBA9876543210), goto(L2)):
        "priority=19,ct_state=+new-est+trk,ct_nw_src=10.0.0.0/8,ct_nw_dst=10.0.0.1,ct_nw_proto=6,ct_tp_src=5,"
        "ct_tp_dst=0x50/0xfff0,ip,reg2=0x1,reg3=0x2 actions=load:0xfedcba9876543210->OXM_OF_PKT_REG1[],goto_table:l2",
    flow(LOCAL, 20, match(IPV6, TRK == 1, INV == 0, RPL == 1, REL == 0, CT_IPV6_SRC == "fd00::/64", CT_IPV6_DST == "fd00::1"),
         move(CT_IPV6_SRC, REMOTE), goto(L2)):
        "priority=20,ct_state=-rel+rpl-inv+trk,ct_ipv6_src=fd00::/64,ct_ipv6_dst=fd00::1,ipv6"
        " actions=move:NXM_NX_CT_IPV6_SRC[]->NXM_NX_XXREG1[],goto_table:l2",
    flow(LOCAL, 22, match(IPV4, IP_FRAG == "later", IPV4_SRC == "10.0.0.1", IP_PROTO == 47)):
        "priority=22,ip,nw_src=10.0.0.1,nw_proto=47,nw_frag=later actions=drop",
    flow(LOCAL, 23, match(ARP, ETH_SRC == MAC), learn(SEEN, 7, (NETWORK == 5) + (ETH_DST == MAC), load(OUT_PORT, 300),
                                                      load(TUN_DST, 0xC0000201)), goto(L2)):
        "priority=23,arp,dl_src=fa:16:3e:00:00:01 actions=learn(table=63,priority=7,delete_learned,cookie=0x83e6104e2653b79e,"
        "NXM_NX_REG0[0..14]=0x5,eth_dst=fa:16:3e:00:00:01,load:0x12c->NXM_NX_REG1[0..15],"
        "load:0xc0000201->NXM_NX_TUN_IPV4_DST[]),goto_table:l2",
    flow(LOCAL, 21, match(REMOTE.of == "0xfd000000000000000000000000000001/0xffffffff000000000000000000000001")):
        "priority=21,reg4=0xfd000000,reg7=0x1/0x1 actions=drop",
    flow(LOCAL, 23, match(ARP, ARP_SPA[3:4] == 1, ARP_TPA[3:4] == 1), conjunction(9, 0, 2)):
        "priority=23,arp,arp_spa=0.0.0.8/0.0.0.8,arp_tpa=0.0.0.8/0.0.0.8 actions=conjunction(9,1/2)",
    flow(LOCAL, 24, match(ARP, CONJ_ID == 9), goto(L2)): "priority=24,conj_id=9,arp actions=goto_table:l2",
    flow(LOCAL, 25, match(ND_NS, ND_TARGET.masked("fe80::fffe:0:0", "ffff::ffff:0:0")), load(ETH_DST[41:42], 1), goto(L2)):
        "priority=25,icmp6,icmp_type=135,icmp_code=0,nd_target=fe80::fffe:0:0/ffff::ffff:0:0"
        " actions=load:0x1->NXM_OF_ETH_DST[41],goto_table:l2",
    flow(LOCAL, 26, match(IPV4, IP_TTL == 64), larger(1464, NETWORK.of[15:16]), dec_ttl(), load(IP_TTL, 64), resubmit(L2)):
        "priority=26,ip,nw_ttl=64 actions=check_pkt_larger(1464)->NXM_NX_REG0[15],dec_ttl,load:0x40->NXM_NX_IP_TTL[],"
        "resubmit(,l2)",
    flow(LOCAL, 28, match(IPV4), set_field(IP_DSCP, 46), goto(L2)):
        "priority=28,ip actions=set_field:46->ip_dscp,goto_table:l2",
    flow(LOCAL, 27, match(ARP, ARP_OP == 2), remember(
            NEXT_HOPS, 100, (NETWORK, REMOTE), [(ARP_SHA, POLICY.of[0:48]), (NETWORK, NETWORK.of[16:31])],
            load(ZONE, 1), seconds=60, most=1000, of=7)):
        "priority=27,arp,arp_op=2 actions=learn(table=102,hard_timeout=60,priority=100,delete_learned,"
        "cookie=0x83e6000000000007,limit=1000,NXM_NX_REG0[0..14],NXM_NX_XXREG1[],load:NXM_NX_ARP_SHA[]->OXM_OF_PKT_REG1[0..47],"
        "load:NXM_NX_REG0[0..14]->NXM_NX_REG0[16..30],load:0x1->NXM_NX_REG0[16..23])",
}


@pytest.mark.parametrize("value", EVERY_WORD, ids=lambda value: f"priority {value.priority}")
def test_every_word_as_text(value: Flow) -> None:
    assert text(value, [LOCAL, L2]) == f"table=local, {EVERY_WORD[value]}"


def test_text_without_a_catalogue_says_numbers() -> None:
    shown = text(flow(LOCAL, 1, match(), resubmit(L2), goto(L2)))
    assert shown == "table=20, priority=1 actions=resubmit(,60),goto_table:60"


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_text_of_any_bytes_is_text(encoded: bytes, instructions: bytes) -> None:
    assert text(Flow("br-int", 0, 1, encoded, instructions)).startswith("table=0, priority=1")


@given(st.binary(max_size=40))
def test_text_of_unknown_actions_shows_them_all(actions: bytes) -> None:
    unknown = bytes([0x12, 0x34, 0, 4 + len(actions)]) + actions
    shown = text(Flow("br-int", 0, 1, b"", bytes([0, 4, 0, 8 + len(unknown), 0, 0, 0, 0]) + unknown))
    assert shown == f"table=0, priority=1 actions=action({unknown.hex()})"


def test_the_order_of_words_does_not_matter() -> None:
    words = [ARP, NETWORK == 5, ARP_TPA == "10.0.0.5", ETH_DST == MAC, ZONE == 1]
    assert match(*words) == match(*reversed(words))


@pytest.mark.parametrize("refused, sentence", [
    (lambda: NETWORK == 1 << 15, "too wide for network"),
    (lambda: NETWORK == -1, "too wide for network"),
    (lambda: TUN_ID == 1 << 64, "too wide for tun_id"),
    (lambda: load(OUT_PORT, 1 << 16), "too wide for out_port"),
    (lambda: ETH_DST == "fa:16:3e:00:00", "not a MAC"),
    (lambda: IPV4_DST == "10.0.0.256", "not an IPv4 address"),
    (lambda: IPV4_DST == "10.0.0.0/33", "ip_dst has 32 bits"),
    (lambda: IPV6_DST == "10.0.0.1", "not an IPv6 address"),
    (lambda: set_field(IPV4_DST, "10.0.0.0/24"), "has a mask"),
    (lambda: move(OUT_PORT, ETH_DST), "16 bits of out_port to 48 bits"),
    (lambda: VLAN_TCI[0:17], "has no bits 0 to 16"),
    (lambda: VLAN_TCI[13:16] == 3, "to match the priority"),
    (lambda: match(NETWORK == 1, NETWORK == 2), "reg0 for 0x1 and for 0x2 at once"),
    (lambda: match(IPV4, TRK == 1, CT_TP_DST == 80), "need ct_nw_proto"),
    (lambda: Reg("policy", 3, 0, 64), "cannot begin at register 3"),
    (lambda: ct_nat(1, L2), "nat takes an address"),
    (lambda: flow(LOCAL, 1, match(IPV4), ct(1, FLOOD)), "local has no edge to table flood"),
    (lambda: learn(L2, 1, NETWORK == 5), "table l2 is not one that learns"),
    (lambda: remember(L2, 1, [NETWORK], [], seconds=1, most=1), "table l2 is not one that learns"),
    (lambda: remember(SEEN, 1, [], [(ETH_DST, NETWORK)], seconds=1, most=1), "cannot be remembered as 15 bits"),
    (lambda: larger(1464, NETWORK), "writes one bit"),
    (lambda: learn(SEEN, 1, ETH_DST.masked(5, 5)), "has holes"),
    (lambda: flow(LOCAL, 65536, match()), "priority 65536"),
    (lambda: flow(L2, 1, match(), goto(LOCAL)), "l2 has no edge to table local"),
    (lambda: flow(LOCAL, 1, match(), resubmit(FLOOD)), "local has no edge to table flood"),
    (lambda: flow(LOCAL, 1, match(), goto(ELSEWHERE)), "no edge"),
    (lambda: flow(LOCAL, 1, match(), goto(BACK)), "only goes forward"),
    (lambda: flow(LOCAL, 1, match(), output(1), through(7)), "something before its meter"),
    (lambda: flow(LOCAL, 1, match(), goto(L2), output(1)), "after its goto"),
    (lambda: flow(LOCAL, 1, match(), *[output(1)] * 5000), "too long"),
])
def test_refused_with_a_sentence(refused, sentence) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=sentence):
        refused()


def test_the_miss_is_an_edge_and_resubmit_may_go_back() -> None:
    assert flow(L2, 0, match(), goto(FLOOD)) and flow(LOCAL, 0, match(), resubmit(BACK))


def test_the_cookie_is_the_same_in_every_run_and_tells_flows_apart() -> None:
    one = flow(LOCAL, 100, match(NETWORK == 5), goto(L2))
    assert cookie("neighbours", one) == 0x5a3449fd03b4f166  # another value would rewrite all flows of all switches
    others = [one._replace(table=21), one._replace(priority=99), one._replace(match=match(NETWORK == 6)),
              one._replace(instructions=b""), one._replace(match=one.match + one.instructions, instructions=b"")]
    cookies = {cookie("neighbours", other) for other in others} | {cookie("neighbours", one), cookie("ports", one)}
    assert len(cookies) == 7
    assert cookie("neighbours", one) >> 48 == cookie("neighbours", others[0]) >> 48 != cookie("ports", one) >> 48


def test_diff_replaces_in_place_and_deletes_only_what_has_no_successor() -> None:
    same, old, new, gone, fresh = (
        flow(LOCAL, 1, match(NETWORK == 1)), flow(LOCAL, 1, match(NETWORK == 2), output(1)),
        flow(LOCAL, 1, match(NETWORK == 2), output(2)), flow(LOCAL, 1, match(NETWORK == 3)),
        flow(L2, 1, match(NETWORK == 3)))
    assert diff([same, old, gone], [fresh, new, same]) == ([fresh, new], [gone])
    assert diff([same], [same]) == ([], [])
