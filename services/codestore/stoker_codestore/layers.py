"""Layers, in the database: shared, versioned artifacts that functions find in `/opt`.

A version of a function keeps what it needs of its layers, so that resolving a route reads nothing here. Who uses a
layer and who deletes a version of it lock the layer's row, so one of both comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_codestore import errors
from stoker_codestore.artifacts import use_artifacts
from stoker_codestore.database import Database, in_utc, new_id, now
from stoker_codestore.tables import ContentRow, FunctionRow, LayerRow, LayerVersionRow, VersionRow

MOST_VERSIONS = 1000
"""How many versions of layers a tenant may have, of all its layers together."""


@dataclass(frozen=True, slots=True)
class LayerVersion:
    """A version of a layer."""

    layer: str
    number: int
    artifact_sha256: str
    artifact_size_bytes: int
    description: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class UsedLayer:
    """A version of a layer, as a version of a function has it."""

    layer: str
    number: int
    artifact_sha256: str = ""
    """Empty where it has not been looked up yet."""
    artifact_size_bytes: int = 0


class Layers:
    """The layers of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def publish(self, tenant: str, layer: str, artifact_sha256: str, description: str) -> LayerVersion:
        """Publishes a layer's next version, unless the newest is the same already; that one is returned then.

        Raises:
            StokerError: ARTIFACT_NOT_FOUND, TOO_MANY_LAYER_VERSIONS, or DATABASE_UNAVAILABLE.
        """
        try:
            return await self._publish(tenant, layer, artifact_sha256, description)
        except IntegrityError:
            # The layer is made at the same time by another, and is there now.
            return await self._publish(tenant, layer, artifact_sha256, description)

    async def _publish(self, tenant: str, layer: str, artifact_sha256: str, description: str) -> LayerVersion:
        async with self._database.transaction() as session:
            row = await session.scalar(select(LayerRow).where(*_named(tenant, layer)).with_for_update())
            if row is None:
                row = LayerRow(uid=new_id(), tenant=tenant, name=layer, last_number=0)
                session.add(row)
                await session.flush()
            if missing := await use_artifacts(session, tenant, [artifact_sha256]):
                raise errors.artifact_not_found(missing, "version.artifact")
            newest = (await session.execute(_newest_first().where(*_named(tenant, layer)).limit(1))).first()
            if newest is not None:
                same = _version(*newest)
                if (same.artifact_sha256, same.description) == (artifact_sha256, description):
                    return same
            of_tenant = (
                select(func.count()).select_from(LayerVersionRow).join(LayerRow).where(LayerRow.tenant == tenant)
            )
            if (await session.execute(of_tenant)).scalar_one() >= MOST_VERSIONS:
                raise errors.too_many_layer_versions(MOST_VERSIONS)
            row.last_number += 1
            version = LayerVersionRow(
                layer_uid=row.uid,
                number=row.last_number,
                artifact_sha256=artifact_sha256,
                description=description,
                create_time=now(),
            )
            session.add(version)
            size_bytes = await session.scalar(select(ContentRow.size_bytes).where(ContentRow.sha256 == artifact_sha256))
            return _version(layer, version, size_bytes or 0)

    async def get(self, tenant: str, layer: str, number: int) -> LayerVersion:
        """Returns a version of a layer.

        Raises:
            StokerError: LAYER_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        query = _newest_first().where(*_named(tenant, layer), LayerVersionRow.number == number)
        async with self._database.transaction() as session:
            found = (await session.execute(query)).one_or_none()
        if found is None:
            raise errors.layer_not_found(layer, number)
        return _version(*found)

    async def list_after(self, tenant: str, after: str, limit: int) -> Sequence[LayerVersion]:
        """The newest version of each layer that has one and whose name comes after `after`, by name.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        newest = (
            select(func.max(LayerVersionRow.number))
            .where(LayerVersionRow.layer_uid == LayerRow.uid)
            .correlate(LayerRow)
            .scalar_subquery()
        )
        query = (
            _versions()
            .where(LayerRow.tenant == tenant, LayerRow.name > after, LayerVersionRow.number == newest)
            .order_by(LayerRow.name)
            .limit(limit)
        )
        async with self._database.transaction() as session:
            return [_version(*found) for found in await session.execute(query)]

    async def list_versions_before(self, tenant: str, layer: str, before: int, limit: int) -> Sequence[LayerVersion]:
        """A layer's versions with numbers below `before`, newest first, `limit` at the most.

        Raises:
            StokerError: DATABASE_UNAVAILABLE.
        """
        query = _newest_first().where(*_named(tenant, layer), LayerVersionRow.number < before).limit(limit)
        async with self._database.transaction() as session:
            return [_version(*found) for found in await session.execute(query)]

    async def delete(self, tenant: str, layer: str, number: int) -> None:
        """Deletes a version of a layer. Its number is never given again.

        Raises:
            StokerError: LAYER_NOT_FOUND, LAYER_IN_USE, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            row = await session.scalar(select(LayerRow).where(*_named(tenant, layer)).with_for_update())
            version = None if row is None else await session.get(LayerVersionRow, (row.uid, number))
            if version is None:
                raise errors.layer_not_found(layer, number)
            users = await session.execute(
                select(FunctionRow.name, VersionRow.number, VersionRow.layers)
                .join(VersionRow, VersionRow.function_uid == FunctionRow.uid)
                .where(FunctionRow.tenant == tenant, VersionRow.layers.is_not(None))
                .order_by(FunctionRow.name, VersionRow.number)
            )
            for function, function_version, layers in users:
                if any((used.layer, used.number) == (layer, number) for used in layers_of(layers)):
                    raise errors.layer_in_use(layer, number, function, function_version)
            await session.delete(version)


async def resolve_layers(session: AsyncSession, tenant: str, wanted: Sequence[UsedLayer]) -> tuple[UsedLayer, ...]:
    """Looks layers up for a version of a function. They are not deleted before the transaction ends.

    Raises:
        StokerError: LAYER_NOT_FOUND.
    """
    if not wanted:
        return ()
    named = LayerRow.tenant == tenant, LayerRow.name.in_({each.layer for each in wanted})
    # Locked before their versions are read: what was deleted while this waited is gone then.
    await session.execute(select(LayerRow.uid).where(*named).order_by(LayerRow.name).with_for_update(read=True))
    query = _versions().where(*named)
    there = {(found.layer, found.number): found for found in (_version(*each) for each in await session.execute(query))}
    resolved: list[UsedLayer] = []
    for position, each in enumerate(wanted):
        found = there.get((each.layer, each.number))
        if found is None:
            raise errors.layer_not_found(each.layer, each.number, f"version.layers[{position}]")
        resolved.append(UsedLayer(found.layer, found.number, found.artifact_sha256, found.artifact_size_bytes))
    return tuple(resolved)


def layers_of(column: Sequence[tuple[str, int, str, int]] | None) -> tuple[UsedLayer, ...]:
    """The layers that a version's row tells of."""
    return tuple(UsedLayer(*each) for each in column or ())


def column_of(layers: Sequence[UsedLayer]) -> list[tuple[str, int, str, int]] | None:
    """What a version's row tells of layers."""
    return [(each.layer, each.number, each.artifact_sha256, each.artifact_size_bytes) for each in layers] or None


def _named(tenant: str, layer: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return LayerRow.tenant == tenant, LayerRow.name == layer


def _versions() -> Select[str, LayerVersionRow, int]:
    return (
        select(LayerRow.name, LayerVersionRow, ContentRow.size_bytes)
        .join(LayerVersionRow, LayerVersionRow.layer_uid == LayerRow.uid)
        .join(ContentRow, ContentRow.sha256 == LayerVersionRow.artifact_sha256)
    )


def _newest_first() -> Select[str, LayerVersionRow, int]:
    return _versions().order_by(LayerVersionRow.number.desc())


def _version(layer: str, row: LayerVersionRow, size_bytes: int) -> LayerVersion:
    return LayerVersion(layer, row.number, row.artifact_sha256, size_bytes, row.description, in_utc(row.create_time))
