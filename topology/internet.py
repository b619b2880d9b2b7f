"""What lies behind br-ex of every host: a provider's segment, a plain Linux router on it, a web server behind that.

One namespace: its bridge is the segment, with a leg into every host, and the bridge's own addresses are the router's. The
server's stand on `lo`, so what is for it is routed. `unryu lab exec internet -- CMD` is inside.
"""

import sys
from pathlib import Path

from topology.cloud import Cloud, Host, run
from topology.links import NIC, batch, names, namespaces

NAME = "internet"
PHYSICAL = "physical1"  # by which hosts know it: `bridge_mappings` of [lab] in unryu.toml
MTU = 1500
MAC = "02:00:5e:00:53:01"  # said, or the bridge would have the least of its legs', another one with each host
ROUTER = {4: "203.0.113.1/24", 6: "2001:db8:cafe::1/64"}
SERVER = {4: "198.51.100.80", 6: "2001:db8:80::80"}
SETTINGS = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.accept_dad=0",
            "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")  # who traces a route shall hear of every hop


def namespace(cloud: Cloud) -> str:
    return f"{cloud.name}-{NAME}"


def wire(cloud: Cloud) -> None:
    inside = namespace(cloud)
    if inside not in namespaces(cloud):
        run("ip", "netns", "add", inside)
    run("ip", "netns", "exec", inside, "sysctl", "-qw", *SETTINGS)
    if "br0" not in names(inside):
        batch(f"link add br0 address {MAC} mtu {MTU} type bridge mcast_snooping 0", namespace=inside)
    # The user-space datapath sees frames as they leave here: with checksums that a NIC would have filled in.
    run("ip", "netns", "exec", inside, "ethtool", "-K", "br0", "tx", "off")
    batch("link set lo up", "link set br0 up",
          *(f"addr replace {address} dev br0" for address in ROUTER.values()),
          *(f"addr replace {address} dev lo" for address in SERVER.values()), namespace=inside)


def wire_host(host: Host) -> None:
    """Its leg; what is at the other end is a NIC of the host, which is a port of its br-ex (links.py)."""
    inside = namespace(host.cloud)
    new = [] if NIC in names(host.namespace) else [
        f"link add {host.name} mtu {MTU} type veth peer name {NIC} mtu {MTU} netns {host.namespace}"]
    batch(*new, f"link set {host.name} master br0 up", namespace=inside)
    batch(f"link set {NIC} up", namespace=host.namespace)


def website(cloud: Cloud) -> tuple[str, ...]:
    return "ip", "netns", "exec", namespace(cloud), sys.executable, "-I", str(Path(__file__).with_name("website.py"))
