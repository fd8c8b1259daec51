"""Rows of a snapshot of which the log has told itself: what the snapshot shows of them may be older than that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("snapshot_row", sa.Column("told", sa.Text(), nullable=True), schema="wake")


def downgrade() -> None:
    op.drop_column("snapshot_row", "told", schema="wake")
