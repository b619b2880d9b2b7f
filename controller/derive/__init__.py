"""Deriving flows: features are pure functions of a record, the picture and a host, as cells of a spreadsheet.

    @derives("port", at=own_host)
    def delivery(port, net, here): yield flow(…)

Every read goes through `net` or `here` and is noted; when a revision touches a cell, only what read it runs again. A
function under `@remembered` is a cell too: when it gives the same as before, its readers are left alone. What
many records come to under a key, `@gathered` keeps by counting. Nothing else is invalidated by hand, and nobody writes an
uninstall: what a unit no longer gives is gone.

Beside flows a unit may yield answers: what the host's own agent says to a guest that asks. They are kept as flows are.

What a feature asks of its host is noted apart: hosts that answer alike share one result, the same bytes, derived once.
"""

from controller.derive.engine import Engine
from controller.derive.places import (
    hosts_of_its_network,
    hosts_of_network,
    hosts_of_router,
    hosts_reaching,
    hosts_reaching_it,
    hosts_reaching_network,
    its_hosts,
    itself,
    other_hosts_of_its_network,
    others_reaching_it,
    own_host,
)
from controller.derive.plain import recompute
from controller.derive.standing import Change, Changes, Entry, Key, Unit
from controller.derive.words import (
    BOOK,
    Answer,
    Feature,
    Here,
    Net,
    agent_of,
    answer,
    catalogue,
    derives,
    gathered,
    remembered,
    vif_of,
)

__all__ = ["BOOK", "Answer", "Change", "Changes", "Engine", "Entry", "Feature", "Here", "Key", "Net", "Unit", "agent_of",
           "answer", "catalogue", "derives", "gathered", "hosts_of_its_network", "hosts_of_network", "hosts_of_router",
           "hosts_reaching", "hosts_reaching_it", "hosts_reaching_network", "its_hosts", "itself",
           "other_hosts_of_its_network", "others_reaching_it", "own_host", "recompute", "remembered", "vif_of"]
