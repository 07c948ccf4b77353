"""The calls about signing keys, as values."""

from collections.abc import Sequence

from stoker_protos.v1 import signing_keys_pb2

from stoker import wire
from stoker.calls import Unary, UnaryOf
from stoker.names import check_name, last_part
from stoker.retries import Retry
from stoker.signing import SigningKey


def add_signing_key(name: str, public_key: bytes) -> UnaryOf[SigningKey]:
    """Adds a public key."""
    key = signing_keys_pb2.SigningKey(name=_path(name), public_key=public_key)
    return Unary(
        lambda stubs: stubs.signing_keys.AddSigningKey,
        signing_keys_pb2.AddSigningKeyRequest(signing_key=key),
        lambda response: _key_of(response.signing_key),
    )


def list_signing_keys() -> UnaryOf[Sequence[SigningKey]]:
    """Lists the public keys by name."""
    return Unary(
        lambda stubs: stubs.signing_keys.ListSigningKeys,
        signing_keys_pb2.ListSigningKeysRequest(),
        lambda response: [_key_of(each) for each in response.signing_keys],
        Retry.WHEN_UNAVAILABLE,
    )


def delete_signing_key(name: str) -> UnaryOf[None]:
    """Ends a key."""
    return Unary(
        lambda stubs: stubs.signing_keys.DeleteSigningKey,
        signing_keys_pb2.DeleteSigningKeyRequest(name=_path(name)),
        lambda _: None,
    )


def _path(name: str) -> str:
    return f"signingKeys/{check_name(name, 'name')}"


def _key_of(message: signing_keys_pb2.SigningKey) -> SigningKey:
    return SigningKey(last_part(message.name), message.key_id, message.public_key, wire.time_of(message.create_time))
