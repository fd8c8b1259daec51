"""When triggers fire: waits of keys, batches, pauses, breakers, and the order in which runs are claimed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

OPEN_RUNS = sa.text("state in ('pending', 'running')")


def upgrade() -> None:
    _tables()
    _activations()
    _runs()


def _tables() -> None:
    op.create_table(
        "wait",
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("activation", sa.Text(), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("depth", sa.BigInteger(), nullable=False),
        sa.Column("last", postgresql.JSONB(), nullable=False),
        sa.Column("steps", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("trigger", "subject", name=op.f("wait_pkey")),
        sa.UniqueConstraint("activation", name=op.f("wait_activation_key")),
        sa.CheckConstraint("kind in ('hold', 'absent', 'debounce')", name=op.f("wait_kind_check")),
        schema="wake",
    )
    op.create_index("wait_place_idx", "wait", ["topic", "partition"], schema="wake")
    op.create_table(
        "batch",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("batch_pkey")),
        schema="wake",
    )
    op.create_index("batch_value_key", "batch", ["trigger", "value"], unique=True, schema="wake")
    now = sa.text("clock_timestamp()")
    op.create_table(
        "paused_trigger",
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("trigger", name=op.f("paused_trigger_pkey")),
        schema="wake",
    )
    op.create_table(
        "open_breaker",
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("trigger", "subject", name=op.f("open_breaker_pkey")),
        schema="wake",
    )


def _activations() -> None:
    op.add_column("activation", sa.Column("opened_at", sa.DateTime(timezone=True)), schema="wake")
    op.add_column("activation", sa.Column("batch", sa.Text()), schema="wake")
    op.create_index(
        *("activation_opened_idx", "activation", ["trigger", "subject", "opened_at"]),
        schema="wake",
        postgresql_where=sa.text("opened_at is not null"),
    )
    op.create_index(
        *("activation_batch_idx", "activation", ["batch"]),
        schema="wake",
        postgresql_where=sa.text("batch is not null"),
    )


def _runs() -> None:
    op.add_column("run", sa.Column("subject", sa.Text()), schema="wake")
    now = sa.text("clock_timestamp()")
    op.add_column(
        "run", sa.Column("rank", sa.DateTime(timezone=True), server_default=now, nullable=False), schema="wake"
    )
    op.drop_index("run_claim_idx", "run", schema="wake")
    op.create_index("run_rank_idx", "run", ["rank"], schema="wake", postgresql_where=OPEN_RUNS)
    op.create_index(
        *("run_key_idx", "run", ["trigger", "subject", "rank"]),
        schema="wake",
        postgresql_where=sa.text("state = 'pending'"),
    )


def downgrade() -> None:
    op.drop_index("run_key_idx", "run", schema="wake")
    op.drop_index("run_rank_idx", "run", schema="wake")
    op.create_index("run_claim_idx", "run", ["run_at"], schema="wake", postgresql_where=OPEN_RUNS)
    op.drop_column("run", "rank", schema="wake")
    op.drop_column("run", "subject", schema="wake")
    op.drop_index("activation_batch_idx", "activation", schema="wake")
    op.drop_index("activation_opened_idx", "activation", schema="wake")
    op.drop_column("activation", "batch", schema="wake")
    op.drop_column("activation", "opened_at", schema="wake")
    for table in ("open_breaker", "paused_trigger", "batch", "wait"):
        op.drop_table(table, schema="wake")
