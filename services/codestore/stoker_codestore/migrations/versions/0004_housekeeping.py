"""How much is kept, how much tenants may store, and who signs their code."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NAME = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)
QUOTAS = ("max_artifact_bytes", "max_artifacts", "max_total_bytes", "max_functions", "max_versions")


def upgrade() -> None:
    """Makes the tables, and adds the columns."""
    op.add_column("functions", sa.Column("versions_kept", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("versions", sa.Column("signing_key_id", sa.String(32)))
    op.add_column("versions", sa.Column("signature", sa.LargeBinary(64)))
    op.add_column("contents", sa.Column("object_key", sa.String(128), nullable=False, server_default=""))
    # What is stored already was named after its SHA-256 alone.
    op.execute("UPDATE contents SET object_key = substr(sha256, 1, 2) || '/' || sha256")
    for table in ("contents", "artifacts"):
        # Null says that it is in use; whatever is not is marked by the first sweep.
        op.add_column(table, sa.Column("unused_since", TIME))
        op.create_index(f"ix_{table}_unused_since", table, ["unused_since"])
    op.create_table(
        "doomed_objects",
        sa.Column("object_key", sa.String(128), primary_key=True),
        sa.Column("time", TIME, nullable=False),
    )
    op.create_index("ix_doomed_objects_time", "doomed_objects", ["time"])
    op.create_table(
        "tenant_policies",
        sa.Column("tenant", NAME, primary_key=True),
        *[sa.Column(quota, sa.BigInteger(), nullable=False, server_default="0") for quota in QUOTAS],
        sa.Column("require_signed", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "signing_keys",
        sa.Column("tenant", NAME, primary_key=True),
        sa.Column("name", NAME, primary_key=True),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(32), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.UniqueConstraint("tenant", "key_id", name="uq_signing_keys_tenant_key_id"),
    )


def downgrade() -> None:
    """Removes the tables and columns with all that is in them."""
    for table in ("signing_keys", "tenant_policies", "doomed_objects"):
        op.drop_table(table)
    for table in ("contents", "artifacts"):
        op.drop_index(f"ix_{table}_unused_since", table)
        op.drop_column(table, "unused_since")
    for table, column in (
        ("contents", "object_key"),
        ("versions", "signature"),
        ("versions", "signing_key_id"),
        ("functions", "versions_kept"),
    ):
        op.drop_column(table, column)
