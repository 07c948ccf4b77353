"""The services that tenants see, behind the frontend: translate, call, translate back."""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import aclosing
from typing import TypeVar

from google.protobuf.empty_pb2 import Empty
from stoker_protos.v1 import (
    aliases_pb2,
    aliases_pb2_grpc,
    artifacts_pb2,
    artifacts_pb2_grpc,
    concurrency_pb2,
    concurrency_pb2_grpc,
    functions_pb2,
    functions_pb2_grpc,
    versions_pb2,
    versions_pb2_grpc,
)
from stoker_service import paging
from stoker_service.metadata import Context

from stoker_codestore import errors, names, rollover_wire, wire
from stoker_codestore.aliases import Alias, Aliases
from stoker_codestore.artifacts import Artifacts
from stoker_codestore.callers import calling_tenant as _tenant
from stoker_codestore.callers import cause_of as _cause
from stoker_codestore.concurrency import Concurrency
from stoker_codestore.functions import Functions, Setting
from stoker_codestore.object_store import ArtifactStore
from stoker_codestore.prewarming import Prewarming
from stoker_codestore.uploads import Header, Uploads
from stoker_codestore.versions import HIGHEST_NUMBER, Versions

Item = TypeVar("Item")


class FunctionServicer(functions_pb2_grpc.FunctionServiceServicer):
    """Serves `stoker.v1.FunctionService`."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    async def CreateFunction(
        self, request: functions_pb2.CreateFunctionRequest, context: Context
    ) -> functions_pb2.CreateFunctionResponse:
        """Makes a function."""
        settings = wire.settings_of(request.function)
        function = await self._functions.create(_tenant(context), names.function_in(request.function.name), settings)
        return functions_pb2.CreateFunctionResponse(function=wire.function_message(function))

    async def GetFunction(
        self, request: functions_pb2.GetFunctionRequest, context: Context
    ) -> functions_pb2.GetFunctionResponse:
        """Returns a function."""
        function = await self._functions.get(_tenant(context), names.function_in(request.name))
        return functions_pb2.GetFunctionResponse(function=wire.function_message(function))

    async def ListFunctions(
        self, request: functions_pb2.ListFunctionsRequest, context: Context
    ) -> functions_pb2.ListFunctionsResponse:
        """Lists functions."""
        size = paging.page_size(request.page_size)
        found = await self._functions.list_after(_tenant(context), paging.decode_token(request.page_token), size + 1)
        page, has_more = _page(found, size)
        return functions_pb2.ListFunctionsResponse(
            functions=[wire.function_message(function) for function in page],
            next_page_token=paging.encode_token(page[-1].name) if has_more else "",
        )

    async def UpdateFunction(
        self, request: functions_pb2.UpdateFunctionRequest, context: Context
    ) -> functions_pb2.UpdateFunctionResponse:
        """Changes what is set for a function."""
        function = await self._functions.update(
            _tenant(context),
            names.function_in(request.function.name),
            wire.settings_of(request.function),
            _settings_in(request.update_mask.paths),
            request.function.etag,
        )
        return functions_pb2.UpdateFunctionResponse(function=wire.function_message(function))

    async def DeleteFunction(self, request: functions_pb2.DeleteFunctionRequest, context: Context) -> Empty:
        """Deletes a function."""
        await self._functions.delete(_tenant(context), names.function_in(request.name), request.etag)
        return Empty()


class VersionServicer(versions_pb2_grpc.VersionServiceServicer):
    """Serves `stoker.v1.VersionService`."""

    def __init__(self, versions: Versions, prewarming: Prewarming) -> None:
        self._versions = versions
        self._prewarming = prewarming

    async def PublishVersion(
        self, request: versions_pb2.PublishVersionRequest, context: Context
    ) -> versions_pb2.PublishVersionResponse:
        """Publishes a version."""
        function = names.function_in(request.parent)
        tenant = _tenant(context)
        version = await self._versions.publish(
            tenant, function, wire.configuration_of(request.version), validate_only=request.validate_only
        )
        if request.prewarm and not request.validate_only:
            self._prewarming.begin(tenant, function, version.number, request.prewarm)
        return versions_pb2.PublishVersionResponse(version=wire.version_message(function, version))

    async def GetVersion(
        self, request: versions_pb2.GetVersionRequest, context: Context
    ) -> versions_pb2.GetVersionResponse:
        """Returns a version."""
        function = names.function_in(request.name)
        version = await self._versions.get(_tenant(context), function, names.version_in(request.name))
        return versions_pb2.GetVersionResponse(version=wire.version_message(function, version))

    async def ListVersions(
        self, request: versions_pb2.ListVersionsRequest, context: Context
    ) -> versions_pb2.ListVersionsResponse:
        """Lists versions."""
        function = names.function_in(request.parent)
        size = paging.page_size(request.page_size)
        before = paging.decode_token(request.page_token)
        if before and not names.is_number(before):
            raise errors.page_token_invalid()
        found = await self._versions.list_before(
            _tenant(context), function, int(before) if before else HIGHEST_NUMBER, size + 1
        )
        page, has_more = _page(found, size)
        return versions_pb2.ListVersionsResponse(
            versions=[wire.version_message(function, version) for version in page],
            next_page_token=paging.encode_token(str(page[-1].number)) if has_more else "",
        )

    async def DeleteVersion(self, request: versions_pb2.DeleteVersionRequest, context: Context) -> Empty:
        """Deletes a version."""
        function, number = names.function_in(request.name), names.version_in(request.name)
        await self._versions.delete(_tenant(context), function, number)
        return Empty()


class AliasServicer(aliases_pb2_grpc.AliasServiceServicer):
    """Serves `stoker.v1.AliasService`."""

    def __init__(self, aliases: Aliases) -> None:
        self._aliases = aliases

    async def CreateAlias(
        self, request: aliases_pb2.CreateAliasRequest, context: Context
    ) -> aliases_pb2.CreateAliasResponse:
        """Makes an alias."""
        function, name = names.function_in(request.alias.name), names.alias_in(request.alias.name)
        alias = await self._aliases.create(
            _tenant(context), function, name, wire.shares_of(request.alias), _cause(context)
        )
        return aliases_pb2.CreateAliasResponse(alias=wire.alias_message(function, alias))

    async def GetAlias(self, request: aliases_pb2.GetAliasRequest, context: Context) -> aliases_pb2.GetAliasResponse:
        """Returns an alias."""
        function = names.function_in(request.name)
        alias = await self._aliases.get(_tenant(context), function, names.alias_in(request.name))
        return aliases_pb2.GetAliasResponse(alias=_alias_with_failure(function, alias))

    async def UpdateAlias(
        self, request: aliases_pb2.UpdateAliasRequest, context: Context
    ) -> aliases_pb2.UpdateAliasResponse:
        """Points an alias elsewhere."""
        function, name = names.function_in(request.alias.name), names.alias_in(request.alias.name)
        alias = await self._aliases.update(
            _tenant(context),
            function,
            name,
            wire.shares_of(request.alias),
            _cause(context, wire.checked_text("reason", request.reason)),
            etag=request.alias.etag,
            allow_missing=request.allow_missing,
        )
        return aliases_pb2.UpdateAliasResponse(alias=wire.alias_message(function, alias))

    async def ListAliases(
        self, request: aliases_pb2.ListAliasesRequest, context: Context
    ) -> aliases_pb2.ListAliasesResponse:
        """Lists aliases."""
        function = names.function_in(request.parent)
        size = paging.page_size(request.page_size)
        after = paging.decode_token(request.page_token)
        page, has_more = _page(await self._aliases.list_after(_tenant(context), function, after, size + 1), size)
        return aliases_pb2.ListAliasesResponse(
            aliases=[_alias_with_failure(function, alias) for alias in page],
            next_page_token=paging.encode_token(page[-1].name) if has_more else "",
        )

    async def ListAliasChanges(
        self, request: aliases_pb2.ListAliasChangesRequest, context: Context
    ) -> aliases_pb2.ListAliasChangesResponse:
        """Lists what an alias pointed to before."""
        function, name = names.function_in(request.parent), names.alias_in(request.parent)
        size = paging.page_size(request.page_size)
        before = paging.decode_token(request.page_token)
        if before and not names.is_number(before):
            raise errors.page_token_invalid()
        found = await self._aliases.history_before(
            _tenant(context), function, name, int(before) if before else HIGHEST_NUMBER, size + 1
        )
        page, has_more = _page(found, size)
        return aliases_pb2.ListAliasChangesResponse(
            changes=[wire.alias_change_message(change) for change in page],
            next_page_token=paging.encode_token(str(page[-1].number)) if has_more else "",
        )

    async def DeleteAlias(self, request: aliases_pb2.DeleteAliasRequest, context: Context) -> Empty:
        """Deletes an alias."""
        function, name = names.function_in(request.name), names.alias_in(request.name)
        await self._aliases.delete(_tenant(context), function, name, _cause(context))
        return Empty()


class ConcurrencyServicer(concurrency_pb2_grpc.ConcurrencyServiceServicer):
    """Serves `stoker.v1.ConcurrencyService` but for what the scheduler alone knows: how many containers there are."""

    def __init__(self, concurrency: Concurrency) -> None:
        self._concurrency = concurrency

    async def GetConcurrency(
        self, request: concurrency_pb2.GetConcurrencyRequest, context: Context
    ) -> concurrency_pb2.GetConcurrencyResponse:
        """Returns a setting."""
        function, alias = names.function_in(request.name), names.alias_of_setting(request.name)
        setting = await self._concurrency.get(_tenant(context), function, alias)
        return concurrency_pb2.GetConcurrencyResponse(concurrency=wire.concurrency_message(function, setting))

    async def UpdateConcurrency(
        self, request: concurrency_pb2.UpdateConcurrencyRequest, context: Context
    ) -> concurrency_pb2.UpdateConcurrencyResponse:
        """Changes a setting."""
        function = names.function_in(request.concurrency.name)
        setting = await self._concurrency.set(_tenant(context), function, wire.setting_of(request.concurrency))
        return concurrency_pb2.UpdateConcurrencyResponse(concurrency=wire.concurrency_message(function, setting))

    async def ListConcurrency(
        self, request: concurrency_pb2.ListConcurrencyRequest, context: Context
    ) -> concurrency_pb2.ListConcurrencyResponse:
        """Lists what is set."""
        function = names.function_in(request.parent)
        settings = await self._concurrency.list(_tenant(context), function)
        messages = [wire.concurrency_message(function, setting) for setting in settings]
        return concurrency_pb2.ListConcurrencyResponse(settings=messages)


class ArtifactServicer(artifacts_pb2_grpc.ArtifactServiceServicer):
    """Serves `stoker.v1.ArtifactService`."""

    def __init__(self, uploads: Uploads, artifacts: Artifacts, store: ArtifactStore) -> None:
        self._uploads = uploads
        self._artifacts = artifacts
        self._store = store

    async def UploadArtifact(
        self, request_iterator: AsyncIterator[artifacts_pb2.UploadArtifactRequest], context: Context
    ) -> artifacts_pb2.UploadArtifactResponse:
        """Takes an artifact."""
        artifact = await self._uploads.take(_tenant(context), _parts(request_iterator))
        return artifacts_pb2.UploadArtifactResponse(artifact=wire.artifact_message(artifact))

    async def GetArtifact(
        self, request: artifacts_pb2.GetArtifactRequest, context: Context
    ) -> artifacts_pb2.GetArtifactResponse:
        """Returns what is known of an artifact."""
        artifact = await self._artifacts.look_up(_tenant(context), names.sha256_in(request.name))
        return artifacts_pb2.GetArtifactResponse(artifact=wire.artifact_message(artifact))

    async def DownloadArtifact(
        self, request: artifacts_pb2.DownloadArtifactRequest, context: Context
    ) -> AsyncIterator[artifacts_pb2.DownloadArtifactResponse]:
        """Streams an artifact."""
        artifact = await self._artifacts.get(_tenant(context), names.sha256_in(request.name))
        async with aclosing(self._store.read(artifact.object_key)) as chunks:
            async for chunk in chunks:
                yield artifacts_pb2.DownloadArtifactResponse(chunk=chunk)


def _settings_in(paths: Iterable[str]) -> Collection[Setting]:
    try:
        settings = {Setting(path) for path in paths}
    except ValueError:
        settings = set[Setting]()
    if not settings:
        allowed = ", ".join(f"`{setting.value}`" for setting in Setting)
        raise errors.invalid_field("update_mask", f"must name what is to be changed; it can be {allowed}")
    return settings


def _alias_with_failure(function: str, alias: Alias) -> aliases_pb2.Alias:
    message = wire.alias_message(function, alias)
    if alias.load_failure is not None:
        message.load_failure.CopyFrom(rollover_wire.load_failure_message(*alias.load_failure))
    return message


def _page(found: Sequence[Item], size: int) -> tuple[Sequence[Item], bool]:
    """What is on a page, and whether there is another: one entry more than fits was asked for."""
    return found[:size], len(found) > size


async def _parts(requests: AsyncIterator[artifacts_pb2.UploadArtifactRequest]) -> AsyncIterator[Header | bytes]:
    async for request in requests:
        if request.WhichOneof("part") == "header":
            yield Header(request.header.sha256, request.header.size_bytes)
        else:
            yield request.chunk
