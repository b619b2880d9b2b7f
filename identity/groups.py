"""Who is in which group."""

from typing import Any

from identity.assignments import administrator, listed
from identity.nouns import Group, Membership, User
from unryu.db import Tx
from unryu.errors import NotFound
from unryu.rest import Api, Page, described, seen


def routes(api: Api) -> None:
    prefix = api.dialect.prefix

    def found(tx: Tx, group_id: str, user_id: str) -> list[Membership]:
        tx.need("group", group_id), tx.need("user", user_id)
        return list(tx.where("membership", group_id=group_id, user_id=user_id))

    def must_be(tx: Tx, group_id: str, user_id: str) -> Membership:
        for membership in found(tx, group_id, user_id):
            return membership
        raise NotFound(f"User {user_id} is not in group {group_id}.")

    @described("Put a user into a group.", answers={204: None})
    def add(group_id: str, user_id: str) -> Any:
        administrator(api)
        with api.database.transaction(api.context) as tx:
            if not found(tx, group_id, user_id):
                tx.insert(Membership(group_id=group_id, user_id=user_id))
        return "", 204

    @described("Take a user out of a group.", answers={204: None})
    def remove(group_id: str, user_id: str) -> Any:
        administrator(api)
        with api.database.transaction(api.context) as tx:
            tx.delete(must_be(tx, group_id, user_id))
        return "", 204

    @described("Ask whether a user is in a group.", answers={204: None})
    def check(group_id: str, user_id: str) -> Any:
        administrator(api)
        with api.database.reading() as tx:
            must_be(tx, group_id, user_id)
        return "", 204

    for method, view in (("PUT", add), ("DELETE", remove), ("GET", check)):
        api.app.add_url_rule(f"{prefix}/groups/<group_id>/users/<user_id>", f"{view.__name__}_member", view, methods=[method])

    @api.app.get(f"{prefix}/groups/<group_id>/users")
    @described("List the users in a group.", answers={200: Page(User)}, query=User)
    def list_members(group_id: str) -> Any:
        administrator(api)
        with api.database.reading() as tx:
            tx.need("group", group_id)
            return listed(api, tx, User, (m.user_id for m in tx.where("membership", group_id=group_id)))

    @api.app.get(f"{prefix}/users/<user_id>/groups")
    @described("List the groups that a user is in.", answers={200: Page(Group)}, query=Group)
    def list_groups_of_user(user_id: str) -> Any:
        context = api.context
        with api.database.reading() as tx:
            seen(tx, "user", user_id, context)
            return listed(api, tx, Group, (m.group_id for m in tx.where("membership", user_id=user_id)))
