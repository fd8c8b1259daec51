"""Rows of a snapshot that reads ahead of the log wait until the log has passed the moment at which it ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, default in (("ahead", "false"), ("whole", "true")):
        column = sa.Column(name, sa.Boolean(), server_default=sa.text(default), nullable=False)
        op.add_column("mirror_state", column, schema="wake")
    op.add_column("mirror_state", sa.Column("snapshot_ended", sa.BigInteger(), nullable=True), schema="wake")
    op.add_column("snapshot_row", sa.Column("image", sa.Text(), nullable=True), schema="wake")


def downgrade() -> None:
    op.drop_column("snapshot_row", "image", schema="wake")
    op.drop_column("mirror_state", "snapshot_ended", schema="wake")
    op.drop_column("mirror_state", "whole", schema="wake")
    op.drop_column("mirror_state", "ahead", schema="wake")
