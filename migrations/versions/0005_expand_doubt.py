"""Why a snapshot of a table cannot be believed, until another one has read it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mirror_state", sa.Column("doubt", sa.Text(), nullable=True), schema="wake")


def downgrade() -> None:
    op.drop_column("mirror_state", "doubt", schema="wake")
