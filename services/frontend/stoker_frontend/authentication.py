"""Who calls: the API key in `authorization: Bearer …` names a tenant, or the operator.

What the database says of a key is remembered for a few seconds. So long may a key live on that another frontend
revoked; one that is revoked here ends at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from stoker_service.background import Background

from stoker_frontend import api_keys, errors
from stoker_frontend.api_keys import ApiKey
from stoker_frontend.single_flight import SingleFlight
from stoker_frontend.tenants import KnownKey

MAX_REMEMBERED = 10_000
SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class _Remembered:
    key: KnownKey | None
    until_s: float


def key_in(metadata: Iterable[tuple[str, str | bytes]]) -> ApiKey:
    """The API key that a request carries.

    Raises:
        StokerError: API_KEY_MISSING, or API_KEY_INVALID where it has not the form of one.
    """
    for name, value in metadata:
        if name == "authorization" and isinstance(value, str):
            is_bearer = value[: len(SCHEME)].lower() == SCHEME
            key = api_keys.parse(value[len(SCHEME) :].strip()) if is_bearer else None
            if key is None:
                raise errors.api_key_invalid()
            return key
    raise errors.api_key_missing()


class Authentication:
    """Tells callers by their keys."""

    def __init__(
        self,
        find: Callable[[str], Awaitable[KnownKey | None]],
        admin_key: ApiKey,
        background: Background,
        ttl_s: float,
    ) -> None:
        """Begins without remembering any key.

        Args:
            find: Asks the database for a key by its id.
            admin_key: The operator's key.
            background: What owns the asking.
            ttl_s: How long an answer is remembered, in seconds.
        """
        self._find = find
        self._admin_key_id = admin_key.key_id
        self._admin_sha256 = api_keys.hash_secret(admin_key.secret)
        self._ttl_s = ttl_s
        self._remembered: dict[str, _Remembered] = {}
        self._flights: SingleFlight[str, KnownKey | None] = SingleFlight(background)

    async def tenant(self, key: ApiKey) -> str:
        """The tenant whose key it is.

        Raises:
            StokerError: API_KEY_INVALID; TENANT_KEY_REQUIRED for the admin key; DATABASE_UNAVAILABLE.
        """
        if self._is_admin(key):
            raise errors.tenant_key_required()
        return await self._tenant(key)

    async def check_admin(self, key: ApiKey) -> None:
        """Returns if it is the admin key.

        Raises:
            StokerError: ADMIN_KEY_REQUIRED for a tenant's key; API_KEY_INVALID for any other; DATABASE_UNAVAILABLE.
        """
        if not self._is_admin(key):
            await self._tenant(key)
            raise errors.admin_key_required()

    def forget(self, key_id: str) -> None:
        """Forgets what is known of a key, which has been revoked."""
        self._remembered.pop(key_id, None)
        self._flights.overtake(lambda other: other == key_id)

    def _is_admin(self, key: ApiKey) -> bool:
        return key.key_id == self._admin_key_id and api_keys.is_secret(key.secret, self._admin_sha256)

    async def _tenant(self, key: ApiKey) -> str:
        remembered = self._remembered.get(key.key_id)
        now_s = asyncio.get_running_loop().time()
        if remembered is not None and now_s < remembered.until_s:
            known = remembered.key
        else:
            until_s = now_s + self._ttl_s
            known = await self._flights.load(
                key.key_id,
                lambda: self._find(key.key_id),
                lambda known: self._remember(key.key_id, _Remembered(known, until_s)),
            )
        if known is None or not api_keys.is_secret(key.secret, known.secret_sha256):
            raise errors.api_key_invalid()
        return known.tenant

    def _remember(self, key_id: str, remembered: _Remembered) -> None:
        self._remembered.pop(key_id, None)
        self._remembered[key_id] = remembered
        if len(self._remembered) > MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
