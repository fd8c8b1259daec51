"""The ledger's first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "activation",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("depth", sa.BigInteger(), nullable=False),
        sa.Column("event", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("state in ('held', 'open', 'suppressed', 'done')", name=op.f("activation_state_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("activation_pkey")),
        schema="wake",
    )
    op.create_index("activation_subject_idx", "activation", ["subject"], unique=False, schema="wake")
    op.create_index("activation_trigger_idx", "activation", ["trigger", "created_at"], unique=False, schema="wake")
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
        schema="wake",
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("event", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("state in ('open', 'retried', 'discarded')", name=op.f("dead_letter_state_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("dead_letter_pkey")),
        schema="wake",
    )
    op.create_index(
        "dead_letter_place_key",
        "dead_letter",
        ["topic", "partition", "offset", "stage", "kind", "subject"],
        unique=True,
        schema="wake",
    )
    op.create_table(
        "gap",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tables", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("event", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state in ('open', 'closed')", name=op.f("gap_state_check")),
        sa.PrimaryKeyConstraint("source", "number", name=op.f("gap_pkey")),
        schema="wake",
    )
    op.create_table(
        "guard_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("guard_event_pkey")),
        schema="wake",
    )
    op.create_index(op.f("guard_event_source_idx"), "guard_event", ["source"], unique=False, schema="wake")
    op.create_table(
        "mirror_state",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("table", sa.Text(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("log", sa.BigInteger(), nullable=True),
        sa.Column("snapshot_from", sa.BigInteger(), nullable=True),
        sa.Column("snapshot", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("source", "table", name=op.f("mirror_state_pkey")),
        schema="wake",
    )
    op.create_table(
        "missing_value",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("table", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("columns", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("source", "table", "subject", name=op.f("missing_value_pkey")),
        schema="wake",
    )
    op.create_table(
        "operator",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("operator_pkey")),
        sa.UniqueConstraint("token_hash", name=op.f("operator_token_hash_key")),
        schema="wake",
    )
    op.create_table(
        "partition_position",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("log", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kafka_offset", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("clock", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("partition_position_pkey")),
        schema="wake",
    )
    op.create_table(
        "receipt",
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("log", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("commit", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("action", name=op.f("receipt_pkey")),
        schema="wake",
    )
    op.create_table(
        "revision",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("catalogue", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("capture", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("revision_pkey")),
        schema="wake",
    )
    op.create_index(op.f("revision_source_idx"), "revision", ["source"], unique=False, schema="wake")
    op.create_table(
        "setting",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("setting_pkey")),
        schema="wake",
    )
    op.create_table(
        "snapshot_row",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("table", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "table", "subject", name=op.f("snapshot_row_pkey")),
        schema="wake",
    )
    op.create_table(
        "source_position",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("log", sa.BigInteger(), nullable=False),
        sa.Column("topic_id", sa.Text(), nullable=False),
        sa.Column("system_identifier", sa.Text(), nullable=False),
        sa.Column("timeline", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("commit", sa.BigInteger(), nullable=True),
        sa.Column("read_from", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("clock", sa.DateTime(timezone=True), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("backend_pid", sa.BigInteger(), nullable=False),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("source", name=op.f("source_position_pkey")),
        schema="wake",
    )
    op.create_table(
        "trigger_count",
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_event", sa.Text(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("trigger", "outcome", name=op.f("trigger_count_pkey")),
        schema="wake",
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("activation", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("key", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("lease_by", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("decision", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("tokens_in", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tokens_out", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cost", sa.Float(), server_default="0", nullable=False),
        sa.Column("model_ms", sa.Float(), server_default="0", nullable=False),
        sa.Column("config_digest", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state in ('pending', 'running', 'waiting', 'succeeded', 'failed', 'cancelled', 'parked')",
            name=op.f("run_state_check"),
        ),
        sa.ForeignKeyConstraint(["activation"], ["wake.activation.id"], name=op.f("run_activation_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("run_pkey")),
        schema="wake",
    )
    op.create_index("run_activation_idx", "run", ["activation"], unique=False, schema="wake")
    op.create_index(
        "run_claim_idx",
        "run",
        ["run_at"],
        unique=False,
        schema="wake",
        postgresql_where=sa.text("state in ('pending', 'running')"),
    )
    op.create_table(
        "action",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("bound", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("chosen", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("arguments", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("effect", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("approval", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.Column("depth", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("lease_by", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("intent", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("result", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("executed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "state in ('proposed', 'awaiting_approval', 'approved', 'executing', 'succeeded', 'rejected', 'stale', 'expired', 'failed', 'unknown')",
            name=op.f("action_state_check"),
        ),
        sa.ForeignKeyConstraint(["run"], ["wake.run.id"], name=op.f("action_run_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("action_pkey")),
        schema="wake",
    )
    op.create_index(
        "action_claim_idx",
        "action",
        ["run_at"],
        unique=False,
        schema="wake",
        postgresql_where=sa.text("state in ('approved', 'executing')"),
    )
    op.create_index("action_run_idx", "action", ["run", "number"], unique=True, schema="wake")
    op.create_index("action_state_idx", "action", ["state", "created_at"], unique=False, schema="wake")
    op.create_table(
        "run_step",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("request", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("response", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("tokens_in", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tokens_out", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ms", sa.Float(), server_default="0", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["wake.run.id"], name=op.f("run_step_run_fkey")),
        sa.PrimaryKeyConstraint("run", "step", name=op.f("run_step_pkey")),
        schema="wake",
    )


def downgrade() -> None:
    op.drop_table("run_step", schema="wake")
    op.drop_index("action_state_idx", table_name="action", schema="wake")
    op.drop_index("action_run_idx", table_name="action", schema="wake")
    op.drop_index(
        "action_claim_idx",
        table_name="action",
        schema="wake",
        postgresql_where=sa.text("state in ('approved', 'executing')"),
    )
    op.drop_table("action", schema="wake")
    op.drop_index(
        "run_claim_idx", table_name="run", schema="wake", postgresql_where=sa.text("state in ('pending', 'running')")
    )
    op.drop_index("run_activation_idx", table_name="run", schema="wake")
    op.drop_table("run", schema="wake")
    op.drop_table("trigger_count", schema="wake")
    op.drop_table("source_position", schema="wake")
    op.drop_table("snapshot_row", schema="wake")
    op.drop_table("setting", schema="wake")
    op.drop_index(op.f("revision_source_idx"), table_name="revision", schema="wake")
    op.drop_table("revision", schema="wake")
    op.drop_table("receipt", schema="wake")
    op.drop_table("partition_position", schema="wake")
    op.drop_table("operator", schema="wake")
    op.drop_table("missing_value", schema="wake")
    op.drop_table("mirror_state", schema="wake")
    op.drop_index(op.f("guard_event_source_idx"), table_name="guard_event", schema="wake")
    op.drop_table("guard_event", schema="wake")
    op.drop_table("gap", schema="wake")
    op.drop_index("dead_letter_place_key", table_name="dead_letter", schema="wake")
    op.drop_table("dead_letter", schema="wake")
    op.drop_table("audit", schema="wake")
    op.drop_index("activation_trigger_idx", table_name="activation", schema="wake")
    op.drop_index("activation_subject_idx", table_name="activation", schema="wake")
    op.drop_table("activation", schema="wake")
