"""The options of DHCP, by the names that people know from dnsmasq, as the bytes that travel (RFC 2132, RFC 8415)."""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_network

DOMAIN = "openstacklocal"  # what OpenStack's guests are used to
LONGEST = 1024  # bytes of one option's value: what a guest's client still takes in one datagram


def host_name(address: str) -> str:
    """What a guest without a better name is called."""
    return f"host-{address.replace('.', '-').replace(':', '-')}"


def addresses4(values: Iterable[str]) -> bytes:
    return b"".join(IPv4Address(v.strip()).packed for v in values)


def addresses6(values: Iterable[str]) -> bytes:
    return b"".join(IPv6Address(v.strip().strip("[]")).packed for v in values)


def routes(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Destination and next hop (RFC 3442): only as many bytes of the destination as its prefix needs."""
    encoded = b""
    for destination, nexthop in pairs:
        network = ip_network(destination)
        length = network.prefixlen
        encoded += bytes([length]) + network.network_address.packed[:(length + 7) // 8] + IPv4Address(nexthop).packed
    return encoded


def domains(names: Iterable[str]) -> bytes:
    """Names as DNS writes them (RFC 3397), without compression."""
    encoded = b""
    for name in names:
        labels = [label.encode("idna") for label in name.strip().rstrip(".").split(".")]
        encoded += b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return encoded


def number(size: int) -> Callable[[str], bytes]:
    return lambda text: int(text, 0).to_bytes(size, "big")


def _pairs(text: str) -> bytes:
    words = [word.strip() for word in text.split(",")]
    if len(words) % 2:
        raise ValueError("it takes pairs of destination and next hop")
    return routes(zip(words[::2], words[1::2], strict=True))


def _flag(text: str) -> bytes:
    return bytes([{"0": 0, "false": 0, "1": 1, "true": 1}[text.lower()]])


def _text(text: str) -> bytes:
    return text.encode()


def _guessed(text: str) -> bytes:
    """The value of an option that has only a number: bytes in hex, addresses, or plain text."""
    for form in (_hex, _ips, _ips6):
        try:
            return form(text)
        except ValueError:
            continue
    return _text(text)


def _hex(text: str) -> bytes:
    if not text.startswith("0x") and ":" not in text[:3]:
        raise ValueError(text)
    return bytes.fromhex(text.removeprefix("0x").replace(":", " "))


def _ips(text: str) -> bytes:
    return addresses4(text.split(","))


def _ips6(text: str) -> bytes:
    return addresses6(text.split(","))


def _names(text: str) -> bytes:
    return domains(text.split(","))


LEASE_TIME = 51
NAMES: dict[int, dict[str, tuple[int, Callable[[str], bytes]]]] = {
    4: {
        "netmask": (1, _ips), "time-offset": (2, number(4)), "router": (3, _ips), "dns-server": (6, _ips),
        "log-server": (7, _ips), "lpr-server": (9, _ips), "hostname": (12, _text), "boot-file-size": (13, number(2)),
        "domain-name": (15, _text), "swap-server": (16, _ips), "root-path": (17, _text), "extension-path": (18, _text),
        "ip-forward-enable": (19, _flag), "max-datagram-reassembly": (22, number(2)), "default-ttl": (23, number(1)),
        "mtu": (26, number(2)), "interface-mtu": (26, number(2)), "broadcast": (28, _ips),
        "router-discovery": (31, _flag), "static-route": (33, _ips), "tcp-ttl": (37, number(1)),
        "nis-domain": (40, _text), "nis-server": (41, _ips), "ntp-server": (42, _ips), "vendor-encap": (43, _hex),
        "netbios-ns": (44, _ips), "netbios-dd": (45, _ips), "netbios-nodetype": (46, number(1)),
        "netbios-scope": (47, _text), "lease-time": (LEASE_TIME, number(4)), "T1": (58, number(4)), "T2": (59, number(4)),
        "tftp-server": (66, _text), "bootfile-name": (67, _text), "smtp-server": (69, _ips), "pop3-server": (70, _ips),
        "posix-timezone": (100, _text), "tzdb-timezone": (101, _text), "domain-search": (119, _names),
        "classless-static-route": (121, _pairs), "tftp-server-address": (150, _ips), "server-ip-address": (150, _ips),
        "path-prefix": (210, _text), "wpad": (252, _text),
    },
    6: {
        "sip-server": (22, _ips6), "dns-server": (23, _ips6), "domain-search": (24, _names), "sntp-server": (31, _ips6),
        "information-refresh-time": (32, number(4)), "bootfile-url": (59, _text),
    },
}


def encoded(version: int, name: str, value: str) -> tuple[int, bytes]:
    """Code and bytes; ValueError is a sentence for who named it."""
    known = NAMES[version]
    code, form = (int(name), _guessed) if name.isdecimal() else known.get(name, (0, _text))
    for other, named in known.values():
        if name.isdecimal() and other == code:
            form = named  # its number, but a known one: the value has the same form
            break
    if not 0 < code < (255 if version == 4 else 65536):
        raise ValueError(f"there is no DHCPv{version} option {name!r}; others go by their number")
    try:
        data = form(value)
    except (ValueError, KeyError, OverflowError, UnicodeError) as error:
        raise ValueError(f"the DHCPv{version} option {name} cannot be {value!r} ({error})") from None
    if len(data) > LONGEST:
        raise ValueError(f"the DHCPv{version} option {name} has {len(data)} bytes; {LONGEST} are the most")
    return code, data
