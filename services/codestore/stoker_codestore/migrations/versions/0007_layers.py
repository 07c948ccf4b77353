"""Layers, and which of them versions have."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NAME = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")


def upgrade() -> None:
    """Makes the tables, and adds the column."""
    op.create_table(
        "layers",
        sa.Column("uid", sa.String(32), primary_key=True),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("tenant", "name", name="uq_layers_tenant_name"),
    )
    op.create_table(
        "layer_versions",
        sa.Column("layer_uid", sa.String(32), sa.ForeignKey("layers.uid"), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True),
        sa.Column("artifact_sha256", sa.String(64), sa.ForeignKey("contents.sha256"), nullable=False),
        sa.Column("description", sa.String(1024), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_layer_versions_artifact_sha256", "layer_versions", ["artifact_sha256"])
    op.add_column("versions", sa.Column("layers", sa.JSON()))


def downgrade() -> None:
    """Removes the tables and the column with all that is in them."""
    op.drop_column("versions", "layers")
    op.drop_table("layer_versions")
    op.drop_table("layers")
