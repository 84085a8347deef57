"""Idempotency keys of uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("files", sa.Column("idempotency_key", sa.String(length=200), nullable=True))
    op.create_index(op.f("ix_files_idempotency_key"), "files", ["idempotency_key"], unique=True)
