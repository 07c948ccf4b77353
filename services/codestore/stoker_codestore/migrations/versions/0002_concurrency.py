"""How many invocations a container runs at once, and how many containers and invocations functions may have."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = (
    # What is there already runs one invocation at a time, and has nothing set.
    ("versions", "concurrency", "1"),
    ("functions", "provisioned", "0"),
    ("functions", "maximum", "0"),
    ("aliases", "provisioned", "0"),
)


def upgrade() -> None:
    """Adds the columns."""
    for table, column, before in COLUMNS:
        op.add_column(table, sa.Column(column, sa.Integer(), nullable=False, server_default=before))


def downgrade() -> None:
    """Removes the columns with all that is in them."""
    for table, column, _ in COLUMNS:
        op.drop_column(table, column)
