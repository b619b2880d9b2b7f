"""Links of this host by plain rtnetlink: a veth pair made, shaped, found and removed; which link an address is on.

pyroute2 does all this and more, but costs 13 MB and twice the time of a pair, and every plug waits for it
(docs/decisions/0003-plain-ovsdb.md).
"""

import array
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import NamedTuple

_NEW, _DELETE, _GET, _SET, _GET_ADDRESS, _NEW_ROUTE, _GET_ROUTE, _GET_NSID = 16, 17, 18, 19, 22, 24, 26, 90    # RTM_*
_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE, _DUMP = 0x1, 0x4, 0x100, 0x200, 0x400, 0x300    # NLM_F_*
_ERROR, _DONE = 2, 3                                                     # NLMSG_*
_ADDRESS, _IFNAME, _MTU, _LINK, _LINKINFO, _ALIAS, _NET_NS_FD, _LINK_NSID = 1, 3, 4, 5, 18, 20, 28, 37    # IFLA_*
_CARRIER_CHANGES, _LOCAL, _DESTINATION, _ROUTE_LINK, _GATEWAY = 35, 2, 1, 4, 5                   # IFLA_*, IFA_*, RTA_*
_KIND, _DATA, _VETH_PEER, _NSID, _NSID_FD = 1, 2, 1, 1, 3
_UP, _NOARP = 0x1, 0x80                                                 # IFF_*
_SIOCETHTOOL, _ETHTOOL_STXCSUM, _CLONE_NEWNET = 0x8946, 0x17, 0x40000000


class Link(NamedTuple):
    name: str
    number: int
    up: bool
    alias: str
    peer: int                    # the number of the other end,
    peer_namespace: int | None   # in the namespace that this one knows by this number
    mac: str
    mtu: int
    carrier_changes: int         # also a switch that ends and starts again lets its tap go, and takes it up again


class NoNamespace(Exception):
    """There is no such network namespace."""


def find(name: str) -> Link | None:
    try:
        return _link(_ask(_GET, 0, _header(), _text(_IFNAME, name))[0])
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def every() -> list[Link]:
    return [_link(message) for message in _ask(_GET, _DUMP, _header())]


def carrying(address: str) -> Link | None:
    """The link with this IPv4 address."""
    for message in _ask(_GET_ADDRESS, _DUMP, struct.pack("=Bxxxi", socket.AF_INET, 0)):
        if _attributes(message[8:]).get(_LOCAL) == socket.inet_aton(address):
            return _link(_ask(_GET, 0, _header(struct.unpack_from("=i", message, 4)[0]))[0])
    return None


def next_hop(address: str) -> tuple[int, str]:
    """The number of the link towards an IPv4 address, and who is asked for on it: the address itself, or a router."""
    message = struct.pack("=BB10x", socket.AF_INET, 32) + _attribute(_DESTINATION, socket.inet_aton(address))
    found = _attributes(_ask(_GET_ROUTE, 0, message)[0][12:])
    return struct.unpack("=i", found[_ROUTE_LINK])[0], socket.inet_ntoa(found.get(_GATEWAY, socket.inet_aton(address)))


def create_pair(name: str, guest: str, *, namespace: str, mac: str, mtu: int) -> None:
    """Both ends down: the host's here, the guest's already in its namespace (moving it there later takes 16 ms)."""
    with _opened(namespace) as fd:
        peer = _header() + _text(_IFNAME, guest) + _mac(mac) + _number(_MTU, mtu) + _number(_NET_NS_FD, fd)
        info = _text(_KIND, "veth") + _attribute(_DATA, _attribute(_VETH_PEER, peer))
        _ask(_NEW, _CREATE | _EXCL, _header(), _text(_IFNAME, name), _number(_MTU, mtu), _attribute(_LINKINFO, info))


def shape_guest_end(number: int, guest: str, *, namespace: str, mac: str, mtu: int) -> None:
    """Up, with this name, MAC and MTU; what is right already stays as it is."""
    with inside(namespace):
        _ask(_SET, 0, _header(number, flags=_UP), _text(_IFNAME, guest), _mac(mac), _number(_MTU, mtu))
        _checksum_here(guest)


def raise_host_end(name: str, *, alias: str, mtu: int) -> None:
    deafen(name)
    _ask(_SET, 0, _header(flags=_UP), _text(_IFNAME, name), _text(_ALIAS, alias), _number(_MTU, mtu))


def open_up(name: str) -> None:
    _ask(_SET, 0, _header(flags=_UP), _text(_IFNAME, name))


def deafen(name: str) -> None:
    """Keep this host's own IP stack off a link that is the switch's: with the user-space datapath the kernel hears
    every frame beside the switch, and would answer ARP for, and open connections to, the host's own addresses."""
    for setting in ("ipv6/conf/{}/disable_ipv6", "ipv4/conf/{}/rp_filter"):     # no route leads back by it: all dropped
        with suppress(FileNotFoundError):                                       # no IPv6, or the link is gone again
            Path("/proc/sys/net", setting.format(name)).write_text("1")


def settle(number: int, name: str, *, mac: str) -> None:
    """Let this host's own IP stack serve a link of the switch's, with no address but what is routed here (`route`), and nobody
    on it whose MAC it would have to ask for: all have its own. It says nothing by itself, and believes nothing it is told."""
    for setting, value in (("ipv4/conf/{}/rp_filter", 1), ("ipv4/conf/{}/forwarding", 0), ("ipv6/conf/{}/addr_gen_mode", 1),
                           ("ipv6/conf/{}/disable_ipv6", 0), ("ipv6/conf/{}/accept_ra", 0), ("ipv6/conf/{}/forwarding", 0)):
        with suppress(FileNotFoundError):                                       # no IPv6, or the link is gone again
            Path("/proc/sys/net", setting.format(name)).write_text(str(value))
    _ask(_SET, 0, _header(number, flags=_UP | _NOARP), _mac(mac))


def route(network: IPv4Network | IPv6Network, number: int, *, local: bool = False) -> None:
    """Lead these addresses to the link; with `local` each of them is one of ours, as far as it is asked for there."""
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    kind = (255, 4, 254, 2) if local else (254, 4, 253, 1)      # RT_TABLE_*, RTPROT_STATIC, RT_SCOPE_*, RTN_*
    _ask(_NEW_ROUTE, _CREATE | _REPLACE, struct.pack("=BBBBBBBBI", family, network.prefixlen, 0, 0, *kind, 0),
         _attribute(_DESTINATION, network.network_address.packed), _number(_ROUTE_LINK, number))


def delete(name: str) -> None:
    try:
        _ask(_DELETE, 0, _header(), _text(_IFNAME, name))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def namespace_number(namespace: str) -> int:
    """What `Link.peer_namespace` calls it; -1 when no link of ours leads there."""
    with _opened(namespace) as fd:
        message = _ask(_GET_NSID, 0, bytes(4), _number(_NSID_FD, fd))[0]
    return int(struct.unpack("=i", _attributes(message[4:])[_NSID])[0])


@contextmanager
def _opened(namespace: str) -> Iterator[int]:
    try:
        fd = os.open(Path("/run/netns", namespace), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoNamespace(namespace) from None
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread, and only this one, works in the namespace for a moment."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _opened(namespace) as fd:
            _enter(fd)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


def _enter(fd: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns: " + os.strerror(ctypes.get_errno()))


def _checksum_here(name: str) -> None:
    """Let the guest's end fill in checksums itself: the user-space datapath does not, and TCP would stall."""
    value = array.array("B", struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), value.buffer_info()[0]))


# Messages (linux/rtnetlink.h): a header, then attributes, each of length, kind and value, padded to four bytes.

def _header(number: int = 0, *, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, number, flags, flags)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _mac(value: str) -> bytes:
    return _attribute(_ADDRESS, bytes.fromhex(value.replace(":", "")))


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        found[kind & 0x3FFF] = data[at + 4:at + size]
        at += size + 3 & ~3
    return found


def _link(message: bytes) -> Link:
    number, flags = struct.unpack_from("=iI", message, 4)
    found = _attributes(message[16:])
    namespace = found.get(_LINK_NSID)
    return Link(
        name=found[_IFNAME].rstrip(b"\0").decode(), number=number, up=bool(flags & _UP),
        alias=found.get(_ALIAS, b"").rstrip(b"\0").decode(errors="replace"),
        peer=struct.unpack("=i", found.get(_LINK, bytes(4)))[0],
        peer_namespace=None if namespace is None else struct.unpack("=i", namespace)[0],
        mac=found.get(_ADDRESS, b"").hex(":"), mtu=struct.unpack("=I", found[_MTU])[0],
        carrier_changes=struct.unpack("=I", found.get(_CARRIER_CHANGES, bytes(4)))[0],
    )


def _ask(verb: int, flags: int, *parts: bytes) -> list[bytes]:
    """Send one request; give what it is answered with, or raise the kernel's refusal as OSError."""
    body = b"".join(parts)
    answers: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(body), verb, flags | _REQUEST | _ACK, 1, 0) + body)
        while True:
            data = kernel.recv(1 << 18)
            while data:
                size, kind = struct.unpack_from("=IH", data)
                if kind in (_ERROR, _DONE):
                    code = -struct.unpack_from("=i", data, 16)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return answers
                answers.append(data[16:size])
                data = data[size + 3 & ~3:]
