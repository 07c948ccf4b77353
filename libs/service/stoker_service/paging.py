"""Pages of lists, after AIP-158: a token says after which key the next page begins."""

import base64

from stoker_service.errors import ErrorKind, StokerError

DEFAULT_PAGE_SIZE = 100


def page_size(requested: int) -> int:
    """How many entries a page has: as many as were asked for, or 100 where none were."""
    return requested or DEFAULT_PAGE_SIZE


def encode_token(key: str) -> str:
    """The token of the page that begins after `key`."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode_token(token: str) -> str:
    """The key after which the page of `token` begins; empty for an empty token.

    Raises:
        StokerError: INVALID_ARGUMENT (INVALID_PAGE_TOKEN) for what `encode_token` did not make.
    """
    try:
        key = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
        if "\0" in key:
            raise ValueError("no key has a NUL, which PostgreSQL would refuse as a fault of ours")
        return key
    except ValueError as error:
        raise StokerError(
            ErrorKind.INVALID_ARGUMENT,
            "INVALID_PAGE_TOKEN",
            "page_token: is not one that a list call returned; leave it out to begin at the first page",
            field="page_token",
        ) from error
