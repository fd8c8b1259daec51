"""Approval by several people, expiry, fences, undo."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATES = (
    *("proposed", "awaiting_approval", "approved", "executing", "succeeded", "rejected", "stale", "expired"),
    *("failed", "unknown"),
)


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.add_column("action", sa.Column("fence", postgresql.JSONB()), schema="wake")
    op.add_column("action", sa.Column("policy", postgresql.JSONB()), schema="wake")
    op.add_column("action", sa.Column("expires_at", sa.DateTime(timezone=True)), schema="wake")
    op.add_column("action", sa.Column("edited_by", sa.Text()), schema="wake")
    _states(*STATES, "shadowed")
    op.create_index(
        "action_expiry_idx",
        "action",
        ["expires_at"],
        schema="wake",
        postgresql_where=sa.text("state = 'awaiting_approval' and expires_at is not null"),
    )
    op.create_table(
        "approval",
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.ForeignKeyConstraint(["action"], ["wake.action.id"], name=op.f("approval_action_fkey")),
        sa.PrimaryKeyConstraint("action", "who", name=op.f("approval_pkey")),
        schema="wake",
    )
    op.create_table(
        "changed_row",
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("table", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key", postgresql.JSONB(), nullable=False),
        sa.Column("before", postgresql.JSONB()),
        sa.Column("after", postgresql.JSONB()),
        sa.Column("missing", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("position", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("action", "event", name=op.f("changed_row_pkey")),
        schema="wake",
    )


def downgrade() -> None:
    op.drop_table("changed_row", schema="wake")
    op.drop_table("approval", schema="wake")
    op.drop_index("action_expiry_idx", "action", schema="wake")
    _states(*STATES)
    for column in ("edited_by", "expires_at", "policy", "fence"):
        op.drop_column("action", column, schema="wake")


def _states(*names: str) -> None:
    listed = ", ".join(f"'{name}'" for name in names)
    op.drop_constraint(op.f("action_state_check"), "action", schema="wake")
    op.create_check_constraint(op.f("action_state_check"), "action", f"state in ({listed})", schema="wake")
