"""A host with a real Open vSwitch, the agent's real process, and ten lines that stand for the controller."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ovsagent import links
from tests import identities
from tests.clouds import PATIENCE
from tests.ovs import OvsHost, run
from unryu import tls


def until(true: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)
    return value


class Controller:
    """Takes reports on 127.0.0.1:8000 of the host's namespace. `refuse` is the status that it answers instead."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self.namespace = namespace
        self.folder = folder
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.refuse: dict[str, int] = {}
        self.lines: list[socket.socket] = []

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            connection: ssl.SSLSocket

            def do_PUT(self) -> None:
                outer.lines.append(self.connection)
                assert tls.name(self.connection) == "host/h1" and self.path == "/base/agents/h1"
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = outer.refuse.get(self.command, 200)
                self.close_connection = status != 200
                if status == 200:
                    outer.heard.append((self.command, body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_PATCH = do_PUT

            def log_message(self, *_: object) -> None:
                pass

        with links.inside(self.namespace):
            self.server = tls.Server(("127.0.0.1", 8000), Handler, identities.service(self.folder), "the test")
        self.server.handle_error = lambda *_: None      # type: ignore[method-assign]
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        for line in self.lines:
            with contextlib.suppress(OSError):      # it told us more than once by this line, or has hung up itself
                line.shutdown(socket.SHUT_RDWR)
        self.lines.clear()

    def vif(self, port_id: str) -> Any:
        """What it knows of a port now."""
        known = None
        for verb, body in list(self.heard):
            if verb == "PUT" or port_id in body["vifs"]:
                known = body["vifs"].get(port_id)
        return known


class Host(OvsHost):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.controller = Controller(self.ns, self.dir / "tls")
        self.agent: subprocess.Popen[str] | None = None
        self.guests: list[str] = []
        self.log = self.dir / "agent.log"

    def start_agent(self, mappings: dict[str, str] | None = None) -> None:
        identities.host(self.dir / "tls")
        env = {
            "HOST": "h1", "CLOUD": "test", "CONTROLLER_URL": "https://127.0.0.1:8000/base/",
            "TLS": f"{self.dir}/tls/h1", "OPENFLOW": '["ssl:127.0.0.1:6653"]',
            "TUNNEL_IP": "198.18.0.1", "OVSDB": str(self.db), "LISTEN": "127.0.0.1:8001",
            "BRIDGE_MAPPINGS": json.dumps(mappings or {"physnet1": "br-ex"}),
        }
        with self.log.open("a") as log:
            self.agent = subprocess.Popen(
                ["ip", "netns", "exec", self.ns, sys.executable, "-c", "from ovsagent.agent import serve; serve()"],
                env=os.environ | {f"UNRYU_AGENT_{key}": value for key, value in env.items()}, stderr=log, text=True)

    def stop_agent(self, number: int = signal.SIGTERM) -> int:
        assert self.agent
        self.agent.send_signal(number)
        return self.agent.wait(PATIENCE)

    def ask(self, verb: str, path: str, body: Any = None, caller: str = tls.CONTROLLER, **headers: str) -> tuple[int, Any]:
        with links.inside(self.ns):
            if caller:
                line = tls.Line("127.0.0.1:8001", identities.service(self.dir / "tls", caller), "host/h1", PATIENCE)
            else:
                open_to_all = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                open_to_all.check_hostname, open_to_all.verify_mode = False, ssl.CERT_NONE
                line = http.client.HTTPSConnection("127.0.0.1", 8001, timeout=PATIENCE, context=open_to_all)
            line.connect()
        data = body if isinstance(body, (bytes, str)) or body is None else json.dumps(body)
        line.request(verb, path, data, headers)
        answer = line.getresponse()
        text = answer.read().decode()
        line.close()
        return answer.status, json.loads(text) if text.startswith("{") else text

    def ready(self) -> None:
        def is_ready() -> bool:
            try:
                return self.ask("GET", "/health")[0] == 200
            except OSError:
                return False
        until(is_ready, f"the agent is ready\n{self.log.read_text()}")

    def guest(self, name: str) -> str:
        namespace = f"{self.ns}-{name}"
        run("ip", "netns", "add", namespace)
        self.guests.append(namespace)
        return namespace

    def plug(self, port_id: str, netns: str, address: str = "", **more: Any) -> tuple[int, Any]:
        mac = "fa:16:3e:" + ":".join(port_id[i:i + 2] for i in (0, 2, 4))
        status, answer = self.ask("PUT", f"/vifs/{port_id}", {"mac_address": mac, "mtu": 1450, "netns": netns, **more})
        if address:
            run("ip", "-n", netns, "addr", "add", address, "dev", more.get("ifname", "eth0"))
        return status, answer

    def kill(self, daemon: str) -> None:
        pid = int((self.dir / f"{daemon}.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{pid}").exists(), f"{daemon} is gone")
        (self.dir / f"{daemon}.pid").unlink()

    def empty_database(self) -> None:
        self.kill("ovsdb")
        (self.dir / "conf.db").unlink()
        self.db.unlink()
        self.start_ovsdb()

    def interface(self, name: str, column: str) -> str:
        return self.vsctl("get", "interface", name, column).strip().strip('"')

    def __exit__(self, *details: Any) -> None:
        if self.agent and self.agent.poll() is None:
            self.agent.kill()
            self.agent.wait()
        for namespace in self.guests:
            run("ip", "netns", "del", namespace, check=False)
        super().__exit__(*details)


@pytest.fixture
def bare() -> Iterator[Host]:
    """A host whose agent and controller have not started."""
    with Host("h1") as host:
        yield host
        if host.log.exists():
            print(host.log.read_text())


@pytest.fixture
def host(bare: Host) -> Host:
    bare.controller.start()
    bare.start_agent()
    bare.ready()
    return bare
