"""The library of Paperless documents, and what models suggested for them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "library_documents",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("created", sa.String(length=10), nullable=True),
        sa.Column("correspondent", sa.Integer(), nullable=True),
        sa.Column("document_type", sa.Integer(), nullable=True),
        sa.Column("storage_path", sa.Integer(), nullable=True),
        sa.Column("wire", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "library_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("url", sa.String(length=400), nullable=False),
        sa.Column("lookups", sa.JSON(), nullable=False),
        sa.Column("cursor", sa.String(length=40), nullable=True),
        sa.Column("walk", sa.JSON(), nullable=True),
        sa.Column("compared_at", sa.Float(), nullable=True),
        sa.Column("synced_at", sa.Float(), nullable=True),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "suggestions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Integer(), nullable=False),
        sa.Column("added", sa.String(length=40), nullable=False),
        sa.Column("model", sa.String(length=120), nullable=False),
        sa.Column("version", sa.String(length=60), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("group", sa.String(length=80), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("places", sa.JSON(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("current", sa.JSON(), nullable=False),
        sa.Column("written", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_suggestions_document"), "suggestions", ["document"], unique=False)
    op.create_index(op.f("ix_suggestions_model"), "suggestions", ["model"], unique=False)
