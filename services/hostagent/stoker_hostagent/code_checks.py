"""Whether unpacked code on the disk is still what was unpacked.

What was put together here, of verified chunks, is known by what the file system says of its files. So is what has been
read through once since the host agent started. As long as that says the same, nothing has written to the files; once it
says something else, all is read again, and compared with the manifest. See `stoker_artifacts.checking` for what this
cannot see.
"""

from pathlib import Path

import structlog
from stoker_artifacts import (
    ChangedTree,
    CorruptManifest,
    Manifest,
    PackedManifest,
    check,
    fingerprint,
    unpack_manifest,
)

log = structlog.get_logger()


class CodeChecks:
    """Knows the manifests of what is in the code cache. Its calls block."""

    def __init__(self, directory: Path) -> None:
        """Keeps manifests in `directory`: `<tenant>/<sha256>.<the manifest's own>`."""
        self._directory = directory
        self._fingerprints: dict[Path, str] = {}

    def keep(self, tenant: str, sha256: str, manifest: PackedManifest, code: Path) -> None:
        """Notes what code consists of that was put together at `code` just now."""
        self.forget(tenant, sha256, code)
        path = self._directory / tenant / f"{sha256}.{manifest.sha256}"
        path.parent.mkdir(parents=True, exist_ok=True)
        # One that a crash leaves incomplete is recognized by its digest.
        path.write_bytes(manifest.data)
        self._fingerprints[code] = fingerprint(code)

    def forget(self, tenant: str, sha256: str, code: Path) -> None:
        """Notes that code is gone."""
        self._fingerprints.pop(code, None)
        for path in (self._directory / tenant).glob(f"{sha256}.*"):
            path.unlink(missing_ok=True)

    def change_of(self, tenant: str, sha256: str, code: Path) -> str:
        """What is wrong with code; empty where it is what it was."""
        try:
            # Taken before anything is read, so that a change meanwhile is found the next time.
            found = fingerprint(code)
        except OSError as error:
            return f"{code} cannot be read: {error}"
        if self._fingerprints.get(code) == found:
            return ""
        manifest = self._manifest(tenant, sha256)
        if manifest is None:
            return f"{code}: there is no manifest to compare it with"
        try:
            check(manifest, code)
        except ChangedTree as change:
            self._fingerprints.pop(code, None)
            return str(change)
        self._fingerprints[code] = found
        log.info("code_cache.checked", tenant=tenant, sha256=sha256)
        return ""

    def _manifest(self, tenant: str, sha256: str) -> Manifest | None:
        for path in (self._directory / tenant).glob(f"{sha256}.*"):
            try:
                return unpack_manifest(path.suffix[1:], path.read_bytes())
            except (CorruptManifest, OSError) as error:
                log.warning("code_cache.manifest_lost", path=str(path), message=str(error))
        return None
