"""What callers send, where it is no noun: a login, a change of password. As Identity API v3 spells it."""

from typing import Annotated, Any, Literal, TypeVar

import pydantic

from unryu.errors import BadRequest
from unryu.rest import text

Text = Annotated[str, pydantic.AfterValidator(text(255))]
Secret = Annotated[str, pydantic.AfterValidator(text(4096))]


class Domain(pydantic.BaseModel):
    """By id or by name."""

    id: Text | None = None
    name: Text | None = None


class Named(Domain):
    """By id, or by name within a domain."""

    domain: Domain | None = None


class User(Named):
    password: Secret


class Password(pydantic.BaseModel):
    user: User


class Earlier(pydantic.BaseModel):
    id: Secret


class Identity(pydantic.BaseModel):
    methods: list[Text]
    password: Password | None = None
    token: Earlier | None = None


class Where(pydantic.BaseModel):
    project: Named | None = None
    domain: Domain | None = None
    system: dict[str, bool] | None = None


class Auth(pydantic.BaseModel):
    identity: Identity
    scope: Where | Literal["unscoped"] | None = None


class LoginForm(pydantic.BaseModel):
    auth: Auth


class Passwords(pydantic.BaseModel):
    original_password: Secret
    password: Text


class ChangeForm(pydantic.BaseModel):
    user: Passwords


Form = TypeVar("Form", bound=pydantic.BaseModel)


def parsed(form: type[Form], body: dict[str, Any]) -> Form:
    """Words that the form does not know are left alone, as the reference service does."""
    try:
        return form.model_validate(body)
    except pydantic.ValidationError as error:
        # Never what was given: it may be a password.
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"Invalid input for {where}: {first['msg'].removeprefix('Value error, ')}.") from None
