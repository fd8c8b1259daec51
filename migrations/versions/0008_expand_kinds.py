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


def downgrade() -> None:
    op.drop_column("activation", "handed", schema="wake")
