"""Who may join, and who was removed."""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'


def upgrade() -> None:
    op.create_table('join_token',
    sa.Column('digest', sa.String(length=64), nullable=False),
    sa.Column('host', sa.String(length=63), nullable=False),
    sa.Column('expires', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('digest', name=op.f('pk_join_token'))
    )
    op.create_table('removed_host',
    sa.Column('host', sa.String(length=63), nullable=False),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('host', name=op.f('pk_removed_host'))
    )
    with op.batch_alter_table('agent', schema=None) as batch_op:
        batch_op.add_column(sa.Column('admitted', sa.BigInteger(), nullable=False, server_default='0'))
