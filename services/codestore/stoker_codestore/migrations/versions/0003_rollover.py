"""What aliases pointed to before, how loading versions went, and what answers meanwhile."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAME = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)
COUNTED = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Makes the tables, and adds the columns."""
    op.add_column("functions", sa.Column("rollover", sa.String(16), nullable=False, server_default="serve_previous"))
    op.add_column("functions", sa.Column("max_staleness_s", sa.Integer(), nullable=False, server_default="60"))
    op.create_table(
        "alias_changes",
        sa.Column("id", COUNTED, primary_key=True, autoincrement=True),
        sa.Column("function_uid", sa.String(32), sa.ForeignKey("functions.uid"), nullable=False),
        sa.Column("alias", NAME, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("routes_before", sa.JSON()),
        sa.Column("routes_after", sa.JSON()),
        sa.Column("reason", sa.String(256), nullable=False),
    )
    op.create_index("ix_alias_changes_alias", "alias_changes", ["function_uid", "alias", "id"])
    op.create_table(
        "version_loads",
        sa.Column("version_uid", sa.String(32), sa.ForeignKey("versions.uid"), primary_key=True),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(256), nullable=False),
        sa.Column("message", sa.String(4096), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("retry_time", TIME, nullable=False),
    )


def downgrade() -> None:
    """Removes the tables and columns with all that is in them."""
    op.drop_table("version_loads")
    op.drop_table("alias_changes")
    for column in ("rollover", "max_staleness_s"):
        op.drop_column("functions", column)
