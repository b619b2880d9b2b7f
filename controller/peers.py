"""What the hosts of other controllers have confirmed: asked of their owners, and only while somebody waits for it.

A port is ACTIVE when every live host of its network has confirmed, whoever's the hosts are. Its own host's controller decides
that; for the hosts of another it asks at that one's door.
"""

import http.client
import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

from controller.leases import Shares
from unryu import tls
from unryu.logs import log

PATIENCE = 0.05  # seconds that an owner lets a question wait for its answer; then it is asked again, with what has come since
AGAIN = 0.2  # seconds until an owner that did not answer is asked again

TIMEOUT = 2.0  # for an owner that hangs: by then it is none any more


class Question:
    """Another controller's, at our door: has any of these hosts come to this revision?"""

    def __init__(self, hosts: dict[str, int]) -> None:
        self.hosts = hosts
        self.needs: dict[str, Any] = {}
        """Of those that are ours: what they must have confirmed, once we have come to that revision ourselves."""
        self.done: list[str] = []
        self.answered = threading.Event()


class Peers:
    """Used by the loop's thread."""

    def __init__(self, identity: tls.Identity | None, told: Callable[[], None]) -> None:
        """`told`: called when something was answered, from another thread. Without an identity nobody can be asked."""
        self._identity, self._told = identity, told
        self._askers: dict[str, Asker] = {}
        self._shares: Shares | None = None
        self._confirmed: dict[str, int] = {}

    def share(self, shares: Shares) -> None:
        doors = {name: member.door for name, member in shares.members.items() if name != shares.me and self._identity}
        for name in list(self._askers):
            if self._askers[name].door != doors.get(name):
                self._askers.pop(name).stop()
        for name in doors.keys() - self._askers.keys():
            assert self._identity
            self._askers[name] = Asker(doors[name], self._identity, self._take)
            self._askers[name].start()
        self._shares = shares

    def confirmed(self, host: str, revision: int) -> bool:
        """Has it? If not, its owner is asked."""
        if self._confirmed.get(host, 0) >= revision:
            return True
        asker = self._askers.get(self._shares.owner(host).name) if self._shares else None
        if asker:
            asker.want(host, revision)
        return False

    def _take(self, hosts: dict[str, int]) -> None:
        for host, revision in hosts.items():
            self._confirmed[host] = max(revision, self._confirmed.get(host, 0))
        self._told()

    def stop(self) -> None:
        for asker in self._askers.values():
            asker.stop()


class Asker(threading.Thread):
    """Asks one controller."""

    def __init__(self, door: str, identity: tls.Identity, take: Callable[[dict[str, int]], None]) -> None:
        super().__init__(name=f"ask {door}", daemon=True)
        self.door = door
        self._identity, self._take = identity, take
        self._wanted: dict[str, int] = {}
        self._condition = threading.Condition()
        self._stopping = False

    def want(self, host: str, revision: int) -> None:
        with self._condition:
            self._wanted[host] = max(revision, self._wanted.get(host, 0))
            self._condition.notify()

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def run(self) -> None:
        line, said = None, False
        while True:
            with self._condition:
                while not self._wanted and not self._stopping:
                    self._condition.wait()
                if self._stopping:
                    break
                wanted = dict(self._wanted)
            try:
                line = line or tls.Line(self.door, self._identity, tls.CONTROLLER, TIMEOUT)
                done = self._ask(line, wanted)
                said = False
            except (OSError, http.client.HTTPException, ValueError) as error:
                if line:
                    line.close()
                line = None
                if not said:
                    log.warning("a controller does not say what its hosts have confirmed; asking until it does or is gone",
                                door=self.door, error=str(error))
                    said = True
                with self._condition:
                    self._condition.wait_for(lambda: self._stopping, AGAIN)
                continue
            with self._condition:
                for host in done:
                    if self._wanted.get(host) == wanted[host]:
                        del self._wanted[host]
            if done:
                self._take({host: wanted[host] for host in done})
        if line:
            line.close()

    def _ask(self, line: http.client.HTTPConnection, wanted: dict[str, int]) -> Iterable[str]:
        line.request("POST", "/confirmed", json.dumps({"hosts": wanted}).encode(), {"Content-Type": "application/json"})
        answer = line.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise http.client.HTTPException(f"POST /confirmed: {answer.status} {text[:200].decode(errors='replace')}")
        return wanted.keys() & set(json.loads(text)["hosts"])
