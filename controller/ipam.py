"""Addresses: pure choice within a subnet; `tx.allocate` is the judge."""

import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
    summarize_address_range,
)

from typing_extensions import TypedDict

from unryu.errors import BadRequest, Conflict

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
Taken = Callable[[Iterable[str]], set[str]]
FIRST, MOST = 8, 256  # candidates asked about at a time: few are nearly always enough, and then ever more


class Pool(TypedDict):
    start: str
    end: str


def ip_version(value: int) -> int:
    """Check a version (for `field(check=…)`)."""
    if value not in (4, 6):
        raise ValueError(f"{value} is neither 4 nor 6")
    return value


def address(value: str | None) -> str | None:
    """Check and normalise an address (for `field(check=…)`)."""
    if value is None:
        return None
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address") from None


def cidr(value: str) -> str:
    """Check and normalise a network; bits set below the prefix are cleared, as the field does."""
    try:
        return str(ip_network(value, strict=False))
    except ValueError:
        raise ValueError(f"{value!r} is not a CIDR, such as 10.0.0.0/24") from None


def usable(network: Network) -> tuple[int, int]:
    """First and last address that a host may have, as numbers."""
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.version == 4 and network.prefixlen < 31:
        return first + 1, last - 1
    if network.version == 6 and network.prefixlen < 127:
        return first + 1, last  # the first is the subnet-router anycast address (RFC 4291, 2.6.1)
    return first, last


def default_gateway(network: Network) -> str:
    return str(network[0] if usable(network)[0] == int(network[0]) else network[1])


def default_pools(network: Network, gateway: str | None) -> list[Pool]:
    """Every usable address except the gateway's."""
    first, last = usable(network)
    cut = int(ip_address(gateway)) if gateway else -1
    spans = [(first, cut - 1), (cut + 1, last)] if first <= cut <= last else [(first, last)]
    kind = type(network.network_address)
    return [{"start": str(kind(a)), "end": str(kind(b))} for a, b in spans if a <= b]


def check_pools(network: Network, pools: Sequence[Pool], gateway: str | None) -> list[Pool]:
    """Normalised pools; 400 where one lies outside the subnet, 409 where two overlap or one holds the gateway."""
    first, last = int(network.network_address), int(network.broadcast_address)
    spans: list[tuple[int, int, Pool]] = []
    for pool in pools:
        start, end = ip_address(pool["start"]), ip_address(pool["end"])
        if start.version != network.version or end.version != network.version or int(start) > int(end):
            raise BadRequest(f"The allocation pool {start}-{end} is not a range of IPv{network.version} addresses.",
                             "InvalidAllocationPool")
        if int(start) < first or int(end) > last:
            raise BadRequest(f"The allocation pool {start}-{end} spans beyond the subnet cidr {network}.",
                             "OutOfBoundsAllocationPool")
        spans.append((int(start), int(end), {"start": str(start), "end": str(end)}))
    spans.sort(key=lambda span: span[:2])
    for (_, last_of_one, one), (first_of_other, _, other) in zip(spans, spans[1:], strict=False):
        if first_of_other <= last_of_one:
            raise Conflict(f"The allocation pools {one['start']}-{one['end']} and {other['start']}-{other['end']} "
                           f"overlap.", "OverlappingAllocationPools")
    if gateway and any(low <= int(ip_address(gateway)) <= high for low, high, _ in spans):
        raise Conflict(f"The gateway {gateway} lies in an allocation pool.", "GatewayConflictWithAllocationPools")
    return [pool for _, _, pool in spans]


def free_address(subnet_id: str, pools: Sequence[Pool]) -> Callable[[Taken], str]:
    """The first free address of the pools from a random place on. Not the lowest: an address given back would be given
    out at once, while neighbours still remember the MAC that had it; and writers at the same time would all want it."""

    def choose(taken: Taken) -> str:
        for window in _windows(pools):
            used = taken(window)
            for candidate in window:
                if candidate not in used:
                    return candidate
        raise Conflict(f"No more IP addresses are available in subnet {subnet_id}.", "IpAddressGenerationFailure")

    return choose


def _windows(pools: Sequence[Pool]) -> Iterator[list[str]]:
    """Every address of the pools once, in pieces, from a random one on and round."""
    spans = [(ip_address(pool["start"]), int(ip_address(pool["end"])) - int(ip_address(pool["start"])) + 1) for pool in pools]
    total = sum(size for _, size in spans)
    if not total:
        return
    begin, size = random.randrange(total), FIRST
    for low, high in ((begin, total), (0, begin)):
        while low < high:
            yield [_nth(spans, place) for place in range(low, min(low + size, high))]
            low, size = low + size, min(size * 2, MOST)


def _nth(spans: Sequence[tuple[Address, int]], place: int) -> str:
    for first, size in spans:
        if place < size:
            return str(first + place)
        place -= size
    raise IndexError(place)


def this_address(network: Network, wanted: str) -> Callable[[Taken], str]:
    """The address asked for, if it may be a host's and is free."""
    number = ip_address(wanted)
    if number not in network:
        raise BadRequest(f"IP address {wanted} is not a valid IP for the subnet {network}.", "InvalidIpForSubnet")
    first, last = usable(network)
    if not first <= int(number) <= last:
        raise BadRequest(f"IP address {wanted} is the network or broadcast address of {network}.", "InvalidIpForSubnet")

    def choose(taken: Taken) -> str:
        if taken([wanted]):
            raise Conflict(f"IP address {wanted} is already allocated in subnet {network}.", "IpAddressAlreadyAllocated")
        return wanted

    return choose


def eui64(cidr: str, mac: str) -> str:
    """The SLAAC address of a MAC (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(ip_network(cidr)[int.from_bytes(interface, "big")])


def without(prefixes: Iterable[str], gone: Iterable[str]) -> list[str]:
    """What is left of some prefixes (of one version, none overlapping) when others are taken out; in order."""
    left: list[str] = []
    whole = sorted(map(ip_network, prefixes), key=_first)
    same = [network for network in map(ip_network, gone) if whole and network.version == whole[0].version]
    holes = [(_first(hole), _last(hole)) for hole in collapse_addresses(same)]  # type: ignore[type-var]
    for prefix in whole:
        kind, place, last = type(prefix.network_address), _first(prefix), _last(prefix)
        for low, high in holes[bisect_left(holes, place, key=lambda hole: hole[1]):]:
            if low > last:
                break
            if low > place:
                left += map(str, summarize_address_range(kind(place), kind(low - 1)))
            place = high + 1
        if place <= last:
            left += map(str, summarize_address_range(kind(place), kind(last)))
    return left


def free_prefix(prefixes: Iterable[str], taken: Iterable[str], length: int) -> str | None:
    """The lowest network of this prefix length in one of the prefixes that overlaps none of those taken."""
    for free in map(ip_network, without(prefixes, taken)):
        if free.prefixlen <= length:
            return f"{free.network_address}/{length}"
    return None


def _first(network: Network) -> int:
    return int(network.network_address)


def _last(network: Network) -> int:
    return int(network.broadcast_address)
