"""Budgets, the models' common limits, the programs that runs began with, and what operators should know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

JSONB = postgresql.JSONB(none_as_null=True)
MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "spend",
        sa.Column("scope", sa.Text(), primary_key=True),
        sa.Column("by_value", sa.Text(), primary_key=True),
        sa.Column("window_start", MOMENT, primary_key=True),
        sa.Column("window_end", MOMENT, nullable=False),
        sa.Column("spent", sa.Float(), nullable=False),
        sa.Column("quota", sa.Float(), nullable=False),
        sa.Column("warned_at", MOMENT),
        sa.Column("exhausted_at", MOMENT),
        schema="wake",
    )
    op.create_index("spend_window_end_idx", "spend", ["window_end"], schema="wake")
    op.create_table(
        "model_pause",
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("until", MOMENT),
        sa.Column("reason", sa.Text()),
        schema="wake",
    )
    op.create_table(
        "program",
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column("parts", JSONB, nullable=False),
        sa.Column("prompts", JSONB, nullable=False),
        sa.Column("revisions", JSONB, nullable=False),
        sa.Column("made_at", MOMENT, server_default=NOW, nullable=False),
        schema="wake",
    )
    op.create_table(
        "notice",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column("at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sent_at", MOMENT),
        schema="wake",
    )
    op.create_index("notice_at_idx", "notice", ["at"], schema="wake")
    unsent = sa.text("sent_at is null")
    op.create_index("notice_unsent_idx", "notice", ["id"], schema="wake", postgresql_where=unsent)
    for name, kind in (("admitted_at", MOMENT), ("budget", sa.Text()), ("let_go_by", sa.Text()), ("calling", sa.Text())):
        op.add_column("run", sa.Column(name, kind), schema="wake")
    waits = sa.text("state = 'pending' and budget is not null")
    op.create_index("run_waiting_idx", "run", ["run_at"], schema="wake", postgresql_where=waits)
    op.create_index(
        "run_budget_idx", "run", ["budget", "run_at"], schema="wake", postgresql_where=sa.text("budget is not null")
    )
    op.create_index("run_started_idx", "run", ["started_at"], schema="wake")
    op.create_index("run_calling_idx", "run", ["calling"], schema="wake", postgresql_where=sa.text("calling is not null"))
    op.drop_index("run_rank_idx", "run", schema="wake")
    turn = sa.text("(state = 'pending' and budget is null) or state = 'running'")
    op.create_index("run_rank_idx", "run", ["rank"], schema="wake", postgresql_where=turn)
    made_by = "coalesce(handed ->> 'by', event #>> '{data,cause,action}')"
    cause, known = sa.text(made_by), sa.text(f"{made_by} is not null")
    op.create_index("activation_cause_idx", "activation", [cause], schema="wake", postgresql_where=known)


def downgrade() -> None:
    op.drop_index("activation_cause_idx", "activation", schema="wake")
    op.drop_index("run_calling_idx", "run", schema="wake")
    op.drop_index("run_started_idx", "run", schema="wake")
    op.drop_index("run_rank_idx", "run", schema="wake")
    was = sa.text("state in ('pending', 'running')")
    op.create_index("run_rank_idx", "run", ["rank"], schema="wake", postgresql_where=was)
    op.drop_index("run_budget_idx", "run", schema="wake")
    op.drop_index("run_waiting_idx", "run", schema="wake")
    for name in ("calling", "let_go_by", "budget", "admitted_at"):
        op.drop_column("run", name, schema="wake")
    for table in ("notice", "program", "model_pause", "spend"):
        op.drop_table(table, schema="wake")
