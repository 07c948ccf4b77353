"""What artifacts consist of: manifests and chunks."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the tables. Artifacts that are there already get their manifests when they are needed."""
    op.create_table(
        "manifests",
        sa.Column("artifact_sha256", sa.String(64), sa.ForeignKey("contents.sha256"), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("packed_bytes", sa.BigInteger(), nullable=False),
        sa.Column("object_key", sa.String(128), nullable=False),
    )
    op.create_table(
        "chunks",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("object_key", sa.String(128), nullable=False),
        sa.Column("is_stored", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "artifact_chunks",
        sa.Column("artifact_sha256", sa.String(64), sa.ForeignKey("contents.sha256"), primary_key=True),
        sa.Column("chunk_sha256", sa.String(64), sa.ForeignKey("chunks.sha256"), primary_key=True),
    )
    op.create_index("ix_artifact_chunks_chunk_sha256", "artifact_chunks", ["chunk_sha256"])


def downgrade() -> None:
    """Removes the tables with all that is in them."""
    op.drop_table("artifact_chunks")
    op.drop_table("chunks")
    op.drop_table("manifests")
