"""The host's door: how a guest's question reaches the agent of its host, and the answer only who asked.

The way is one port of br-int, with the number of the asking port as the VLAN tag, both ways. What is asked there is
named by the features that answer it (dhcp, ra), in the table `local`.
"""

from collections.abc import Iterator
from typing import Any

from controller.crossing import TAGGED, tag, untag
from controller.derive import Here, Net, derives, its_hosts, itself
from controller.flow import (
    ICMPV6,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IN_PORT,
    UDP,
    UDP6,
    UDP_DST,
    UDP_SRC,
    Flow,
    flow,
    goto,
    match,
    output,
)
from controller.pipeline import CLASSIFY, EXACT, LOCAL, NETWORK, OUT_PORT, OUTPUT

SOLICITATION = 133  # RFC 4861, 4.1


@derives("agent", at=itself)
def answers(agent: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What the agent answers goes out of the port that the tag names, past every rule: the cloud itself speaks."""
    if door := here.ofport("br-int", "door"):
        yield flow(CLASSIFY, EXACT, match(IN_PORT == door, TAGGED), *untag(OUT_PORT.of), goto(OUTPUT))


@derives("network", at=its_hosts)
def questions(network: Any, net: Net, here: Here) -> Iterator[Flow]:
    """What its guests ask the cloud, where a subnet says that the cloud answers: for DHCP leases and for routers."""
    door = here.ofport("br-int", "door")
    subnets = net.where("subnet", network_id=network.id)
    if not door or not network.admin_state_up:
        return
    through = *tag(IN_PORT), output(door)
    if any(s.ip_version == 4 and s.enable_dhcp for s in subnets):
        yield flow(LOCAL, EXACT, match(NETWORK == network.number, UDP, UDP_SRC == 68, UDP_DST == 67), *through)
    if any((s.ipv6_address_mode or "").startswith("dhcpv6") for s in subnets):
        yield flow(LOCAL, EXACT, match(NETWORK == network.number, UDP6, UDP_DST == 547), *through)
    if any(s.ipv6_ra_mode for s in subnets):
        yield flow(LOCAL, EXACT, match(NETWORK == network.number, ICMPV6, ICMPV6_TYPE == SOLICITATION, ICMPV6_CODE == 0),
                   *through)
