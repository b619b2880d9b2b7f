"""The schema that migrations make is the schema that the nouns declare."""

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
