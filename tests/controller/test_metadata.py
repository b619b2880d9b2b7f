"""What the book says to a guest that asks for metadata, and that DHCP tells it the way there."""

import json
from typing import Any

from controller.bootstrap import load_features
from controller.derive import Here, Net
from controller.dhcp_options import routes
from controller.explain.describe import sample
from controller.features.dhcp import options4
from controller.features.metadata import instance
from controller.picture import Picture
from unryu.resource import nouns

load_features()


def put(picture: Picture, kind: str, **values: Any) -> None:
    picture.put(kind, values["id"], nouns[kind](**values))


def said_of(picture: Picture) -> list[Any]:
    net = Net(picture)
    return list(instance(picture.get("port", "port1"), net, Here("h1", net)))


def files(picture: Picture) -> dict[str, str]:
    [said] = said_of(picture)
    return dict(said.data["files"])


def test_addresses_as_a_guest_has_to_set_them() -> None:
    """What DHCP gives is DHCP's to say; all else is said whole."""
    picture = sample()
    put(picture, "subnet", id="more", network_id="blue", ip_version=4, cidr="192.168.0.0/25", enable_dhcp=False,
        gateway_ip="192.168.0.1", dns_nameservers=["192.168.0.53"],
        host_routes=[{"destination": "10.9.0.0/16", "nexthop": "192.168.0.9"}])
    put(picture, "subnet", id="static6", network_id="blue", ip_version=6, cidr="fd01::/64", gateway_ip="fd01::1")
    port = picture.get("port", "port1")
    picture.put("port", "port1", port.replace(fixed_ips=[*port.fixed_ips, *(
        {"subnet_id": subnet, "ip_address": address}
        for subnet, address in (("blue4", "10.0.0.99"), ("more", "192.168.0.5"), ("static6", "fd01::5")))]))
    said = json.loads(files(picture)["openstack/network_data.json"])
    assert said["links"] == [{"id": "tapport1", "vif_id": "port1", "type": "ovs", "mtu": 1450,
                              "ethernet_mac_address": "fa:16:3e:00:00:01"}]
    lease, stateful, second, static, six = said["networks"]
    assert lease == {"id": "network0", "link": "tapport1", "network_id": "blue", "type": "ipv4_dhcp"}
    assert stateful["type"] == "ipv6_dhcpv6-stateful" and stateful["ip_address"] == "fd00::11"
    assert (second["type"], second["ip_address"], second["netmask"]) == ("ipv4", "10.0.0.99", "255.255.255.0")
    assert static["routes"] == [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.168.0.1"},
                                {"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "192.168.0.9"}]
    assert static["services"] == said["services"] == [{"type": "dns", "address": "192.168.0.53"}]
    assert (six["type"], six["netmask"]) == ("ipv6", "ffff:ffff:ffff:ffff::")
    assert six["routes"] == [{"network": "::", "netmask": "::", "gateway": "fd01::1"}]


def test_names_and_addresses_of_whom() -> None:
    picture = sample()
    said = files(picture)
    assert said["ec2/meta-data/hostname"] == "host-10-0-0-11.openstacklocal" and said["ec2/meta-data/local-ipv4"] == "10.0.0.11"
    assert json.loads(said["openstack/meta_data.json"])["uuid"] == said["ec2/meta-data/instance-id"] == "port1"
    assert "ec2/meta-data/public-ipv4" not in said
    put(picture, "floatingip", id="f", floating_network_id="out", floating_ip_address="203.0.113.9", port_id="port1",
        fixed_ip_address="10.0.0.11")
    assert files(picture)["ec2/meta-data/public-ipv4"] == "203.0.113.9"
    port = picture.get("port", "port1")
    picture.put("port", "port1", port.replace(fixed_ips=port.fixed_ips[1:]))
    assert "ec2/meta-data/local-ipv4" not in files(picture)
    assert files(picture)["ec2/meta-data/hostname"] == "host-fd00--11.openstacklocal"
    picture.put("port", "port1", port.replace(fixed_ips=[]))
    assert json.loads(files(picture)["openstack/network_data.json"])["networks"] == []
    picture.put("port", "port1", port.replace(admin_state_up=False))
    assert not said_of(picture)


def test_who_has_no_default_route_is_told_the_way() -> None:
    def told(address: str, gateway: str | None, *more: tuple[str, str]) -> bytes | None:
        subnet = nouns["subnet"](id="s", network_id="n", ip_version=4, cidr="10.0.0.0/24", gateway_ip=gateway,
                                 host_routes=[{"destination": d, "nexthop": n} for d, n in more])
        return options4(address, subnet, 1450).get(121)

    assert told("10.0.0.5", "10.0.0.1") is None
    assert told("10.0.0.5", None) == routes([("169.254.169.254/32", "10.0.0.1")])
    assert told("10.0.0.1", None) == routes([("169.254.169.254/32", "0.0.0.0")]), "nobody is his own next hop: on the link"
    own = "169.254.169.254/32", "10.0.0.9"
    assert told("10.0.0.5", None, own) == routes([own])
