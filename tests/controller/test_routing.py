"""The flows of routers: a golden list of one between two networks, and what one more of anything costs."""

import pytest

from controller.bootstrap import load_features
from controller.derive import BOOK, Engine, catalogue
from controller.explain.describe import sample
from controller.flow import text
from controller.picture import Picture
from controller.pipeline import TABLES
from ovsagent.answers import counts, routers
from tests.controller import routed
from unryu.resource import nouns

load_features()

GOLDEN = """
table=classify, priority=150,arp,in_port=4,dl_vlan=7,dl_vlan_pcp=0,arp_tpa=10.0.0.1
    actions=move:NXM_OF_VLAN_TCI[0..11]->NXM_NX_REG0[0..11],move:NXM_OF_VLAN_TCI[13..15]->NXM_NX_REG0[12..14],pop_vlan,
        load:0x1->NXM_NX_REG0[15],goto_table:l2
table=whose, priority=200,reg0=0x7/0x7fff,reg12=0,reg13=0,reg14=0xffff,reg15=0xa000001
    actions=load:0x1->NXM_NX_REG0[20],load:0xfa163e000101->OXM_OF_PKT_REG2[0..47],load:0x1->NXM_NX_REG0[25]
table=whose, priority=200,reg0=0x9/0x7fff,reg12=0,reg13=0,reg14=0xffff,reg15=0xa010001
    actions=load:0x1->NXM_NX_REG0[20],load:0xfa163e000102->OXM_OF_PKT_REG2[0..47],load:0x1->NXM_NX_REG0[25]
table=whose, priority=200,reg0=0x9/0x7fff,reg12=0,reg13=0,reg14=0xffff,reg15=0xa01000f
    actions=load:0x1->NXM_NX_REG0[20],load:0xfa163e000005->OXM_OF_PKT_REG2[0..47],load:0xfe98b07b1ba6b3a2->OXM_OF_PKT_REG4[]
table=joined, priority=130,reg0=0x7/0x7fff,reg12=0,reg13=0,reg14=0xffff,reg15=0xa010000/0xffffff00
    actions=load:0x9->NXM_NX_REG0[0..14],resubmit(,whose),load:0x7->NXM_NX_REG0[0..14]
table=l2, priority=100,reg0=0x7/0x7fff,dl_dst=fa:16:3e:00:01:01
    actions=load:0x3->NXM_NX_REG6[0..15],load:0->NXM_NX_REG0[15],load:0->NXM_NX_REG0[21],load:0->NXM_NX_REG0[24],
        load:0->NXM_NX_REG0[23],load:0->NXM_OF_IN_PORT[],goto_table:route
table=l2, priority=100,reg0=0x9/0x7fff,dl_dst=fa:16:3e:00:01:02
    actions=load:0x3->NXM_NX_REG6[0..15],load:0->NXM_NX_REG0[15],load:0->NXM_NX_REG0[21],load:0->NXM_NX_REG0[24],
        load:0->NXM_NX_REG0[23],load:0->NXM_OF_IN_PORT[],goto_table:route
table=route, priority=201,ip,reg6=0x3/0xffff,nw_dst=10.0.0.1 actions=load:0x3->NXM_NX_REG7[0..15],goto_table:agent
table=route, priority=201,ip,reg6=0x3/0xffff,nw_dst=10.1.0.1 actions=load:0x3->NXM_NX_REG7[0..15],goto_table:agent
table=route, priority=202,icmp,reg6=0x3/0xffff,nw_dst=10.0.0.1,icmp_type=8
    actions=set_field:0->icmp_type,move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[],set_field:10.0.0.1->ip_src,
        load:0x40->NXM_NX_IP_TTL[],move:NXM_OF_ETH_SRC[]->OXM_OF_PKT_REG2[0..47],move:NXM_OF_ETH_DST[]->NXM_OF_ETH_SRC[],
        move:OXM_OF_PKT_REG2[0..47]->NXM_OF_ETH_DST[],resubmit(,l2)
table=route, priority=202,icmp,reg6=0x3/0xffff,nw_dst=10.1.0.1,icmp_type=8
    actions=set_field:0->icmp_type,move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[],set_field:10.1.0.1->ip_src,
        load:0x40->NXM_NX_IP_TTL[],move:NXM_OF_ETH_SRC[]->OXM_OF_PKT_REG2[0..47],move:NXM_OF_ETH_DST[]->NXM_OF_ETH_SRC[],
        move:OXM_OF_PKT_REG2[0..47]->NXM_OF_ETH_DST[],resubmit(,l2)
table=route, priority=26,ip,reg6=0x3/0xffff,nw_dst=10.9.0.0/16
    actions=load:0->NXM_NX_REG0[27],load:0x9->NXM_NX_REG0[0..14],set_field:fa:16:3e:00:01:02->eth_src,dec_ttl,
        load:0->NXM_NX_REG0[24],load:0xffff->NXM_NX_XXREG3[32..63],load:0xa01000f->NXM_NX_XXREG3[0..31],
        load:0->NXM_NX_REG0[20],resubmit(,whose),goto_table:neighbour
table=route, priority=34,ip,reg6=0x3/0xffff,nw_dst=10.0.0.0/24
    actions=load:0->NXM_NX_REG0[27],load:0x7->NXM_NX_REG0[0..14],set_field:fa:16:3e:00:01:01->eth_src,dec_ttl,
        load:0->NXM_NX_REG0[24],load:0xffff->NXM_NX_XXREG3[32..63],move:NXM_OF_IP_DST[]->NXM_NX_XXREG3[0..31],
        load:0->NXM_NX_REG0[20],resubmit(,whose),goto_table:neighbour
table=route, priority=34,ip,reg6=0x3/0xffff,nw_dst=10.1.0.0/24
    actions=load:0->NXM_NX_REG0[27],load:0x9->NXM_NX_REG0[0..14],set_field:fa:16:3e:00:01:02->eth_src,dec_ttl,
        load:0->NXM_NX_REG0[24],load:0xffff->NXM_NX_XXREG3[32..63],move:NXM_OF_IP_DST[]->NXM_NX_XXREG3[0..31],
        load:0->NXM_NX_REG0[20],resubmit(,whose),goto_table:neighbour
"""


def showing(*states: routed.State) -> Picture:
    picture = sample()
    for state in states:
        for kind, id, values in state:
            picture.put(kind, id, nouns[kind](**values) if values else None)
    return picture


def flows(picture: Picture, host: str = "h1") -> set[str]:
    engine = Engine(picture, catalogue.values())
    assert not engine.failed and not engine.contested
    return {text(flow, TABLES) for _, flow in engine.wanted[host]["br-int"].values()}


def lines(found: set[str]) -> list[str]:
    order = {table.name: place for place, table in enumerate(TABLES)}
    return sorted(found, key=lambda line: (order[line.split(",")[0].removeprefix("table=")], line))


def test_what_a_router_puts_on_a_host() -> None:
    """Of IPv4 only: an interface on `blue`, one on `green`, and a route by a guest of green."""
    routes = [{"destination": "10.9.0.0/16", "nexthop": "10.1.0.15"}]
    without = showing(routed.GREEN)
    four = (*routed.GREEN, routed.router(routes=routes), *routed.INTO_BLUE[:2], *routed.INTO_GREEN)
    found = lines(flows(showing(four)) - flows(without))
    assert found == GOLDEN.replace("\n        ", "").replace("\n    ", " ").strip().splitlines()


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_what_one_more_costs(host: str) -> None:
    """On br-int of every host with a port of any of the router's networks, and nowhere else."""
    empty, joined = (len(flows(showing(state), host)) for state in ((*routed.GREEN, routed.router()), routed.JOINED))
    interfaces = 6 + 6 + 8  # in classify, l2, whose and route: IPv4, IPv4, and IPv6 with a link-local address
    assert joined - empty <= interfaces + 4, "beside them, a way to ask for the others' groups, and to the others' guests"
    assert len(flows(showing(routed.STATES["a router with routes"]), host)) - joined == 3, "a route is a flow"
    narrow = routed.STATES["green takes less than blue"]
    assert len(flows(showing(narrow), host)) - joined == 2, "where it takes less, what is too large is two flows more"


def test_what_fits_everywhere_is_not_measured() -> None:
    """From the network that takes least. (A packet that is measured goes on alone, without those that came with it.)"""
    doors = [line for line in flows(showing(routed.STATES["green takes less than blue"]))
             if "table=l2" in line and "goto_table:route" in line]
    unmeasured = [line for line in doors if "load:0x1->NXM_NX_REG0[24]" in line]
    assert len(doors) > 1 and len(unmeasured) == 1 and "reg0=0x9/0x7fff" in unmeasured[0], doors


def test_a_route_that_its_own_subnet_or_another_route_answers_first_is_none() -> None:
    found = [line for line in flows(showing(routed.STATES["a router with routes"])) if "table=route," in line]
    assert sum("nw_dst=10.9.0.0/16" in line for line in found) == 1
    assert sum("nw_dst=10.1.0.0/24" in line for line in found) == 1


def test_nobody_makes_a_networks_own_addresses_anothers() -> None:
    """Who may join a network that others share with him might join one that has its prefix to it."""
    posing = {**routed.GREEN[1][2], "cidr": "10.0.0.0/25"}
    taken = flows(showing(routed.JOINED, (("subnet", "green4", posing),)))
    in_blue = "table=joined, priority=130,reg0=0x7/0x7fff"
    assert any(line.startswith(in_blue) for line in flows(showing(routed.JOINED)))
    assert not [line for line in taken if "table=joined" in line and "reg0=0x7/0x7fff" in line and "reg14=0xffff" in line]


def test_two_routers_that_lead_to_each_other_are_on_each_others_hosts() -> None:
    """By its route the first of them sends packets on in `red`, from where no port of red is."""
    linked, strangers = (flows(showing(routed.STATES[state])) for state in (
        "two routers that lead to each other", "two routers that know nothing of each other"))
    assert any("reg6=0x4/0xffff" in line for line in linked) and not any("reg6=0x4/0xffff" in line for line in strangers)


def test_a_router_is_only_where_a_port_of_its_networks_is() -> None:
    away = (*routed.STATES["no port of green anywhere, behind a router"], ("vif", "vif1", None), ("port", "port1", None))
    assert not any("table=l2" in line and "goto_table:route" in line for line in flows(showing(away)))
    assert any("table=l2" in line and "goto_table:route" in line for line in flows(showing(away), "h2"))


def test_both_sides_of_the_door_say_the_same() -> None:
    """No room imports another: a test compares."""
    from controller import pipeline

    for word in ("EXPIRED", "NO_ROUTE", "NOT_SERVED", "NEXT_HOP"):
        assert getattr(pipeline, word) == getattr(routers, word)
    assert (pipeline.NEXT_HOPS.number, pipeline.UPLINK.number) == (counts.NEXT_HOPS, counts.UPLINK)
    assert pipeline.NETWORK.mask == counts.NUMBER << pipeline.NETWORK.first
    assert {r.of.name for r in (pipeline.NETWORK, pipeline.ADDRESS)} == {f"reg{counts.NETWORK}", f"xxreg{counts.ADDRESS[0] // 4}"}


def test_the_agent_knows_in_whose_name_it_speaks() -> None:
    book = Engine(showing(routed.JOINED, routed.LEADING_OUT), catalogue.values()).wanted["h1"][BOOK]
    said = {key[1]: entry.data for key, (_, entry) in book.items() if key[0] == "router"}
    assert said["r-blue-blue4"] == {"network": 7, "mac": "fa:16:3e:00:01:01", "addresses": ["10.0.0.1/24"], "next_hops": []}
    assert said["r-outside"]["addresses"] == ["203.0.113.20/24"] and said["r-outside"]["next_hops"] == ["203.0.113.1"]


def test_a_forwarded_port_is_measured_again_only_where_another_leads_to_less() -> None:
    less = routed.STATES["a floating IP with forwardings to blue, and to green, which takes less"]
    alike = tuple(row for row in less if row[:2] != ("network", "green"))
    mixed, usual = ([line for line in flows(showing(*states)) if "resubmit(,entry)" in line] for states in (
        (less,), (routed.GREEN, alike)))
    assert len(mixed) == 3 and all("check_pkt_larger(1464)" in line for line in mixed), "a flow for each block that leads to blue"
    assert not usual
