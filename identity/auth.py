"""`/v3/auth`: tokens, and what everybody may ask about himself."""

from typing import Any

import flask
import sqlalchemy as sa

from identity.assignments import PAGE, listed, page
from identity.catalog import Catalog
from identity.description import ENDED, describe
from identity.forms import ChangeForm, LoginForm, User, parsed
from identity.login import Login
from identity.nouns import Domain, Project, Revocation
from identity.passwords import hashed
from identity.roles import held, of_user, projects
from identity.tokens import Keys, Token
from unryu.db import Tx
from unryu.errors import BadRequest, Forbidden, NotFound, Unauthorized
from unryu.rest import Api, Page, Plain, described, seen

TOKEN = {"token": Plain({"type": "object", "required": ["methods", "user", "audit_ids", "issued_at", "expires_at"]})}
UNLISTED = {"nocatalog": str}
SUBJECT = ("X-Subject-Token",)


def token_routes(api: Api, keys: Keys, login: Login, catalog: Catalog) -> None:
    rule = f"{api.dialect.prefix}/auth/tokens"

    def answer(about: dict[str, Any], sealed: str, status: int) -> Any:
        if "roles" in about and "nocatalog" not in flask.request.args:
            about = {**about, "catalog": catalog.entries}
        return {"token": about}, status, {"X-Subject-Token": sealed, "Vary": "X-Auth-Token"}

    def subject(tx: Tx) -> tuple[Token, dict[str, Any], str]:
        """The token that is asked about. Anybody may ask about his own; about others' an administrator, and a service that
        only looks. Both are read from the rows: `api.context` remembers, and asks just this call what it does not."""
        mine, asked = (flask.request.headers.get(h, "") for h in ("X-Auth-Token", "X-Subject-Token"))
        if not asked:
            raise BadRequest("This call needs a token in the header X-Subject-Token.")
        token = keys.open(asked)
        if mine != asked:
            known = keys.open(mine)
            if known is None:
                raise Unauthorized(ENDED)
            asker = api.policy.read(describe(tx, known))
            own = token is not None and token.user_id == known.user_id
            service = "service" in asker.roles and flask.request.method != "DELETE"
            if not (own or asker.is_admin or service):
                raise Forbidden("Only an administrator may ask about another user's token.")
        try:
            if token is None:
                raise Unauthorized(ENDED)
            return token, describe(tx, token), asked
        except Unauthorized as error:
            if mine == asked:
                raise
            raise NotFound(ENDED) from error

    @api.app.post(rule)
    @described("Log in: ask for a token.", body=LoginForm, query=UNLISTED, answers={201: TOKEN}, public=True, faults=(401,))
    def issue_token() -> Any:
        token, about = login.token(parsed(LoginForm, api.body()).auth)
        return answer(about, keys.seal(token), 201)

    @api.app.get(rule)
    @described("Show what a token says.", query=UNLISTED, answers={200: TOKEN}, headers=SUBJECT, faults=(404,))
    def show_token() -> Any:
        with api.database.reading() as tx:
            _, about, sealed = subject(tx)
        return answer(about, sealed, 200)

    @api.app.delete(rule)
    @described("End a token before its time.", answers={204: None}, headers=SUBJECT, faults=(404,))
    def revoke_token() -> Any:
        with api.database.transaction(api.context) as tx:
            token, _, _ = subject(tx)
            tx.insert(Revocation(id=token.audit_ids[0], expires=int(token.expires) + 1))
            for over in _over(tx):
                tx.delete(over)
        return "", 204


def _over(tx: Tx) -> list[Revocation]:
    """Some of those whose token would have expired by now anyway."""
    table = Revocation.table
    rows = tx.connection.execute(sa.select(table).where(table.c.expires < tx.now.timestamp()).limit(100)).mappings()
    return [Revocation.from_row(row) for row in rows]


def own_routes(api: Api, login: Login, catalog: Catalog) -> None:
    """What everybody may ask about himself, and change."""
    prefix = api.dialect.prefix

    def projects_of(user_id: str) -> Any:
        with api.database.reading() as tx:
            return listed(api, tx, Project, (p.id for p in projects(tx, user_id)))

    @api.app.get(f"{prefix}/auth/projects")
    @described("List the projects that the caller may have a token for.", answers={200: Page(Project)}, query=Project)
    def own_projects() -> Any:
        return projects_of(api.context.user_id)

    @api.app.get(f"{prefix}/auth/domains")
    @described("List the domains that the caller may have a token for.", answers={200: Page(Domain)}, query=Domain)
    def own_domains() -> Any:
        user_id = api.context.user_id
        with api.database.reading() as tx:
            ids = {a.on_domain for a in of_user(tx, user_id) if a.on_domain and not a.inherited}
            return listed(api, tx, Domain, (d.id for d in tx.where("domain", id=ids, enabled=True)))

    @api.app.get(f"{prefix}/auth/system")
    @described("Say whether the caller may have a token for the system.", answers={200: {"system": [{"all": bool}]}})
    def own_system() -> Any:
        user_id = api.context.user_id
        with api.database.reading() as tx:
            return {"system": [{"all": True}] if held(tx, user_id, ("system", "all")) else []}

    @api.app.get(f"{prefix}/auth/catalog")
    @described("Show which service answers where.", answers={200: {"catalog": catalog.entries, "links": PAGE}})
    def own_catalog() -> Any:
        if not api.context.roles:
            raise Forbidden("A token without a scope has no catalogue.")
        return page(catalog=catalog.entries)

    @api.app.get(f"{prefix}/users/<id>/projects")
    @described("List the projects where a user has a role.", answers={200: Page(Project)}, query=Project)
    def projects_of_user(id: str) -> Any:
        context = api.context
        with api.database.reading() as tx:
            user = seen(tx, "user", id, context)
        return projects_of(user.id)

    @api.app.post(f"{prefix}/users/<id>/password")
    @described("Change one's own password.", body=ChangeForm, answers={204: None}, public=True, faults=(401,))
    def change_password(id: str) -> Any:
        """No token: who knows the old password may, also when it is all he has left."""
        given = parsed(ChangeForm, api.body()).user
        login.check(User(id=id, password=given.original_password))
        new = hashed(given.password)
        with api.database.transaction() as tx:
            user = tx.need("user", id)
            tx.update(user.replace(password_hash=new).before_update(tx, None, user))
        return "", 204
