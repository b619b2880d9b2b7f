"""The flows of routers that know of address scopes: where a packet comes from is noted, and asked before it goes on."""

import re

import pytest

from controller.bootstrap import load_features
from tests.controller import routed, scoped
from tests.controller.test_routing import flows, lines, showing

load_features()

# Of IPv4, blue and what is outside are in the router's scope 2, green in 1; of IPv6, blue in 3. Who is in none is in 0.
GOLDEN = """
- table=entry, priority=150,ip,reg6=0x3/0xffff,nw_dst=203.0.113.20 actions=ct_clear,ct(table=returned,zone=32771,nat)
- table=entry, priority=202,ip,reg6=0x3/0xffff,nw_src=10.0.0.0/24 actions=drop
- table=snat, priority=10,ipv6,reg6=0x3/0xffff actions=abroad,goto_table:uplink
- table=snat, priority=100,ip,reg6=0x3/0xffff actions=abroad,ct(commit,table=uplink,zone=32771,nat(src=203.0.113.20))
- table=snat, priority=150,ip,reg6=0x3/0xffff,dl_src=02:00:00:00:00:01
    actions=abroad,ct(commit,table=uplink,zone=32771,nat(src=203.0.113.20))
+ table=entry, priority=10,ip,reg6=0x3/0xffff actions=load:0->NXM_NX_REG0[24],goto_table:route
+ table=entry, priority=150,ip,reg6=0x3/0xffff,nw_dst=203.0.113.20
    actions=load:0xffff->NXM_NX_REG4[16..31],ct_clear,ct(table=returned,zone=32771,nat)
+ table=scope, priority=10,reg6=0x3/0xffff actions=drop
+ table=scope, priority=100,ip,reg0=0x7/0x7fff,reg4=0x20000/0xffff0000,reg6=0x3/0xffff actions=goto_table:neighbour
+ table=scope, priority=100,ip,reg0=0x9/0x7fff,reg4=0x10000/0xffff0000,reg6=0x3/0xffff actions=goto_table:neighbour
+ table=scope, priority=100,ip,reg4=0xffff0000/0xffff0000,reg6=0x3/0xffff actions=goto_table:neighbour
+ table=scope, priority=100,ipv6,reg0=0x7/0x7fff,reg6=0x3/0xffff,reg10=0x30000/0xffff0000 actions=goto_table:neighbour
+ table=snat, priority=10,ipv6,reg6=0x3/0xffff,reg10=0/0xffff0000 actions=abroad,goto_table:uplink
+ table=snat, priority=100,ip,reg4=0x20000/0xffff0000,reg6=0x3/0xffff actions=abroad,goto_table:uplink
+ table=snat, priority=149,ip,reg6=0x3/0xffff,dl_src=02:00:00:00:00:01
    actions=abroad,ct(commit,table=uplink,zone=32771,nat(src=203.0.113.20))
+ table=snat, priority=150,ip,reg4=0x20000/0xffff0000,reg6=0x3/0xffff,dl_src=02:00:00:00:00:01
    actions=abroad,goto_table:uplink
+ table=snat, priority=9,reg6=0x3/0xffff actions=drop
+ table=snat, priority=99,ip,reg6=0x3/0xffff actions=abroad,ct(commit,table=uplink,zone=32771,nat(src=203.0.113.20))
"""
ABROAD = "set_field:fa:16:3e:00:01:03->eth_src,load:0x8->NXM_NX_REG0[0..14],"
WITHOUT: routed.State = tuple((kind, id, None) for kind, id, _ in scoped.POOLS)
"""Then what subnets say of their pools says nothing."""
INSIDE = {7: (2, 3), 9: (1, 0)}


def test_what_scopes_put_at_a_gateway() -> None:
    scopes, without = (flows(showing(scoped.LEADING_OUT, more)) for more in ((), WITHOUT))
    found = [f"{sign} {line.replace(ABROAD, 'abroad,')}" for sign, there in (("-", without - scopes), ("+", scopes - without))
             for line in lines(there) if line.startswith(("table=entry", "table=scope", "table=snat"))]
    assert found == GOLDEN.replace("\n    ", " ").strip().splitlines()


@pytest.mark.parametrize("host", ["h1", "h2"])
@pytest.mark.parametrize(("state", "of"), [
    (scoped.LEADING_OUT, {**INSIDE, 8: (2, 0)}),
    (scoped.STATES["a router without SNAT into blue's address scope, a floating IP in another"], {**INSIDE, 8: (2, 0)}),
    (scoped.STATES["a router into a VLAN of another address scope, that one host has not"], INSIDE),
    (scoped.STATES["a router between two pools of one address scope"], {7: (1, 2), 9: (1, 0)}),
])
def test_a_router_notes_where_packets_come_from(state: routed.State, of: dict[int, tuple[int, int]], host: str) -> None:
    """Also by a tunnel, or from a wire; and goes on inside only where that is asked."""
    there = flows(showing(state), host)
    for line in (line for line in there if line.startswith("table=l2") and "->NXM_NX_REG6[0..15]" in line):
        number = re.search(r"reg0=0x\w*(\w)/", line)
        assert number, line
        noted = re.findall(r"load:(\w+)->NXM_NX_REG(?:4|10)\[16..31]", line)
        assert tuple(int(each, 16) for each in noted) == of[int(number[1])], line
    asking = [line for line in there if line.startswith("table=route") and "resubmit(,whose)" in line]
    assert asking and all(line.endswith("goto_table:scope") for line in asking)


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_without_scopes_a_router_is_as_ever(host: str) -> None:
    """Pools alone are none."""
    pools = (*scoped.POOLS, *scoped.blue("no4"), *scoped.green("no4"), *scoped.outside("no4"))
    plain = flows(showing(routed.JOINED, routed.LEADING_OUT), host)
    assert plain == flows(showing(routed.JOINED, routed.LEADING_OUT, pools), host)


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_what_scopes_cost(host: str) -> None:
    plain, apart = (len(flows(showing(scoped.APART, more), host)) for more in (WITHOUT, ()))
    assert apart - plain == 2 + 3, "two a router, and one for each IP version of a network"
    plain, apart = (len(flows(showing(scoped.LEADING_OUT, more), host)) for more in (WITHOUT, ()))
    assert apart - plain == 2 + 3 + (3 if host == "h1" else 0), "and three at the gateway"
