"""How many invocations functions may run and how many containers are kept for them, in the database."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from stoker_codestore import errors
from stoker_codestore.database import Database
from stoker_codestore.functions import find_function, lock_function
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.tables import AliasRow, FunctionRow


@dataclass(frozen=True, slots=True)
class Setting:
    """What is set for a function, or for one of its aliases."""

    alias: str
    """Empty for the function's own."""
    provisioned: int
    """Containers kept loaded; a function's are of the versions that `live` names."""
    maximum: int
    """How many invocations may run at once, 0 for as many as the tenant may; always 0 for an alias."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is set."""
        return not (self.provisioned or self.maximum)


class Concurrency:
    """The settings of all functions and aliases. They are part of those, and end with them."""

    def __init__(self, database: Database, changes: RouteChanges) -> None:
        self._database = database
        self._changes = changes

    async def get(self, tenant: str, function: str, alias: str) -> Setting:
        """Returns a setting, the function's own where `alias` is empty.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            row = await find_function(session, tenant, function)
            if not alias:
                return _of_function(row)
            alias_row = await session.get(AliasRow, (row.uid, alias))
        if alias_row is None:
            raise errors.alias_not_found(function, alias)
        return _of_alias(alias_row)

    async def set(self, tenant: str, function: str, setting: Setting) -> Setting:
        """Puts a setting in the place of the one before.

        Raises:
            StokerError: INVALID_FIELD, FUNCTION_NOT_FOUND, ALIAS_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        if setting.alias and setting.maximum:
            raise errors.invalid_field("concurrency.maximum", "must be 0 for an alias; only a function has a maximum")
        async with self._changes.changing(tenant, function) as session:
            row = await lock_function(session, tenant, function)
            if setting.alias:
                alias_row = await session.get(AliasRow, (row.uid, setting.alias))
                if alias_row is None:
                    raise errors.alias_not_found(function, setting.alias)
                alias_row.provisioned = setting.provisioned
            else:
                row.provisioned, row.maximum = setting.provisioned, setting.maximum
        return setting

    async def list(self, tenant: str, function: str) -> Sequence[Setting]:
        """What is set for a function and its aliases: the function's first, then by the aliases' names.

        Raises:
            StokerError: FUNCTION_NOT_FOUND, or DATABASE_UNAVAILABLE.
        """
        async with self._database.transaction() as session:
            row = await find_function(session, tenant, function)
            aliases = select(AliasRow).where(AliasRow.function_uid == row.uid, AliasRow.provisioned > 0)
            found = [_of_function(row)]
            found += [_of_alias(each) for each in await session.scalars(aliases.order_by(AliasRow.name))]
        return [setting for setting in found if not setting.is_empty]


def _of_function(row: FunctionRow) -> Setting:
    return Setting("", row.provisioned, row.maximum)


def _of_alias(row: AliasRow) -> Setting:
    return Setting(row.name, row.provisioned, 0)
