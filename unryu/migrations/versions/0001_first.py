"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None


def upgrade() -> None:
    op.create_table('address_group',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('shared', sa.Boolean(), nullable=False),
    sa.Column('addresses', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_address_group'))
    )
    with op.batch_alter_table('address_group', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_address_group_project_id'), ['project_id', 'id'], unique=False)

    op.create_table('address_scope',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('ip_version', sa.BigInteger(), nullable=False),
    sa.Column('shared', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_address_scope'))
    )
    with op.batch_alter_table('address_scope', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_address_scope_project_id'), ['project_id', 'id'], unique=False)

    op.create_table('agent',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('host', sa.String(length=255), nullable=False),
    sa.Column('admin_state_up', sa.Boolean(), nullable=False),
    sa.Column('agent_type', sa.String(length=255), nullable=False),
    sa.Column('binary', sa.String(length=255), nullable=False),
    sa.Column('topic', sa.String(length=255), nullable=False),
    sa.Column('availability_zone', sa.String(length=255), nullable=True),
    sa.Column('started_at', sa.String(length=255), nullable=False),
    sa.Column('heartbeat_timestamp', sa.String(length=255), nullable=False),
    sa.Column('tunnel_ip', sa.String(length=255), nullable=False),
    sa.Column('datapaths', sa.JSON(), nullable=False),
    sa.Column('ofports', sa.JSON(), nullable=False),
    sa.Column('door', sa.String(length=255), nullable=False),
    sa.Column('mappings', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_agent')),
    sa.UniqueConstraint('host', name=op.f('uq_agent_host'))
    )
    op.create_table('allocation',
    sa.Column('pool', sa.String(length=64), nullable=False),
    sa.Column('value', sa.String(length=64), nullable=False),
    sa.Column('owner', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('pool', 'value', name=op.f('pk_allocation'))
    )
    with op.batch_alter_table('allocation', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_allocation_owner'), ['owner'], unique=False)

    op.create_table('domain',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('description', sa.Text(), nullable=True),
    sa.Column('enabled', sa.Boolean(), nullable=False),
    sa.Column('options', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_domain')),
    sa.UniqueConstraint('name', name=op.f('uq_domain_name'))
    )
    op.create_table('journal',
    sa.Column('revision', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('position', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('at', sa.String(length=32), nullable=False),
    sa.Column('kind', sa.String(length=64), nullable=False),
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('observed', sa.Boolean(), nullable=False),
    sa.Column('before', sa.Text(), nullable=True),
    sa.Column('after', sa.Text(), nullable=True),
    sa.Column('user_id', sa.String(length=64), nullable=True),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('request_id', sa.String(length=64), nullable=True),
    sa.PrimaryKeyConstraint('revision', 'position', name=op.f('pk_journal'))
    )
    with op.batch_alter_table('journal', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_journal_at'), ['at'], unique=False)
        batch_op.create_index(batch_op.f('ix_journal_id'), ['id'], unique=False)

    op.create_table('network',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('admin_state_up', sa.Boolean(), nullable=False),
    sa.Column('shared', sa.Boolean(), nullable=False),
    sa.Column('mtu', sa.BigInteger(), nullable=False),
    sa.Column('port_security_enabled', sa.Boolean(), nullable=False),
    sa.Column('network_type', sa.String(length=255), nullable=False),
    sa.Column('vni', sa.BigInteger(), nullable=True),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.Column('availability_zone_hints', sa.JSON(), nullable=False),
    sa.Column('status', sa.String(length=255), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_network'))
    )
    with op.batch_alter_table('network', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_network_project_id'), ['project_id', 'id'], unique=False)

    op.create_table('quota',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('resource', sa.String(length=64), nullable=False),
    sa.Column('limit', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_quota')),
    sa.UniqueConstraint('project_id', 'resource', name=op.f('uq_quota_project_id_resource'))
    )
    with op.batch_alter_table('quota', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_quota_project_id'), ['project_id', 'id'], unique=False)

    op.create_table('rbac_policy',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('object_type', sa.String(length=64), nullable=False),
    sa.Column('object_id', sa.String(length=64), nullable=False),
    sa.Column('action', sa.String(length=64), nullable=False),
    sa.Column('target_project_id', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_rbac_policy')),
    sa.UniqueConstraint('object_id', 'action', 'target_project_id', name=op.f('uq_rbac_policy_object_id_action_target_project_id'))
    )
    with op.batch_alter_table('rbac_policy', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_rbac_policy_object_id'), ['object_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_rbac_policy_project_id'), ['project_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_rbac_policy_target_project_id'), ['target_project_id'], unique=False)

    op.create_table('revision',
    sa.Column('number', sa.BigInteger(), nullable=False)
    )
    op.create_table('revocation',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('expires', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_revocation'))
    )
    with op.batch_alter_table('revocation', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_revocation_expires'), ['expires'], unique=False)

    op.create_table('role',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('options', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_role')),
    sa.UniqueConstraint('name', name=op.f('uq_role_name'))
    )
    op.create_table('security_group',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('stateful', sa.Boolean(), nullable=False),
    sa.Column('shared', sa.Boolean(), nullable=False),
    sa.Column('is_default', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_security_group'))
    )
    with op.batch_alter_table('security_group', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_security_group_project_id'), ['project_id', 'id'], unique=False)

    op.create_table('default_security_group_rule',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('direction', sa.String(length=16), nullable=False),
    sa.Column('ethertype', sa.String(length=16), nullable=False),
    sa.Column('protocol', sa.String(length=40), nullable=True),
    sa.Column('port_range_min', sa.BigInteger(), nullable=True),
    sa.Column('port_range_max', sa.BigInteger(), nullable=True),
    sa.Column('remote_ip_prefix', sa.String(length=255), nullable=True),
    sa.Column('normalized_cidr', sa.String(length=255), nullable=True),
    sa.Column('remote_group_id', sa.String(length=64), nullable=True),
    sa.Column('remote_address_group_id', sa.String(length=64), nullable=True),
    sa.Column('used_in_default_sg', sa.Boolean(), nullable=False),
    sa.Column('used_in_non_default_sg', sa.Boolean(), nullable=False),
    sa.Column('key', sa.String(length=255), nullable=False),
    sa.ForeignKeyConstraint(['remote_address_group_id'], ['address_group.id'], name=op.f('fk_default_security_group_rule_remote_address_group_id_address_group')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_default_security_group_rule')),
    sa.UniqueConstraint('key', name=op.f('uq_default_security_group_rule_key'))
    )
    with op.batch_alter_table('default_security_group_rule', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_default_security_group_rule_remote_address_group_id'), ['remote_address_group_id'], unique=False)

    op.create_table('group',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('domain_id', sa.String(length=255), nullable=True),
    sa.ForeignKeyConstraint(['domain_id'], ['domain.id'], name=op.f('fk_group_domain_id_domain')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_group')),
    sa.UniqueConstraint('domain_id', 'name', name=op.f('uq_group_domain_id_name'))
    )
    with op.batch_alter_table('group', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_group_domain_id'), ['domain_id'], unique=False)

    op.create_table('implication',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('prior_id', sa.String(length=255), nullable=False),
    sa.Column('implied_id', sa.String(length=255), nullable=False),
    sa.ForeignKeyConstraint(['implied_id'], ['role.id'], name=op.f('fk_implication_implied_id_role')),
    sa.ForeignKeyConstraint(['prior_id'], ['role.id'], name=op.f('fk_implication_prior_id_role')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_implication')),
    sa.UniqueConstraint('prior_id', 'implied_id', name=op.f('uq_implication_prior_id_implied_id'))
    )
    with op.batch_alter_table('implication', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_implication_implied_id'), ['implied_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_implication_prior_id'), ['prior_id'], unique=False)

    op.create_table('port',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('network_id', sa.String(length=64), nullable=False),
    sa.Column('admin_state_up', sa.Boolean(), nullable=False),
    sa.Column('mac_address', sa.String(length=17), nullable=False),
    sa.Column('fixed_ips', sa.JSON(), nullable=False),
    sa.Column('security_groups', sa.JSON(), nullable=False),
    sa.Column('port_security_enabled', sa.Boolean(), nullable=False),
    sa.Column('allowed_address_pairs', sa.JSON(), nullable=False),
    sa.Column('extra_dhcp_opts', sa.JSON(), nullable=False),
    sa.Column('device_id', sa.String(length=255), nullable=False),
    sa.Column('device_owner', sa.String(length=255), nullable=False),
    sa.Column('binding_host_id', sa.String(length=255), nullable=False),
    sa.Column('vnic_type', sa.String(length=255), nullable=False),
    sa.Column('status', sa.String(length=255), nullable=False),
    sa.ForeignKeyConstraint(['network_id'], ['network.id'], name=op.f('fk_port_network_id_network')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_port')),
    sa.UniqueConstraint('network_id', 'mac_address', name=op.f('uq_port_network_id_mac_address'))
    )
    with op.batch_alter_table('port', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_port_binding_host_id'), ['binding_host_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_port_device_id'), ['device_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_port_network_id'), ['network_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_port_project_id'), ['project_id', 'id'], unique=False)

    op.create_table('project',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('domain_id', sa.String(length=255), nullable=True),
    sa.Column('parent_id', sa.String(length=255), nullable=True),
    sa.Column('is_domain', sa.Boolean(), nullable=False),
    sa.Column('enabled', sa.Boolean(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('options', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['domain_id'], ['domain.id'], name=op.f('fk_project_domain_id_domain')),
    sa.ForeignKeyConstraint(['parent_id'], ['project.id'], name=op.f('fk_project_parent_id_project')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_project')),
    sa.UniqueConstraint('domain_id', 'name', name=op.f('uq_project_domain_id_name'))
    )
    with op.batch_alter_table('project', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_project_domain_id'), ['domain_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_project_parent_id'), ['parent_id'], unique=False)

    op.create_table('security_group_rule',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('security_group_id', sa.String(length=64), nullable=False),
    sa.Column('direction', sa.String(length=16), nullable=False),
    sa.Column('ethertype', sa.String(length=16), nullable=False),
    sa.Column('protocol', sa.String(length=40), nullable=True),
    sa.Column('port_range_min', sa.BigInteger(), nullable=True),
    sa.Column('port_range_max', sa.BigInteger(), nullable=True),
    sa.Column('remote_ip_prefix', sa.String(length=255), nullable=True),
    sa.Column('normalized_cidr', sa.String(length=255), nullable=True),
    sa.Column('remote_group_id', sa.String(length=64), nullable=True),
    sa.Column('remote_address_group_id', sa.String(length=64), nullable=True),
    sa.Column('key', sa.String(length=255), nullable=False),
    sa.ForeignKeyConstraint(['remote_address_group_id'], ['address_group.id'], name=op.f('fk_security_group_rule_remote_address_group_id_address_group')),
    sa.ForeignKeyConstraint(['remote_group_id'], ['security_group.id'], name=op.f('fk_security_group_rule_remote_group_id_security_group')),
    sa.ForeignKeyConstraint(['security_group_id'], ['security_group.id'], name=op.f('fk_security_group_rule_security_group_id_security_group')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_security_group_rule')),
    sa.UniqueConstraint('security_group_id', 'key', name=op.f('uq_security_group_rule_security_group_id_key'))
    )
    with op.batch_alter_table('security_group_rule', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_security_group_rule_project_id'), ['project_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_security_group_rule_remote_address_group_id'), ['remote_address_group_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_security_group_rule_remote_group_id'), ['remote_group_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_security_group_rule_security_group_id'), ['security_group_id'], unique=False)

    op.create_table('subnetpool',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('prefixes', sa.JSON(), nullable=False),
    sa.Column('ip_version', sa.BigInteger(), nullable=False),
    sa.Column('min_prefixlen', sa.BigInteger(), nullable=False),
    sa.Column('max_prefixlen', sa.BigInteger(), nullable=False),
    sa.Column('default_prefixlen', sa.BigInteger(), nullable=False),
    sa.Column('default_quota', sa.BigInteger(), nullable=True),
    sa.Column('is_default', sa.Boolean(), nullable=False),
    sa.Column('shared', sa.Boolean(), nullable=False),
    sa.Column('address_scope_id', sa.String(length=64), nullable=True),
    sa.ForeignKeyConstraint(['address_scope_id'], ['address_scope.id'], name=op.f('fk_subnetpool_address_scope_id_address_scope')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_subnetpool'))
    )
    with op.batch_alter_table('subnetpool', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_subnetpool_address_scope_id'), ['address_scope_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_subnetpool_project_id'), ['project_id', 'id'], unique=False)

    op.create_table('user',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('email', sa.String(length=255), nullable=True),
    sa.Column('domain_id', sa.String(length=255), nullable=True),
    sa.Column('default_project_id', sa.String(length=64), nullable=True),
    sa.Column('enabled', sa.Boolean(), nullable=False),
    sa.Column('password_hash', sa.String(length=255), nullable=True),
    sa.Column('tokens_since', sa.BigInteger(), nullable=False),
    sa.Column('options', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['domain_id'], ['domain.id'], name=op.f('fk_user_domain_id_domain')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_user')),
    sa.UniqueConstraint('domain_id', 'name', name=op.f('uq_user_domain_id_name'))
    )
    with op.batch_alter_table('user', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_user_domain_id'), ['domain_id'], unique=False)

    op.create_table('assignment',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('user_id', sa.String(length=255), nullable=True),
    sa.Column('group_id', sa.String(length=255), nullable=True),
    sa.Column('role_id', sa.String(length=255), nullable=False),
    sa.Column('on_project', sa.String(length=255), nullable=True),
    sa.Column('on_domain', sa.String(length=255), nullable=True),
    sa.Column('on_system', sa.String(length=64), nullable=True),
    sa.Column('inherited', sa.Boolean(), nullable=False),
    sa.ForeignKeyConstraint(['group_id'], ['group.id'], name=op.f('fk_assignment_group_id_group')),
    sa.ForeignKeyConstraint(['on_domain'], ['domain.id'], name=op.f('fk_assignment_on_domain_domain')),
    sa.ForeignKeyConstraint(['on_project'], ['project.id'], name=op.f('fk_assignment_on_project_project')),
    sa.ForeignKeyConstraint(['role_id'], ['role.id'], name=op.f('fk_assignment_role_id_role')),
    sa.ForeignKeyConstraint(['user_id'], ['user.id'], name=op.f('fk_assignment_user_id_user')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_assignment'))
    )
    with op.batch_alter_table('assignment', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_assignment_group_id'), ['group_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_assignment_on_domain'), ['on_domain'], unique=False)
        batch_op.create_index(batch_op.f('ix_assignment_on_project'), ['on_project'], unique=False)
        batch_op.create_index(batch_op.f('ix_assignment_role_id'), ['role_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_assignment_user_id'), ['user_id'], unique=False)

    op.create_table('membership',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('user_id', sa.String(length=255), nullable=False),
    sa.Column('group_id', sa.String(length=255), nullable=False),
    sa.ForeignKeyConstraint(['group_id'], ['group.id'], name=op.f('fk_membership_group_id_group')),
    sa.ForeignKeyConstraint(['user_id'], ['user.id'], name=op.f('fk_membership_user_id_user')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_membership')),
    sa.UniqueConstraint('user_id', 'group_id', name=op.f('uq_membership_user_id_group_id'))
    )
    with op.batch_alter_table('membership', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_membership_group_id'), ['group_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_membership_user_id'), ['user_id'], unique=False)

    op.create_table('port_security_groups',
    sa.Column('owner', sa.String(length=64), nullable=False),
    sa.Column('target', sa.String(length=64), nullable=False),
    sa.ForeignKeyConstraint(['owner'], ['port.id'], name=op.f('fk_port_security_groups_owner_port'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['target'], ['security_group.id'], name=op.f('fk_port_security_groups_target_security_group')),
    sa.PrimaryKeyConstraint('owner', 'target', name=op.f('pk_port_security_groups'))
    )
    with op.batch_alter_table('port_security_groups', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_port_security_groups_target'), ['target'], unique=False)

    op.create_table('subnet',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('project_id', sa.String(length=64), nullable=True),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('network_id', sa.String(length=64), nullable=False),
    sa.Column('ip_version', sa.BigInteger(), nullable=False),
    sa.Column('cidr', sa.String(length=255), nullable=False),
    sa.Column('subnetpool_id', sa.String(length=64), nullable=True),
    sa.Column('gateway_ip', sa.String(length=255), nullable=True),
    sa.Column('allocation_pools', sa.JSON(), nullable=False),
    sa.Column('enable_dhcp', sa.Boolean(), nullable=False),
    sa.Column('dns_nameservers', sa.JSON(), nullable=False),
    sa.Column('host_routes', sa.JSON(), nullable=False),
    sa.Column('ipv6_ra_mode', sa.String(length=255), nullable=True),
    sa.Column('ipv6_address_mode', sa.String(length=255), nullable=True),
    sa.Column('service_types', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['network_id'], ['network.id'], name=op.f('fk_subnet_network_id_network')),
    sa.ForeignKeyConstraint(['subnetpool_id'], ['subnetpool.id'], name=op.f('fk_subnet_subnetpool_id_subnetpool')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_subnet'))
    )
    with op.batch_alter_table('subnet', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_subnet_network_id'), ['network_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_subnet_project_id'), ['project_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_subnet_subnetpool_id'), ['subnetpool_id'], unique=False)

    op.create_table('vif',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.String(length=32), nullable=False),
    sa.Column('updated_at', sa.String(length=32), nullable=False),
    sa.Column('revision_number', sa.BigInteger(), nullable=False),
    sa.Column('agent_id', sa.String(length=255), nullable=False),
    sa.Column('port_id', sa.String(length=255), nullable=False),
    sa.Column('ofport', sa.BigInteger(), nullable=False),
    sa.Column('link', sa.String(length=255), nullable=False),
    sa.ForeignKeyConstraint(['agent_id'], ['agent.id'], name=op.f('fk_vif_agent_id_agent')),
    sa.ForeignKeyConstraint(['port_id'], ['port.id'], name=op.f('fk_vif_port_id_port')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_vif')),
    sa.UniqueConstraint('agent_id', 'port_id', name=op.f('uq_vif_agent_id_port_id'))
    )
    with op.batch_alter_table('vif', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_vif_agent_id'), ['agent_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_vif_port_id'), ['port_id'], unique=False)

    op.execute("INSERT INTO default_security_group_rule (id, description, direction, ethertype, protocol, port_range_min, port_range_max, remote_ip_prefix, normalized_cidr, remote_group_id, remote_address_group_id, used_in_default_sg, used_in_non_default_sg, key) VALUES ('2704288b-b885-5a4f-a0fa-145a9f795e5f', '', 'egress', 'IPv4', NULL, NULL, NULL, NULL, NULL, NULL, NULL, true, true, 'egress IPv4 * * * *')")
    op.execute("INSERT INTO default_security_group_rule (id, description, direction, ethertype, protocol, port_range_min, port_range_max, remote_ip_prefix, normalized_cidr, remote_group_id, remote_address_group_id, used_in_default_sg, used_in_non_default_sg, key) VALUES ('c05cffc6-d6e7-51a4-a035-510f8c3cf64a', '', 'egress', 'IPv6', NULL, NULL, NULL, NULL, NULL, NULL, NULL, true, true, 'egress IPv6 * * * *')")
    op.execute("INSERT INTO default_security_group_rule (id, description, direction, ethertype, protocol, port_range_min, port_range_max, remote_ip_prefix, normalized_cidr, remote_group_id, remote_address_group_id, used_in_default_sg, used_in_non_default_sg, key) VALUES ('178cfb4b-5651-53c2-a92f-898d889741e7', '', 'ingress', 'IPv4', NULL, NULL, NULL, NULL, NULL, 'PARENT', NULL, true, false, 'ingress IPv4 * * * PARENT')")
    op.execute("INSERT INTO default_security_group_rule (id, description, direction, ethertype, protocol, port_range_min, port_range_max, remote_ip_prefix, normalized_cidr, remote_group_id, remote_address_group_id, used_in_default_sg, used_in_non_default_sg, key) VALUES ('8908a882-de2a-5518-80d0-60eb84c08bd5', '', 'ingress', 'IPv6', NULL, NULL, NULL, NULL, NULL, 'PARENT', NULL, true, false, 'ingress IPv6 * * * PARENT')")
    # The one row that numbers every commit.
    op.execute("INSERT INTO revision (number) VALUES (1)")
