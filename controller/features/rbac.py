"""RBAC policies: what one project lets another, or everybody, use."""

from typing import TYPE_CHECKING, Any, Self

from unryu.checks import one_of
from unryu.errors import BadRequest, Conflict, Forbidden
from unryu.resource import Resource, field, nouns
from unryu.scope import EVERYBODY, dependent, grant, seen

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

SHARED, EXTERNAL = grant("shared"), grant("external")


def project(value: str) -> str:
    if not value:
        raise ValueError(f"it is a project's id, or {EVERYBODY} for everybody")
    return value


class RbacPolicy(Resource, kind="rbac_policy", service="network", plural="rbac_policies", quota=10,
                 without=("name", "description", "tags", "created_at", "updated_at", "revision_number"),
                 unique_together=(("object_id", "action", "target_project_id"),)):
    object_type: str = field(required=True, inert=True, length=64)
    object_id: str = field(required=True, inert=True, index=True, length=64)
    action: str = field(SHARED, required=True, inert=True, check=one_of(SHARED, EXTERNAL), length=64)
    target_project_id: str = field(required=True, wire="target_tenant", put=True, inert=True, check=project, index=True,
                                   length=64)

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        shareable = sorted(noun.kind for noun in nouns.values() if noun.visible_by == self.kind)
        if self.object_type not in shareable:
            raise BadRequest(f"'{self.object_type}' is not a valid RBAC object type: {', '.join(shareable)}.", "InvalidInput")
        if self.action not in map(grant, nouns[self.object_type].visible_if or ("shared",)):
            raise BadRequest(f"Invalid action '{self.action}' for object type '{self.object_type}'.", "InvalidInput")
        thing = seen(tx, self.object_type, self.object_id, context, lock=True)
        if not context.owns(thing):
            raise BadRequest(f"{self.object_type} {self.object_id} belongs to another project, which alone can share it.",
                             "InvalidInput")
        self._grant(tx, context, thing)
        return self

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        if self.target_project_id != before.target_project_id:
            self._grant(tx, context, before._withdrawn(tx))
        return self

    def before_delete(self, tx: "Tx", context: "Context") -> None:
        self._withdrawn(tx)

    def after_delete(self, tx: "Tx", context: "Context") -> None:
        self._mark(tx, tx.get(self.object_type, self.object_id), shared=False)

    def _grant(self, tx: "Tx", context: "Context", thing: Any) -> None:
        if not context.is_admin and (self.target_project_id == EVERYBODY or self.action == EXTERNAL):
            raise Forbidden("Only an administrator may share something with everybody, or give a way out.")
        if tx.where("rbac_policy", object_id=self.object_id, action=self.action, target_project_id=self.target_project_id):
            raise Conflict("An RBAC policy already exists with those values.", "DuplicateRbacPolicy")
        self._mark(tx, thing, shared=True)

    def _withdrawn(self, tx: "Tx") -> Any:
        """The object, which nobody uses by this grant; nobody else comes to use it until the commit."""
        thing = tx.lock(self.object_type, self.object_id)
        users = dependent(tx, thing, self)
        if users:
            raise Conflict(f"RBAC policy on {self.object_type} {self.object_id} cannot be removed: "
                           f"{', '.join(sorted(users)[:5])} use it.", "RbacPolicyInUse")
        return self._mark(tx, thing, shared=False)

    def _mark(self, tx: "Tx", thing: Any, shared: bool) -> Any:
        """Granted to everybody is what `shared`, or `external`, says."""
        said = [attribute for attribute in thing.visible_if if grant(attribute) == self.action] if thing is not None else ()
        if said and self.target_project_id == EVERYBODY:
            return tx.update(thing, **dict.fromkeys(said, shared))
        return thing
