"""What is said of ports in bodies: MACs, fixed IPs, DHCP options, pairs."""

import re
from ipaddress import ip_network
from typing import NotRequired

from typing_extensions import TypedDict

from controller.dhcp_options import encoded
from controller.ipam import address

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
MOST_PAIRS = 10  # as in Neutron


def mac_address(value: str) -> str:
    value = value.lower().replace("-", ":")
    if not MAC.fullmatch(value):
        raise ValueError(f"{value!r} is not a MAC address")
    if int(value[:2], 16) & 1 or value == "00:00:00:00:00:00":
        raise ValueError(f"{value} is no address of a single interface")
    return value


class FixedIP(TypedDict):
    """An address of a port; asked for, any of a subnet, or this one of whichever."""

    subnet_id: NotRequired[str]
    ip_address: NotRequired[str]


def fixed_ips(values: list[FixedIP]) -> list[FixedIP]:
    if len(values) > 64:
        raise ValueError(f"{len(values)} are more than 64")
    for value in values:
        if not value:
            raise ValueError("each needs a subnet_id or an ip_address")
        if "ip_address" in value:
            value["ip_address"] = str(address(value["ip_address"]))
    return values


class DhcpOption(TypedDict):
    opt_name: str
    opt_value: str | None
    ip_version: NotRequired[int | str]


def extra_dhcp_opts(values: list[DhcpOption]) -> list[DhcpOption]:
    """What a guest is told beside what its subnet says. A value of null takes one back."""
    if len(values) > 64:
        raise ValueError(f"{len(values)} are more than 64")
    for value in values:
        version = value["ip_version"] = {"4": 4, "6": 6}.get(str(value.get("ip_version", 4)), 0)
        if not version:
            raise ValueError("an ip_version is 4 or 6")
        if value["opt_value"] is not None:
            encoded(version, value["opt_name"], value["opt_value"])
    return values


class Pair(TypedDict):
    ip_address: str
    mac_address: NotRequired[str]


def allowed_address_pairs(values: list[Pair]) -> list[Pair]:
    """Addresses, or whole prefixes, that it may hold beside its own. Where no MAC is named, the port's is meant."""
    if len(values) > MOST_PAIRS:
        raise ValueError(f"{len(values)} are more than {MOST_PAIRS}")
    for value in values:
        value["ip_address"] = address_or_prefix(value["ip_address"])
        if "mac_address" in value:
            value["mac_address"] = mac_address(value["mac_address"])
    return values


def address_or_prefix(value: str) -> str:
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address or a CIDR, such as 10.0.0.0/24") from None
    return str(network) if "/" in value else str(network.network_address)


def each_once(values: list[str]) -> list[str]:
    return sorted(set(values))
