"""The codestore as a process: killed, stopped, misconfigured, without its database."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError
from stoker_codestore.codestore import DatabaseUnreachable, UploadsUnusable, running_codestore
from stoker_codestore.object_store import StoreUnusable
from stoker_service.channels import open_channel
from stoker_service.server import AddressInUse

from tests.codestore.test_codestore_artifacts import LARGE, Paused, files_below, sqlite
from tests.codestore.world import CODE, WITHIN_S, World, failure_of, settings_of, sha256

pytestmark = pytest.mark.thorough


def environment_of(directory: Path, database_url: str) -> dict[str, str]:
    return {
        "STOKER_CODESTORE_LISTEN_ADDRESS": "127.0.0.1:0",
        "STOKER_CODESTORE_DATABASE_URL": database_url,
        "STOKER_CODESTORE_ARTIFACTS_URL": f"file://{directory}/artifacts",
        "STOKER_CODESTORE_UPLOADS_DIR": f"{directory}/uploads",
    }


async def start(environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stoker_codestore", env=os.environ | environment, stderr=asyncio.subprocess.PIPE
    )


async def address_of(process: asyncio.subprocess.Process) -> str:
    """Where a process answers, as its log says once it does."""
    assert process.stderr is not None
    async with asyncio.timeout(WITHIN_S):
        async for line in process.stderr:
            with contextlib.suppress(ValueError):
                if (event := json.loads(line))["event"] == "server.started":
                    return str(event["address"])
    raise AssertionError("the codestore ended before it answered")


@asynccontextmanager
async def running(environment: Mapping[str, str]) -> AsyncGenerator[tuple[asyncio.subprocess.Process, World]]:
    process = await start(environment)
    try:
        async with open_channel(await address_of(process)) as channel:
            yield process, World(channel)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def end_of(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    async with asyncio.timeout(WITHIN_S):
        _, errors = await process.communicate()
    return process.returncode, errors.decode()


async def test_a_kill_amid_an_upload_leaves_nothing_and_loses_nothing(tmp_path: Path, postgresql_url: str) -> None:
    environment = environment_of(tmp_path, postgresql_url)
    async with running(environment) as (process, world):
        await world.deploy("hello")
        paused = Paused(world, LARGE)
        await paused.begun()
        # The call after it is answered, so it has arrived.
        assert await world.resolved("ann", "hello", "live") == [(1, 100)]
        process.kill()
        assert (await failure_of(paused.call)).kind.name == "UNAVAILABLE"
        await process.wait()
    stored = files_below(tmp_path)
    assert len(stored) == 3, "an archive, its manifest, its chunk"
    # As if it had been killed while the store was writing.
    for each in stored:
        each.with_name(f"{sha256(LARGE)}#1").write_bytes(LARGE[:1000])
    async with running(environment) as (_, world):
        assert files_below(tmp_path) == stored
        assert (await failure_of(world.artifact(sha256(LARGE)))).reason == "ARTIFACT_NOT_FOUND"
        assert await world.resolved("ann", "hello", "live") == [(1, 100)]
        assert await world.fetch("ann", sha256(CODE)) == CODE
        await world.upload(LARGE)


async def test_a_start_disturbs_no_other_codestore_on_the_same_directory(tmp_path: Path, postgresql_url: str) -> None:
    settings = settings_of(tmp_path, postgresql_url)
    being_made = [tmp_path / "artifacts/ab/abc#1", tmp_path / "uploads/manifest-1/tree"]
    async with running_codestore(settings):
        for path in being_made:
            path.parent.mkdir()
            path.touch()
        async with running_codestore(settings):
            assert all(path.exists() for path in being_made)
    async with running_codestore(settings):
        assert not any(path.exists() for path in being_made)


async def test_a_stop_does_not_wait_for_watches(tmp_path: Path) -> None:
    async with running(environment_of(tmp_path, sqlite(tmp_path))) as (process, world):
        await world.watch()
        process.send_signal(signal.SIGTERM)
        code, _ = await end_of(process)
    assert code == 0


async def test_a_wrong_configuration_is_told_in_a_line(tmp_path: Path) -> None:
    environment = environment_of(tmp_path, sqlite(tmp_path)) | {"STOKER_CODESTORE_ARTIFACTS_URL": "ftp://somewhere"}
    code, errors = await end_of(await start(environment))
    assert code == 2
    assert errors.startswith("cannot keep artifacts in ftp://somewhere: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("wrong", "failure", "message"),
    [
        ({"artifacts_url": "memory:///"}, StoreUnusable, "cannot keep artifacts in memory:///: "),
        ({"artifacts_url": "file:///dev/null/x"}, StoreUnusable, "cannot keep artifacts in file:///dev/null/x: "),
        ({"uploads_dir": "/dev/null/x"}, UploadsUnusable, "cannot keep uploads in /dev/null/x: "),
        ({"listen_address": "192.0.2.1:1"}, AddressInUse, "cannot listen on 192.0.2.1:1"),
        ({"database_url": "oracle://x"}, ValidationError, "database_url\n"),
        (
            {"database_url": "postgresql+asyncpg://somebody:secret@127.0.0.1:1/x"},
            DatabaseUnreachable,
            "cannot use the database postgresql+asyncpg://somebody:***@127.0.0.1:1/x: ",
        ),
    ],
)
async def test_what_cannot_be_used_is_named(
    tmp_path: Path, wrong: dict[str, str], failure: type[Exception], message: str
) -> None:
    with pytest.raises(failure, match=re.escape(message)):
        async with running_codestore(settings_of(tmp_path, **({"database_url": sqlite(tmp_path)} | wrong))):
            pass
