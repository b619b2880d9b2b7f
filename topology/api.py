"""Questions to a running cloud over HTTP: its APIs as the administrator, the controller's and the agents' doors.

Plain `http.client`, since the OpenStack SDK takes a second to import and a guest is plugged in a fraction of one.
"""

import http.client
import json
from typing import Any
from urllib.parse import quote, urlsplit

import click

from topology.cloud import Cloud, Controller, Host
from topology.credentials import of
from unryu import tls


class Refused(click.ClickException):
    """An answer that is not a success; `status` 0 when there was none."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


def call(method: str, url: str, body: Any = None, timeout: float = 10, line: http.client.HTTPConnection | None = None,
         **headers: str) -> tuple[Any, dict[str, str]]:
    """One request: the answer's JSON (None when empty) and its headers."""
    target = urlsplit(url)
    connection = line or http.client.HTTPConnection(target.netloc, timeout=timeout)
    try:
        words = {"Content-Type": "application/json"}
        words |= {name.replace("_", "-"): value for name, value in headers.items()}
        path = target.path + (f"?{target.query}" if target.query else "")
        connection.request(method, path or "/", None if body is None else json.dumps(body), words)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"{method} {url}: no answer ({error or type(error).__name__}).") from None
    finally:
        connection.close()
    try:
        said = json.loads(text) if text else None
    except ValueError:
        said = text.decode(errors="replace")
    if answer.status >= 300:
        raise Refused(f"{method} {target.path}: {_complaint(said) or answer.reason} ({answer.status})", answer.status)
    return said, dict(answer.getheaders())


def ready(cloud: Cloud) -> None:
    call("GET", f"{cloud.url}/readyz", line=_line(cloud))


def _line(cloud: Cloud) -> http.client.HTTPConnection | None:
    """To the APIs, where they speak TLS."""
    if not cloud.url.startswith("https:"):
        return None
    import ssl

    trust = ssl.create_default_context(cafile=cloud.authority or None)
    return http.client.HTTPSConnection(urlsplit(cloud.url).netloc, timeout=10, context=trust)


def _complaint(said: Any) -> str:
    """The sentence inside a fault, whichever envelope it came in."""
    while isinstance(said, dict):
        said = said.get("message") or next(iter(said.values()), "")
    return str(said or "")


def agent(host: Host, method: str, path: str, body: Any = None) -> Any:
    return _door(host.cloud, method, f"https://{host.door}{path}", tls.of_host(host.name), body)


def controller(one: Controller, path: str) -> Any:
    return _door(one.cloud, "GET", f"{one.url}{path}", tls.CONTROLLER, timeout=3)


def _door(cloud: Cloud, method: str, url: str, peer: str, body: Any = None, timeout: float = 10) -> Any:
    """As the lab, and of nobody but `peer`."""
    try:
        line = tls.Line(urlsplit(url).netloc, identity(cloud), peer, timeout)
    except OSError as error:
        raise Refused(f"The certificates of this cloud cannot be read: {error}.") from None
    return call(method, url, body, line=line)[0]


def identity(cloud: Cloud) -> tls.Identity:
    """The lab's own: the authority's key is at hand, so an ageing one is renewed by whoever sees it first."""
    mine = cloud.tls / f"{tls.LAB}.pem"
    if tls.ageing(mine) < 0:
        from unryu.tls import authority

        authority.freshen(cloud.tls, authority.SERVICES, mine, tls.LAB)
    return tls.Identity(mine, cloud.tls / "services-ca.pem", cloud.tls / "hosts-ca.pem")


def switches(cloud: Cloud) -> list[dict[str, Any]]:
    """Every switch: connected, and how far what is wanted is realised, as its host's own controller says; as another one does
    while that one is silent."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    refusals = []
    for one in cloud.controllers():
        try:
            for switch in controller(one, "/switches"):
                place = switch["host"], switch["bridge"]
                if switch["mine"] or place not in found:
                    found[place] = switch
        except Refused as error:
            refusals.append(error)
    if len(refusals) == len(cloud.controllers()):
        raise refusals[0]
    return [switch for _, switch in sorted(found.items())]


class Network:
    """The Networking API as the administrator."""

    def __init__(self, cloud: Cloud) -> None:
        words = of(cloud, "admin")
        domain = {"domain": {"name": words["OS_USER_DOMAIN_NAME"]}}
        user = {"name": words["OS_USERNAME"], "password": words["OS_PASSWORD"], **domain}
        scope = {"project": {"name": words["OS_PROJECT_NAME"], **domain}}
        identity = {"methods": ["password"], "password": {"user": user}}
        _, headers = call("POST", f"{cloud.auth_url}/auth/tokens", {"auth": {"identity": identity, "scope": scope}},
                          line=_line(cloud))
        self.token = next(value for name, value in headers.items() if name.lower() == "x-subject-token")
        self.base = f"{cloud.url}/network/v2.0"
        self.cloud = cloud

    def get(self, path: str) -> Any:
        return call("GET", f"{self.base}/{path}", line=_line(self.cloud), X_Auth_Token=self.token)[0]

    def post(self, path: str, body: Any) -> Any:
        return call("POST", f"{self.base}/{path}", body, line=_line(self.cloud), X_Auth_Token=self.token)[0]

    def put(self, path: str, body: Any) -> Any:
        return call("PUT", f"{self.base}/{path}", body, line=_line(self.cloud), X_Auth_Token=self.token)[0]

    def port(self, name: str) -> dict[str, Any]:
        """The one port of this name or id."""
        ports = self.get(f"ports?name={quote(name)}")["ports"] or self.get(f"ports?id={quote(name)}")["ports"]
        if len(ports) != 1:
            raise click.ClickException(f"{'No port' if not ports else f'{len(ports)} ports'} of the name or id {name}.")
        return dict(ports[0])
