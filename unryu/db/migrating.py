"""The schema, brought to this version (Alembic; one linear history in unryu/migrations)."""

import threading
from pathlib import Path
from typing import Any

from unryu.db.database import Database

_upgrade_lock = threading.Lock()


def upgrade(url: str = "", revision: str = "head") -> None:
    with _upgrade_lock:
        from alembic import command

        database = Database(url, limited=False)
        try:
            command.upgrade(alembic_config(database), revision)
        finally:
            database.close()


def alembic_config(database: Database) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    config.attributes["engine"] = database.engine
    return config
