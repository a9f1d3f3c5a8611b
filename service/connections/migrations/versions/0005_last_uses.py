"""When providers last took, and last refused, the credentials of each connection."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("connections", sa.Column("last_success_at", sa.Double()))
    op.add_column("connections", sa.Column("last_failure_at", sa.Double()))
    op.add_column("connections", sa.Column("last_failure_code", sa.String(64)))


def downgrade() -> None:
    for column in ("last_failure_code", "last_failure_at", "last_success_at"):
        op.drop_column("connections", column)
