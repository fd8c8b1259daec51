"""What of a source's schema needs a person, and triggers that wait for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "drift",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("affected", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("harmful", sa.Boolean(), nullable=False),
        sa.Column("table", sa.Text()),
        sa.Column("column", sa.Text()),
        sa.Column("before", sa.BigInteger()),
        sa.Column("since", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("source", "what", name=op.f("drift_pkey")),
        schema="wake",
    )
    op.create_table(
        "held_trigger",
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("trigger", name=op.f("held_trigger_pkey")),
        schema="wake",
    )


def downgrade() -> None:
    op.drop_table("held_trigger", schema="wake")
    op.drop_table("drift", schema="wake")
