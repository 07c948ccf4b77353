"""The code cache: each artifact is fetched once, verified, bounded on disk, and kept while it is in use."""

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from stoker_hostagent.artifact import Artifact
from stoker_hostagent.chunk_store import ChunkStore
from stoker_hostagent.code_cache import CodeCache, size_on_disk
from stoker_hostagent.code_source import CodeSource
from stoker_hostagent.codestore import Codestore
from stoker_service.background import background
from stoker_service.channels import open_channel
from stoker_service.errors import ErrorKind, StokerError

from tests.hostagent.hostagent_peers import ArtifactFetch, running_codestore, zip_of

KIB = 1024


@asynccontextmanager
async def caching(
    state_dir: Path, max_bytes: int = 10_000 * KIB, fetch_s: float = 10, max_chunk_bytes: int = 10_000 * KIB
) -> AsyncGenerator[tuple[CodeCache, ArtifactFetch]]:
    async with (
        running_codestore() as (artifacts, address),
        open_channel(address) as channel,
        background() as tasks,
    ):
        chunks = ChunkStore(state_dir / "chunks", max_chunk_bytes)
        source = CodeSource(Codestore(channel, "host-1"), chunks, fetch_s)
        cache = CodeCache(state_dir, source, chunks, tasks, max_bytes=max_bytes, max_fetches=4)
        await chunks.open()
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


def with_a_changed_bit(packed: bytes) -> bytes:
    return packed[:-1] + bytes([packed[-1] ^ 1])


def cut_short(packed: bytes) -> bytes:
    return packed[:-1]


def too_long(packed: bytes) -> bytes:
    return packed + b"x"


@pytest.mark.parametrize("damage", [with_a_changed_bit, cut_short, too_long])
async def test_what_is_not_the_artifact_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    async with caching(tmp_path) as (cache, codestore):
        artifact = codestore.put("acme", zip_of({"main.py": random.Random(1).randbytes(KIB)}))  # noqa: S311
        codestore.damage = damage
        with pytest.raises(StokerError) as caught:
            await cache.hold("c-1", artifact)
        assert caught.value.reason == "ARTIFACT_CORRUPT"
    assert list((tmp_path / "code").glob("*/*")) == []
    assert list((tmp_path / "incoming").iterdir()) == []


def changed(path: Path) -> None:
    """Changes a byte, and hides it as well as can be."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def removed(path: Path) -> None:
    path.unlink()


def beside_another(path: Path) -> None:
    path.with_name("more.py").touch()


@pytest.mark.parametrize("spoil", [changed, removed, beside_another])
async def test_code_that_has_changed_on_the_disk_is_thrown_away_and_made_anew(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    async with caching(tmp_path) as (cache, codestore):
        artifact = codestore.put("acme", CODE)
        await cache.hold("c-1", artifact)
        path = path_of(tmp_path, artifact)
        spoil(path / "main.py")

        await cache.hold("c-2", artifact)

        assert [each.name for each in path.iterdir()] == ["main.py"]
        assert (path / "main.py").read_bytes() == bytes(KIB)
        assert codestore.fetches == 2, "what is in the cache is what the codestore says"
        await cache.hold("c-3", artifact)
        assert codestore.fetches == 2


async def test_code_that_has_changed_while_no_host_agent_ran_is_noticed(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        artifact, other = codestore.put("acme", CODE), codestore.put("acme", code_of(KIB, 1))
        for each in (artifact, other):
            await cache.hold("c-1", each)
    changed(path_of(tmp_path, artifact) / "main.py")
    async with caching(tmp_path) as (cache, codestore):
        codestore.put("acme", CODE)
        await cache.hold("c-1", other)
        assert codestore.fetches == 0, "it is what it was"
        await cache.hold("c-2", artifact)
        assert codestore.fetches == 1
        assert (path_of(tmp_path, artifact) / "main.py").read_bytes() == bytes(KIB)


async def test_a_damaged_chunk_on_the_disk_is_fetched_again(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        await cache.hold("c-1", codestore.put("acme", CODE))
        for path in (tmp_path / "chunks").glob("*/*"):
            path.write_bytes(b"damaged")
        await cache.hold("c-2", codestore.put("umbrella", CODE))
        assert (path_of(tmp_path, codestore.put("umbrella", CODE)) / "main.py").read_bytes() == bytes(KIB)


def large(seed: int = 0) -> dict[str, bytes]:
    return {f"data/{name}": random.Random(name + seed).randbytes(100 * KIB) for name in range(30)}  # noqa: S311


async def test_of_a_new_version_only_what_has_changed_is_fetched(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        await cache.hold("c-1", codestore.put("acme", zip_of(large())))
        before = codestore.sent_bytes
        await cache.hold("c-2", codestore.put("acme", zip_of(large() | {"data/15": b"new"})))
        assert codestore.sent_bytes - before < before / 5


async def test_a_fetch_that_broke_off_goes_on_where_it_ended(tmp_path: Path) -> None:
    async with caching(tmp_path) as (cache, codestore):
        artifact = codestore.put("acme", zip_of(large()))
        codestore.breaks_after = 20
        with pytest.raises(StokerError, match="broke off"):
            await cache.hold("c-1", artifact)
    before = len(list((tmp_path / "chunks").glob("*/*")))
    async with caching(tmp_path) as (cache, codestore):
        codestore.put("acme", zip_of(large()))
        await cache.hold("c-1", artifact)
        assert before == 20
        assert codestore.sent_bytes < 30 * 100 * KIB - 20 * 20 * KIB


async def test_chunks_that_nobody_needs_make_way(tmp_path: Path) -> None:
    async with caching(tmp_path, max_chunk_bytes=1000 * KIB) as (cache, codestore):
        for seed in (0, 100):
            await cache.hold("c-1", codestore.put("acme", zip_of(large(seed))))
        kept_bytes = sum(path.stat().st_size for path in (tmp_path / "chunks").glob("*/*"))
        assert kept_bytes <= 3000 * KIB + 512 * KIB, "what is being put together stays"
        await cache.hold("c-2", codestore.put("acme", CODE))
        kept_bytes = sum(path.stat().st_size for path in (tmp_path / "chunks").glob("*/*"))
        assert kept_bytes <= 1000 * KIB


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
