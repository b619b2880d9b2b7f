"""The quotas of a project, to read and to set: /v2.0/quotas."""

from typing import Any

from unryu import quota
from unryu.db import Tx
from unryu.errors import BadRequest, Forbidden, NotFound
from unryu.rest import Api, described

MOST = 2**31 - 1
FLAGS = ("force", "check_limit")
"""Said beside the limits: `force` sets one below what is in use; the other is what is done anyway."""


def routes(api: Api) -> None:
    kinds = quota.limited(api.service)
    each = {noun.kind: int for noun in kinds}
    path = f"{api.dialect.prefix}/quotas"

    def may_see(project_id: str) -> None:
        if not (api.context.is_admin or project_id == api.context.project_id):
            raise Forbidden("Only an administrator may see another project's quotas.", "AdminRequired")

    def may_set() -> None:
        if not api.context.is_admin:
            raise Forbidden("Only an administrator may list or set quotas.", "PolicyNotAuthorized")

    @api.app.get(path)
    @described("List the quotas of the projects that have quotas of their own.",
               answers={200: {"quotas": [{**each, "project_id": str, "tenant_id": str}]}})
    def list_quotas() -> Any:
        may_set()
        with api.database.reading() as tx:
            projects = sorted({q.project_id for q in tx.where("quota", resource=list(each))})
            return {"quotas": [{**quota.limits(tx, id, kinds), "project_id": id, "tenant_id": id} for id in projects]}

    @api.app.get(f"{path}/<project_id>")
    @described("Show the quotas of a project; -1 is without limit.", answers={200: {"quota": each}})
    def show_quota(project_id: str) -> Any:
        may_see(project_id)
        with api.database.reading() as tx:
            return {"quota": quota.limits(tx, project_id, kinds)}

    @api.app.get(f"{path}/<project_id>/default")
    @described("Show the quotas of a project that has none of its own.", answers={200: {"quota": each}})
    def show_default_quota(project_id: str) -> Any:
        may_see(project_id)
        return {"quota": {noun.kind: noun.quota for noun in kinds}}

    @api.app.get(f"{path}/<project_id>/details")
    @api.app.get(f"{path}/<project_id>/details.json", endpoint="show_quota_details_json")
    @described("Show the quotas of a project, and what it uses of them.",
               answers={200: {"quota": {noun.kind: {"limit": int, "used": int, "reserved": int} for noun in kinds}}})
    def show_quota_details(project_id: str) -> Any:
        may_see(project_id)
        with api.database.reading() as tx:
            limits = quota.limits(tx, project_id, kinds)
            return {"quota": {noun.kind: {"limit": limits[noun.kind], "used": quota.used(tx, noun, project_id), "reserved": 0}
                              for noun in kinds}}

    @api.app.put(f"{path}/<project_id>")
    @described("Set quotas of a project.", body={"quota": dict[str, int]}, answers={200: {"quota": each}})
    def set_quota(project_id: str) -> Any:
        may_set()
        limits, force = _limits(api.body(), each)
        with api.database.transaction(api.context) as tx:
            for noun in kinds:
                if noun.kind in limits:
                    if not force:
                        _check_used(noun.kind, limits[noun.kind], quota.used(tx, noun, project_id))
                    quota.set_limit(tx, noun, project_id, limits[noun.kind])
            return {"quota": quota.limits(tx, project_id, kinds)}

    @api.app.delete(f"{path}/<project_id>")
    @described("Give a project the default quotas again.", answers={204: None})
    def delete_quota(project_id: str) -> Any:
        may_set()
        with api.database.transaction(api.context) as tx:
            own = _own(tx, project_id, list(each))
            if not own:
                raise NotFound(f"Project {project_id} has no quotas of its own.", "TenantQuotaNotFound")
            for one in own:
                tx.delete(one)
        return "", 204


def _own(tx: Tx, project_id: str, kinds: list[str]) -> list[Any]:
    return tx.where("quota", project_id=project_id, resource=kinds)


def _limits(body: dict[str, Any], kinds: dict[str, Any]) -> tuple[dict[str, int], bool]:
    given = body.get("quota")
    if set(body) != {"quota"} or not isinstance(given, dict):
        raise BadRequest("The body must be an object with the one key 'quota', an object.")
    unknown = sorted(set(given) - set(kinds) - set(FLAGS))
    if unknown:
        raise BadRequest(f"Unrecognized attribute '{unknown[0]}' of a quota; there are quotas of {', '.join(kinds)}.")
    limits = {}
    for kind in set(given) & set(kinds):
        value = given[kind]
        number = int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 12 else value
        if not isinstance(number, int) or isinstance(number, bool) or not quota.UNLIMITED <= number <= MOST:
            raise BadRequest(f"Invalid input for {kind}: a limit is a number from 0 to {MOST}, or -1 for none.")
        limits[kind] = number
    return limits, given.get("force") is True


def _check_used(kind: str, limit: int, used: int) -> None:
    if quota.UNLIMITED != limit < used:
        raise BadRequest(f"Quota limit {limit} for {kind} must be greater than or equal to already used {used}.")
