"""Alembic's entry: one linear history for every service's tables; run by `unryu db upgrade`."""

from alembic import context

from unryu.resource import metadata
from unryu.service import load_nouns

load_nouns()
engine = context.config.attributes["engine"]
with engine.connect() as connection:
    connection = connection.execution_options(unryu_write=True)
    # SQLite cannot alter a constraint in place: Alembic copies the table.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=engine.dialect.name == "sqlite",
                      compare_type=True)
    with context.begin_transaction():
        context.run_migrations()
