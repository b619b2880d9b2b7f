"""Settings: declared where they are used, read from the state folder's `unryu.toml` and from the environment.

A room declares what it needs, and `unryu config show` lists every declaration:

    class Database(Settings):
        section: ClassVar[str] = "database"
        url: str = Field("", description="SQLAlchemy URL; empty means SQLite in the state folder")

The environment wins over the file: `UNRYU_DATABASE_URL` over `[database] url = …`.
"""

import os
import tomllib
from pathlib import Path
from typing import Any, ClassVar

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

DEFAULT_STATE = "/var/lib/unryu"

sections: dict[str, type["Settings"]] = {}


def state_dir() -> Path:
    """The folder that holds everything of this cloud: database, secrets, sockets, logs."""
    return Path(os.environ.get("UNRYU_STATE") or DEFAULT_STATE)


class Settings(BaseSettings):
    section: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.model_config = SettingsConfigDict(
            **{**cls.model_config, "env_prefix": f"UNRYU_{cls.section.upper()}_", "extra": "ignore"}
        )
        sections[cls.section] = cls

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _File(settings_cls)


class _File(PydanticBaseSettingsSource):
    """One table of `unryu.toml`."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise AssertionError("unused: __call__ answers for the whole section")

    def __call__(self) -> dict[str, Any]:
        path = state_dir() / "unryu.toml"
        if not path.exists():
            return {}
        return tomllib.loads(path.read_text()).get(self.settings_cls.section, {})  # type: ignore[attr-defined]
