"""What a person wants tried again of a dead letter, how far that is, and what came of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    wish = sa.Column("retrying", postgresql.JSONB(none_as_null=True))
    told = sa.Column("told", sa.BigInteger(), server_default="0", nullable=False)
    for column in (wish, told, sa.Column("outcome", sa.Text())):
        op.add_column("dead_letter", column, schema="wake")


def downgrade() -> None:
    for name in ("outcome", "told", "retrying"):
        op.drop_column("dead_letter", name, schema="wake")
