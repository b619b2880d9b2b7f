"""`unryu serve agent`: the settings of a host's agent, and the way into its process."""

import os
import sys
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from unryu.config import Settings


class AgentSettings(Settings):
    section: ClassVar[str] = "agent"
    host: str = Field(description="Name of this host, unique in the cloud")
    cloud: str = Field("unryu", description="Name of the cloud: with the host's it makes the datapath ids")
    controller_url: str = Field(description="Base URL of the controller's door for agents")
    secret_file: Path = Field(description="File with the secret that agents and controller share")
    openflow: list[str] = Field(description="OpenFlow targets for the bridges, such as tcp:100.64.0.1:6653")
    tunnel_ip: str = Field(description="Address of this host's tunnel end")
    bridge_mappings: dict[str, str] = Field({}, description="Physical network to what carries it on this host")
    ovsdb: Path = Field(Path("/run/openvswitch/db.sock"), description="Unix socket of this host's ovsdb-server")
    listen: str = Field(description="Address and port of the agent's own door")


def serve() -> None:
    """Become the agent: a new program in this process, since the parts that read settings and find services would stay
    in memory on every host, a third of all it needs (docs/decisions/0003-plain-ovsdb.md)."""
    settings = AgentSettings()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "ovsagent.process", settings.model_dump_json()])
