"""Values and messages, translated into each other."""

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from stoker_artifacts import Format
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.v1 import aliases_pb2, artifacts_pb2, concurrency_pb2, functions_pb2, versions_pb2

from stoker_codestore import errors, names
from stoker_codestore.alias_history import AliasChange, Share
from stoker_codestore.aliases import Alias
from stoker_codestore.artifacts import Artifact
from stoker_codestore.concurrency import Setting
from stoker_codestore.concurrency_targets import Target
from stoker_codestore.functions import Function, Settings
from stoker_codestore.layers import UsedLayer
from stoker_codestore.rollover_terms import DEFAULT_STALENESS_S, RolloverPolicy, Terms
from stoker_codestore.routes import Route
from stoker_codestore.signing_keys import Proof, Signature
from stoker_codestore.versions import Configuration, Runtime, Version

_RUNTIMES = {
    versions_pb2.RUNTIME_PYTHON3: Runtime.PYTHON3,
    versions_pb2.RUNTIME_NODEJS: Runtime.NODEJS,
}
_POLICIES = {
    functions_pb2.ROLLOVER_POLICY_UNSPECIFIED: RolloverPolicy.SERVE_PREVIOUS,
    functions_pb2.ROLLOVER_POLICY_SERVE_PREVIOUS: RolloverPolicy.SERVE_PREVIOUS,
    functions_pb2.ROLLOVER_POLICY_WAIT_FOR_NEW: RolloverPolicy.WAIT_FOR_NEW,
}
_POLICY_MESSAGES = {policy: message for message, policy in _POLICIES.items()}
_RUNTIME_MESSAGES = {runtime: message for message, runtime in _RUNTIMES.items()}
_FORMAT_MESSAGES = {
    Format.ZIP: artifacts_pb2.ARTIFACT_FORMAT_ZIP,
    Format.TAR_GZ: artifacts_pb2.ARTIFACT_FORMAT_TAR_GZ,
    Format.OCI_IMAGE: artifacts_pb2.ARTIFACT_FORMAT_OCI_IMAGE,
}


def settings_of(function: functions_pb2.Function) -> Settings:
    """What a client wants to set for a function.

    Raises:
        StokerError: INVALID_FIELD.
    """
    return Settings(
        description=checked_text("function.description", function.description),
        versions_kept=function.versions_kept,
        rollover=Terms(_POLICIES[function.rollover_policy], function.max_staleness_s or DEFAULT_STALENESS_S),
    )


def function_message(function: Function) -> functions_pb2.Function:
    """The message of a function."""
    return functions_pb2.Function(
        name=f"functions/{function.name}",
        uid=function.uid,
        description=function.settings.description,
        latest_version=function.latest_version,
        create_time=timestamp(function.create_time),
        update_time=timestamp(function.update_time),
        etag=function.etag,
        rollover_policy=_POLICY_MESSAGES[function.settings.rollover.policy],
        max_staleness_s=function.settings.rollover.max_staleness_s,
        versions_kept=function.settings.versions_kept,
    )


def configuration_of(version: versions_pb2.Version) -> Configuration:
    """What a client wants to publish.

    Raises:
        StokerError: INVALID_FIELD.
    """
    for name, value in version.environment.items():
        if "\0" in value:
            raise errors.invalid_field(f'version.environment["{name}"]', "must not contain a NUL character")
    return Configuration(
        artifact_sha256=names.sha256_in(version.artifact),
        runtime=_RUNTIMES[version.runtime],
        handler=version.handler,
        memory_mib=version.memory_mib,
        timeout_s=version.timeout_s,
        tmp_mib=version.tmp_mib,
        concurrency=version.concurrency,
        environment=dict(version.environment),
        description=checked_text("version.description", version.description),
        layers=tuple(UsedLayer(names.layer_in(name), names.version_in(name)) for name in version.layers),
        signature=Signature(version.signature.key_id, version.signature.signature)
        if version.HasField("signature")
        else None,
    )


def checked_text(field: str, text: str) -> str:
    """A text that databases can hold.

    Raises:
        StokerError: INVALID_FIELD.
    """
    if "\0" in text:
        raise errors.invalid_field(field, "must not contain a NUL character")
    return text


def version_message(function: str, version: Version) -> versions_pb2.Version:
    """The message of a version of a function."""
    configuration = version.configuration
    return versions_pb2.Version(
        name=f"functions/{function}/versions/{version.number}" if version.number else "",
        number=version.number,
        uid=version.uid,
        artifact=f"artifacts/{configuration.artifact_sha256}",
        runtime=_RUNTIME_MESSAGES[configuration.runtime],
        handler=configuration.handler,
        memory_mib=configuration.memory_mib,
        timeout_s=configuration.timeout_s,
        environment=configuration.environment,
        tmp_mib=configuration.tmp_mib,
        concurrency=configuration.concurrency,
        description=configuration.description,
        layers=[f"layers/{used.layer}/versions/{used.number}" for used in configuration.layers],
        signature=versions_pb2.CodeSignature(
            key_id=configuration.signature.key_id, signature=configuration.signature.signature
        )
        if configuration.signature
        else None,
        create_time=timestamp(version.create_time) if version.create_time else None,
    )


def shares_of(alias: aliases_pb2.Alias) -> tuple[Share, ...]:
    """Where a client wants an alias to point."""
    return tuple(Share(route.version, route.weight) for route in alias.routes)


def alias_message(function: str, alias: Alias) -> aliases_pb2.Alias:
    """The message of an alias of a function."""
    return aliases_pb2.Alias(
        name=f"functions/{function}/aliases/{alias.name}",
        routes=_weighted(alias.shares),
        update_time=timestamp(alias.update_time),
        etag=alias.etag,
    )


def alias_change_message(change: AliasChange) -> aliases_pb2.AliasChange:
    """The message of a change of an alias."""
    return aliases_pb2.AliasChange(
        time=timestamp(change.time),
        actor=change.cause.actor,
        routes_before=_weighted(change.before),
        routes_after=_weighted(change.after),
        reason=change.cause.reason,
    )


def _weighted(shares: Sequence[Share]) -> list[aliases_pb2.WeightedVersion]:
    return [aliases_pb2.WeightedVersion(version=share.version, weight=share.weight) for share in shares]


def artifact_message(artifact: Artifact) -> artifacts_pb2.Artifact:
    """The message of an artifact."""
    return artifacts_pb2.Artifact(
        name=f"artifacts/{artifact.sha256}",
        format=_FORMAT_MESSAGES[artifact.contents.format],
        size_bytes=artifact.size_bytes,
        unpacked_size_bytes=artifact.contents.unpacked_size_bytes,
        file_count=artifact.contents.file_count,
        create_time=timestamp(artifact.create_time),
    )


def setting_of(concurrency: concurrency_pb2.Concurrency) -> Setting:
    """What a client wants to set."""
    alias = names.alias_of_setting(concurrency.name)
    return Setting(alias, provisioned=concurrency.provisioned, maximum=concurrency.maximum)


def concurrency_message(function: str, setting: Setting) -> concurrency_pb2.Concurrency:
    """The message of what is set for a function, or for an alias of it."""
    owner = f"functions/{function}" + (f"/aliases/{setting.alias}" if setting.alias else "")
    return concurrency_pb2.Concurrency(
        name=f"{owner}/concurrency", provisioned=setting.provisioned, maximum=setting.maximum
    )


def target_message(tenant: str, function: str, target: Target) -> codestore_pb2.FunctionConcurrency:
    """The message of how many containers a tenant's function is to have."""
    return codestore_pb2.FunctionConcurrency(
        tenant=tenant,
        function=function,
        maximum=target.maximum,
        provisioned=[
            codestore_pb2.ProvisionedVersion(
                spec=spec_message(tenant, function, kept.version, kept.artifact_size_bytes), containers=kept.containers
            )
            for kept in target.provisioned
        ],
    )


def route_message(tenant: str, function: str, route: Route) -> codestore_pb2.WeightedSpec:
    """The message of a route of a tenant's function."""
    spec = spec_message(tenant, function, route.version, route.artifact_size_bytes)
    return codestore_pb2.WeightedSpec(spec=spec, weight=route.weight)


def spec_message(tenant: str, function: str, version: Version, artifact_size_bytes: int) -> codestore_pb2.VersionSpec:
    """The message of all that is needed to run a version of a tenant's function."""
    configuration = version.configuration
    return codestore_pb2.VersionSpec(
        uid=version.uid,
        tenant=tenant,
        function=function,
        number=version.number,
        artifact_sha256=configuration.artifact_sha256,
        artifact_size_bytes=artifact_size_bytes,
        runtime=_RUNTIME_MESSAGES[configuration.runtime],
        handler=configuration.handler,
        memory_mib=configuration.memory_mib,
        timeout_s=configuration.timeout_s,
        environment=configuration.environment,
        tmp_mib=configuration.tmp_mib,
        concurrency=configuration.concurrency,
        layers=[
            codestore_pb2.LayerSpec(artifact_sha256=used.artifact_sha256, artifact_size_bytes=used.artifact_size_bytes)
            for used in configuration.layers
        ],
        proof=_proof_message(version.proof) if version.proof else None,
    )


def _proof_message(proof: Proof) -> codestore_pb2.CodeProof:
    return codestore_pb2.CodeProof(
        signature=proof.signature, public_key=proof.public_key, is_required=proof.is_required
    )


def timestamp(time: datetime) -> Timestamp:
    """The message of a time."""
    message = Timestamp()
    message.FromDatetime(time)
    return message
