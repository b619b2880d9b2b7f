"""`make demo`: the main job on two hosts, as a person would type it, timed, and cleaned whatever happens."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from topology.internet import SERVER

BIN = Path(sys.executable).parent  # of the environment that runs us
LINES = 14  # of one command's output; the rest is for who types it


class Failed(Exception):
    """A step that did not do what the demo promises."""


@dataclass
class Demo:
    state: Path
    console: Console
    timings: list[tuple[str, float]] = field(default_factory=list)

    def step(self, title: str, *lines: str) -> str:
        """Show, run and time what is typed; returns all that it printed."""
        self.console.print(f"\n[bold cyan]{escape(title)}[/]")
        began = time.monotonic()
        said = "".join(self._type(line) for line in lines)
        self.timings.append((title, time.monotonic() - began))
        return said

    def _type(self, line: str) -> str:
        self.console.print(f"[bold]$ {escape(line)}[/]", highlight=False, soft_wrap=True)
        done = subprocess.run(["/bin/bash", "-o", "pipefail", "-c", line], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=self.environment, check=False)
        output = done.stdout.rstrip().splitlines()
        for shown in output[:LINES]:
            self.console.out(f"  {shown.rstrip()}", highlight=False)
        if len(output) > LINES:
            self.console.print(f"  [dim]… {len(output) - LINES} lines more[/]")
        if done.returncode:
            raise Failed(f"`{line}` ended with exit code {done.returncode}.")
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """As after `export UNRYU_STATE=… OS_CLIENT_CONFIG_FILE=… OS_CLOUD=unryu`."""
        return {
            **os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "160", "UNRYU_STATE": str(self.state),
            "OS_CLIENT_CONFIG_FILE": str(self.state / "clouds.yaml"), "OS_CLOUD": "unryu",
        }

    def port(self, name: str) -> dict[str, str]:
        """A port's MAC, and its addresses by family, asked apart from what is shown."""
        said = subprocess.run([BIN / "openstack", "port", "show", name, "-f", "json"], capture_output=True, text=True,
                              env=self.environment, check=True).stdout
        shown = json.loads(said)
        addresses = [fixed["ip_address"] for fixed in shown["fixed_ips"]]
        return {"mac": shown["mac_address"], **{"v6" if ":" in address else "v4": address for address in addresses}}

    def floating_ip(self) -> str:
        said = subprocess.run([BIN / "openstack", "floating", "ip", "list", "-f", "json"], capture_output=True, text=True,
                              env=self.environment, check=True).stdout
        return str(json.loads(said)[0]["Floating IP Address"])


def play(demo: Demo) -> None:
    demo.step("A cloud with two hosts", "unryu up --hosts 2")
    demo.step(
        "A network with two subnets",
        "openstack network create blue -c id -c name -c mtu -c status",
        "openstack subnet create blue-v4 --network blue --subnet-range 10.0.0.0/24 -c name -c cidr -c gateway_ip",
        "openstack subnet create blue-v6 --network blue --ip-version 6 --subnet-range fd00:b1::/64 -c name -c cidr",
    )
    demo.step(
        "Two ports",
        "openstack port create web --network blue -c name -c fixed_ips -c mac_address",
        "openstack port create db --network blue -c name -c fixed_ips -c mac_address",
    )
    demo.step("A guest on h1", "unryu lab plug web --host h1 --as vm1")
    demo.step("A guest on h2", "unryu lab plug db --host h2 --as vm2")
    other = demo.port("db")
    demo.step("IPv4 across the hosts", f"unryu lab exec vm1 -- ping -c 3 -i 0.2 -W 1 {other['v4']}")
    demo.step("IPv6 across the hosts", f"unryu lab exec vm1 -- ping -c 3 -i 0.2 -W 1 {other['v6']}")
    listed = demo.step("What the tenant sees", "openstack port list --long -c Name -c 'Fixed IP Addresses' -c Status")
    if listed.count("ACTIVE") != 2:
        raise Failed("The two ports should be ACTIVE.")
    demo.step("What the operator sees", "unryu status | sed -n '/^switches/,/└/p'")
    demo.step(
        "A router, its way out shared",
        "openstack router create edge -c name -c status",
        "openstack router add subnet edge blue-v4",
        "openstack router set edge --external-gateway internet",
    )
    seen = demo.step("Out: a web server on the provider's side sees the router's address",
                     f"unryu lab exec vm1 -- curl -s -m 3 http://{SERVER[4]}/")
    demo.step(
        "A floating IP, and a rule that lets pings in",
        "openstack floating ip create internet --port web -c floating_ip_address -c fixed_ip_address -c status",
        "openstack security group rule create default --protocol icmp -c protocol -c direction",
    )
    floating = demo.floating_ip()
    demo.step("In: from outside", f"unryu lab exec internet -- ping -c 3 -i 0.2 -W 1 {floating}")
    now = demo.step("Out again: now it is seen under an address of its own",
                    f"unryu lab exec vm1 -- curl -s -m 3 http://{SERVER[4]}/")
    if floating not in now or floating in seen:
        raise Failed(f"The web server should have seen {floating}, and before it another address.")
    switch = shlex.quote(f"unix:{demo.state}/hosts/h1/br-tun.mgmt")
    demo.step(
        "The flows on h1 that name the port on h2",
        f"ovs-ofctl -O OpenFlow13 --no-stats dump-flows {switch} | grep -F {other['mac']}",
    )


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 160)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # not by way of SIGINT: who starts us behind `&` has that ignored
    demo = Demo(Path(tempfile.mkdtemp(prefix="unryu-demo-")), console)
    code = 1
    try:
        play(demo)
        code = 0
    except Failed as failure:
        console.print(f"\n[bold red]{escape(str(failure))}[/]")
    except KeyboardInterrupt:
        console.print("\n[bold red]Interrupted.[/]")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # cleaning is the one thing that must not be interrupted
        try:
            demo.step("Nothing is left", "unryu down")
        except Failed as failure:
            console.print(f"\n[bold red]{escape(str(failure))}[/]")
            code = 1
    table = Table("step", "seconds", title="Timings", title_justify="left")
    for title, seconds in demo.timings:
        table.add_row(title, f"{seconds:.2f}")
    table.add_row("all", f"{sum(seconds for _, seconds in demo.timings):.2f}", style="bold")
    console.print(table)
    return code


if __name__ == "__main__":
    sys.exit(main())
