"""The QoS policies of floating IPs and of gateways."""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'


def upgrade() -> None:
    with op.batch_alter_table('floatingip', schema=None) as batch_op:
        batch_op.add_column(sa.Column('qos_policy_id', sa.String(length=64), nullable=True))
        batch_op.create_index(batch_op.f('ix_floatingip_qos_policy_id'), ['qos_policy_id'], unique=False)
        batch_op.create_foreign_key(batch_op.f('fk_floatingip_qos_policy_id_qos_policy'), 'qos_policy', ['qos_policy_id'], ['id'])

    with op.batch_alter_table('router_gateway', schema=None) as batch_op:
        batch_op.add_column(sa.Column('qos_policy_id', sa.String(length=64), nullable=True))
        batch_op.create_index(batch_op.f('ix_router_gateway_qos_policy_id'), ['qos_policy_id'], unique=False)
        batch_op.create_foreign_key(batch_op.f('fk_router_gateway_qos_policy_id_qos_policy'),
                                    'qos_policy', ['qos_policy_id'], ['id'])
