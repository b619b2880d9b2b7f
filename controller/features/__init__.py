"""One room per feature: its nouns, their behaviour, their flows. A feature imports no other feature.

The modules below are ours; others come in by the entry point group `unryu.features`.
"""

from controller.features import agents, broadcast, neighbours, networks, ports, subnets, tunnels

__all__ = ["agents", "broadcast", "neighbours", "networks", "ports", "subnets", "tunnels"]
