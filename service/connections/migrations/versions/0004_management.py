"""Which keys and certificates may manage connections, and which credentials were set last."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("api_keys", "certificates"):
        op.add_column(table, sa.Column("may_manage", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("connections", sa.Column("set_digest", sa.LargeBinary()))


def downgrade() -> None:
    op.drop_column("connections", "set_digest")
    for table in ("certificates", "api_keys"):
        op.drop_column(table, "may_manage")
