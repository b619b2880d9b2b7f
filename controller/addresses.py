"""Addresses as the pipeline holds them: in one register of 128 bits for both IP versions, IPv4 as ::ffff:0:0/96."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from controller.flow import IPV6, Field, Terms, load, move
from controller.pipeline import ADDRESS

MAPPED = 0xFFFF
_parsed = lru_cache(maxsize=1 << 16)(ip_network)


def laid(address: Field) -> tuple[bytes, ...]:
    """The words that lay this field of a packet into the register. (The uppermost bits are 0 in a packet that is no IPv6.)"""
    if address.bits == 32:
        return load(ADDRESS.of[32:64], MAPPED), move(address, ADDRESS.of[0:32])
    return (move(address, ADDRESS),)


def said(address: str) -> tuple[bytes, ...]:
    """The words that lay this address into it, for a packet of its IP version."""
    number = int(ip_address(address))
    if ":" in address:
        return load(ADDRESS.of[64:128], number >> 64), load(ADDRESS.of[0:64], number & (1 << 64) - 1)
    return load(ADDRESS.of[32:64], MAPPED), load(ADDRESS.of[0:32], number)


def held(prefix: str) -> Terms:
    """The terms of a match for what the register holds."""
    network = _parsed(prefix)
    first, mask = int(network.network_address), int(network.netmask)
    if network.version == 4:
        return ADDRESS.of.terms(MAPPED << 32 | first, (1 << 96) - 1 << 32 | mask)
    # A prefix as short as ::/0 would hold the IPv4 addresses, too.
    return ADDRESS.of.terms(first, mask) + (IPV6 if network.prefixlen < 96 else ())


def bits(prefix: str) -> int:
    """How many bits of the register a prefix fixes: the more, the more it says."""
    network = _parsed(prefix)
    return network.prefixlen + (96 if network.version == 4 else 0)


def within(narrow: str, wide: str) -> bool:
    one, other = _parsed(narrow), _parsed(wide)
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.subnet_of(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.subnet_of(other)


def mac_number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)
