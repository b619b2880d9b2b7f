"""Networks on wires and in tunnels of any type: a VNI is a segment's number."""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'


def upgrade() -> None:
    with op.batch_alter_table('network', schema=None) as batch_op:
        batch_op.alter_column('vni', new_column_name='segmentation_id')
        batch_op.add_column(sa.Column('physical_network', sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column('external', sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute("UPDATE allocation SET pool = 'vxlan' WHERE pool = 'vni'")
