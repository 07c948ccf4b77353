"""`stoker layer`, `stoker deploy --layer`, and the client's calls that they make."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stoker
import stoker.aio

from tests.sdk.peer import API_KEY, Peer

Run = Callable[..., Any]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "layer/python").mkdir(parents=True)
    (tmp_path / "layer/python/shared.py").write_text("VALUE = 1\n")
    return tmp_path / "layer"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/main.py").write_text("def handler(event, context): return event\n")
    return tmp_path / "code"


def test_a_directory_becomes_a_version_of_a_layer(run: Run, peer: Peer, files: Path) -> None:
    done = run("layer", "publish", "shared", str(files), "--description", "for all")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "shared: version 1 (2.0 KiB)\n"
    assert "--layer shared:1" in done.stderr
    assert (peer.layers[0].name, peer.layers[0].description) == ("layers/shared/versions/1", "for all")
    assert peer.layers[0].artifact.removeprefix("artifacts/") in peer.artifacts
    run("layer", "publish", "shared", str(files))
    # The files were there already.
    assert peer.calls["UploadArtifact"] == 1


def test_layers_are_listed_shown_and_deleted(run: Run, files: Path) -> None:
    assert "there are no layers yet" in run("layer", "list").stderr
    for name in ("b", "a", "b"):
        run("layer", "publish", name, str(files))
    rows = [line.split()[:2] for line in run("layer", "list").stdout.splitlines()]
    assert rows == [["NAME", "VERSION"], ["a", "1"], ["b", "2"]]
    told = json.loads(run("layer", "versions", "b", "--output", "json").stdout)
    assert [(each["layer"], each["number"]) for each in told] == [("b", 2), ("b", 1)]
    assert run("layer", "delete", "b:2").stdout == "deleted b:2\n"
    assert [line.split()[0] for line in run("layer", "versions", "b").stdout.splitlines()] == ["VERSION", "1"]


@pytest.mark.parametrize("layer", ["b", "b:", "b:0", "b:x", "B:1", ":1", "b:1:2"])
def test_a_layer_is_named_with_its_version(run: Run, code: Path, layer: str) -> None:
    for command in (["layer", "delete", layer], ["deploy", "hello", str(code), "--layer", layer]):
        done = run(*command)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "layer" in done.stderr


def test_deploy_names_the_layers_in_their_order(run: Run, peer: Peer, code: Path) -> None:
    done = run("deploy", "hello", str(code), "--layer", "b:2", "--layer", "a:1")
    assert done.exit_code == 0, done.stderr
    assert list(peer.versions["functions/hello"][0].layers) == ["layers/b/versions/2", "layers/a/versions/1"]


async def test_both_clients_do_the_same(peer: Peer, files: Path, code: Path) -> None:
    with stoker.Client(peer.address, api_key=API_KEY) as client:
        published = client.publish_layer("shared", files, description="first")
        assert (published.layer, published.number, published.description) == ("shared", 1, "first")
        assert client.get_layer_version("shared", 1) == published
        deployed = client.deploy("hello", code, runtime="python3", handler="main.handler", layers=["shared:1"])
        assert deployed.version.layers == ("shared:1",)
    async with stoker.aio.Client(peer.address, api_key=API_KEY) as client:
        again = await client.publish_layer("shared", files)
        assert again.artifact_sha256 == published.artifact_sha256
        assert [each.number async for each in client.list_layers()] == [2]
        assert [each.number async for each in client.list_layer_versions("shared")] == [2, 1]
        await client.delete_layer_version("shared", 2)
        assert await client.get_layer_version("shared", 1) == published
