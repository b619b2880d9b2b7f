"""A network with a router that leads out, for a project that asks for no more than that: /v2.0/auto-allocated-topology."""

from typing import Any

import flask

from unryu.auth import Context
from unryu.db import Tx
from unryu.errors import BadRequest, Conflict, Forbidden, NotFound
from unryu.resource import nouns
from unryu.rest import Api, described
from unryu.rest.write import create, delete

DRY_RUN = "dry-run"
SHOWN = {"auto_allocated_topology": {"id": str, "project_id": str, "tenant_id": str}}


def routes(api: Api) -> None:
    path = f"{api.dialect.prefix}/auto-allocated-topology/<project_id>"

    def project(project_id: str) -> str:
        """`None` is what the client says for one's own."""
        own = api.context.project_id
        project_id = own or "" if project_id == "None" else project_id
        if not project_id:
            raise BadRequest("A topology belongs to a project, and this token is of none.")
        if not (api.context.is_admin or project_id == own):
            raise Forbidden("Only an administrator may do that for another project.", "NotAuthorized")
        return project_id

    @api.app.get(path)
    @described("Give a project a network that is connected to the outside, or (`fields=dry-run`) say whether that could be done.",
               query={"fields": [str]}, faults=(409,), answers={200: SHOWN})
    def show_auto_allocated_topology(project_id: str) -> Any:
        context, project_id, fields = api.context, project(project_id), flask.request.args.getlist("fields")
        if set(fields) - {DRY_RUN}:
            raise BadRequest(f"The only field that can be asked for is {DRY_RUN}.")
        if fields:
            with api.database.reading() as tx:
                outside(tx), pools(tx)
            return _said("dry-run=pass", project_id)
        for kind in ("network", "subnet", "router"):
            api.policy.check(context, "create", kind)
        with api.database.transaction(context, many=True) as tx:
            return _said(made(tx, context, project_id).network_id, project_id)

    @api.app.delete(path)
    @described("Take a project's topology away.", answers={204: None})
    def delete_auto_allocated_topology(project_id: str) -> Any:
        context, project_id = api.context, project(project_id)
        for kind in ("network", "router"):
            api.policy.check(context, "delete", kind)
        with api.database.transaction(context) as tx:
            removed(tx, context, project_id)
        return "", 204


def _said(id: str, project_id: str) -> dict[str, dict[str, str]]:
    return {"auto_allocated_topology": {"id": id, "project_id": project_id, "tenant_id": project_id}}


def outside(tx: Tx) -> Any:
    """The external network that it leads out by; 409 where it cannot be made."""
    for network in tx.where("network", is_default=True):
        return network
    raise failure("No default router:external network")


def pools(tx: Tx) -> dict[int, Any]:
    """IP version → the pool that its subnet is cut from."""
    found = {pool.ip_version: pool for pool in tx.where("subnetpool", is_default=True)}
    if not found:
        raise failure("No default subnetpools defined")
    return found


def failure(why: str) -> Conflict:
    return Conflict(f"Deployment error: {why}.", "AutoAllocationFailure")


def held(tx: Tx, project_id: str) -> Any:
    return next(iter(tx.where("auto_allocated_topology", project_id=project_id)), None)


def made(tx: Tx, context: Context, project_id: str) -> Any:
    """The project's, made now if it is not there."""
    tx.serialize(f"auto-allocated topology {project_id}")
    have = held(tx, project_id)
    if have:
        return have
    out, versions = outside(tx), sorted(pools(tx))

    def new(kind: str, **values: Any) -> Any:
        [record] = create(tx, nouns[kind], [{"project_id": project_id, **values}], context)
        return record

    try:
        network = new("network", name="auto_allocated_network")
        subnets = [new("subnet", name=f"auto_allocated_subnet_v{version}", network_id=network.id, ip_version=version,
                       use_default_subnetpool=True) for version in versions]
        router = new("router", name="auto_allocated_router", external_gateway_info={"network_id": out.id})
        for subnet in subnets:
            router.actions["add_router_interface"].method(router, tx, context, {"subnet_id": subnet.id})
    except (BadRequest, NotFound) as error:
        raise failure(error.sentence.rstrip('.')) from error
    return tx.make("auto_allocated_topology", context, project_id=project_id, network_id=network.id, router_id=router.id)


def removed(tx: Tx, context: Context, project_id: str) -> None:
    """The project's, if there is one and nobody uses it."""
    have = held(tx, project_id)
    if have is None:
        return
    if have.router_id:
        router = tx.lock("router", have.router_id)
        for interface in tx.where("router_interface", router_id=router.id, network_id=have.network_id):
            router.actions["remove_router_interface"].method(router, tx, context, {"port_id": interface.port_id})
        delete(tx, type(router), router.id, context)
    delete(tx, nouns["network"], have.network_id, context)
