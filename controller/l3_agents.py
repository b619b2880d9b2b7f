"""On which hosts a router is and by which it leaves, as clients ask and an administrator moves it: /v2.0/agents/ID/l3-routers.

A router is on every host that has guests of its networks, and nobody can say otherwise. What can be said is where its gateway
is; it stays there for as long as the host can hold it (controller/gateways.py).
"""

from typing import Any

import flask
import sqlalchemy as sa

from controller.gateways import HELD
from controller.segments import wired
from unryu.auth import Context
from unryu.db import Tx
from unryu.errors import BadRequest, Conflict, Forbidden
from unryu.resource import nouns
from unryu.rest import Api, Plain, described
from unryu.scope import seen


def routes(api: Api) -> None:
    prefix = api.dialect.prefix
    path = f"{prefix}/agents/<id>/l3-routers"

    def must_be_admin() -> None:
        if not api.context.is_admin:
            raise Forbidden("Only an administrator may see, or say, on which hosts routers are.", "PolicyNotAuthorized")

    @api.app.get(f"{prefix}/routers/<id>/l3-agents")
    @described("List the agents of the hosts that a router is on. The one that it leaves by is `active`, the next `standby`.",
               answers={200: {"agents": [dict[str, Any]]}})
    def list_l3_agents(id: str) -> Any:
        must_be_admin()
        with api.database.reading() as tx:
            router = seen(tx, "router", id, api.context)
            gateways = tx.where("router_gateway", router_id=router.id)
            states = {gateway.successor: "standby" for gateway in gateways} | {gateway.host: "active" for gateway in gateways}
            agents = tx.where("agent", host=sorted(_hosts(tx, router) | set(states)))
            views = api.views(tx, nouns["agent"], agents)
        return {"agents": [{**view, "ha_state": states.get(view["host"])} for view in views]}

    @api.app.get(path)
    @described("List the routers that are on a host.", answers={200: {"routers": [nouns["router"]]}})
    def list_l3_routers(id: str) -> Any:
        must_be_admin()
        with api.database.reading() as tx:
            host = seen(tx, "agent", id, api.context).host
            found = {row.router_id for row in (*tx.where("router_interface", network_id=_networks(tx, host)),
                                               *(row for kind in HELD for end in ("host", "successor")
                                                 for row in tx.where(kind, **{end: host})))}
            return {"routers": api.views(tx, nouns["router"], tx.where("router", id=sorted(found)))}

    @api.app.post(path)
    @described("Have a router leave by this host.", body={"router_id": str}, faults=(409,),
               answers={201: Plain({"type": "null"})})
    def add_l3_router(id: str) -> Any:
        must_be_admin()
        body = api.body()
        if set(body) != {"router_id"} or not isinstance(body["router_id"], str):
            raise BadRequest("The body must be an object with the one key 'router_id', a router's id.")
        with api.database.transaction(api.context) as tx:
            agent = seen(tx, "agent", id, api.context)
            row = _gateway(tx, seen(tx, "router", body["router_id"], api.context, lock=True))
            if row.host != agent.host:
                _move(tx, api.context, row, agent)
        return flask.jsonify(None), 201

    @api.app.delete(f"{path}/<router_id>")
    @described("Have a router leave by the host that would be next, and not by this.", answers={204: None}, faults=(409,))
    def remove_l3_router(id: str, router_id: str) -> Any:
        must_be_admin()
        with api.database.transaction(api.context) as tx:
            agent = seen(tx, "agent", id, api.context)
            row = _gateway(tx, seen(tx, "router", router_id, api.context, lock=True))
            if row.host != agent.host:
                raise Conflict(f"Router {router_id} does not leave by {agent.host}: where it has guests it has to stay.",
                               "RouterNotHostedByL3Agent")
            [other] = tx.where("agent", host=row.successor) or [None]
            if other is None:
                raise Conflict(f"Router {router_id} has no other host that it could leave by.", "NoEligibleL3Agent")
            _move(tx, api.context, row, other)
        return "", 204


def _hosts(tx: Tx, router: Any) -> set[str]:
    """With guests of its networks, and those that speak for it on wires, or would next."""
    port = nouns["port"].table.c
    interfaces = tx.where("router_interface", router_id=router.id)
    networks = [row.network_id for row in interfaces]
    asked = sa.select(port.binding_host_id).distinct().where(port.network_id.in_(networks), port.binding_host_id != "")
    return {*tx.connection.scalars(asked), *(host for row in interfaces for host in (row.host, row.successor) if host)}


def _networks(tx: Tx, host: str) -> list[str]:
    port = nouns["port"].table.c
    return list(tx.connection.scalars(sa.select(port.network_id).distinct().where(port.binding_host_id == host)))


def _gateway(tx: Tx, router: Any) -> Any:
    for row in tx.where("router_gateway", router_id=router.id):
        return tx.lock("router_gateway", row.id)
    raise Conflict(f"Router {router.id} has no external gateway. It is on every host with guests of it, and on no other.",
                   "RouterSchedulingFailed")


def _move(tx: Tx, context: Context, row: Any, agent: Any) -> None:
    """Who held it is the next. Controllers find it where a host can hold it, and let it be."""
    network = tx.get("network", row.network_id)
    if not agent.computed(tx, [agent], context)[agent.id]["alive"]:
        raise Conflict(f"Host {agent.host} is not alive: it cannot be the gateway of a router.", "InvalidL3Agent")
    if wired(network) and network.physical_network not in agent.ofports.get("br-ex", {}):
        raise Conflict(f"Host {agent.host} has not the physical network {network.physical_network}, by which router "
                       f"{row.router_id} leaves.", "InvalidL3Agent")
    tx.update(row, host=agent.host, successor=row.host, generation=row.generation + 1)
