"""Agents: one per host, the hands there; what it reports of its switches and VIFs is what flows are made of."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from controller.segments import TUNNELS
from controller.zones import ZONE
from unryu.resource import Resource, field

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

SILENT = 15.0
"""Seconds without a heartbeat (one comes every 5) after which an agent counts as dead."""


class Agent(Resource, kind="agent", service="network", without=("project_id", "name", "tags"),
            verbs=frozenset(("list", "show", "update", "delete")),
            roles={"list": "admin", "show": "admin", "update": "admin", "delete": "admin"}):
    host: str = field(post=False, unique=True)
    admin_state_up: bool = field(True, put=True, inert=True)
    agent_type: str = field("Open vSwitch agent", observed=True, inert=True)
    binary: str = field("unryu-agent", observed=True, inert=True)
    topic: str = field("N/A", observed=True, inert=True)
    availability_zone: str | None = field(ZONE, observed=True, inert=True)
    started_at: str = field("", observed=True, inert=True)
    heartbeat_timestamp: str = field("", observed=True, inert=True)
    tunnel_ip: str = field("", observed=True, internal=True)
    mtu: int = field(0, observed=True, internal=True, inert=True)
    """Of what carries its tunnels; 0: it has not said."""
    datapaths: dict[str, str] = field({}, observed=True, internal=True)
    """Bridge → datapath id, 16 hex digits."""
    ofports: dict[str, dict[str, int]] = field({}, observed=True, internal=True)
    """Bridge → infrastructure port → ofport."""
    door: str = field("", observed=True, internal=True)
    """Address and port at which its agent takes the book of answers."""
    admitted: int = field(0, observed=True, internal=True)
    """Milliseconds since 1970. An earlier host of this name was removed then: certificates signed before are not taken."""
    mappings: dict[str, str] = field({}, observed=True, internal=True)
    """Physical network → bridge."""
    adds = {"alive": bool, "configurations": dict[str, Any]}

    @classmethod
    def computed(cls, tx: "Tx", records: Sequence[Self], context: "Context") -> Mapping[str, dict[str, Any]]:
        return {r.id: {"alive": r.age(tx.now) < SILENT, "configurations": {
            "tunnel_types": [name for name in TUNNELS if name in r.ofports.get("br-tun", {})], "tunneling_ip": r.tunnel_ip,
            "bridge_mappings": r.mappings, "datapaths": r.datapaths,
            "missing_wires": sorted(r.mappings.keys() - r.ofports.get("br-ex", {}).keys())}} for r in records}

    def age(self, now: datetime) -> float:
        """Seconds since its last heartbeat. (One that is still to come was made before the clock was set back.)"""
        if not self.heartbeat_timestamp:
            return float("inf")
        return abs((now - datetime.fromisoformat(self.heartbeat_timestamp).replace(tzinfo=UTC)).total_seconds())


class Vif(Resource, kind="vif", service="network", path=None, without=("project_id", "name", "description", "tags"),
          unique_together=(("agent_id", "port_id"),)):
    """A port's interface on a host, as the host's agent sees it."""

    agent_id: str = field(ref="agent", ondelete="cascade")
    port_id: str = field(ref="port", ondelete="cascade")
    ofport: int = field(0, observed=True)
    link: str = field("down", observed=True)
