"""Controllers' leases."""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'


def upgrade() -> None:
    op.create_table('generation',
    sa.Column('number', sa.BigInteger(), nullable=False)
    )
    op.create_table('lease',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('holder', sa.String(length=32), nullable=False),
    sa.Column('door', sa.String(length=255), nullable=False),
    sa.Column('generation', sa.BigInteger(), nullable=False),
    sa.Column('renewed', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_lease'))
    )
    op.execute("INSERT INTO generation (number) VALUES (0)")
