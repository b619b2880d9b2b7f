"""Routers, floating IPs and port forwardings."""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'


def upgrade() -> None:
    op.create_table('router',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('admin_state_up', sa.Boolean(), nullable=False),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.Column('enable_snat', sa.Boolean(), nullable=False),
    sa.Column('routes', sa.JSON(), nullable=False),
    sa.Column('availability_zone_hints', sa.JSON(), nullable=False),
    sa.Column('status', sa.String(length=255), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_router'))
    )
    with op.batch_alter_table('router', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_router_project_id'), ['project_id', 'id'], unique=False)

    op.create_table('floatingip',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('floating_network_id', sa.String(length=64), nullable=False),
    sa.Column('floating_ip_address', sa.String(length=15), nullable=False),
    sa.Column('floating_port_id', sa.String(length=64), nullable=False),
    sa.Column('port_id', sa.String(length=64), nullable=True),
    sa.Column('fixed_ip_address', sa.String(length=15), nullable=True),
    sa.Column('router_id', sa.String(length=64), nullable=True),
    sa.Column('status', sa.String(length=255), nullable=False),
    sa.ForeignKeyConstraint(['floating_network_id'], ['network.id'], name=op.f('fk_floatingip_floating_network_id_network')),
    sa.ForeignKeyConstraint(['floating_port_id'], ['port.id'], name=op.f('fk_floatingip_floating_port_id_port')),
    sa.ForeignKeyConstraint(['port_id'], ['port.id'], name=op.f('fk_floatingip_port_id_port')),
    sa.ForeignKeyConstraint(['router_id'], ['router.id'], name=op.f('fk_floatingip_router_id_router')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_floatingip')),
    sa.UniqueConstraint('floating_port_id', name=op.f('uq_floatingip_floating_port_id'))
    )
    with op.batch_alter_table('floatingip', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_floatingip_floating_network_id'), ['floating_network_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_floatingip_port_id'), ['port_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_floatingip_project_id'), ['project_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_floatingip_router_id'), ['router_id'], unique=False)

    op.create_table('router_gateway',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('router_id', sa.String(length=64), nullable=False),
    sa.Column('port_id', sa.String(length=64), nullable=False),
    sa.Column('network_id', sa.String(length=64), nullable=False),
    sa.Column('host', sa.String(length=255), nullable=False),
    sa.Column('successor', sa.String(length=255), nullable=False),
    sa.Column('generation', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['network_id'], ['network.id'], name=op.f('fk_router_gateway_network_id_network')),
    sa.ForeignKeyConstraint(['port_id'], ['port.id'], name=op.f('fk_router_gateway_port_id_port')),
    sa.ForeignKeyConstraint(['router_id'], ['router.id'], name=op.f('fk_router_gateway_router_id_router')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_router_gateway')),
    sa.UniqueConstraint('port_id', name=op.f('uq_router_gateway_port_id')),
    sa.UniqueConstraint('router_id', name=op.f('uq_router_gateway_router_id'))
    )
    with op.batch_alter_table('router_gateway', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_router_gateway_network_id'), ['network_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_router_gateway_project_id'), ['project_id', 'id'], unique=False)

    op.create_table('router_interface',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('router_id', sa.String(length=64), nullable=False),
    sa.Column('port_id', sa.String(length=64), nullable=False),
    sa.Column('network_id', sa.String(length=64), nullable=False),
    sa.ForeignKeyConstraint(['network_id'], ['network.id'], name=op.f('fk_router_interface_network_id_network')),
    sa.ForeignKeyConstraint(['port_id'], ['port.id'], name=op.f('fk_router_interface_port_id_port')),
    sa.ForeignKeyConstraint(['router_id'], ['router.id'], name=op.f('fk_router_interface_router_id_router')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_router_interface')),
    sa.UniqueConstraint('port_id', name=op.f('uq_router_interface_port_id'))
    )
    with op.batch_alter_table('router_interface', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_router_interface_network_id'), ['network_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_router_interface_project_id'), ['project_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_router_interface_router_id'), ['router_id'], unique=False)

    op.create_table('port_forwarding',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('floatingip_id', sa.String(length=64), nullable=False),
    sa.Column('protocol', sa.String(length=8), nullable=False),
    sa.Column('internal_port_id', sa.String(length=64), nullable=False),
    sa.Column('internal_ip_address', sa.String(length=15), nullable=False),
    sa.Column('internal_port', sa.BigInteger(), nullable=True),
    sa.Column('internal_port_range', sa.String(length=11), nullable=True),
    sa.Column('external_port', sa.BigInteger(), nullable=True),
    sa.Column('external_port_range', sa.String(length=11), nullable=True),
    sa.ForeignKeyConstraint(['floatingip_id'], ['floatingip.id'], name=op.f('fk_port_forwarding_floatingip_id_floatingip')),
    sa.ForeignKeyConstraint(['internal_port_id'], ['port.id'], name=op.f('fk_port_forwarding_internal_port_id_port')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_port_forwarding'))
    )
    with op.batch_alter_table('port_forwarding', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_port_forwarding_floatingip_id'), ['floatingip_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_port_forwarding_internal_port_id'), ['internal_port_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_port_forwarding_project_id'), ['project_id', 'id'], unique=False)
