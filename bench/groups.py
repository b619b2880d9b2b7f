"""Security groups in a cloud of two hosts: a rule added to a group of 500 ports, and a member joined to it, to realised.

`python -m bench.groups`, as root. The clock runs from the call to the API until both hosts have confirmed; the time of
the call itself stands beside it, as what remains is the controller's and the switches'.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Columns

from bench.cloud import Lab, lab
from topology import api
from topology.cloud import Cloud

PORTS, ROUNDS = 500, 15


class Group:
    """A group that half a thousand ports of one network are in, every other on each host."""

    def __init__(self, cloud: Lab) -> None:
        import openstack

        config = openstack.config.OpenStackConfig(config_files=[f"{cloud.state}/clouds.yaml"])
        self.network = openstack.connection.Connection(config=config.get_one("unryu-admin")).network
        self.cloud = Cloud(Path(cloud.state))
        self.network.put(f"/quotas/{self.network.get_project_id()}", json={
            "quota": {"port": -1, "security_group_rule": -1}}).raise_for_status()
        network = self.network.create_network(name="groups")
        self.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.0.0.0/16", gateway_ip=None)
        self.id = self.network.create_security_group(name="many").id
        self.network.put(f"/security-groups/{self.id}/rules", json={"security_group_rules": [
            {"direction": "ingress", "remote_group_id": self.id}, {"direction": "egress"}]})
        ports = [{"network_id": network.id, "binding:host_id": f"h{1 + n % 2}", "security_groups": [self.id] if n else []}
                 for n in range(PORTS + 1)]
        for at in range(0, len(ports), 100):
            answer = self.network.post("/ports", json={"ports": ports[at:at + 100]})
            answer.raise_for_status()
            if not at:
                self.newcomer = answer.json()["ports"][0]["id"]
        self.settle()

    def settle(self, after: float = 0) -> float:
        """Until both hosts have confirmed a change that is newer than that revision; gives the newest derived."""
        while True:
            text = api.controller(self.cloud.controllers()[0], "/metrics")
            figures = dict(line.split() for line in text.splitlines() if line.startswith("unryu_revision"))
            wanted = float(figures.pop("unryu_revision_wanted"))
            if len(figures) == 2 and all(float(realised) > after for realised in figures.values()):
                return wanted
            time.sleep(0.001)

    def timed(self, change: Callable[[], Any]) -> tuple[float, float]:
        """Milliseconds of the call, and from its beginning to realised."""
        time.sleep(0.3)  # statuses are written down
        before = self.settle()
        began = time.perf_counter()
        change()
        answered = time.perf_counter()
        self.settle(before)
        return (answered - began) * 1000, (time.perf_counter() - began) * 1000

    def rule(self, port: int) -> tuple[float, float]:
        return self.timed(lambda: self.network.post("/security-group-rules", json={"security_group_rule": {
            "security_group_id": self.id, "direction": "ingress", "protocol": "tcp",
            "port_range_min": port, "port_range_max": port}}).raise_for_status())

    def member(self, groups: list[str]) -> tuple[float, float]:
        return self.timed(lambda: self.network.put(f"/ports/{self.newcomer}", json={
            "port": {"security_groups": groups}}).raise_for_status())


def run() -> dict[str, Any]:
    with lab() as (cloud, _):
        group = Group(cloud)
        group.rule(1), group.member([group.id]), group.member([])  # warm
        rules = [group.rule(1000 + n) for n in range(ROUNDS)]
        joined, left = [], []
        for _ in range(ROUNDS):
            joined.append(group.member([group.id]))
            left.append(group.member([]))
    return {"ports in the group": PORTS, "ms": {
        name: {"call": round(statistics.median(call for call, _ in figures), 1),
               "realised": round(statistics.median(done for _, done in figures), 1),
               "realised, worst": round(max(done for _, done in figures), 1)}
        for name, figures in (("a rule added", rules), ("a member joined", joined), ("a member left", left))}}


def show(result: dict[str, Any]) -> None:
    table = Columns(title=f"A group of {result['ports in the group']} ports on two hosts, median of {ROUNDS}, ms")
    for column in ("", "the call", "realised", "worst"):
        table.add_column(column)
    for name, figures in result["ms"].items():
        table.add_row(name, *(f"{value:.1f}" for value in figures.values()))
    Console().print(table)


if __name__ == "__main__":
    show(run())
