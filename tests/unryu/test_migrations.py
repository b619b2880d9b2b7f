"""The schema that migrations make is the schema that the nouns declare."""

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from unryu import journal
from unryu.db import Database, upgrade
from unryu.resource import metadata
from unryu.service import load_nouns


def test_from_nothing_to_the_declared_schema(url: str) -> None:
    load_nouns()
    upgrade(url)
    database = Database(url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": metadata})
        assert compare_metadata(context, metadata) == []
        connection.rollback()
    with database.reading() as tx:
        before = journal.head(tx.connection)
    upgrade(url)  # again: nothing
    with database.reading() as tx:
        assert journal.head(tx.connection) == before
    database.close()


def test_rows_are_kept_whoever_refers_to_them(url: str) -> None:
    load_nouns()
    upgrade(url, "0003")
    database = Database(url)
    with database.engine.begin() as connection:
        for kind, values in (("network", {"id": "blue"}), ("port", {"id": "one", "network_id": "blue"})):
            table = sa.Table(kind, sa.MetaData(), autoload_with=connection)
            row: dict[str, Any] = {c.name: _something(c.type) for c in table.c if not c.nullable}
            connection.execute(table.insert().values({**row, **values}))
    upgrade(url)
    with database.reading() as tx:
        assert [n.id for n in tx.where("network")] == ["blue"] and [p.network_id for p in tx.where("port")] == ["blue"]
        if tx.sqlite:
            assert tx.connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    database.close()


def _something(type: sa.types.TypeEngine[Any]) -> Any:
    return [] if isinstance(type, sa.JSON) else type.python_type()
