"""Topologies made by themselves, and the external network that they lead out by."""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'


def upgrade() -> None:
    op.create_table('auto_allocated_topology',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('network_id', sa.String(length=64), nullable=False),
    sa.Column('router_id', sa.String(length=64), nullable=True),
    sa.ForeignKeyConstraint(['network_id'], ['network.id'], name=op.f('fk_auto_allocated_topology_network_id_network')),
    sa.ForeignKeyConstraint(['router_id'], ['router.id'], name=op.f('fk_auto_allocated_topology_router_id_router')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_auto_allocated_topology')),
    sa.UniqueConstraint('network_id', name=op.f('uq_auto_allocated_topology_network_id'))
    )
    with op.batch_alter_table('auto_allocated_topology', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_auto_allocated_topology_project_id'), ['project_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_auto_allocated_topology_router_id'), ['router_id'], unique=False)

    with op.batch_alter_table('network', schema=None) as batch_op:
        batch_op.add_column(sa.Column('is_default', sa.Boolean(), nullable=False, server_default=sa.false()))
