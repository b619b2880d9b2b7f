"""The API service as it really runs: `unryu serve api` under gunicorn, in a state folder and on a port of its own."""

import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType


def free_port() -> int:
    """Not of those that the kernel gives to whoever asks for any: it would, before we listen."""
    while True:
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port := random.randrange(10000, 20000)))
            return port


class RunningApi:
    """`with RunningApi(state) as api: urllib.request.urlopen(api.url + "/healthz")`, over a database that is prepared."""

    def __init__(self, state: Path, database_url: str = "") -> None:
        self.state = state
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        (state / "unryu.toml").write_text(
            f'[api]\nlisten = "{self.address}"\n[identity]\npublic_url = "{self.url}"\n[database]\nurl = "{database_url}"\n')

    def __enter__(self) -> "RunningApi":
        command = [str(Path(sys.executable).parent / "unryu"), "serve", "api"]
        with (self.state / "api.log").open("w") as log:
            self.process = subprocess.Popen(command, env={**os.environ, "UNRYU_STATE": str(self.state)}, stderr=log)
        deadline = time.monotonic() + 60
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise AssertionError(f"the API is not ready: {self.log()}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        return (self.state / "api.log").read_text()

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            text: str = answer.read().decode()
            return text

    def openstack(self, *words: str, user: str = "admin", check: bool = True) -> str:
        """The unmodified client, as a user made by bootstrap, in the project of his name."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OS_")},
            "OS_AUTH_URL": f"{self.url}/identity", "OS_IDENTITY_API_VERSION": "3", "OS_USERNAME": user,
            "OS_PASSWORD": (self.state / "secrets" / f"{user}-password").read_text().strip(), "OS_PROJECT_NAME": user,
            "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default",
        }
        done = subprocess.run([str(Path(sys.executable).parent / "openstack"), *words], env=environment, text=True,
                              capture_output=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"openstack {' '.join(words)}: {done.stdout}{done.stderr}\n{self.log()[-3000:]}")
        return done.stdout + done.stderr

    def _ready(self) -> bool:
        try:
            return self.get("/readyz") == "ready\n"
        except OSError:
            return False
