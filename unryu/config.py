"""Settings: declared where they are used, read from the state folder's `unryu.toml` and from the environment.

A room declares what it needs, and `unryu config show` lists every declaration:

    class DatabaseSettings(Settings):
        section: ClassVar[str] = "database"
        url: str = Field("", description="SQLAlchemy URL; empty means SQLite in the state folder")

    DatabaseSettings.read().url

The environment wins over the file: `UNRYU_DATABASE_URL` over `[database] url = …`.
"""

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self, get_origin

from pydantic import BaseModel, ValidationError

from unryu.errors import WrongSettings

DEFAULT_STATE = "/var/lib/unryu"

sections: dict[str, type["Settings"]] = {}


def state_dir() -> Path:
    """The folder that holds everything of this cloud: database, secrets, sockets, logs."""
    return Path(os.environ.get("UNRYU_STATE") or DEFAULT_STATE)


class Settings(BaseModel, validate_default=True):
    section: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        sections[cls.section] = cls

    @classmethod
    def read(cls) -> Self:
        """What holds in this process, of this cloud."""
        path = state_dir() / "unryu.toml"
        try:
            written = tomllib.loads(path.read_text()).get(cls.section, {}) if path.exists() else {}
            return cls.model_validate({**written, **dict(cls._environment())})
        except tomllib.TOMLDecodeError as error:
            raise WrongSettings(f"{path} is no TOML: {error}.") from None
        except ValidationError as error:
            raise cls._wrong(error) from None

    @classmethod
    def _environment(cls) -> Iterator[tuple[str, Any]]:
        for name, field in cls.model_fields.items():
            said = os.environ.get(f"UNRYU_{cls.section}_{name}".upper())
            if said is not None:
                yield name, _json(said) if get_origin(field.annotation) in (list, dict) else said

    @classmethod
    def _wrong(cls, error: ValidationError) -> WrongSettings:
        wrong = {str(one["loc"][0]): one for one in error.errors(include_url=False)}
        missing = [name for name, one in wrong.items() if one["type"] == "missing"]
        parts = [f"{name} cannot be {one['input']!r} ({one['msg']})" for name, one in wrong.items() if name not in missing]
        if any(one["type"] in ("list_type", "dict_type") for one in wrong.values()):
            parts.append("lists and maps are said as JSON")
        if missing:
            parts.append(f"{', '.join(missing)} must be set")
        names = ", ".join(f"UNRYU_{cls.section}_{name}".upper() for name in wrong)
        return WrongSettings(f"{'; '.join(parts)}. Say it in [{cls.section}] of {state_dir() / 'unryu.toml'} or in the "
                             f"environment: {names}.", unsaid=len(missing) == len(wrong))


def _json(text: str) -> Any:
    """Lists and maps are said as JSON; what is none, its field will not take."""
    try:
        return json.loads(text)
    except ValueError:
        return text
