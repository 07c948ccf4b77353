"""Functions, versions, aliases and artifacts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NAME = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "contents",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("unpacked_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_count", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "artifacts",
        sa.Column("tenant", NAME, primary_key=True),
        sa.Column("sha256", sa.String(64), sa.ForeignKey("contents.sha256"), primary_key=True),
        sa.Column("create_time", TIME, nullable=False),
    )
    op.create_index("ix_artifacts_sha256", "artifacts", ["sha256"])
    op.create_table(
        "functions",
        sa.Column("uid", sa.String(32), primary_key=True),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("description", sa.String(1024), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
        sa.UniqueConstraint("tenant", "name", name="uq_functions_tenant_name"),
    )
    op.create_table(
        "versions",
        sa.Column("uid", sa.String(32), primary_key=True),
        sa.Column("function_uid", sa.String(32), sa.ForeignKey("functions.uid"), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("artifact_sha256", sa.String(64), sa.ForeignKey("contents.sha256"), nullable=False),
        sa.Column("runtime", sa.String(32), nullable=False),
        sa.Column("handler", sa.String(256), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("timeout_s", sa.Integer(), nullable=False),
        sa.Column("tmp_mib", sa.Integer(), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.Column("description", sa.String(1024), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.UniqueConstraint("function_uid", "number", name="uq_versions_function_uid_number"),
    )
    op.create_index("ix_versions_artifact_sha256", "versions", ["artifact_sha256"])
    op.create_table(
        "aliases",
        sa.Column("function_uid", sa.String(32), sa.ForeignKey("functions.uid"), primary_key=True),
        sa.Column("name", NAME, primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("second_version", sa.BigInteger()),
        sa.Column("update_time", TIME, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(
            ["function_uid", "version"], ["versions.function_uid", "versions.number"], name="fk_aliases_version"
        ),
        sa.ForeignKeyConstraint(
            ["function_uid", "second_version"],
            ["versions.function_uid", "versions.number"],
            name="fk_aliases_second_version",
        ),
    )


def downgrade() -> None:
    """Removes the tables with all that is in them."""
    for table in ("aliases", "versions", "functions", "artifacts", "contents"):
        op.drop_table(table)
