"""Why the token of a connection was not renewed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("connections", sa.Column("refresh_error", sa.String(length=64), nullable=True))
    op.add_column("connections", sa.Column("refresh_error_at", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("connections", "refresh_error_at")
    op.drop_column("connections", "refresh_error")
