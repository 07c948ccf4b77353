"""Rollouts: how far they are, and what is known of the versions."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NAME = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)
SECONDS: sa.Double[float] = sa.Double()


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "rollouts",
        sa.Column("uid", sa.String(32), primary_key=True),
        sa.Column("function_uid", sa.String(32), sa.ForeignKey("functions.uid"), nullable=False),
        sa.Column("alias", NAME, nullable=False),
        sa.Column("from_version", sa.BigInteger(), nullable=False),
        sa.Column("from_uid", sa.String(32), nullable=False),
        sa.Column("to_version", sa.BigInteger(), nullable=False),
        sa.Column("to_uid", sa.String(32), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("every_s", SECONDS, nullable=False),
        sa.Column("min_calls", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("since_s", SECONDS, nullable=False),
        sa.Column("held_s", SECONDS, nullable=False),
        sa.Column("judged_before", sa.BigInteger(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(256), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("create_time", TIME, nullable=False),
    )
    op.create_index("ix_rollouts_function_uid_create_time", "rollouts", ["function_uid", "create_time"])
    op.create_index("ix_rollouts_state", "rollouts", ["state"])


def downgrade() -> None:
    """Removes the table with all that is in it."""
    op.drop_table("rollouts")
