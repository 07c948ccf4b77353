"""Who vouches for code: Ed25519 signatures over the digests of all that a version loads.

What is signed begins with a text that nothing else which anybody signs begins with, so that a signature means this and
nothing else. The SDK makes the same message when it signs.
"""

import hashlib
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

DOMAIN = b"stoker code signature v1\0"
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64


def signed_message(artifact_sha256: str, layer_sha256s: Sequence[str] = ()) -> bytes:
    """What is signed of a version: its artifact's digest, and those of its layers in their order."""
    return DOMAIN + b"".join(bytes.fromhex(digest) for digest in (artifact_sha256, *layer_sha256s))


def key_id_of(public_key: bytes) -> str:
    """What a key is called in signatures."""
    return hashlib.sha256(public_key).hexdigest()[:32]


def is_signed(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether the owner of a key has signed a message. Something that is no key has signed nothing."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
