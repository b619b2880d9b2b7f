"""What vswitchd is told over its control socket: small fragments at its start, and to forget old verdicts after changes."""

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from ovsagent import vswitchd
from ovsagent.ovsdb import Lost
from ovsagent.vswitchd import GUESTS, LEAST, MANY, MOST, PIECES, SHARE, SMALLEST, Vswitchd, shares
from tests.ovs import run
from tests.ovsagent.conftest import Host, until
from tests.ovsagent.test_agent import two_guests


class Daemon(threading.Thread):
    """As much of vswitchd's control socket as is asked; it hangs up when told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.heard: list[str] = []
        self.changes = 7
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(str(path))
        self.door.listen()
        self.ending = False
        self.says: dict[str, str] = {}

    def run(self) -> None:
        while True:
            line, _ = self.door.accept()
            with line:
                while not self.ending and (said := line.recv(4096)):
                    asked = json.loads(said)
                    self.heard.append(asked["method"])
                    result = self.says.get(asked["method"], f"{self.changes}\n")
                    line.sendall(json.dumps({"id": 0, "error": None, "result": result}).encode())
            self.ending = False


def test_old_verdicts_are_forgotten_after_flows_changed_and_only_then(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "ovs-vswitchd.1.ctl")
    daemon.start()
    agent = Vswitchd(tmp_path)
    agent.start()

    def purges_within(seconds: float) -> int:
        before = agent.emptied
        time.sleep(seconds)
        return agent.emptied - before

    until(lambda: agent.emptied, "it begins with forgetting")
    while purges_within(1):
        continue
    assert daemon.heard[:2] == ["dpctl/ipf-set-min-frag"] * 2 and daemon.heard.count("revalidator/purge") == agent.emptied
    assert purges_within(0.6) == 0, "nothing changed"
    before = agent.emptied
    daemon.changes += 1
    until(lambda: agent.emptied == before + 2, "now, and once more")
    assert purges_within(0.6) == 0
    daemon.heard.clear()
    daemon.ending = True
    until(lambda: agent.told == 2, "another daemon is told anew")


def test_who_has_many_sessions_is_not_asked_which(tmp_path: Path) -> None:
    """A switch forwards nothing while it says so: 1.3 s for 100,000, and all at the cost of others."""
    daemon = Daemon(tmp_path / "ovs-vswitchd.1.ctl")
    daemon.says = {"dpctl/ct-get-limits": f"default limit=0\nzone=40000,limit=9999,count={MANY}\n",
                   "dpctl/dump-conntrack": "tcp,orig=(src=10.0.0.5,dst=203.0.113.9)\n" * MANY}
    daemon.start()
    agent = Vswitchd(tmp_path)
    assert len(agent.sessions(40000)) == MANY
    agent.forget(40000, "10.0.0.6")
    assert daemon.heard[2:] == ["dpctl/ct-get-limits", *["dpctl/flush-conntrack"] * 2, "dpctl/dump-conntrack"]
    daemon.heard.clear()
    daemon.says["dpctl/ct-get-limits"] = f"default limit=0\nzone=40000,limit=9999,count={MANY + 1}\n"
    assert not agent.sessions(40000)
    agent.forget(40000, "10.0.0.6")
    assert daemon.heard == [*["dpctl/ct-get-limits"] * 2, *["dpctl/flush-conntrack"] * 4]


def test_a_switch_that_stands_still_keeps_nobody_waiting_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor ends the thread that wanted sessions to be forgotten, which announces addresses, too."""
    monkeypatch.setattr(vswitchd, "PATIENCE", 0.01)
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(tmp_path / "ovs-vswitchd.1.ctl"))
        frozen.listen(1)
        agent = Vswitchd(tmp_path)
        for _ in range(5):  # as many as may wait to be welcomed, and more
            agent.forget(40000)
            agent.forget(40000, "10.0.0.5")
            assert not agent.sessions(100)
            with pytest.raises(Lost):
                agent.empty(100)


@pytest.mark.system
def test_a_switch_that_was_killed_lets_small_pieces_in_again(host: Host, tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    flows.write_text("priority=1,actions=NORMAL\npriority=2,icmp,actions=ct(table=1)\ntable=1,actions=NORMAL\n")

    def smallest() -> bool:
        said = host.appctl("dpctl/ipf-get-status")
        return f"min v4 frag size: {SMALLEST}" in said and f"max num frags (v4/v6): {PIECES}" in said

    def pass_through() -> bool:
        """1,500 bytes in pieces of 600, through conntrack."""
        return " 0% packet loss" in run("ip", "netns", "exec", left, "ping", "-c1", "-W1", "-s1500", "10.0.0.2", check=False)

    until(smallest, "told at its start")
    left, right = two_guests(host)
    for here, there in ((left, "10.0.0.2"), (right, "10.0.0.1")):
        run("ip", "-n", here, "route", "add", f"{there}/32", "dev", "eth0", "mtu", "lock", "600")
    host.kill("vswitchd")
    host.start_vswitchd()
    host.ofctl("add-flows", "br-int", str(flows))
    until(smallest, "told after its death")
    until(pass_through, "pieces pass")
    host.appctl("dpctl/ipf-set-min-frag", "v4", "1200")
    assert not pass_through(), "it is the setting that lets them"


def test_all_guests_together_leave_routers_room() -> None:
    """However many there are; and none has less than it can use."""
    ports, routers = range(100, 0x8000), range(0x8001, 0x10000)
    for guests, ways in ((0, 0), (1, 0), (12, 1), (100, 20), (122, 61), (500, 100)):
        share = shares({*ports[:guests], *routers[:ways]})
        assert len(share) == guests + ways and all(LEAST <= each <= SHARE for each in share.values())
        taken = sum(each for zone, each in share.items() if zone < 0x8000)
        assert taken <= max(GUESTS, guests * LEAST)
    assert set(shares({*ports[:7], 0x8001}).values()) == {SHARE, 250_000}


@pytest.mark.system
def test_each_guest_has_its_share_of_conntrack(host: Host) -> None:
    """One that has used up its own leaves the others theirs; also after the death of vswitchd."""
    two_guests(host)
    numbers = sorted(int(n) for n in host.vsctl("--bare", "--columns=ofport", "find", "Interface", "external_ids:iface-id!=nobody"
                                                ).split() if int(n) >= 100)

    def told() -> bool:
        said = host.appctl("dpctl/ct-get-limits", "zone=" + ",".join(map(str, numbers)))
        return all(f"zone={number},limit={SHARE}," in said for number in numbers)

    assert len(numbers) == 2
    until(told, "told as they are plugged")
    host.kill("vswitchd")
    host.start_vswitchd()
    until(told, "told anew")
    assert int(host.appctl("dpctl/ct-get-maxconns")) == MOST
