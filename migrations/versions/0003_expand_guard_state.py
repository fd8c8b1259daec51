"""What the guard makes of each source's slot."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "guard_state",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("reading", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("shed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("level in ('ok', 'warning', 'critical')", name=op.f("guard_state_level_check")),
        sa.PrimaryKeyConstraint("source", name=op.f("guard_state_pkey")),
        schema="wake",
    )


def downgrade() -> None:
    op.drop_table("guard_state", schema="wake")
