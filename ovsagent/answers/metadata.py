"""What is served at the metadata address: HTTP as far as cloud-init and its like speak it, by pure functions.

A guest's files come from the book (the controller's features/metadata.py); the versions by which OpenStack and EC2 named
theirs all mean the same ones here, as each version only ever added some.
"""

import re
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

END = b"\r\n\r\n"
HEAD = 8192                 # bytes that a request may have

OPENSTACK = ("2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27",
             "2020-10-14", "latest")
EC2 = ("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04",
       "latest")

_REQUEST = re.compile(rb"([A-Z]{1,16}) (\S+) HTTP/1\.([01])")

Files = dict[str, str]


class Request(NamedTuple):
    verb: str
    path: str
    laden: bool             # with a body, which nobody here would read
    lasting: bool           # whether the guest wants to ask more by this connection


def request(head: bytes) -> Request | None:
    """What stands before the empty line; None where that is no request."""
    first, *lines = head.split(b"\r\n")
    found = _REQUEST.fullmatch(first)
    headers = {name.strip().lower(): value.strip().lower() for name, _, value in (line.partition(b":") for line in lines)}
    if not found:
        return None
    verb, target, minor = found.groups()
    wish = headers.get(b"connection", b"")
    path = re.sub(r"^http://[^/]*", "", target.decode("latin-1"))
    laden = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    lasting = wish != b"close" if minor == b"1" else wish == b"keep-alive"
    return Request(verb.decode(), unquote(path.partition("?")[0]), laden, lasting)


def reply(head: bytes, files: Files | None) -> tuple[bytes, bool]:
    """The answer to a request, and whether another may follow it."""
    asked = request(head)
    if asked and asked.verb not in ("GET", "HEAD"):
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Allow: GET, HEAD"), False
    if asked is None or asked.laden:
        return refusal(HTTPStatus.BAD_REQUEST), False
    if files is None:       # plugged a moment ago: its book is on the way
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Retry-After: 1"), False
    text = document(asked.path, files)
    if text is None:
        return response(HTTPStatus.NOT_FOUND, "There is nothing here.\n", asked), asked.lasting
    return response(HTTPStatus.OK, text, asked), asked.lasting


def refusal(status: HTTPStatus, *headers: str) -> bytes:
    return response(status, f"{status.phrase}.\n", None, *headers)


def response(status: HTTPStatus, text: str, asked: Request | None, *headers: str) -> bytes:
    body = text.encode()
    json = status == HTTPStatus.OK and asked and asked.path.endswith(".json")
    kind = "application/json" if json else "text/plain; charset=UTF-8"
    lines = (f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Type: {kind}", f"Content-Length: {len(body)}",
             f"Connection: {'keep-alive' if asked and asked.lasting else 'close'}", *headers)
    return "\r\n".join(lines).encode() + END + (b"" if asked and asked.verb == "HEAD" else body)


def document(path: str, files: Files) -> str | None:
    """The file at a path, or what a folder holds: a name a line, folders with a slash behind."""
    match [part for part in path.split("/") if part]:
        case []:
            return "\n".join(EC2)
        case ["openstack"]:
            return "\n".join(OPENSTACK)
        case ["openstack", version, *rest] if version in OPENSTACK:
            place = ["openstack", *rest]
        case [version, *rest] if version in EC2:
            place = ["ec2", *rest]
        case _:
            return None
    at = "/".join(place)
    if at in files:
        return files[at]
    within = (file.removeprefix(at + "/").partition("/") for file in files if file.startswith(at + "/"))
    return "\n".join(sorted({name + slash for name, slash, _ in within})) or None
