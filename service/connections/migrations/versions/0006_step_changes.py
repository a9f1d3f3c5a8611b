"""What updates changed at providers."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "step_changes",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("application_id", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("sequence_id", sa.String(length=255), nullable=False),
        sa.Column("sequence_step_id", sa.String(length=255), nullable=False),
        sa.Column("template_id", sa.String(length=255), nullable=False),
        sa.Column("request_id", sa.String(length=255), nullable=False),
        sa.Column("reverts", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_id"], ["applications.id"], name="fk_step_changes_application_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_step_changes"),
    )
    whose = ["application_id", "customer_id", "provider"]
    op.create_index("ix_step_changes_customer", "step_changes", [*whose, "id"])
    op.create_index("ix_step_changes_sequence", "step_changes", [*whose, "sequence_id", "id"])
    op.create_index("ix_step_changes_step", "step_changes", [*whose, "sequence_id", "sequence_step_id", "id"])
    op.create_index("ix_step_changes_request", "step_changes", [*whose, "request_id", "id"])
    op.create_index("ix_step_changes_key_id", "step_changes", ["key_id", "id"])


def downgrade() -> None:
    op.drop_table("step_changes")
