"""Objects of the store that are to be deleted: written down in the transaction that deletes the last row naming them.

One may also be doomed before it is written, and be reprieved by the transaction that names it, so that nothing is left
of what is never named. A sweep first claims what it is about to delete; from then on there is no reprieve.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore.database import in_utc
from stoker_codestore.tables import DoomedObjectRow

CLAIMED = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of those that a sweep has claimed. It has them found first, should the sweep be killed."""


async def doom(session: AsyncSession, keys: Sequence[str], time: datetime) -> None:
    """Has objects deleted a grace period after `time`."""
    for key in keys:
        await session.merge(DoomedObjectRow(object_key=key, time=time))


async def reprieve(session: AsyncSession, key: str) -> bool:
    """Keeps a doomed object, as something names it now; returns whether it is still in time for that."""
    row = await session.get(DoomedObjectRow, key, with_for_update=True)
    if row is None or in_utc(row.time) == CLAIMED:
        return False
    await session.delete(row)
    return True


async def claim(session: AsyncSession, before: datetime, limit: int) -> Sequence[str]:
    """The keys of objects that were doomed before, which the caller is to delete when the transaction has ended."""
    due = select(DoomedObjectRow.object_key).where(DoomedObjectRow.time <= before)
    keys = list(await session.scalars(due.order_by(DoomedObjectRow.time).limit(limit).with_for_update()))
    await session.execute(update(DoomedObjectRow).where(DoomedObjectRow.object_key.in_(keys)).values(time=CLAIMED))
    return keys


async def forget(session: AsyncSession, keys: Sequence[str]) -> None:
    """Says that claimed objects have been deleted. One that was doomed anew meanwhile may have been written anew."""
    which = DoomedObjectRow.object_key.in_(keys), DoomedObjectRow.time == CLAIMED
    await session.execute(delete(DoomedObjectRow).where(*which))
