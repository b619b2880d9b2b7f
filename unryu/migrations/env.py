"""Alembic's entry: one linear history for every service's tables; run by `unryu db upgrade`."""

from typing import Any

from alembic import context
from alembic.operations import ops

from unryu.resource import metadata, nouns
from unryu.service import load_nouns


def with_seeds(_: Any, __: Any, directives: list[Any]) -> None:
    """Where a migration is generated: a new table comes with its first rows."""
    steps = directives[0].upgrade_ops.ops
    for step in [s for s in steps if isinstance(s, ops.CreateTableOp)]:
        for record in nouns[step.table_name].seeds() if step.table_name in nouns else ():
            insert = record.table.insert().values(record.row()).compile(compile_kwargs={"literal_binds": True})
            steps.append(ops.ExecuteSQLOp(" ".join(str(insert).split())))


load_nouns()
engine = context.config.attributes["engine"]
with engine.connect() as connection:
    if engine.dialect.name == "sqlite":
        # To copy a table it drops the old one, which the rows that refer to it would not let go. Past SQLAlchemy, whose first
        # word begins a transaction: within one this is not heard. (The connection is not used again.)
        dbapi: Any = connection.connection.dbapi_connection
        dbapi.execute("PRAGMA foreign_keys=OFF")
    connection = connection.execution_options(unryu_write=True)
    # SQLite cannot alter a constraint in place: Alembic copies the table.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=engine.dialect.name == "sqlite",
                      compare_type=True, process_revision_directives=with_seeds)
    with context.begin_transaction():
        context.run_migrations()
