"""Code that somebody vouches for, and what tenants may."""

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.field_mask_pb2 import FieldMask
from stoker_artifacts.signatures import is_signed, key_id_of, signed_message
from stoker_protos.admin.v1 import tenant_policies_pb2
from stoker_protos.v1 import signing_keys_pb2, versions_pb2
from stoker_service.errors import ErrorKind

from tests.codestore.world import (
    ANN,
    BOB,
    CODE,
    OTHER_CODE,
    WITHIN_S,
    Metadata,
    World,
    failure_of,
    running_world,
    settings_of,
    sha256,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def signature(key: Ed25519PrivateKey, code: bytes = CODE, key_id: str = "") -> versions_pb2.CodeSignature:
    message = signed_message(sha256(code))
    return versions_pb2.CodeSignature(key_id=key_id or key_id_of(public(key)), signature=key.sign(message))


def add_key(world: World, name: str, key: Ed25519PrivateKey, metadata: Metadata = ANN) -> Any:
    added = signing_keys_pb2.SigningKey(name=f"signingKeys/{name}", public_key=public(key))
    request = signing_keys_pb2.AddSigningKeyRequest(signing_key=added)
    return world.keys.AddSigningKey(request, metadata=metadata, timeout=WITHIN_S)


def delete_key(world: World, name: str) -> Any:
    request = signing_keys_pb2.DeleteSigningKeyRequest(name=f"signingKeys/{name}")
    return world.keys.DeleteSigningKey(request, metadata=ANN, timeout=WITHIN_S)


def set_policy(world: World, *paths: str, **values: Any) -> Any:
    request = tenant_policies_pb2.UpdateTenantPolicyRequest(
        policy=tenant_policies_pb2.TenantPolicy(tenant_id="ann", **values), update_mask=FieldMask(paths=paths)
    )
    return world.policies.UpdateTenantPolicy(request, timeout=WITHIN_S)


async def proof_of(world: World, qualifier: str = "live") -> Any:
    return (await world.resolve("ann", "hello", qualifier)).routes[0].spec.proof


async def test_a_signing_key_is_added_listed_and_deleted(world: World) -> None:
    key = (await add_key(world, "ci", KEY)).signing_key
    assert (key.name, key.public_key, key.key_id) == ("signingKeys/ci", public(KEY), key_id_of(public(KEY)))
    for again in (add_key(world, "ci", OTHER_KEY), add_key(world, "another", KEY)):
        assert (await failure_of(again)).reason == "SIGNING_KEY_EXISTS"
    await add_key(world, "ci", KEY, BOB)
    await add_key(world, "another", OTHER_KEY)
    listed: Any = await world.keys.ListSigningKeys(signing_keys_pb2.ListSigningKeysRequest(), metadata=ANN)
    assert [each.name for each in listed.signing_keys] == ["signingKeys/another", "signingKeys/ci"]
    await delete_key(world, "ci")
    assert (await failure_of(delete_key(world, "ci"))).reason == "SIGNING_KEY_NOT_FOUND"


async def test_a_signature_is_checked_kept_and_told_to_hosts(world: World) -> None:
    await world.upload(OTHER_CODE)
    await world.deploy("hello")
    assert not (await world.resolve("ann", "hello", "live")).routes[0].spec.HasField("proof")
    unknown = await failure_of(world.publish("hello", signature=signature(KEY)))
    assert (unknown.kind, unknown.reason) == (ErrorKind.FAILED_PRECONDITION, "SIGNING_KEY_UNKNOWN")
    await add_key(world, "ci", KEY)
    await add_key(world, "another", OTHER_KEY)
    wrong = [
        signature(KEY, OTHER_CODE),
        signature(OTHER_KEY, key_id=key_id_of(public(KEY))),
        versions_pb2.CodeSignature(key_id=key_id_of(public(KEY)), signature=bytes(64)),
    ]
    for each in wrong:
        assert (await failure_of(world.publish("hello", signature=each))).reason == "SIGNATURE_INVALID"
    published = (await world.publish("hello", signature=signature(KEY))).version
    assert published.signature == signature(KEY)
    assert (await world.version("hello", published.number)).version == published
    # The same again is the same version, as signatures are the same too.
    assert (await world.publish("hello", signature=signature(KEY))).version.number == published.number
    proof = await proof_of(world, str(published.number))
    assert (proof.public_key, proof.is_required) == (public(KEY), False)
    assert is_signed(signed_message(sha256(CODE)), proof.signature, proof.public_key)


async def test_a_tenant_whose_code_must_be_signed_publishes_no_other(world: World) -> None:
    await world.deploy("hello")
    await add_key(world, "ci", KEY)
    watch = await world.watch()
    await set_policy(world, "require_signed", require_signed=True)
    # What hosts are told of all versions has changed.
    assert (await watch.read()).function == "hello"
    assert (await proof_of(world)).is_required
    for validate_only in (True, False):
        refused = world.publish("hello", description="new", validate_only=validate_only)
        assert (await failure_of(refused)).reason == "SIGNATURE_REQUIRED"
    version = (await world.publish("hello", signature=signature(KEY))).version
    await world.deploy("hello", BOB)
    proof = await proof_of(world, str(version.number))
    assert (len(proof.signature), proof.public_key, proof.is_required) == (64, public(KEY), True)
    # A key that is gone vouches for nothing any more.
    await delete_key(world, "ci")
    proof = await proof_of(world, str(version.number))
    assert (len(proof.signature), proof.public_key, proof.is_required) == (64, b"", True)
    refused = await failure_of(world.publish("hello", signature=signature(KEY)))
    assert refused.reason == "SIGNING_KEY_UNKNOWN"


async def test_a_policy_is_what_is_set_and_for_the_rest_the_default(tmp_path: Path, database_url: str) -> None:
    async with running_world(settings_of(tmp_path, database_url, tenant_artifacts=7)) as world:
        get = tenant_policies_pb2.GetTenantPolicyRequest(tenant_id="ann")
        before: Any = await world.policies.GetTenantPolicy(get, timeout=WITHIN_S)
        assert (before.policy.quota.max_artifacts, before.effective_quota.max_artifacts) == (0, 7)
        await world.deploy("hello", versions=2)
        quota = tenant_policies_pb2.Quota(max_versions=2, max_functions=5)
        await set_policy(world, "quota.max_versions", quota=quota)
        after: Any = await world.policies.GetTenantPolicy(get, timeout=WITHIN_S)
        assert (after.policy.quota.max_versions, after.policy.quota.max_functions) == (2, 0)
        usage = after.usage
        assert (usage.artifacts, usage.total_bytes, usage.functions, usage.versions) == (1, len(CODE), 1, 2)
        error = await failure_of(world.publish("hello", description="one more"))
        assert error.metadata == {"quota": "max_versions"}
        await set_policy(world, "quota.max_versions", quota=tenant_policies_pb2.Quota())
        await world.publish("hello", description="one more")
        for paths in ((), ("quota",), ("require_signed", "tenant_id")):
            assert (await failure_of(set_policy(world, *paths))).field == "update_mask"
