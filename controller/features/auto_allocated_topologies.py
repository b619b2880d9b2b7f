"""Topologies made by themselves: what there is of them (controller/topologies.py makes and removes them)."""

from unryu.resource import Resource, field


class AutoAllocatedTopology(Resource, kind="auto_allocated_topology", service="network", path=None,
                            without=("name", "description", "tags")):
    """What was made for a project; its row goes with its network, whoever deletes that."""

    network_id: str = field(ref="network", unique=True, ondelete="cascade", length=64)
    router_id: str | None = field(None, ref="router", ondelete="clear", length=64)
