"""Layers of a version: fetched as code is, shown to the guest, and kept as long as a container has them."""

import dataclasses
from pathlib import Path

from stoker_hostagent.artifact import Artifact
from stoker_hostagent.versions import Layer, Version
from stoker_protos.scheduler.v1 import hosts_pb2

from tests.hostagent.hostagent_peers import zip_of
from tests.hostagent.running_host import Surroundings, running_host, surroundings


def with_layers(around: Surroundings, *layers: Artifact) -> Version:
    return dataclasses.replace(
        around.version(), layers=tuple(Layer(layer.sha256, layer.size_bytes) for layer in layers)
    )


async def test_layers_are_fetched_like_code_and_shown_in_their_order(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        lower = around.artifacts.put("acme", zip_of({"python/a.py": b"lower"}))
        upper = around.artifacts.put("acme", zip_of({"python/a.py": b"upper"}))
        version = with_layers(around, lower, upper)
        await around.prepare(scheduler, version)
        code = around.guest.containers["c-1"].code
        assert code is not None
        assert code.layers == (lower.sha256, upper.sha256)
        shown = tmp_path / "code" / "acme"
        assert (shown / lower.sha256 / "python/a.py").read_bytes() == b"lower"
        assert (shown / upper.sha256 / "python/a.py").read_bytes() == b"upper"


async def test_a_container_keeps_its_layers_also_over_a_restart(tmp_path: Path) -> None:
    large = bytes(400 * 1024)
    async with surroundings(tmp_path) as around:
        layer = around.artifacts.put("acme", zip_of({"data": b"layer" + large}))
        version = with_layers(around, layer)
        async with running_host(around, code_cache_mib=1) as (_, scheduler):
            await around.prepare(scheduler, version)
        async with running_host(around, code_cache_mib=1) as (_, scheduler):
            others = [around.artifacts.put("acme", zip_of({"data": name + large})) for name in (b"1", b"2")]
            for number, other in enumerate(others, 2):
                container = around.create_container(with_layers(around, other), f"c-{number}", lease="")
                result = await scheduler.obey(container)
                await scheduler.obey(
                    around.command(destroy_container=hosts_pb2.DestroyContainer(container=f"c-{number}"))
                )
                assert result.error_reason == ""
            kept = {path.name for path in (tmp_path / "code" / "acme").iterdir()}
            # The one in use stayed, of the others one had to go.
            assert layer.sha256 in kept
            assert len(kept & {other.sha256 for other in others}) == 1


async def test_a_layer_that_cannot_be_had_fails_the_container_and_holds_nothing(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await scheduler.obey(around.create_vm())
        await scheduler.obey(around.assign_vm())
        version = with_layers(around, Artifact("acme", "0" * 64, 100))
        result = await scheduler.obey(around.create_container(version))
        assert result.error_reason == "ARTIFACT_NOT_FOUND"
        await around.guest.wait_until_gone("c-1")
