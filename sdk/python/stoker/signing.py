"""Signing code: Ed25519 keys in PEM files, and what of a version is signed.

The library for it is imported when it is first needed, as it takes as long to import as all else of a command.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stoker.errors import InvalidArgument

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DOMAIN = b"stoker code signature v1\0"
"""What every signed message begins with, so that a signature means this and nothing else."""
PUBLIC_SUFFIX = ".pub"


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature of a version's code."""

    key_id: str
    """The begin of the SHA-256 of the public key."""
    signature: bytes


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key of somebody who may vouch for a tenant's code."""

    name: str
    key_id: str
    public_key: bytes
    create_time: datetime


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that code is signed with. It never leaves this machine."""

    key: "Ed25519PrivateKey"

    def sign(self, artifact_sha256: str, layer_sha256s: Sequence[str] = ()) -> Signature:
        """Signs a version's code: its artifact's digest, and those of its layers in their order."""
        digests = (bytes.fromhex(digest) for digest in (artifact_sha256, *layer_sha256s))
        public_key = self.key.public_key().public_bytes_raw()
        return Signature(key_id_of(public_key), self.key.sign(DOMAIN + b"".join(digests)))


def key_id_of(public_key: bytes) -> str:
    """What signatures call a key."""
    return hashlib.sha256(public_key).hexdigest()[:32]


def generate(path: Path) -> tuple[Path, str]:
    """Makes a key: the private one in `path`, for its owner alone, the public one beside it with `.pub` added.

    Returns:
        The file with the public key, and its id.

    Raises:
        InvalidArgument: One of the files is there already, or cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    public = path.with_name(path.name + PUBLIC_SUFFIX)
    for file, data, mode in (
        (path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600),
        (public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644),
    ):
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
                opened.write(data)
        except FileExistsError as error:
            raise InvalidArgument(
                "KEY_EXISTS", f"{file} is there already; choose another name, or delete it", field="file"
            ) from error
        except OSError as error:
            raise InvalidArgument("KEY_UNWRITABLE", f"cannot write {file}: {error.strerror}", field="file") from error
    return public, key_id_of(key.public_key().public_bytes_raw())


def load_private(path: Path) -> PrivateKey:
    """Reads a private key.

    Raises:
        InvalidArgument: There is none in that file, or it has a password.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path)
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise _no_key(path, "private Ed25519 key without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private Ed25519 key without a password")
    return PrivateKey(key)


def load_public(path: Path) -> bytes:
    """Reads a public key, as its 32 bytes.

    Raises:
        InvalidArgument: There is none in that file.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(path)
    try:
        key = load_pem_public_key(data)
    except ValueError as error:
        raise _no_key(path, f"public Ed25519 key; it is in the file that ends with {PUBLIC_SUFFIX}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public Ed25519 key")
    return key.public_bytes_raw()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument("KEY_UNREADABLE", f"cannot read {path}: {error.strerror}", field="file") from error


def _no_key(path: Path, what: str) -> InvalidArgument:
    return InvalidArgument("KEY_INVALID", f"{path} holds no {what}; `stoker keygen FILE` makes a pair", field="file")
