"""QoS policies, their rules, and the networks and ports that they hold for."""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'


def upgrade() -> None:
    op.create_table('qos_policy',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('shared', sa.Boolean(), nullable=False),
    sa.Column('is_default', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_qos_policy'))
    )
    with op.batch_alter_table('qos_policy', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_qos_policy_project_id'), ['project_id', 'id'], unique=False)

    op.create_table('qos_bandwidth_limit_rule',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('qos_policy_id', sa.String(length=64), nullable=False),
    sa.Column('max_kbps', sa.BigInteger(), nullable=False),
    sa.Column('max_burst_kbps', sa.BigInteger(), nullable=False),
    sa.Column('direction', sa.String(length=16), nullable=False),
    sa.ForeignKeyConstraint(['qos_policy_id'], ['qos_policy.id'],
                            name=op.f('fk_qos_bandwidth_limit_rule_qos_policy_id_qos_policy')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_qos_bandwidth_limit_rule'))
    )
    with op.batch_alter_table('qos_bandwidth_limit_rule', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_qos_bandwidth_limit_rule_project_id'), ['project_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_qos_bandwidth_limit_rule_qos_policy_id'), ['qos_policy_id'], unique=False)

    op.create_table('qos_dscp_marking_rule',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('qos_policy_id', sa.String(length=64), nullable=False),
    sa.Column('dscp_mark', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['qos_policy_id'], ['qos_policy.id'],
                            name=op.f('fk_qos_dscp_marking_rule_qos_policy_id_qos_policy')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_qos_dscp_marking_rule'))
    )
    with op.batch_alter_table('qos_dscp_marking_rule', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_qos_dscp_marking_rule_project_id'), ['project_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_qos_dscp_marking_rule_qos_policy_id'), ['qos_policy_id'], unique=False)

    op.create_table('qos_packet_rate_limit_rule',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('qos_policy_id', sa.String(length=64), nullable=False),
    sa.Column('max_kpps', sa.BigInteger(), nullable=False),
    sa.Column('max_burst_kpps', sa.BigInteger(), nullable=False),
    sa.Column('direction', sa.String(length=16), nullable=False),
    sa.ForeignKeyConstraint(['qos_policy_id'], ['qos_policy.id'],
                            name=op.f('fk_qos_packet_rate_limit_rule_qos_policy_id_qos_policy')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_qos_packet_rate_limit_rule'))
    )
    with op.batch_alter_table('qos_packet_rate_limit_rule', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_qos_packet_rate_limit_rule_project_id'), ['project_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_qos_packet_rate_limit_rule_qos_policy_id'), ['qos_policy_id'], unique=False)

    with op.batch_alter_table('network', schema=None) as batch_op:
        batch_op.add_column(sa.Column('qos_policy_id', sa.String(length=64), nullable=True))
        batch_op.create_index(batch_op.f('ix_network_qos_policy_id'), ['qos_policy_id'], unique=False)
        batch_op.create_foreign_key(batch_op.f('fk_network_qos_policy_id_qos_policy'), 'qos_policy', ['qos_policy_id'], ['id'])

    with op.batch_alter_table('port', schema=None) as batch_op:
        batch_op.add_column(sa.Column('qos_policy_id', sa.String(length=64), nullable=True))
        batch_op.create_index(batch_op.f('ix_port_qos_policy_id'), ['qos_policy_id'], unique=False)
        batch_op.create_foreign_key(batch_op.f('fk_port_qos_policy_id_qos_policy'), 'qos_policy', ['qos_policy_id'], ['id'])

