"""Questions that models ask, and further kinds of action."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("activation", sa.Column("handed", postgresql.JSONB()), schema="wake")
    op.add_column("action", sa.Column("checks", sa.BigInteger(), server_default="0", nullable=False), schema="wake")
    op.add_column("action", sa.Column("check_at", sa.DateTime(timezone=True)), schema="wake")
    op.create_table(
        "alarm",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column(
            "since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("over_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("kind", "subject", name=op.f("alarm_pkey")),
        schema="wake",
    )


def downgrade() -> None:
    op.drop_table("alarm", schema="wake")
    op.drop_column("action", "check_at", schema="wake")
    op.drop_column("action", "checks", schema="wake")
    op.drop_column("activation", "handed", schema="wake")
