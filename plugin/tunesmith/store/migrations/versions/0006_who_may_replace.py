"""What runs and schedules may replace, which runs were published, and what an interrupted change left."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # Who made them is not known: they keep what they could do.
    for table in ("runs", "schedules"):
        op.add_column(table, sa.Column("may_replace", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("runs", sa.Column("published_at", sa.Float(), nullable=True))
    op.add_column("runs", sa.Column("tidied", sa.Boolean(), nullable=False, server_default=sa.false()))
    # Files of runs that had ended before stay: somebody may have looked at them there.
    op.execute(
        "UPDATE runs SET tidied = true WHERE id IN (SELECT run_id FROM jobs WHERE status IN ('failed', 'cancelled'))"
    )
    op.create_table(
        "unsettled_models",
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
