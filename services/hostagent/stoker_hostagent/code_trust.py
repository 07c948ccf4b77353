"""Whether code may come near a VM: what its tenant's policy, or this host's own keys, say of its signature.

The codestore has checked signatures when code was published. Here they are checked again, before anything of the code
is fetched, so that neither a changed database nor one that was restored can bring code into a VM that nobody signed. An
operator who does not want to trust the codestore's word for keys and policies gives the host keys of its own.
"""

import asyncio
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from stoker_artifacts.signatures import is_signed, signed_message
from stoker_protos.v1 import invocations_pb2

from stoker_hostagent.guest_messages import Failure
from stoker_hostagent.versions import Proof, Version

NOT_TRUSTED = "CodeNotTrusted"
"""What callers are told as the type of the failure."""


class TrustedKeysUnusable(Exception):
    """The directory of this host's own keys is not there, or cannot be read."""


class CodeTrust:
    """Judges versions."""

    def __init__(self, keys_dir: Path | None) -> None:
        """Goes by the codestore's word, or by the keys in a directory alone.

        Args:
            keys_dir: Holds public keys as PEM: `*.pub` for all tenants, `<tenant>/*.pub` for one. None for no such
                keys. They are read for each version, so they may change at any time.

        Raises:
            TrustedKeysUnusable: It is no directory that can be read.
        """
        self._keys_dir = keys_dir
        if keys_dir is not None:
            try:
                keys_of(keys_dir, "")
            except OSError as error:
                raise TrustedKeysUnusable(f"cannot read the trusted keys in {keys_dir}: {error}") from error

    @property
    def has_own_keys(self) -> bool:
        """Whether this host goes by keys of its own, so that code without a version cannot be judged."""
        return self._keys_dir is not None

    async def objection_to(self, version: Version) -> Failure | None:
        """Why a version must not run; None where it may."""
        if self._keys_dir is None:
            why = objection(version)
        else:
            try:
                keys = await asyncio.to_thread(keys_of, self._keys_dir, version.tenant)
            except OSError as error:
                why = f"this host's trusted keys cannot be read: {error}"
            else:
                why = objection_by_keys(version, keys)
        if not why:
            return None
        message = f"version {version.number} of {version.function} must not run: {why}"
        return Failure(invocations_pb2.FUNCTION_ERROR_KIND_LOAD, NOT_TRUSTED, message, ())


def objection(version: Version) -> str:
    """Why a version must not run, as the codestore's keys and policy have it; empty where it may."""
    proof = version.proof
    if proof is None:
        return ""
    if not proof.signature:
        return "it is not signed, and its tenant's code must be; publish it again, signed" if proof.is_required else ""
    if not proof.public_key:
        why = "the tenant has the signing key no more that it is signed with; publish it again, signed with another"
        return why if proof.is_required else ""
    return (
        "" if is_signed(_message(version), proof.signature, proof.public_key) else "its signature is not of this code"
    )


def objection_by_keys(version: Version, keys: list[bytes]) -> str:
    """Why a version must not run on a host that trusts these keys and nobody else; empty where it may."""
    proof = version.proof or Proof(b"", b"", is_required=True)
    if not proof.signature:
        return "it is not signed, and on this host all code must be"
    message = _message(version)
    if any(is_signed(message, proof.signature, key) for key in keys):
        return ""
    return f"it is signed by none of the {len(keys)} keys that this host trusts for its tenant"


def keys_of(keys_dir: Path, tenant: str) -> list[bytes]:
    """The keys that a host trusts for a tenant. What is none of the right kind is left out.

    Raises:
        OSError: They cannot be read.
    """
    found: list[bytes] = []
    for directory in (keys_dir, keys_dir / tenant):
        if directory != keys_dir and not directory.is_dir():
            continue
        for path in sorted(directory.iterdir()):
            if path.suffix == ".pub":
                try:
                    key = load_pem_public_key(path.read_bytes())
                except (ValueError, UnsupportedAlgorithm):
                    continue
                if isinstance(key, Ed25519PublicKey):
                    found.append(key.public_bytes_raw())
    return found


def _message(version: Version) -> bytes:
    return signed_message(version.artifact_sha256, [layer.artifact_sha256 for layer in version.layers])
