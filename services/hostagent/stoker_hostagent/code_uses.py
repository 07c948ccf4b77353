"""What a container has of the code cache: its version's code, and its layers."""

import asyncio
import secrets
from collections.abc import Sequence

import structlog
from stoker_service.errors import StokerError

from stoker_hostagent.artifact import Artifact
from stoker_hostagent.code_cache import CodeCache
from stoker_hostagent.versions import Version

log = structlog.get_logger()


def uses_of(container_id: str, version: Version) -> Sequence[tuple[str, Artifact]]:
    """The artifacts that a container needs, each with the name under which the cache keeps it for that container."""
    code = Artifact(version.tenant, version.artifact_sha256, version.artifact_size_bytes)
    layers = (Artifact(version.tenant, layer.artifact_sha256, layer.artifact_size_bytes) for layer in version.layers)
    return [(container_id, code), *((f"{container_id}/{number}", layer) for number, layer in enumerate(layers, 1))]


async def fetch_ahead(code: CodeCache, version: Version) -> None:
    """Brings into the cache what a container is going to need, before there is one to keep it there."""
    uses = uses_of(f"ahead-{secrets.token_hex(6)}", version)
    try:
        async with asyncio.TaskGroup() as fetching:
            for user, artifact in uses:
                fetching.create_task(code.hold(user, artifact))
    except* StokerError as failures:
        # Whoever makes the container waits for the same fetch or begins another, and tells.
        reasons = [str(failure) for failure in failures.exceptions]
        log.info("code.not_fetched_ahead", tenant=version.tenant, function=version.function, reasons=reasons)
    finally:
        for user, _ in uses:
            code.release(user)
