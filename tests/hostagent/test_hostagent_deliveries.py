"""A host gets code before it is needed, tells how that goes, and serves its peers."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from stoker_hostagent.artifact import Artifact
from stoker_protos.codestore.v1 import deliveries_pb2
from stoker_protos.hostagent.v1 import chunks_pb2, chunks_pb2_grpc
from stoker_service.channels import open_channel
from stoker_service.status import error_from_rpc

from tests.hostagent.hostagent_peers import zip_of
from tests.hostagent.running_host import CODE, VM, Surroundings, running_host, surroundings

DELIVERED = deliveries_pb2.DELIVERY_STATE_DELIVERED
FAILED = deliveries_pb2.DELIVERY_STATE_FAILED
GONE = deliveries_pb2.DELIVERY_STATE_GONE


@pytest.fixture
async def around(tmp_path: Path) -> AsyncGenerator[Surroundings]:
    async with surroundings(tmp_path / "host-1") as made:
        yield made


def delivery(id: str, artifact: Artifact, peer: str = "") -> deliveries_pb2.Delivery:
    wanted = deliveries_pb2.ArtifactId(tenant=artifact.tenant, sha256=artifact.sha256)
    return deliveries_pb2.Delivery(id=id, artifact=wanted, peer=peer)


async def test_what_was_delivered_is_loaded_without_asking_anybody(around: Surroundings) -> None:
    async with running_host(around) as (_, connection):
        watch = await around.artifacts.watch()
        version = around.version()
        watch.put_nowait(delivery("d-1", Artifact("acme", version.artifact_sha256)))
        report = await around.artifacts.reported("d-1", DELIVERED)
        assert (report.host, report.lacking_bytes) == ("host-1", report.fetched_bytes)
        assert report.fetched_bytes > 0
        around.artifacts.artifacts.clear()
        await around.prepare(connection, version)
        assert around.artifacts.fetches == 1


async def test_a_watch_tells_what_is_here_and_whose_vms(around: Surroundings) -> None:
    version = around.version()
    async with running_host(around) as (address, connection):
        await around.artifacts.watch()
        await around.prepare(connection, version)
        assert (await around.artifacts.reported("", DELIVERED)).artifact.sha256 == version.artifact_sha256
    async with running_host(around):
        await around.artifacts.watch()
    first, second = around.artifacts.watching
    assert (list(first.tenants), list(first.artifacts), first.address) == ([], [], address)
    assert list(second.tenants) == ["acme"]
    assert [each.sha256 for each in second.artifacts] == [version.artifact_sha256]
    assert around.machines.guests[VM]


async def test_a_host_fetches_of_its_peer_and_asks_the_codestore_for_the_manifest_alone(
    around: Surroundings, tmp_path: Path
) -> None:
    artifact = around.artifacts.put("acme", CODE)
    async with running_host(around) as (address, _):
        (await around.artifacts.watch()).put_nowait(delivery("d-1", artifact))
        await around.artifacts.reported("d-1", DELIVERED)
        sent_bytes = around.artifacts.sent_bytes
        async with running_host(around, host="host-2", state_dir=tmp_path / "host-2"):
            (await around.artifacts.watch()).put_nowait(delivery("d-2", artifact, peer=address))
            report = await around.artifacts.reported("d-2", DELIVERED)
    assert report.host == "host-2"
    assert sent_bytes == around.artifacts.sent_bytes > 0


async def test_a_peer_that_is_away_fails_the_delivery_but_not_the_load(around: Surroundings) -> None:
    version = around.version()
    async with running_host(around) as (_, connection):
        watch = await around.artifacts.watch()
        watch.put_nowait(delivery("d-1", Artifact("acme", version.artifact_sha256), peer="127.0.0.1:1"))
        await around.prepare(connection, version)
        report = await around.artifacts.reported("d-1", FAILED, DELIVERED)
        assert report.state == FAILED
        assert report.message


async def test_peers_that_the_codestore_names_are_asked_before_it(around: Surroundings, tmp_path: Path) -> None:
    version = around.version()
    async with running_host(around) as (address, connection):
        await around.artifacts.watch()
        await around.prepare(connection, version)
        sent_bytes = around.artifacts.sent_bytes
        around.artifacts.peers = ["127.0.0.1:1", address]
        async with running_host(around, host="host-2", state_dir=tmp_path / "host-2"):
            (await around.artifacts.watch()).put_nowait(delivery("d-2", Artifact("acme", version.artifact_sha256)))
            await around.artifacts.reported("d-2", DELIVERED)
            assert around.artifacts.sent_bytes == 2 * sent_bytes, "a delivery says of whom alone it is fetched"
    assert sent_bytes > 0


async def test_a_host_says_which_chunk_it_has_not(around: Surroundings) -> None:
    async with running_host(around) as (address, _), open_channel(address) as channel:
        peer: Any = chunks_pb2_grpc.ChunkServiceStub(channel)
        request = chunks_pb2.FetchChunksRequest(chunks=deliveries_pb2.FetchChunksRequest(sha256s=["0" * 64]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await peer.FetchChunks(request, timeout=5).read()
    assert error_from_rpc(caught.value).reason == "CHUNK_NOT_FOUND"


async def test_code_that_makes_way_is_reported_gone(around: Surroundings) -> None:
    large = [zip_of({"main.py": bytes([seed]) * 700_000}) for seed in range(2)]
    async with running_host(around, code_cache_mib=1):
        watch = await around.artifacts.watch()
        first, second = (around.artifacts.put("acme", code) for code in large)
        watch.put_nowait(delivery("d-1", first))
        await around.artifacts.reported("d-1", DELIVERED)
        watch.put_nowait(delivery("d-2", second))
        assert (await around.artifacts.reported("", GONE)).artifact.sha256 == first.sha256
