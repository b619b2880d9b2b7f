"""`unryu serve agent`: the settings of a host's agent, and the way into its process."""

import os
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from ovsagent.mappings import checked
from unryu.config import Settings, state_dir


class AgentSettings(Settings):
    section: ClassVar[str] = "agent"
    host: str = Field(description="Name of this host, unique in the cloud")
    cloud: str = Field("unryu", description="Name of the cloud: with the host's it makes the datapath ids")
    controller_url: str = Field(description="Base URLs of the controllers' doors for agents, separated by spaces: "
                                "where one does not answer the next is asked")
    tls: Path = Field(Path(), description="Folder of host.pem and services-ca.pem; empty: $STATE/secrets/tls")
    openflow: list[str] = Field(description="OpenFlow targets for the bridges, such as ssl:100.64.0.1:6653")
    tunnel_ip: IPv4Address = Field(description="Address of this host's tunnel end")
    bridge_mappings: Annotated[dict[str, str], AfterValidator(checked)] = Field(
        {}, description="Physical network to the bridge that carries it on this host: br-ex, or one of its own")
    ovsdb: Path = Field(Path("/run/openvswitch/db.sock"), description="Unix socket of this host's ovsdb-server")
    listen: str = Field(description="Address and port of the agent's own door")


def serve() -> None:
    """Become the agent: a new program in this process, since the parts that read settings and find services would stay
    in memory on every host, a third of all it needs (docs/decisions/0003-plain-ovsdb.md)."""
    settings = AgentSettings.read()
    if settings.tls == Path():
        settings.tls = state_dir() / "secrets" / "tls"
    os.execv(sys.executable, [sys.executable, "-P", "-m", "ovsagent.process", settings.model_dump_json()])
