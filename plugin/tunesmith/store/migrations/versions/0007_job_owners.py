"""Which machine and which attempt a running job belongs to, and its last sign of life."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("host", sa.String(length=200), nullable=True))
    op.add_column("jobs", sa.Column("ticket", sa.String(length=40), nullable=True))
    op.add_column("jobs", sa.Column("beat_at", sa.Float(), nullable=True))
