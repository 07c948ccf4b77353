"""What the codestore tells callers when it cannot do what they asked for."""

from stoker_service.errors import ErrorKind, StokerError

RETRY_SOON_S = 1.0
"""When to try again what failed because something was away or busy for a moment."""


def tenant_invalid() -> StokerError:
    """The request names a tenant that cannot be."""
    return StokerError(
        ErrorKind.UNAUTHENTICATED,
        "TENANT_INVALID",
        "the metadata `stoker-tenant` holds no tenant's id; call the frontend, which sets it",
    )


def function_exists(function: str) -> StokerError:
    """The tenant has a function of that name."""
    return StokerError(
        ErrorKind.ALREADY_EXISTS,
        "FUNCTION_EXISTS",
        f"function.name: there is a function `{function}`; publish a version of it, or choose another name",
        field="function.name",
    )


def function_not_found(function: str) -> StokerError:
    """The tenant has no function of that name."""
    return StokerError(
        ErrorKind.NOT_FOUND, "FUNCTION_NOT_FOUND", f"there is no function `{function}`; CreateFunction makes it"
    )


def version_not_found(function: str, number: str, field: str = "") -> StokerError:
    """The function has no version of that number, which the request's `field` names."""
    message = f"functions/{function} has no version {number}; ListVersions tells those it has"
    return StokerError(
        ErrorKind.NOT_FOUND, "VERSION_NOT_FOUND", f"{field}: {message}" if field else message, field=field
    )


def alias_not_found(function: str, alias: str) -> StokerError:
    """The function has no alias of that name."""
    return StokerError(
        ErrorKind.NOT_FOUND,
        "ALIAS_NOT_FOUND",
        f"functions/{function} has no alias `{alias}`; UpdateAlias with allow_missing makes it",
    )


def alias_exists(function: str, alias: str) -> StokerError:
    """The function has an alias of that name."""
    return StokerError(
        ErrorKind.ALREADY_EXISTS,
        "ALIAS_EXISTS",
        f"alias.name: functions/{function} has an alias `{alias}`; UpdateAlias points it elsewhere",
        field="alias.name",
    )


def artifact_not_found(sha256: str, field: str = "") -> StokerError:
    """The tenant has uploaded no such artifact, which the request's `field` names."""
    message = f"there is no artifact {sha256} of this tenant; UploadArtifact it first"
    return StokerError(
        ErrorKind.NOT_FOUND, "ARTIFACT_NOT_FOUND", f"{field}: {message}" if field else message, field=field
    )


def layer_not_found(layer: str, number: int, field: str = "") -> StokerError:
    """The tenant has no such version of a layer, which the request's `field` names."""
    message = f"there is no layers/{layer}/versions/{number}; ListLayerVersions tells those there are"
    return StokerError(ErrorKind.NOT_FOUND, "LAYER_NOT_FOUND", f"{field}: {message}" if field else message, field=field)


def layer_in_use(layer: str, number: int, function: str, version: int) -> StokerError:
    """A version of a layer is to be deleted that a version of a function has."""
    user = f"functions/{function}/versions/{version}"
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "LAYER_IN_USE",
        f"{user} has version {number} of the layer `{layer}`; delete that version of the function first",
        metadata={"version": user},
    )


def too_many_layer_versions(limit: int) -> StokerError:
    """The tenant has as many versions of layers as it may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "TOO_MANY_LAYER_VERSIONS",
        f"there are {limit} versions of layers, and no more may be; DeleteLayerVersion those that nothing uses",
    )


def etag_mismatch(field: str) -> StokerError:
    """Something has changed since the caller read it."""
    return StokerError(
        ErrorKind.ABORTED,
        "ETAG_MISMATCH",
        f"{field}: it has been changed since; read it again, and send its new etag or none",
        field=field,
    )


def version_in_use(function: str, number: int, alias: str) -> StokerError:
    """A version is to be deleted that an alias names."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "VERSION_IN_USE",
        f"functions/{function}/aliases/{alias} names version {number}; point it elsewhere or delete it first",
        metadata={"alias": alias},
    )


def rollout_not_found(function: str, uid: str) -> StokerError:
    """The function has no such rollout."""
    return StokerError(
        ErrorKind.NOT_FOUND,
        "ROLLOUT_NOT_FOUND",
        f"functions/{function} has no rollout {uid}; ListRollouts tells those it has",
    )


def rollout_under_way(function: str, alias: str, to_version: int) -> StokerError:
    """An alias is to be moved that a rollout moves."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "ROLLOUT_UNDER_WAY",
        f"functions/{function}/aliases/{alias} has a rollout to version {to_version} under way, which alone moves it; "
        "wait for its end, or AbortRollout or RollBack first",
        metadata={"alias": alias},
    )


def rollout_ended(state: str) -> StokerError:
    """A rollout is to be changed that has ended."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "ROLLOUT_ENDED",
        f"name: the rollout has ended ({state}) and cannot be changed; StartRollout begins another",
        field="name",
    )


def alias_split(function: str, alias: str) -> StokerError:
    """A rollout is to begin where an alias names two versions."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "ALIAS_SPLIT",
        f"rollout.alias: functions/{function}/aliases/{alias} names two versions; UpdateAlias to the one to begin with",
        field="rollout.alias",
    )


def no_earlier_version(function: str, alias: str) -> StokerError:
    """There is no version to roll back to."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "NO_EARLIER_VERSION",
        f"version: functions/{function}/aliases/{alias} has named no version with a lower number that there still is; "
        "say which it is to be, ListVersions tells those there are",
        field="version",
    )


def invalid_field(field: str, what: str) -> StokerError:
    """A field has a value that its proto's rules let through but that cannot be."""
    return StokerError(ErrorKind.INVALID_ARGUMENT, "INVALID_FIELD", f"{field}: {what}", field=field)


def upload_malformed(field: str, what: str) -> StokerError:
    """The messages of an upload are not in the order they should have."""
    return StokerError(ErrorKind.INVALID_ARGUMENT, "UPLOAD_MALFORMED", f"{field}: {what}", field=field)


def size_mismatch(declared: int, what: str) -> StokerError:
    """Another number of bytes came than the header said."""
    return StokerError(
        ErrorKind.INVALID_ARGUMENT,
        "SIZE_MISMATCH",
        f"header.size_bytes: it says {declared} bytes, but {what}; upload it again",
        field="header.size_bytes",
    )


def digest_mismatch(declared: str, received: str) -> StokerError:
    """Other bytes came than the header said."""
    return StokerError(
        ErrorKind.INVALID_ARGUMENT,
        "DIGEST_MISMATCH",
        f"header.sha256: it says {declared}, but the SHA-256 of what came is {received}; upload it again",
        field="header.sha256",
    )


def artifact_unsafe(rule: str, message: str) -> StokerError:
    """The archive breaks a rule of what may be unpacked."""
    return StokerError(
        ErrorKind.INVALID_ARGUMENT, "ARTIFACT_UNSAFE", f"chunk: {message}", field="chunk", metadata={"rule": rule}
    )


def upload_too_slow(limit_s: float) -> StokerError:
    """The upload takes longer than it may."""
    return StokerError(
        ErrorKind.DEADLINE_EXCEEDED,
        "UPLOAD_TOO_SLOW",
        f"the upload took longer than {limit_s:g} s; make the artifact smaller, or upload over a faster connection",
    )


def upload_stalled(limit_s: float) -> StokerError:
    """The client sends nothing any more."""
    return StokerError(
        ErrorKind.DEADLINE_EXCEEDED, "UPLOAD_STALLED", f"no bytes came for {limit_s:g} s; upload it again"
    )


def too_many_uploads(limit: int) -> StokerError:
    """The codestore takes as many uploads as it may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "TOO_MANY_UPLOADS",
        f"{limit} uploads are running already; try again",
        retry_after_s=RETRY_SOON_S,
    )


def quota_exceeded(tenant: str, quota: str, what: str) -> StokerError:
    """A tenant has stored as much as it may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "QUOTA_EXCEEDED",
        f"{what}, or ask the operator for a larger quota ({quota})",
        metadata={"quota": quota},
        quota=f"tenants/{tenant}",
    )


def signature_required() -> StokerError:
    """The tenant's policy lets only signed code run, and this is not."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "SIGNATURE_REQUIRED",
        "version.signature: only signed code may be published for this tenant; sign it "
        "(`stoker deploy --sign KEYFILE`)",
        field="version.signature",
    )


def signing_key_unknown(key_id: str) -> StokerError:
    """Code is signed by a key that the tenant does not have."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "SIGNING_KEY_UNKNOWN",
        f"version.signature.key_id: the tenant has no signing key {key_id}; add it (`stoker signing-key add NAME "
        "KEYFILE.pub`), or sign with one that `stoker signing-key list` shows",
        field="version.signature.key_id",
    )


def signature_invalid(key_id: str) -> StokerError:
    """A signature is not one of this code by that key."""
    return StokerError(
        ErrorKind.FAILED_PRECONDITION,
        "SIGNATURE_INVALID",
        f"version.signature.signature: is not one of this artifact and these layers by the key {key_id}; "
        "sign them again",
        field="version.signature.signature",
    )


def signing_key_exists(name: str, key_id: str) -> StokerError:
    """The tenant has that signing key, or another of that name."""
    return StokerError(
        ErrorKind.ALREADY_EXISTS,
        "SIGNING_KEY_EXISTS",
        f"signing_key.name: there is a signing key `{name}`, or this one ({key_id}) has another name; "
        "ListSigningKeys shows them",
        field="signing_key.name",
    )


def signing_key_not_found(name: str) -> StokerError:
    """The tenant has no signing key of that name."""
    return StokerError(
        ErrorKind.NOT_FOUND,
        "SIGNING_KEY_NOT_FOUND",
        f"name: there is no signing key `{name}`; ListSigningKeys shows those there are",
        field="name",
    )


def too_many_signing_keys(limit: int) -> StokerError:
    """The tenant has as many signing keys as it may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "TOO_MANY_SIGNING_KEYS",
        f"there are {limit} signing keys, and no more may be; delete those that are not needed",
    )


def upload_overtaken() -> StokerError:
    """What an upload had stored was swept before the upload was at its end, again and again."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "UPLOAD_OVERTAKEN",
        "storing the artifact took so long that it was taken for forgotten; upload it again",
        retry_after_s=RETRY_SOON_S,
    )


def uploads_unwritable() -> StokerError:
    """The directory of uploads cannot be written."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "UPLOADS_UNWRITABLE",
        "the codestore cannot write uploads to its disk, which may be full; try again later, or tell the operator",
        retry_after_s=RETRY_SOON_S,
    )


def store_unavailable() -> StokerError:
    """The object store does not answer."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "ARTIFACT_STORE_UNAVAILABLE",
        "the store of artifacts does not answer; try again",
        retry_after_s=RETRY_SOON_S,
    )


def artifact_lost(sha256: str) -> StokerError:
    """An artifact is known, but the object store has it no more."""
    return StokerError(
        ErrorKind.DATA_LOSS,
        "ARTIFACT_LOST",
        f"the store of artifacts has lost {sha256}; upload it again, and tell the operator",
    )


def database_unavailable() -> StokerError:
    """The database does not answer."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "DATABASE_UNAVAILABLE",
        "the database of functions does not answer; try again",
        retry_after_s=RETRY_SOON_S,
    )


def watch_ended(why: str) -> StokerError:
    """A watch of routes cannot go on, or not begin."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "WATCH_ENDED",
        f"changes of routes cannot be told: {why}; watch again, and forget what you kept",
        retry_after_s=RETRY_SOON_S,
    )


def page_token_invalid() -> StokerError:
    """A page token is not one that the same list gave."""
    return StokerError(
        ErrorKind.INVALID_ARGUMENT,
        "INVALID_PAGE_TOKEN",
        "page_token: is not one that this list returned; leave it out to begin at the first page",
        field="page_token",
    )


def manifest_too_slow(sha256: str, limit_s: float) -> StokerError:
    """The chunks of an artifact were not stored in time."""
    return StokerError(
        ErrorKind.UNAVAILABLE,
        "MANIFEST_TOO_SLOW",
        f"artifact {sha256} is stored, but its chunks were not within {limit_s:g} s; upload it again",
        retry_after_s=RETRY_SOON_S,
    )


def chunk_not_found(sha256: str) -> StokerError:
    """A chunk is not in the store."""
    return StokerError(
        ErrorKind.NOT_FOUND, "CHUNK_NOT_FOUND", f"there is no chunk {sha256}; ask for the artifact's manifest again"
    )


def too_many_fetches(limit: int) -> StokerError:
    """More hosts fetch chunks at once than may."""
    return StokerError(
        ErrorKind.RESOURCE_EXHAUSTED,
        "TOO_MANY_FETCHES",
        f"{limit} fetches of chunks are running; try again in a moment, or raise STOKER_CODESTORE_MAX_CHUNK_FETCHES",
        retry_after_s=RETRY_SOON_S,
    )
