"""API keys: `stk.<16 hex digits>.<43 URL-safe characters>`.

The middle part is public and finds the key; the last is the secret, 256 bits, of which only a SHA-256 is kept. A plain
hash is enough: nobody guesses 256 random bits, so there is nothing for a slow hash to slow down.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

_FORM = re.compile(r"stk\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in two parts."""

    key_id: str
    """The public part."""
    secret: str = field(repr=False)
    """The secret part. It is left out of `repr`, so that no log shows it."""

    @property
    def text(self) -> str:
        """The key as clients send it."""
        return f"stk.{self.key_id}.{self.secret}"


def generate() -> ApiKey:
    """Makes a new key of the system's randomness."""
    return ApiKey(secrets.token_hex(8), secrets.token_urlsafe(32))


def parse(text: str) -> ApiKey | None:
    """The key that `text` is; None where it has not a key's form."""
    match = _FORM.fullmatch(text)
    return ApiKey(match[1], match[2]) if match else None


def hash_secret(secret: str) -> bytes:
    """The SHA-256 of a secret, 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()


def is_secret(secret: str, secret_sha256: bytes) -> bool:
    """Whether `secret` has that hash, found in constant time."""
    return hmac.compare_digest(hash_secret(secret), secret_sha256)
