"""The hosts that speak for routers on wires."""

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'


def upgrade() -> None:
    with op.batch_alter_table('router_interface', schema=None) as batch_op:
        batch_op.add_column(sa.Column('host', sa.String(length=255), nullable=False, server_default=''))
        batch_op.add_column(sa.Column('successor', sa.String(length=255), nullable=False, server_default=''))
        batch_op.add_column(sa.Column('generation', sa.BigInteger(), nullable=False, server_default='0'))
