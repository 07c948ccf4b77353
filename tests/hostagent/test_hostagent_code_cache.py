"""The code cache: each artifact is fetched once, verified, bounded on disk, and kept while it is in use."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from stoker_hostagent.code_cache import Artifact, CodeCache, size_on_disk
from stoker_hostagent.codestore import Codestore
from stoker_service.background import background
from stoker_service.channels import open_channel
from stoker_service.errors import ErrorKind, StokerError

from tests.hostagent.hostagent_peers import ArtifactFetch, running_codestore, zip_of

KIB = 1024


@asynccontextmanager
async def caching(
    state_dir: Path, max_bytes: int = 10_000 * KIB, fetch_s: float = 10
) -> AsyncGenerator[tuple[CodeCache, ArtifactFetch]]:
    async with (
        running_codestore() as (artifacts, address),
        open_channel(address) as channel,
        background() as tasks,
    ):
        cache = CodeCache(state_dir, Codestore(channel, fetch_s), tasks, max_bytes=max_bytes, max_fetches=4)
        await cache.open()
        yield cache, artifacts


def path_of(state_dir: Path, artifact: Artifact) -> Path:
    return state_dir / "code" / artifact.tenant / artifact.sha256


def code_of(size_bytes: int, seed: int = 0) -> bytes:
    return zip_of({"main.py": bytes([seed]) * size_bytes})


CODE = code_of(KIB)


async def test_code_is_unpacked_where_its_tenants_guests_see_it(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        artifact = codestore.put("acme", zip_of({"main.py": b"x = 1", "package/other.py": b"y = 2"}))
        await cache.hold("c-1", artifact)
    path = path_of(tmp_path, artifact)
    assert (path / "main.py").read_bytes() == b"x = 1"
    assert (path / "package/other.py").read_bytes() == b"y = 2"
    for one in (path.parent, path, path / "main.py", path / "package"):
        assert one.stat().st_mode & 0o444 == 0o444
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_however_many_ask_an_artifact_is_fetched_once(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        artifact = codestore.put("acme", code_of(200 * KIB))
        await asyncio.gather(*(cache.hold(f"c-{number}", artifact) for number in range(20)))
        await cache.hold("c-20", artifact)
        assert codestore.fetches == 1


async def test_one_who_gives_up_leaves_the_fetch_to_the_others(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        artifact = codestore.put("acme", code_of(KIB))
        codestore.may_end.clear()
        impatient = asyncio.create_task(cache.hold("c-1", artifact))
        patient = asyncio.create_task(cache.hold("c-2", artifact))
        await asyncio.wait((impatient, patient), timeout=0.05)
        impatient.cancel()
        codestore.may_end.set()
        await patient
        assert codestore.fetches == 1


async def test_the_least_recently_used_code_goes_first(tmp_path: Path) -> None:
    async with caching(tmp_path, max_bytes=100 * KIB) as (cache, codestore):
        first, second, third = (codestore.put("acme", code_of(30 * KIB, seed)) for seed in range(3))
        for artifact in (first, second, first):
            await cache.hold("c-1", artifact)
            cache.release("c-1")
        await cache.hold("c-2", third)
        assert path_of(tmp_path, first).exists()
        assert not path_of(tmp_path, second).exists()
        assert size_on_disk(tmp_path / "code") < 100 * KIB


async def test_code_in_use_is_never_removed(tmp_path: Path) -> None:
    async with caching(tmp_path, max_bytes=100 * KIB) as (cache, codestore):
        used = [codestore.put("acme", code_of(30 * KIB, seed)) for seed in range(2)]
        for artifact in used:
            await cache.hold(artifact.sha256, artifact)
        with pytest.raises(StokerError) as caught:
            await cache.hold("c-3", codestore.put("acme", code_of(50 * KIB, 3)))
        assert caught.value.reason == "CODE_CACHE_FULL"
        assert all(path_of(tmp_path, artifact).exists() for artifact in used)
        cache.release(used[0].sha256)
        await cache.hold("c-3", codestore.put("acme", code_of(50 * KIB, 3)))
        assert [path_of(tmp_path, artifact).exists() for artifact in used] == [False, True]


async def test_after_a_restart_it_knows_sizes_and_last_use_and_has_removed_half_made_things(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        older, newer = (codestore.put("acme", code_of(30 * KIB, seed)) for seed in range(2))
        for artifact in (newer, older):
            await cache.hold("c-1", artifact)
    os.utime(path_of(tmp_path, older), (1, 1))
    (tmp_path / "incoming" / "half").mkdir()
    async with caching(tmp_path, max_bytes=100 * KIB) as (cache, codestore):
        assert list((tmp_path / "incoming").iterdir()) == []
        await cache.hold("c-1", newer)
        assert codestore.fetches == 0
        await cache.hold("c-2", codestore.put("acme", code_of(30 * KIB, 3)))
    assert not path_of(tmp_path, older).exists()
    assert path_of(tmp_path, newer).exists()


async def test_code_that_somebody_removed_by_hand_is_fetched_again(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        artifact = codestore.put("acme", code_of(KIB))
        await cache.hold("c-1", artifact)
        path_of(tmp_path, artifact).rename(tmp_path / "gone")
        await cache.hold("c-2", artifact)
        assert path_of(tmp_path, artifact).exists()


async def test_tenants_have_copies_of_their_own(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        for tenant in ("acme", "umbrella"):
            await cache.hold(f"c-{tenant}", codestore.put(tenant, code_of(KIB)))
        assert codestore.fetches == 2


@pytest.mark.parametrize(
    "damaged",
    [CODE[:-1] + bytes([CODE[-1] ^ 1]), CODE[: len(CODE) // 2], CODE + b"more"],
    ids=["changed", "cut short", "too long"],
)
async def test_what_is_not_the_artifact_is_refused(tmp_path: Path, damaged: bytes) -> None:
    async with caching(tmp_path) as (cache, codestore):
        artifact = codestore.put("acme", CODE)
        codestore.put("acme", damaged, artifact.sha256)
        with pytest.raises(StokerError) as caught:
            await cache.hold("c-1", artifact)
        assert caught.value.reason == "ARTIFACT_CORRUPT"
    assert list((tmp_path / "code").glob("*/*")) == []
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_an_archive_that_leaves_its_directory_is_refused(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        with pytest.raises(StokerError) as caught:
            await cache.hold("c-1", codestore.put("acme", zip_of({"../../evil.py": b"x"})))
        assert caught.value.reason == "ARTIFACT_UNSAFE"
    assert "evil.py" not in [name for _, _, names in os.walk(tmp_path) for name in names]


async def test_a_tenants_name_cannot_lead_out_of_the_cache(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        with pytest.raises(StokerError) as caught:
            await cache.hold("c-1", codestore.put("../acme", code_of(KIB)))
        assert caught.value.field == "tenant"


async def test_a_codestore_that_is_away_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        codestore.refusals = 2
        await cache.hold("c-1", codestore.put("acme", code_of(KIB)))
        assert codestore.fetches == 3


async def test_a_failed_fetch_says_why_and_the_next_tries_anew(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        content = code_of(KIB)
        artifact = codestore.put("acme", content)
        del codestore.artifacts[artifact.sha256]
        with pytest.raises(StokerError) as caught:
            await cache.hold("c-1", artifact)
        assert (caught.value.kind, caught.value.reason) == (ErrorKind.NOT_FOUND, "ARTIFACT_NOT_FOUND")
        codestore.put("acme", content)
        await cache.hold("c-1", artifact)


async def test_a_fetch_that_hangs_ends(tmp_path: Path) -> None:
    async with caching(tmp_path, fetch_s=0.1) as (cache, codestore):
        codestore.may_end.clear()
        with pytest.raises(StokerError) as caught:
            await cache.hold("c-1", codestore.put("acme", code_of(KIB)))
        assert caught.value.kind in (ErrorKind.UNAVAILABLE, ErrorKind.DEADLINE_EXCEEDED)
