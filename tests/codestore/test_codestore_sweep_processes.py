"""Two codestores on one PostgreSQL and one directory sweep as fast as they can, and are killed, while others upload."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import grpc.aio
import pytest
from stoker_service.status import error_from_rpc

from tests.codestore.test_codestore_processes import environment_of, running
from tests.codestore.world import ANN, BOB, World, failure_of, sha256, zip_of

CODES = [zip_of({"app.py": str(number).encode()}) for number in range(4)]
ROUNDS = 12


def hurried(directory: Path, database_url: str) -> dict[str, str]:
    """A codestore that keeps nothing for long."""
    return environment_of(directory, database_url) | {
        "STOKER_CODESTORE_ARTIFACTS_KEPT_S": "0.1",
        "STOKER_CODESTORE_SWEEP_GRACE_S": "1",
        "STOKER_CODESTORE_SWEEP_EVERY_S": "0.02",
        "STOKER_CODESTORE_PUSH_AHEAD": "false",
    }


@asynccontextmanager
async def both(environment: Mapping[str, str]) -> AsyncGenerator[list[World]]:
    async with AsyncExitStack() as stack:
        yield [(await stack.enter_async_context(running(environment)))[1] for _ in range(2)]


async def churn(worlds: list[World], random: Random, tenant: str) -> set[tuple[int, str]]:
    """Uploads, publishes and deletes; returns the versions that are there in the end, with their artifacts."""
    metadata = {"ann": ANN, "bob": BOB}[tenant]
    published: set[tuple[int, str]] = set()
    for number in range(ROUNDS):
        code = random.choice(CODES)
        await random.choice(worlds).upload(code, metadata)
        publishing = random.choice(worlds).publish("hello", metadata, data=code, description=str(number))
        try:
            version = (await publishing).version
        except grpc.aio.AioRpcError as failure:
            # It may have been swept at once, as little is kept that is not published.
            if error_from_rpc(failure).reason != "ARTIFACT_NOT_FOUND":
                raise
        else:
            published.add((version.number, sha256(code)))
            assert await random.choice(worlds).fetch(tenant, sha256(code)) == code
        if published and random.random() < 0.6:
            gone = random.choice(sorted(published))
            await random.choice(worlds).delete_version("hello", gone[0], metadata)
            published.remove(gone)
    return published


@pytest.mark.thorough
async def test_what_is_published_is_never_swept_by_whichever_codestore(tmp_path: Path, postgresql_url: str) -> None:
    environment = hurried(tmp_path, postgresql_url)
    left: dict[str, set[tuple[int, str]]] = {}
    async with both(environment) as worlds:
        for metadata in (ANN, BOB):
            await worlds[0].create("hello", metadata)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks = {
                tenant: group.create_task(churn(worlds, Random(seed), tenant))  # noqa: S311 - so that it comes again
                for seed, tenant in enumerate(("ann", "bob"))
            }
        left = {tenant: task.result() for tenant, task in tasks.items()}
        assert all(left.values()), "something was published"
    # They were killed while they swept. Whoever comes next finds what is to be there, and sweeps the rest.
    async with running(environment) as (_, world):
        for tenant, versions in left.items():
            for number, digest in versions:
                metadata = {"ann": ANN, "bob": BOB}[tenant]
                assert (await world.version("hello", number, metadata)).version.artifact == f"artifacts/{digest}"
                assert sha256(await world.fetch(tenant, digest)) == digest
        kept = {digest for versions in left.values() for _, digest in versions}
        async with asyncio.timeout(20):
            while archives_in(tmp_path) != kept:  # noqa: ASYNC110 - another process's directory tells nobody
                await asyncio.sleep(0.1)
        for digest in {sha256(code) for code in CODES} - kept:
            assert (await failure_of(world.artifact(digest))).reason == "ARTIFACT_NOT_FOUND"


def archives_in(directory: Path) -> set[str]:
    """The digests of the archives that the store holds."""
    return {path.name.partition("-")[0] for path in (directory / "artifacts").glob("[0-9a-f][0-9a-f]/*")}
