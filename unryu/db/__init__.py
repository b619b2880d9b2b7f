"""The only truth: transactions that commit rows and journal together, and the migrations that shape them."""

from unryu.db.database import IDLE, Database
from unryu.db.migrating import alembic_config, upgrade
from unryu.db.transaction import Taken, Tx, allocations, now

__all__ = ["IDLE", "Database", "Taken", "Tx", "alembic_config", "allocations", "now", "upgrade"]
