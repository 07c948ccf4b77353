"""How much tenants may store."""

import asyncio
from pathlib import Path

import pytest
from stoker_service.errors import ErrorKind, StokerError

from tests.codestore.world import (
    ANN,
    BOB,
    CODE,
    OTHER_CODE,
    failure_of,
    header,
    running_world,
    settings_of,
    sha256,
    zip_of,
)

CODES = [zip_of({"app.py": str(number).encode()}) for number in range(8)]


def check_refusal(error: StokerError, quota: str) -> None:
    assert (error.kind, error.reason) == (ErrorKind.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert error.quota == "tenants/ann"
    assert error.metadata == {"quota": quota}
    assert quota in error.message


async def test_an_artifact_that_is_too_large_is_refused_before_its_bytes_come(
    tmp_path: Path, database_url: str
) -> None:
    async with running_world(settings_of(tmp_path, database_url, tenant_artifact_mib=1)) as world:
        # Its bytes never come: whoever waited for them would fail otherwise.
        check_refusal(await failure_of(world.send(header(CODE, size=1024 * 1024 + 1))), "max_artifact_bytes")
        await world.upload(CODE)


@pytest.mark.parametrize(
    ("setting", "quota"), [({"tenant_artifacts": 2}, "max_artifacts"), ({"tenant_total_mib": 0}, "max_total_bytes")]
)
async def test_as_many_artifacts_as_may_be_and_no_more(
    tmp_path: Path, database_url: str, setting: dict[str, int], quota: str
) -> None:
    async with running_world(settings_of(tmp_path, database_url, "", **setting)) as world:
        allowed = setting.get("tenant_artifacts", 0)
        for code in CODES[:allowed]:
            await world.upload(code)
        check_refusal(await failure_of(world.send(header(CODES[-1]))), quota)
        if allowed:
            # What is there already takes no more room, and another tenant has room of its own.
            await world.upload(CODES[0])
            await world.upload(CODES[-1], BOB)


async def test_uploads_at_once_do_not_together_pass_what_only_one_of_them_may(
    tmp_path: Path, database_url: str
) -> None:
    async with running_world(settings_of(tmp_path, database_url, tenant_artifacts=3)) as world:

        async def uploaded(code: bytes) -> bool:
            try:
                await world.upload(code)
            except Exception as error:  # noqa: BLE001 - looked at below
                check_refusal(await failure_of(_raise(error)), "max_artifacts")
                return False
            return True

        passed = await asyncio.gather(*[uploaded(code) for code in CODES])
        assert sum(passed) == 3


async def _raise(error: Exception) -> None:
    raise error


async def test_functions_and_versions_are_limited(tmp_path: Path, database_url: str) -> None:
    settings = settings_of(tmp_path, database_url, tenant_functions=2, tenant_versions=3)
    async with running_world(settings) as world:
        await world.deploy("first", versions=2)
        await world.create("second")
        check_refusal(await failure_of(world.create("third")), "max_functions")
        assert (await failure_of(world.create("first"))).reason == "FUNCTION_EXISTS"
        await world.publish("second")
        for validate_only in (True, False):
            refused = world.publish("second", description="one more", validate_only=validate_only)
            check_refusal(await failure_of(refused), "max_versions")
        # Publishing what there is already adds nothing.
        assert (await world.publish("second")).version.number == 1
        await world.delete_version("first", 1)
        assert (await world.publish("second", description="one more")).version.number == 2


async def test_functions_made_at_once_do_not_together_pass(tmp_path: Path, database_url: str) -> None:
    async with running_world(settings_of(tmp_path, database_url, tenant_functions=2)) as world:
        made = await asyncio.gather(
            *[world.create(f"function-{number}") for number in range(6)], return_exceptions=True
        )
        assert sum(not isinstance(outcome, Exception) for outcome in made) == 2


async def test_what_is_over_a_lowered_quota_stays(tmp_path: Path, database_url: str) -> None:
    async with running_world(settings_of(tmp_path, database_url)) as world:
        await world.deploy("hello")
        await world.upload(OTHER_CODE)
    async with running_world(settings_of(tmp_path, database_url, tenant_artifacts=1, tenant_versions=1)) as world:
        assert await world.resolved("ann", "hello", "live") == [(1, 100)]
        assert await world.fetch("ann", sha256(CODE)) == CODE
        await world.upload(CODE, ANN)
        check_refusal(await failure_of(world.send(header(CODES[0]))), "max_artifacts")
