"""What hosts are told to fetch, and what they get."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from stoker_artifacts import Chunk, Manifest, assemble, pack_chunk, unpack, unpack_manifest
from stoker_codestore.codestore import running_codestore
from stoker_codestore.manifests import new_key
from stoker_protos.codestore.v1 import deliveries_pb2, deliveries_pb2_grpc
from stoker_protos.v1 import deliveries_pb2 as public_pb2
from stoker_protos.v1 import deliveries_pb2_grpc as public_pb2_grpc
from stoker_service.channels import open_channel

from tests.codestore.world import ANN, BOB, CODE, OTHER_CODE, WITHIN_S, World, failure_of, settings_of, sha256, zip_of

pytestmark = pytest.mark.thorough

LARGE = zip_of({f"data/{number}": random.Random(number).randbytes(100_000) for number in range(30)})  # noqa: S311


class Hosts(World):
    """The codestore as hosts see it too."""

    def __init__(self, channel: Any) -> None:
        super().__init__(channel)
        self.deliveries: Any = deliveries_pb2_grpc.DeliveryServiceStub(channel)
        self.progress: Any = public_pb2_grpc.DeliveryServiceStub(channel)

    async def watch_deliveries(self, host: str, *tenants: str, artifacts: tuple[tuple[str, str], ...] = ()) -> Any:
        """A host's watch that has begun."""
        request = deliveries_pb2.WatchDeliveriesRequest(
            host=host,
            address=f"{host}:1",
            tenants=tenants,
            artifacts=[deliveries_pb2.ArtifactId(tenant=tenant, sha256=digest) for tenant, digest in artifacts],
        )
        watch: Any = self.deliveries.WatchDeliveries(request, timeout=WITHIN_S)
        first = await watch.read()
        assert not first.HasField("delivery")
        return watch

    async def report(self, host: str, delivery: deliveries_pb2.Delivery, state: Any, **fields: Any) -> None:
        """Says how a delivery goes."""
        request = deliveries_pb2.ReportDeliveryRequest(
            host=host, delivery_id=delivery.id, artifact=delivery.artifact, state=state, **fields
        )
        await self.deliveries.ReportDelivery(request, timeout=WITHIN_S)

    async def manifest(self, tenant: str, digest: str, host: str = "") -> tuple[Manifest, list[str]]:
        """An artifact's manifest, verified, and who else has its chunks."""
        artifact = deliveries_pb2.ArtifactId(tenant=tenant, sha256=digest)
        request = deliveries_pb2.FetchManifestRequest(artifact=artifact, host=host)
        responses = [each async for each in self.deliveries.FetchManifest(request, timeout=WITHIN_S)]
        header = responses[0].header
        return unpack_manifest(header.sha256, b"".join(each.data for each in responses)), list(header.peers)

    async def chunks(self, *wanted: Chunk) -> dict[Chunk, bytes]:
        """Chunks, as they are sent."""
        request = deliveries_pb2.FetchChunksRequest(sha256s=[chunk.sha256 for chunk in wanted])
        sent: list[deliveries_pb2.PackedChunk] = []
        async for response in self.deliveries.FetchChunks(request, timeout=WITHIN_S):
            sent.extend(response.chunks)
        assert [each.sha256 for each in sent] == [chunk.sha256 for chunk in wanted]
        return {chunk: each.data for chunk, each in zip(wanted, sent, strict=True)}

    def follow(self, name: str, number: int, metadata: Any = ANN) -> Any:
        """How a version's delivery stands."""
        request = public_pb2.WatchDeliveryRequest(name=f"functions/{name}/versions/{number}")
        return self.progress.WatchDelivery(request, metadata=metadata, timeout=WITHIN_S)


@asynccontextmanager
async def running_hosts(
    directory: Path, database_url: str, artifacts_url: str = "", **more: Any
) -> AsyncGenerator[Hosts]:
    settings = settings_of(directory, database_url, artifacts_url, **more)
    async with running_codestore(settings) as server, open_channel(server.address) as channel:
        yield Hosts(channel)


@pytest.fixture
async def hosts(tmp_path: Path, database_url: str) -> AsyncGenerator[Hosts]:
    async with running_hosts(tmp_path, database_url) as running:
        yield running


async def next_delivery(watch: Any) -> deliveries_pb2.Delivery:
    async with asyncio.timeout(5):
        return (await watch.read()).delivery


def told(delivery: deliveries_pb2.Delivery) -> tuple[str, str, str]:
    return delivery.artifact.tenant, delivery.artifact.sha256, delivery.peer


async def test_a_host_makes_of_chunks_what_unpacking_makes(
    tmp_path: Path, database_url: str, artifacts_url: str
) -> None:
    async with running_hosts(tmp_path, database_url, artifacts_url) as hosts:
        await hosts.upload(LARGE)
        manifest, peers = await hosts.manifest("ann", sha256(LARGE))
        packed = await hosts.chunks(*manifest.distinct_chunks())
        assert peers == []
    assert len(packed) > 20
    (tmp_path / "archive").write_bytes(LARGE)
    contents = unpack(tmp_path / "archive", tmp_path / "unpacked")
    assemble(manifest, lambda chunk: packed[chunk], tmp_path / "assembled")
    assert (manifest.unpacked_size_bytes, manifest.file_count) == (contents.unpacked_size_bytes, contents.file_count)
    for path in (tmp_path / "unpacked").rglob("*"):
        other = tmp_path / "assembled" / path.relative_to(tmp_path / "unpacked")
        assert path.is_dir() or path.read_bytes() == other.read_bytes()
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_a_changed_artifact_shares_its_chunks(hosts: Hosts, tmp_path: Path) -> None:
    await hosts.upload(LARGE)
    before = len(list((tmp_path / "artifacts/chunks").glob("*/*")))
    files = {f"data/{number}": random.Random(number).randbytes(100_000) for number in range(30)}  # noqa: S311
    changed = zip_of(files | {"data/15": b"changed"})

    await hosts.upload(changed)

    added = len(list((tmp_path / "artifacts/chunks").glob("*/*"))) - before
    manifest, _ = await hosts.manifest("ann", sha256(changed))
    assert before > 20
    assert 0 < added < 6
    await hosts.chunks(*manifest.distinct_chunks())


async def test_uploads_of_the_same_at_the_same_time_make_each_chunk_once(hosts: Hosts, tmp_path: Path) -> None:
    await asyncio.gather(*(hosts.upload(LARGE, metadata) for metadata in (ANN, BOB, ANN)))
    manifest, _ = await hosts.manifest("bob", sha256(LARGE))
    assert len(list((tmp_path / "artifacts/chunks").glob("*/*"))) == len(manifest.distinct_chunks())
    await hosts.chunks(*manifest.distinct_chunks())


async def test_what_was_stored_before_there_were_manifests_gets_one(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        async def make_none(*_: object) -> None:
            pass

        patch.setattr("stoker_codestore.manifests.Manifests.of", make_none)
        await hosts.upload(LARGE)
    assert not (tmp_path / "artifacts/chunks").exists()
    manifest, _ = await hosts.manifest("ann", sha256(LARGE))
    await hosts.chunks(*manifest.distinct_chunks())


async def test_nothing_is_given_of_what_a_tenant_does_not_have(hosts: Hosts) -> None:
    await hosts.upload(CODE)
    with pytest.raises(Exception, match="there is no artifact"):
        await hosts.manifest("bob", sha256(CODE))
    request = deliveries_pb2.FetchChunksRequest(sha256s=["0" * 64])
    failure = await failure_of(hosts.deliveries.FetchChunks(request, timeout=WITHIN_S).read())
    assert failure.reason == "CHUNK_NOT_FOUND"


async def test_a_new_version_is_pushed_to_the_hosts_that_will_need_it(hosts: Hosts) -> None:
    with_vms = await hosts.watch_deliveries("host-1", "ann")
    other = await hosts.watch_deliveries("host-2", "bob")
    await hosts.deploy("hello")
    first = await next_delivery(with_vms)
    assert told(first) == ("ann", sha256(CODE), "")
    await hosts.report("host-1", first, deliveries_pb2.DELIVERY_STATE_DELIVERED)

    holding = await hosts.watch_deliveries("host-3", artifacts=(("ann", sha256(CODE)),))
    await hosts.upload(OTHER_CODE)
    await hosts.publish("hello", data=OTHER_CODE)

    for watch in (with_vms, holding):
        assert told(await next_delivery(watch)) == ("ann", sha256(OTHER_CODE), "")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await other.read()


async def test_hosts_beyond_the_first_fetch_of_their_peers(hosts: Hosts) -> None:
    watches = {name: await hosts.watch_deliveries(name, "ann") for name in ("host-1", "host-2", "host-3")}
    await hosts.deploy("hello")
    first = await next_delivery(watches["host-1"])
    second = await next_delivery(watches["host-2"])
    assert told(second)[2] == ""

    await hosts.report("host-1", first, deliveries_pb2.DELIVERY_STATE_DELIVERED)

    third = await next_delivery(watches["host-3"])
    assert told(third) == ("ann", sha256(CODE), "host-1:1")
    assert (await hosts.manifest("ann", sha256(CODE), "host-3"))[1] == ["host-1:1"]
    await hosts.report("host-3", third, deliveries_pb2.DELIVERY_STATE_FAILED, message="the peer is away")
    await hosts.report("host-2", second, deliveries_pb2.DELIVERY_STATE_DELIVERED)
    assert told(await next_delivery(watches["host-3"]))[2] == "host-2:1"


async def test_a_host_that_comes_up_later_gets_what_it_should_have(hosts: Hosts) -> None:
    await hosts.deploy("hello", versions=2)
    late = await hosts.watch_deliveries("host-1", "ann")
    delivery = await next_delivery(late)
    assert told(delivery) == ("ann", sha256(CODE), "")
    await hosts.report("host-1", delivery, deliveries_pb2.DELIVERY_STATE_DELIVERED)

    late.cancel()
    again = await hosts.watch_deliveries("host-1", "ann", artifacts=(("ann", sha256(CODE)),))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await again.read()


async def test_a_tenant_can_watch_a_version_reach_hosts(hosts: Hosts) -> None:
    watch = await hosts.watch_deliveries("host-1", "ann")
    await hosts.deploy("hello")
    following: Any = hosts.follow("hello", 1)
    delivery = await next_delivery(watch)

    first = await following.read()
    assert [(each.host, each.state) for each in first.hosts] == [("host-1", public_pb2.HOST_DELIVERY_STATE_FETCHING)]
    fetching = deliveries_pb2.DELIVERY_STATE_FETCHING
    await hosts.report("host-1", delivery, fetching, lacking_bytes=100, fetched_bytes=40)
    told_now = await following.read()
    assert (told_now.hosts[0].lacking_bytes, told_now.hosts[0].fetched_bytes) == (100, 40)
    await hosts.report("host-1", delivery, deliveries_pb2.DELIVERY_STATE_DELIVERED)
    *_, last = [each async for each in following]
    assert last.is_complete
    assert last.hosts[0].state == public_pb2.HOST_DELIVERY_STATE_DELIVERED
    assert (await failure_of(hosts.follow("hello", 1, BOB).read())).reason == "FUNCTION_NOT_FOUND"


async def test_nothing_is_pushed_where_that_is_switched_off(tmp_path: Path, sqlite_url: str) -> None:
    async with running_hosts(tmp_path, sqlite_url, push_ahead=False) as hosts:
        watch = await hosts.watch_deliveries("host-1", "ann")
        await hosts.deploy("hello")
        following: Any = hosts.follow("hello", 1)
        assert (await following.read()).is_complete
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await watch.read()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/codestore.db"


def test_a_chunk_gets_another_key_each_time() -> None:
    digest = sha256(pack_chunk(b"code"))
    assert new_key("chunks", digest) != new_key("chunks", digest)
    assert new_key("chunks", digest).startswith(f"chunks/{digest[:2]}/{digest}-")
