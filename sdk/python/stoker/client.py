"""The blocking client."""

import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from stoker import (
    admin_requests,
    artifact_requests,
    delivery_requests,
    deployment,
    layer_requests,
    requests,
    rollout_requests,
    rollover_requests,
    settings,
    signing_requests,
    tenant_policy_requests,
)
from stoker.artifact_requests import Progress
from stoker.calls import Listing, StreamOf, Stubs, Unary, UnaryOf, UploadOf
from stoker.connection import CHANNEL_OPTIONS, call_metadata
from stoker.deliveries import Delivery
from stoker.dependencies import NONE as NO_DEPENDENCIES
from stoker.dependencies import Dependencies
from stoker.deployment import Steps
from stoker.errors import StokerError
from stoker.models import (
    Alias,
    Artifact,
    Concurrency,
    Deployment,
    Fleet,
    Function,
    InvokeResult,
    LayerVersion,
    LogLine,
    NewTenant,
    Tenant,
    Version,
    VersionOptions,
)
from stoker.packing import packed
from stoker.retries import RetryBudget
from stoker.rollouts import AliasChange, Rollout
from stoker.rollovers import Rollover, RolloverPolicy
from stoker.signing import PrivateKey, Signature, SigningKey
from stoker.statuses import error_of
from stoker.tenant_policies import TenantPolicy

Result = TypeVar("Result")
Item = TypeVar("Item")


class Client:
    """Calls Stoker. It may be used by several threads, and connects when first used.

    Every method raises a `StokerError` (see `stoker.errors`) where the call fails.
    """

    def __init__(
        self, endpoint: str | None = None, *, api_key: str | None = None, admin_key: str | None = None
    ) -> None:
        """Makes a client; what is not given comes from the environment or the configuration file.

        Args:
            endpoint: Where Stoker answers, `address:port`.
            api_key: The tenant's key.
            admin_key: The operator's key, for the methods that ask for it.
        """
        self._settings = settings.load(endpoint=endpoint, api_key=api_key, admin_key=admin_key)
        self._channel = grpc.insecure_channel(self._settings.endpoint, CHANNEL_OPTIONS)
        self._stubs = Stubs(self._channel)
        self._budget = RetryBudget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and the calls that still run."""
        self._channel.close()

    @property
    def endpoint(self) -> str:
        """Where this client calls."""
        return self._settings.endpoint

    def create_function(self, name: str, *, description: str = "") -> Function:
        """Makes a function without versions."""
        return self._call(requests.create_function(name, description))

    def get_function(self, name: str) -> Function:
        """Returns a function."""
        return self._call(requests.get_function(name))

    def list_functions(self) -> Generator[Function]:
        """Yields the functions by name."""
        return self._list(requests.list_functions())

    def update_function(
        self, name: str, *, description: str | None = None, versions_kept: int | None = None, etag: str = ""
    ) -> Function:
        """Changes a function; with `etag`, only if nobody has changed it since. None leaves a setting as it is.

        Args:
            name: The function.
            description: What it is for.
            versions_kept: How many of its newest versions are kept; 0 for as many as the operator has set.
            etag: The etag that it must still have.
        """
        return self._call(
            requests.update_function(name, description=description, versions_kept=versions_kept, etag=etag)
        )

    def delete_function(self, name: str, *, etag: str = "") -> None:
        """Deletes a function with its versions and aliases."""
        self._call(requests.delete_function(name, etag))

    def publish_version(
        self,
        function: str,
        artifact_sha256: str,
        *,
        signature: Signature | None = None,
        prewarm: int = 0,
        validate_only: bool = False,
        **options: Unpack[VersionOptions],
    ) -> Version:
        """Publishes a function's next version, of an artifact uploaded before.

        So many containers as `prewarm` says are loaded before anybody calls it.
        """
        return self._call(
            requests.publish_version(
                function,
                artifact_sha256,
                options,
                signature=signature,
                prewarm=prewarm,
                validate_only=validate_only,
            )
        )

    def get_version(self, function: str, number: int) -> Version:
        """Returns a version."""
        return self._call(requests.get_version(function, number))

    def list_versions(self, function: str) -> Generator[Version]:
        """Yields a function's versions, newest first."""
        return self._list(requests.list_versions(function))

    def delete_version(self, function: str, number: int) -> None:
        """Deletes a version that no alias names."""
        self._call(requests.delete_version(function, number))

    def create_alias(self, function: str, alias: str, routes: Mapping[int, int]) -> Alias:
        """Makes an alias of versions, with the share of each in percent."""
        return self._call(requests.create_alias(function, alias, routes))

    def get_alias(self, function: str, alias: str) -> Alias:
        """Returns an alias."""
        return self._call(requests.get_alias(function, alias))

    def list_aliases(self, function: str) -> Generator[Alias]:
        """Yields a function's aliases by name."""
        return self._list(requests.list_aliases(function))

    def set_alias(
        self, function: str, alias: str, routes: Mapping[int, int], *, etag: str = "", allow_missing: bool = True
    ) -> Alias:
        """Points an alias at versions, with the share of each in percent; with `etag`, only if it is unchanged."""
        return self._call(requests.set_alias(function, alias, routes, etag=etag, allow_missing=allow_missing))

    def delete_alias(self, function: str, alias: str) -> None:
        """Deletes an alias."""
        self._call(requests.delete_alias(function, alias))

    def start_rollout(
        self,
        function: str,
        to_version: int,
        *,
        alias: str = "live",
        steps: Sequence[int] = rollout_requests.DEFAULT_STEPS,
        every_s: float = rollout_requests.DEFAULT_EVERY_S,
        min_calls: int = 0,
    ) -> Rollout:
        """Brings a version out in steps, and back by itself if it is found to fail more often or to be slower.

        Args:
            function: The function.
            to_version: The version to go to, from the one that the alias names.
            alias: The alias.
            steps: The new version's share in percent at each step: growing, the last one 100.
            every_s: How long each step lasts at the least, in seconds.
            min_calls: How many calls of the new version must have been judged at a step before the next.
        """
        return self._call(
            rollout_requests.start_rollout(
                function, to_version, alias, steps=steps, every_s=every_s, min_calls=min_calls
            )
        )

    def pause_rollout(self, function: str, rollout: str) -> Rollout:
        """Holds a rollout, known by its id, at its step. It is still rolled back if the new version is worse."""
        return self._call(rollout_requests.pause_rollout(function, rollout))

    def resume_rollout(self, function: str, rollout: str) -> Rollout:
        """Lets a rollout go on."""
        return self._call(rollout_requests.resume_rollout(function, rollout))

    def abort_rollout(self, function: str, rollout: str, *, reason: str = "") -> Rollout:
        """Ends a rollout; the old version gets everything."""
        return self._call(rollout_requests.abort_rollout(function, rollout, reason))

    def get_rollout(self, function: str, rollout: str) -> Rollout:
        """Returns a rollout."""
        return self._call(rollout_requests.get_rollout(function, rollout))

    def list_rollouts(self, function: str, alias: str = "") -> Generator[Rollout]:
        """Yields a function's rollouts, of one alias where one is given, newest first."""
        return self._list(rollout_requests.list_rollouts(function, alias))

    def roll_back(self, function: str, alias: str = "live", *, version: int = 0, reason: str = "") -> Alias:
        """Points an alias back at once, and ends the rollout that is under way.

        Args:
            function: The function.
            alias: The alias.
            version: The version. 0 for the old one of the rollout that is under way; without one, the last with a lower
                number that the alias named alone.
            reason: Why, for the history.
        """
        return self._call(rollout_requests.roll_back(function, alias, version, reason))

    def list_alias_changes(self, function: str, alias: str = "live") -> Generator[AliasChange]:
        """Yields where an alias pointed, the newest change first."""
        return self._list(rollout_requests.list_alias_changes(function, alias))

    def get_rollover(self, function: str, alias: str = "live") -> Rollover:
        """Tells which version answers for an alias now, and why."""
        return self._call(rollover_requests.get_rollover(function, alias))

    def set_rollover(
        self, function: str, *, policy: RolloverPolicy | str | None = None, max_staleness_s: int | None = None
    ) -> Function:
        """Sets what answers while a new version of a function is being loaded; None leaves a setting as it is.

        Args:
            function: The function.
            policy: Whether the version before answers (`serve_previous`) or requests wait (`wait_for_new`).
            max_staleness_s: For how long the version before may answer, up to a day; 60 by default.
        """
        return self._call(rollover_requests.set_rollover(function, policy, max_staleness_s))

    def get_concurrency(self, function: str, alias: str = "") -> Concurrency:
        """Returns what is set for a function, or for an alias of it, and how many containers there are."""
        return self._call(requests.get_concurrency(function, alias))

    def list_concurrency(self, function: str) -> Sequence[Concurrency]:
        """Returns what is set for a function and its aliases, the function's own first."""
        return self._call(requests.list_concurrency(function))

    def set_concurrency(self, function: str, alias: str = "", *, provisioned: int = 0, maximum: int = 0) -> Concurrency:
        """Sets how many containers are kept loaded and how many invocations may run at once; 0 takes it back.

        Args:
            function: The function.
            alias: The alias to keep containers for; empty for the function itself.
            provisioned: Containers kept loaded, up to 1,000; a function's are of the versions that `live` names.
            maximum: How many invocations may run at once, up to 10,000; an alias has none of its own.
        """
        return self._call(requests.set_concurrency(function, alias, provisioned=provisioned, maximum=maximum))

    def get_artifact(self, sha256: str) -> Artifact:
        """Returns what is known of an artifact."""
        return self._call(artifact_requests.get_artifact(sha256))

    def upload_artifact(self, path: str | Path, *, progress: Progress | None = None) -> Artifact:
        """Uploads a directory or an archive of code; `progress` is told the bytes sent and the bytes altogether."""
        with packed(Path(path)) as code:
            return self._upload(artifact_requests.upload_artifact(code, progress))

    def download_artifact(self, sha256: str) -> Generator[bytes]:
        """Yields an artifact's bytes as they were uploaded."""
        return self._stream(artifact_requests.download_artifact(sha256))

    def deploy(
        self,
        name: str,
        path: str | Path,
        *,
        alias: str | None = "live",
        progress: Progress | None = None,
        dependencies: Dependencies = NO_DEPENDENCIES,
        sign_with: PrivateKey | None = None,
        prewarm: int = 0,
        **options: Unpack[VersionOptions],
    ) -> Deployment:
        """Uploads a directory or an archive of code, publishes it as a version, and points `alias` at that.

        The function is made where it is missing. With `alias=None` no alias is moved. `dependencies` are what
        `stoker.dependencies.install` gives for a directory; `sign_with` is what `stoker.signing.load_private` gives. So
        many containers as `prewarm` says are loaded before anybody calls the version.
        """
        with packed(Path(path), dependencies) as code:
            return self._drive(deployment.deploy(name, code, options, alias, progress, sign_with, prewarm))

    def watch_delivery(self, function: str, number: int, *, timeout_s: float | None = None) -> Generator[Delivery]:
        """Yields how a version's code reaches hosts, now and at each change, until it is everywhere it should be."""
        return self._stream(delivery_requests.watch_delivery(function, number, timeout_s))

    def publish_layer(
        self, layer: str, path: str | Path, *, description: str = "", progress: Progress | None = None
    ) -> LayerVersion:
        """Uploads a directory or an archive, and publishes it as a version of a layer, made where it is missing."""
        with packed(Path(path)) as files:
            return self._drive(deployment.publish_layer(layer, files, description, progress))

    def get_layer_version(self, layer: str, number: int) -> LayerVersion:
        """Returns a version of a layer."""
        return self._call(layer_requests.get_layer_version(layer, number))

    def list_layers(self) -> Generator[LayerVersion]:
        """Yields the newest version of each layer, by name."""
        return self._list(layer_requests.list_layers())

    def list_layer_versions(self, layer: str) -> Generator[LayerVersion]:
        """Yields a layer's versions, newest first."""
        return self._list(layer_requests.list_layer_versions(layer))

    def delete_layer_version(self, layer: str, number: int) -> None:
        """Deletes a version of a layer that no version of a function has."""
        self._call(layer_requests.delete_layer_version(layer, number))

    def invoke(
        self,
        name: str,
        data: Any = None,
        *,
        qualifier: str = "",
        timeout_s: float | None = None,
        content_type: str = "",
        log_tail: bool = False,
        session_key: str = "",
    ) -> InvokeResult:
        """Runs a function once. A function that fails is told by the result's `function_error`, not by an exception.

        Args:
            name: The function.
            data: The event: bytes reach the handler as they are, anything else as JSON.
            qualifier: A version's number or an alias; empty means `live`.
            timeout_s: How long to wait in seconds; what is running then is stopped. None means as long as it may take.
            content_type: The media type of `data`, where it is bytes.
            log_tail: Whether to return the last 4 KiB of what the invocation prints.
            session_key: Whose session it is, up to 256 characters: an alias of two versions sends the same key to the
                same one, as long as the weights allow.
        """
        return self._call(
            requests.invoke(
                name,
                data,
                qualifier=qualifier,
                timeout_s=timeout_s,
                content_type=content_type,
                log_tail=log_tail,
                session_key=session_key,
            )
        )

    def tail_logs(self, function: str, *, follow: bool = False, limit: int = 0) -> Generator[LogLine]:
        """Yields a function's newest log lines, up to `limit` (0 means 100); with `follow`, also those to come."""
        return self._stream(requests.tail_logs(function, follow=follow, limit=limit))

    def add_signing_key(self, name: str, public_key: bytes) -> SigningKey:
        """Adds a public key, as `stoker.signing.load_public` gives it, whose owner may then sign the tenant's code."""
        return self._call(signing_requests.add_signing_key(name, public_key))

    def list_signing_keys(self) -> Sequence[SigningKey]:
        """Returns the tenant's signing keys by name."""
        return self._call(signing_requests.list_signing_keys())

    def delete_signing_key(self, name: str) -> None:
        """Ends a signing key: what it has signed counts as unsigned from now on."""
        self._call(signing_requests.delete_signing_key(name))

    def create_tenant(self, tenant: str) -> NewTenant:
        """Makes a tenant and its first key. Needs the admin key."""
        return self._call(admin_requests.create_tenant(tenant))

    def list_tenants(self) -> Generator[Tenant]:
        """Yields all tenants by name. Needs the admin key."""
        return self._list(admin_requests.list_tenants())

    def create_api_key(self, tenant: str) -> str:
        """Makes one more key for a tenant. Needs the admin key."""
        return self._call(admin_requests.create_api_key(tenant))

    def revoke_api_key(self, key_id: str) -> None:
        """Ends a key at once, known by what stands between its first and second `.`. Needs the admin key."""
        self._call(admin_requests.revoke_api_key(key_id))

    def get_tenant_policy(self, tenant: str) -> TenantPolicy:
        """Returns what a tenant may, and what it has stored. Needs the admin key."""
        return self._call(tenant_policy_requests.get_tenant_policy(tenant))

    def set_quota(self, tenant: str, **quota: int) -> None:
        """Sets how much a tenant may store, by the names of `Quota`'s fields; 0 is the default. Needs the admin key."""
        self._call(tenant_policy_requests.set_quota(tenant, **quota))

    def require_signed(self, tenant: str, *, is_required: bool = True) -> None:
        """Says whether only signed code of a tenant may be published and run. Needs the admin key."""
        self._call(tenant_policy_requests.require_signed(tenant, is_required=is_required))

    def get_fleet(self) -> Fleet:
        """Returns all hosts, VMs and containers of one moment. Needs the admin key."""
        return self._call(admin_requests.get_fleet())

    def _call(self, call: UnaryOf[Result]) -> Result:
        deadline_s = time.monotonic() + call.timeout_s
        attempts = 0
        while True:
            attempts += 1
            metadata = call_metadata(self._settings, is_admin=call.is_admin)
            try:
                response = call.method(self._stubs)(
                    call.request, timeout=deadline_s - time.monotonic(), metadata=metadata
                )
            except grpc.RpcError as failure:
                error = error_of(failure, self.endpoint)
                delay_s = self._budget.delay_s(call.retry, error, attempts, deadline_s - time.monotonic())
                if delay_s is None:
                    raise error from failure
                time.sleep(delay_s)
            else:
                self._budget.succeeded()
                return call.parse(response)

    def _list(self, listing: Listing[Item]) -> Generator[Item]:
        token = ""
        while True:
            page = self._call(listing.page(token))
            yield from page.items
            token = page.next_page_token
            if not token:
                return

    def _upload(self, call: UploadOf[Result]) -> Result:
        metadata = call_metadata(self._settings, is_admin=False)
        try:
            response = call.method(self._stubs)(call.requests(), timeout=call.timeout_s, metadata=metadata)
        except grpc.RpcError as failure:
            raise error_of(failure, self.endpoint) from failure
        return call.parse(response)

    def _stream(self, call: StreamOf[Item]) -> Generator[Item]:
        metadata = call_metadata(self._settings, is_admin=False)
        responses = call.method(self._stubs)(call.request, timeout=call.timeout_s, metadata=metadata)
        try:
            for response in responses:
                yield call.parse(response)
        except grpc.RpcError as failure:
            raise error_of(failure, self.endpoint) from failure
        finally:
            responses.cancel()

    def _drive(self, steps: Steps[Result]) -> Result:
        try:
            call = next(steps)
            while True:
                try:
                    outcome = self._call(call) if isinstance(call, Unary) else self._upload(call)
                except StokerError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(outcome)
        except StopIteration as stop:
            return stop.value
