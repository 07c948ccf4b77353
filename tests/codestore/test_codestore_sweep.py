"""What nobody needs goes, what somebody needs stays, in whatever order things happen."""

import os
import shutil
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from stoker_codestore.artifact_sweep import ArtifactSweep
from stoker_codestore.artifacts import Artifacts
from stoker_codestore.manifests import Manifests
from stoker_codestore.object_store import opened_store
from stoker_codestore.quotas import Quota, Quotas
from stoker_codestore.retention import Retention
from stoker_codestore.route_changes import RouteChanges
from stoker_codestore.tables import FunctionRow
from stoker_codestore.uploads import Header, Uploads
from stoker_codestore.versions import Configuration, Runtime, Versions
from stoker_codestore.watches import Watches
from stoker_service.errors import StokerError
from stoker_service.sql import open_engine

from tests.codestore.turns import TurningDatabase, TurningStore, Turns
from tests.codestore.world import sha256, zip_of

pytestmark = pytest.mark.thorough

SEEDS = int(os.environ.get("STOKER_SWEEP_SEEDS", "8"))
"""How many orders are tried; each takes a second or two."""
STEPS = 120
KEPT = timedelta(hours=24)
GRACE = timedelta(hours=1)
TENANTS = ("ann", "bob")
CODES = [zip_of({"app.py": str(number).encode()}) for number in range(3)]
OVERTAKEN = ("UPLOAD_OVERTAKEN", "ARTIFACT_NOT_FOUND", "ARTIFACT_LOST", "DATABASE_UNAVAILABLE", "MANIFEST_TOO_SLOW")
"""What an upload may fail with that stands still for days."""
NO_LIMIT = Quota(10**9, 10**9, 10**12, 10**9, 10**9)


@dataclass
class Clock:
    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


async def parts_of(code: bytes) -> AsyncIterator[Header | bytes]:
    yield Header(sha256(code), len(code))
    yield code


def configuration_of(code: bytes, description: str) -> Configuration:
    return Configuration(sha256(code), Runtime.PYTHON3, "app.handler", 0, 0, 0, 0, {}, description)


def expect(error: StokerError, reason: str) -> None:
    if error.reason != reason:
        raise error


class Codestores:
    """Several codestores on one database and one store, of which one thing happens at a time."""

    def __init__(self, directory: Path, turns: Turns, database: TurningDatabase, store: TurningStore) -> None:
        self.turns = turns
        self.clock = Clock()
        self.directory = directory
        quotas = Quotas(NO_LIMIT)
        changes = RouteChanges(database, Watches(), None)
        self.database = database
        self.store = store
        self.artifacts = Artifacts(database, quotas, self.clock)
        self.versions = Versions(database, changes, quotas, Retention(100, timedelta(days=1)))
        self.sweeps = ArtifactSweep(database, store, artifacts_kept=KEPT, grace=GRACE, clock=self.clock)

    def query(self, statement: str) -> list[tuple[str, ...]]:
        with sqlite3.connect(f"file:{self.directory}/codestore.db?mode=ro", uri=True) as connection:
            rows = connection.execute(statement).fetchall()
        connection.close()
        return rows

    def objects(self) -> set[str]:
        root = self.directory / "artifacts"
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def check(self) -> None:
        """Whatever a version or a tenant has is whole."""
        objects = self.objects()
        of_artifacts = self.query(
            "SELECT a.tenant, a.sha256, c.object_key FROM artifacts a JOIN contents c USING (sha256)"
        )
        assert {key for _, _, key in of_artifacts} <= objects
        of_hosts = self.query("SELECT object_key FROM manifests UNION SELECT object_key FROM chunks WHERE is_stored")
        assert {key for (key,) in of_hosts} <= objects
        of_versions = self.query(
            "SELECT f.tenant, v.artifact_sha256 FROM versions v JOIN functions f ON f.uid = v.function_uid"
        )
        assert set(of_versions) <= {(tenant, digest) for tenant, digest, _ in of_artifacts}

    async def create(self, tenant: str) -> None:
        time = self.clock()
        async with self.database.transaction() as session:
            row = FunctionRow(uid=tenant, tenant=tenant, name="hello", description="", last_number=0, etag="")
            row.create_time = row.update_time = time
            session.add(row)

    async def upload(self, tenant: str, code: bytes) -> None:
        # Of a codestore of its own, so that none waits for another but by way of the database.
        manifests = Manifests(self.database, self.store, self.directory, self.clock)
        uploads = Uploads(self.artifacts, self.store, manifests, self.directory, max_uploads=1, upload_s=60, idle_s=60)
        try:
            await uploads.take(tenant, parts_of(code))
        except StokerError as error:
            # It stood still for so long, again and again, that what it had stored was swept meanwhile.
            if error.reason not in OVERTAKEN:
                raise

    async def publish(self, tenant: str, code: bytes, description: str) -> None:
        try:
            await self.versions.publish(tenant, "hello", configuration_of(code, description), validate_only=False)
        except StokerError as error:
            expect(error, "ARTIFACT_NOT_FOUND")

    async def unpublish(self, tenant: str, random: Random) -> None:
        versions = await self.versions.list_before(tenant, "hello", 10**9, 10)
        if versions:
            try:
                await self.versions.delete(tenant, "hello", random.choice(versions).number)
            except StokerError as error:
                expect(error, "VERSION_NOT_FOUND")

    async def read(self, tenant: str, code: bytes) -> None:
        try:
            artifact = await self.artifacts.get(tenant, sha256(code))
        except StokerError as error:
            expect(error, "ARTIFACT_NOT_FOUND")
            return
        began = self.clock()
        try:
            assert b"".join([block async for block in self.store.read(artifact.object_key)]) == code
        except StokerError as error:
            expect(error, "ARTIFACT_LOST")
            if self.clock() - began < GRACE:
                raise

    async def sweep(self) -> None:
        await self.sweeps.sweep()


@asynccontextmanager
async def codestores(directory: Path, template: Path, seed: int) -> AsyncGenerator[tuple[Codestores, Random]]:
    random = Random(seed)  # noqa: S311 - so that it comes again
    shutil.copy(template, directory / "codestore.db")
    engine = open_engine(f"sqlite+aiosqlite:///{directory}/codestore.db")
    with opened_store(f"file://{directory}/artifacts") as store:
        turns = Turns(random)
        made = Codestores(directory, turns, TurningDatabase(engine, turns), TurningStore(store, turns))
        for tenant in TENANTS:
            await made.create(tenant)
        try:
            yield made, random
        finally:
            for task in turns.waiting:
                await turns.kill(task)
            await engine.dispose()


@pytest.mark.parametrize("are_killed", [False, True], ids=["slow", "killed"])
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_nothing_that_is_needed_is_ever_swept_and_nothing_else_stays(
    tmp_path: Path, sqlite_template: Path, seed: int, are_killed: bool
) -> None:
    """Codestores that stand still for days, or that are killed, but not those killed after they stood still that long:
    an object that one writes after a day, and tells nobody of, is found by nobody."""
    async with codestores(tmp_path, sqlite_template, seed) as (world, random):
        for number in range(STEPS):
            code, tenant = random.choice(CODES), random.choice(TENANTS)
            works = {
                "upload": lambda code=code, tenant=tenant: world.upload(tenant, code),
                "publish": lambda code=code, tenant=tenant, number=number: world.publish(tenant, code, str(number)),
                "unpublish": lambda tenant=tenant: world.unpublish(tenant, random),
                "read": lambda code=code, tenant=tenant: world.read(tenant, code),
                "sweep": world.sweep,
            }
            if len(world.turns.waiting) < 6 and random.random() < 0.5:
                kind = random.choice(list(works))
                await world.turns.add(works[kind](), f"{number:03} {kind}")
            for _ in range(random.randrange(4)):
                if world.turns.waiting:
                    await world.turns.step()
                    world.check()
            if are_killed:
                # No upload lives longer than the grace.
                if random.random() < 0.1 and world.turns.waiting:
                    await world.turns.kill(random.choice(world.turns.waiting))
                if not any("upload" in task.get_name() for task in world.turns.waiting):
                    world.clock.time += random.choice([timedelta(), GRACE, KEPT])
            else:
                world.clock.time += random.choice([timedelta(), timedelta(), GRACE, KEPT])
        while world.turns.waiting:
            await world.turns.step()
            world.check()
        for _ in range(5):
            world.clock.time += KEPT
            await world.sweep()
            world.check()
        contents = world.query("SELECT object_key FROM contents WHERE sha256 IN (SELECT artifact_sha256 FROM versions)")
        manifests = world.query(
            "SELECT object_key FROM manifests WHERE artifact_sha256 IN (SELECT artifact_sha256 FROM versions)"
        )
        chunks = world.query(
            "SELECT object_key FROM chunks JOIN artifact_chunks ON sha256 = chunk_sha256 "
            "WHERE artifact_sha256 IN (SELECT artifact_sha256 FROM versions)"
        )
        # A chunk may be known and not be there, or not be known to be there: until a host asks for the artifact.
        assert world.objects() <= {key for (key,) in (*contents, *manifests, *chunks)}
        assert world.query("SELECT * FROM doomed_objects") == []
        assert len(world.query("SELECT * FROM contents")) == len(contents)


async def test_an_order_comes_again_with_its_seed(tmp_path: Path, sqlite_template: Path) -> None:
    async def order(directory: Path) -> list[str]:
        async with codestores(directory, sqlite_template, 7) as (world, _):
            for number, code in enumerate(CODES):
                await world.turns.add(world.upload("ann", code), f"upload {number}")
            seen: list[str] = []
            while waiting := world.turns.waiting:
                await world.turns.step()
                seen += [task.get_name() for task in waiting if task not in world.turns.waiting]
            return seen

    directories = [tmp_path / "first", tmp_path / "second"]
    for directory in directories:
        directory.mkdir()
    first, second = [await order(directory) for directory in directories]
    assert first == second
