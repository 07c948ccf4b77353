"""What aliases pointed to before: who changed it, when and why.

Only the last changes of each alias are kept, so that an alias that is moved all day long does not fill the database.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore.database import in_utc
from stoker_codestore.tables import AliasChangeRow

KEPT = 500
"""How many changes of one alias are kept."""
MAX_ACTOR = 64
MAX_REASON = 256


@dataclass(frozen=True, slots=True)
class Cause:
    """Who has an alias changed, and why."""

    actor: str
    """The public id of an API key, or a word for what in Stoker did it; empty where it is not known."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of an alias's invocations, in percent, that goes to one version."""

    version: int
    weight: int


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One change of where an alias points."""

    number: int
    """Higher than those of the changes before."""
    alias: str
    time: datetime
    cause: Cause
    before: tuple[Share, ...]
    """Empty where there was no such alias."""
    after: tuple[Share, ...]
    """Empty where the alias was deleted."""


async def record(
    session: AsyncSession,
    function_uid: str,
    alias: str,
    cause: Cause,
    before: Sequence[Share],
    after: Sequence[Share],
    time: datetime,
) -> None:
    """Notes a change in the transaction that makes it. What changes nothing is not noted."""
    if tuple(before) == tuple(after):
        return
    of_alias = AliasChangeRow.function_uid == function_uid, AliasChangeRow.alias == alias
    last_kept = select(AliasChangeRow.id).where(*of_alias).order_by(AliasChangeRow.id.desc()).offset(KEPT - 1).limit(1)
    oldest = await session.scalar(last_kept)
    if oldest is not None:
        await session.execute(delete(AliasChangeRow).where(*of_alias, AliasChangeRow.id <= oldest))
    session.add(
        AliasChangeRow(
            function_uid=function_uid,
            alias=alias,
            time=time,
            actor=cause.actor,
            routes_before=_pairs(before),
            routes_after=_pairs(after),
            reason=cause.reason[:MAX_REASON],
        )
    )


async def changes_before(
    session: AsyncSession, function_uid: str, alias: str, before: int, limit: int
) -> Sequence[AliasChange]:
    """An alias's changes with numbers below `before`, the newest first, `limit` at the most."""
    query = select(AliasChangeRow).where(
        AliasChangeRow.function_uid == function_uid, AliasChangeRow.alias == alias, AliasChangeRow.id < before
    )
    rows = await session.scalars(query.order_by(AliasChangeRow.id.desc()).limit(limit))
    return [_change(row) for row in rows]


def _change(row: AliasChangeRow) -> AliasChange:
    return AliasChange(
        row.id,
        row.alias,
        in_utc(row.time),
        Cause(row.actor, row.reason),
        _shares(row.routes_before),
        _shares(row.routes_after),
    )


def _pairs(shares: Sequence[Share]) -> list[list[int]] | None:
    return [[share.version, share.weight] for share in shares] or None


def _shares(pairs: Sequence[Sequence[int]] | None) -> tuple[Share, ...]:
    return tuple(Share(version, weight) for version, weight in pairs or ())
