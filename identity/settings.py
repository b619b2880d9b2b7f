"""Identity's settings."""

from typing import ClassVar

from pydantic import Field

from unryu.config import Settings


class IdentitySettings(Settings):
    section: ClassVar[str] = "identity"
    public_url: str = Field("http://127.0.0.1:8774", description="URL under which clients reach the APIs, without a path")
    region: str = Field("RegionOne", description="name of this cloud's region in the catalogue")
    token_lifetime: int = Field(3600, ge=60, description="seconds that a token lives")
