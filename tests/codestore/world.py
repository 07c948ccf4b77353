"""A codestore that answers, and those who call it."""

import hashlib
import io
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from stoker_codestore.codestore import MIGRATIONS, running_codestore
from stoker_codestore.config import CodestoreSettings
from stoker_protos.admin.v1 import tenant_policies_pb2_grpc
from stoker_protos.codestore.v1 import codestore_pb2, codestore_pb2_grpc, loads_pb2_grpc, outcomes_pb2_grpc
from stoker_protos.v1 import (
    aliases_pb2,
    aliases_pb2_grpc,
    artifacts_pb2,
    artifacts_pb2_grpc,
    concurrency_pb2,
    concurrency_pb2_grpc,
    functions_pb2,
    functions_pb2_grpc,
    layers_pb2_grpc,
    rollouts_pb2_grpc,
    signing_keys_pb2_grpc,
    versions_pb2,
    versions_pb2_grpc,
)
from stoker_service.channels import open_channel
from stoker_service.errors import StokerError
from stoker_service.sql import open_engine
from stoker_service.status import error_from_rpc

ANN = (("stoker-tenant", "ann"),)
BOB = (("stoker-tenant", "bob"),)
WITHIN_S = 20.0
"""How long anything may take that a test waits for, in seconds."""

Metadata = Sequence[tuple[str, str]]


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip; the same files make the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


CODE = zip_of({"app.py": b"def handler(event, context): return event\n"})
OTHER_CODE = zip_of({"app.py": b"def handler(event, context): return 42\n"})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def header(data: bytes, *, digest: str = "", size: int = 0) -> artifacts_pb2.UploadArtifactRequest:
    """The first message of an upload of `data`, unless it lies."""
    return artifacts_pb2.UploadArtifactRequest(
        header=artifacts_pb2.UploadArtifactHeader(sha256=digest or sha256(data), size_bytes=size or len(data))
    )


def chunk(data: bytes) -> artifacts_pb2.UploadArtifactRequest:
    return artifacts_pb2.UploadArtifactRequest(chunk=data)


async def messages(*parts: artifacts_pb2.UploadArtifactRequest) -> AsyncIterator[artifacts_pb2.UploadArtifactRequest]:
    for part in parts:
        yield part


async def failure_of(call: Any) -> StokerError:
    """The error that a call is answered with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_from_rpc(caught.value)


class World:
    """Stubs of all services, and what tests do most."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.functions = functions_pb2_grpc.FunctionServiceStub(channel)
        self.versions = versions_pb2_grpc.VersionServiceStub(channel)
        self.aliases = aliases_pb2_grpc.AliasServiceStub(channel)
        self.artifacts = artifacts_pb2_grpc.ArtifactServiceStub(channel)
        self.routes = codestore_pb2_grpc.RouteServiceStub(channel)
        self.loads = loads_pb2_grpc.LoadServiceStub(channel)
        self.outcomes = outcomes_pb2_grpc.OutcomeServiceStub(channel)
        self.rollouts = rollouts_pb2_grpc.RolloutServiceStub(channel)
        self.concurrency = concurrency_pb2_grpc.ConcurrencyServiceStub(channel)
        self.targets = codestore_pb2_grpc.ConcurrencyTargetServiceStub(channel)
        self.layers = layers_pb2_grpc.LayerServiceStub(channel)
        self.policies = tenant_policies_pb2_grpc.TenantPolicyServiceStub(channel)
        self.keys = signing_keys_pb2_grpc.SigningKeyServiceStub(channel)
        self.fetches = codestore_pb2_grpc.ArtifactFetchServiceStub(channel)

    def create(self, name: str, metadata: Metadata = ANN, description: str = "") -> Any:
        function = functions_pb2.Function(name=f"functions/{name}", description=description)
        request = functions_pb2.CreateFunctionRequest(function=function)
        return self.functions.CreateFunction(request, metadata=metadata, timeout=WITHIN_S)

    def get(self, name: str, metadata: Metadata = ANN) -> Any:
        request = functions_pb2.GetFunctionRequest(name=f"functions/{name}")
        return self.functions.GetFunction(request, metadata=metadata, timeout=WITHIN_S)

    def delete(self, name: str, metadata: Metadata = ANN, etag: str = "") -> Any:
        request = functions_pb2.DeleteFunctionRequest(name=f"functions/{name}", etag=etag)
        return self.functions.DeleteFunction(request, metadata=metadata, timeout=WITHIN_S)

    def upload(self, data: bytes = CODE, metadata: Metadata = ANN, chunk_bytes: int = 1024 * 1024) -> Any:
        chunks = [chunk(data[begin : begin + chunk_bytes]) for begin in range(0, len(data), chunk_bytes)]
        return self.send(header(data), *chunks, metadata=metadata)

    def send(self, *parts: artifacts_pb2.UploadArtifactRequest, metadata: Metadata = ANN) -> Any:
        return self.artifacts.UploadArtifact(messages(*parts), metadata=metadata, timeout=WITHIN_S)

    def artifact(self, digest: str, metadata: Metadata = ANN) -> Any:
        request = artifacts_pb2.GetArtifactRequest(name=f"artifacts/{digest}")
        return self.artifacts.GetArtifact(request, metadata=metadata, timeout=WITHIN_S)

    async def download(self, digest: str, metadata: Metadata = ANN) -> list[bytes]:
        request = artifacts_pb2.DownloadArtifactRequest(name=f"artifacts/{digest}")
        stream = self.artifacts.DownloadArtifact(request, metadata=metadata, timeout=WITHIN_S)
        return [response.chunk async for response in stream]

    async def fetch(self, tenant: str, digest: str) -> bytes:
        request = codestore_pb2.FetchArtifactRequest(tenant=tenant, sha256=digest)
        return b"".join([response.chunk async for response in self.fetches.FetchArtifact(request, timeout=WITHIN_S)])

    def publish(
        self, name: str, metadata: Metadata = ANN, /, *, data: bytes = CODE, validate_only: bool = False, **fields: Any
    ) -> Any:
        given: dict[str, Any] = {"runtime": versions_pb2.RUNTIME_PYTHON3, "handler": "app.handler"} | fields
        version = versions_pb2.Version(artifact=f"artifacts/{sha256(data)}", **given)
        request = versions_pb2.PublishVersionRequest(
            parent=f"functions/{name}", version=version, validate_only=validate_only
        )
        return self.versions.PublishVersion(request, metadata=metadata, timeout=WITHIN_S)

    def version(self, name: str, number: int, metadata: Metadata = ANN) -> Any:
        request = versions_pb2.GetVersionRequest(name=f"functions/{name}/versions/{number}")
        return self.versions.GetVersion(request, metadata=metadata, timeout=WITHIN_S)

    def delete_version(self, name: str, number: int, metadata: Metadata = ANN) -> Any:
        request = versions_pb2.DeleteVersionRequest(name=f"functions/{name}/versions/{number}")
        return self.versions.DeleteVersion(request, metadata=metadata, timeout=WITHIN_S)

    def create_alias(self, name: str, alias: str, *shares: tuple[int, int], metadata: Metadata = ANN) -> Any:
        request = aliases_pb2.CreateAliasRequest(alias=alias_of(name, alias, *shares))
        return self.aliases.CreateAlias(request, metadata=metadata, timeout=WITHIN_S)

    def point(
        self,
        name: str,
        alias: str,
        *shares: tuple[int, int],
        metadata: Metadata = ANN,
        etag: str = "",
        allow_missing: bool = True,
    ) -> Any:
        request = aliases_pb2.UpdateAliasRequest(
            alias=alias_of(name, alias, *shares, etag=etag), allow_missing=allow_missing
        )
        return self.aliases.UpdateAlias(request, metadata=metadata, timeout=WITHIN_S)

    def alias(self, name: str, alias: str, metadata: Metadata = ANN) -> Any:
        request = aliases_pb2.GetAliasRequest(name=f"functions/{name}/aliases/{alias}")
        return self.aliases.GetAlias(request, metadata=metadata, timeout=WITHIN_S)

    def delete_alias(self, name: str, alias: str, metadata: Metadata = ANN) -> Any:
        request = aliases_pb2.DeleteAliasRequest(name=f"functions/{name}/aliases/{alias}")
        return self.aliases.DeleteAlias(request, metadata=metadata, timeout=WITHIN_S)

    def resolve(self, tenant: str, function: str, qualifier: str) -> Any:
        request = codestore_pb2.ResolveRouteRequest(tenant=tenant, function=function, qualifier=qualifier)
        return self.routes.ResolveRoute(request, timeout=WITHIN_S)

    async def resolved(self, tenant: str, function: str, qualifier: str) -> list[tuple[int, int]]:
        """The versions' numbers and weights that a qualifier stands for."""
        response = await self.resolve(tenant, function, qualifier)
        return [(route.spec.number, route.weight) for route in response.routes]

    async def watch(self) -> Any:
        """A watch of routes that has begun."""
        watch = self.routes.WatchRoutes(codestore_pb2.WatchRoutesRequest(), timeout=WITHIN_S)
        first: Any = await watch.read()
        assert (first.tenant, first.function) == ("", "")
        return watch

    def setting(self, owner: str, metadata: Metadata = ANN) -> Any:
        """What is set for `function` or `function/aliases/alias`."""
        request = concurrency_pb2.GetConcurrencyRequest(name=f"functions/{owner}/concurrency")
        return self.concurrency.GetConcurrency(request, metadata=metadata, timeout=WITHIN_S)

    def set(self, owner: str, metadata: Metadata = ANN, **values: int) -> Any:
        """Sets the concurrency of `function` or `function/aliases/alias`."""
        setting = concurrency_pb2.Concurrency(name=f"functions/{owner}/concurrency", **values)
        request = concurrency_pb2.UpdateConcurrencyRequest(concurrency=setting)
        return self.concurrency.UpdateConcurrency(request, metadata=metadata, timeout=WITHIN_S)

    async def settings(self, name: str, metadata: Metadata = ANN) -> list[tuple[str, int, int]]:
        """What is set for a function and its aliases."""
        request = concurrency_pb2.ListConcurrencyRequest(parent=f"functions/{name}")
        response: Any = await self.concurrency.ListConcurrency(request, metadata=metadata, timeout=WITHIN_S)
        return [(each.name, each.provisioned, each.maximum) for each in response.settings]

    async def watch_targets(self) -> tuple[Any, list[tuple[str, str, int, dict[int, int]]]]:
        """A watch of how many containers functions are to have, and what it tells at its begin."""
        watch: Any = self.targets.WatchConcurrency(codestore_pb2.WatchConcurrencyRequest(), timeout=WITHIN_S)
        first: list[tuple[str, str, int, dict[int, int]]] = []
        while not (told := await watch.read()).is_complete:
            first.append(target_of(told))
        return watch, first

    async def deploy(self, name: str = "hello", metadata: Metadata = ANN, versions: int = 1) -> None:
        """Makes a function with that many versions, the newest `live`."""
        await self.upload(metadata=metadata)
        await self.create(name, metadata)
        for number in range(1, versions + 1):
            published = await self.publish(name, metadata, description=f"the {number}.")
            assert published.version.number == number
        await self.point(name, "live", (versions, 100), metadata=metadata)


def target_of(told: Any) -> tuple[str, str, int, dict[int, int]]:
    """Whose target a watch has told, its maximum, and the containers of each version."""
    target = told.function
    kept = {each.spec.number: each.containers for each in target.provisioned}
    return target.tenant, target.function, target.maximum, kept


def alias_of(name: str, alias: str, *shares: tuple[int, int], etag: str = "") -> aliases_pb2.Alias:
    routes = [aliases_pb2.WeightedVersion(version=version, weight=weight) for version, weight in shares]
    return aliases_pb2.Alias(name=f"functions/{name}/aliases/{alias}", routes=routes, etag=etag)


def settings_of(directory: Path, database_url: str, artifacts_url: str = "", **more: Any) -> CodestoreSettings:
    """Settings of a codestore whose state is in `directory`."""
    given: dict[str, Any] = {
        "listen_address": "127.0.0.1:0",
        "database_url": database_url,
        "artifacts_url": artifacts_url or f"file://{directory}/artifacts",
        "uploads_dir": directory / "uploads",
        "scheduler_address": "",
        "drain_s": 5,
    }
    return CodestoreSettings.model_validate(given | more)


async def bring_back(url: str, revision: str) -> None:
    """Makes a database what it was at an earlier revision."""

    def downgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.downgrade(config, revision)

    engine = open_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(downgrade)
    await engine.dispose()


@asynccontextmanager
async def running_world(settings: CodestoreSettings) -> AsyncGenerator[World]:
    """Runs a codestore while the context is entered."""
    async with running_codestore(settings) as server, open_channel(server.address) as channel:
        yield World(channel)
