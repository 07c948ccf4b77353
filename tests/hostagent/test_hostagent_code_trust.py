"""Code that nobody vouches for does not come near a VM."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from stoker_artifacts.signatures import signed_message
from stoker_hostagent.code_trust import NOT_TRUSTED, CodeTrust, TrustedKeysUnusable, objection
from stoker_hostagent.versions import Layer, Proof, Version
from stoker_hostagent.wire import spec_from_version, version_from_spec

from tests.hostagent.running_host import running_host, surroundings

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
VERSION = Version("uid", "acme", "hello", 1, "ab" * 32, 10, "python3", "main.handler", 128, 30, 64)
LAYERED = replace(VERSION, layers=(Layer("cd" * 32, 1), Layer("ef" * 32, 1)))


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def signed(version: Version, key: Ed25519PrivateKey = KEY, *, is_required: bool = True) -> Version:
    layers = [layer.artifact_sha256 for layer in version.layers]
    signature = key.sign(signed_message(version.artifact_sha256, layers))
    return replace(version, proof=Proof(signature, public(key), is_required))


def write_key(path: Path, key: Ed25519PrivateKey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.parametrize("version", [VERSION, LAYERED], ids=["code", "code and layers"])
def test_what_is_signed_is_this_code_and_these_layers_in_this_order(version: Version) -> None:
    good = signed(version)
    assert objection(good) == ""
    others = [
        replace(good, artifact_sha256="00" * 32),
        replace(good, layers=(*good.layers, Layer("00" * 32, 1))),
        replace(good, layers=good.layers[::-1]) if good.layers else replace(good, layers=(Layer("00" * 32, 1),)),
        replace(good, proof=Proof(good.proof.signature if good.proof else b"", public(OTHER_KEY), False)),
        replace(good, proof=Proof(bytes(64), public(KEY), False)),
        replace(good, proof=Proof(bytes(3), b"no key", False)),
    ]
    assert ["not of this code" in objection(other) for other in others] == [True] * len(others)


def test_unsigned_code_runs_unless_it_must_be_signed() -> None:
    assert objection(VERSION) == ""
    assert objection(replace(VERSION, proof=Proof(b"", b"", is_required=False))) == ""
    assert "must be" in objection(replace(VERSION, proof=Proof(b"", b"", is_required=True)))
    gone = replace(VERSION, proof=Proof(bytes(64), b"", is_required=True))
    assert "no more" in objection(gone)


def test_a_version_keeps_its_proof_on_the_wire() -> None:
    for version in (VERSION, signed(LAYERED)):
        assert version_from_spec(spec_from_version(version)) == version


async def test_a_host_with_keys_of_its_own_asks_nobody_else(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    write_key(keys / "operator.pub", KEY)
    write_key(keys / "acme" / "ci.pub", OTHER_KEY)
    (keys / "README.md").write_text("not a key")
    (keys / "broken.pub").write_text("not a key either")
    trust = CodeTrust(keys)
    by_operator, by_acme = signed(VERSION), signed(VERSION, OTHER_KEY)
    for version, is_trusted in (
        (by_operator, True),
        (by_acme, True),
        (replace(by_operator, tenant="umbrella"), True),
        (replace(by_acme, tenant="umbrella"), False),
        (VERSION, False),
        (replace(VERSION, proof=Proof(b"", b"", is_required=False)), False),
        # The codestore's word for its key is worth nothing.
        (signed(VERSION, Ed25519PrivateKey.generate()), False),
    ):
        failure = await trust.objection_to(version)
        assert (failure is None) == is_trusted
    # A key that is taken away counts no more from then on.
    (keys / "operator.pub").unlink()
    assert await trust.objection_to(by_operator) is not None


def test_a_directory_of_keys_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrustedKeysUnusable, match="cannot read the trusted keys"):
        CodeTrust(tmp_path / "nowhere")


async def test_code_that_must_be_signed_and_is_not_is_neither_fetched_nor_loaded(tmp_path: Path) -> None:
    async with surroundings(tmp_path) as around, running_host(around) as (_, scheduler):
        await scheduler.obey(around.create_vm())
        version = around.version()
        unsigned = replace(version, proof=Proof(b"", b"", is_required=True))
        await scheduler.obey(around.assign_vm(first=unsigned))
        for bad in (unsigned, replace(signed(version), proof=Proof(bytes(64), public(KEY), True))):
            result = await scheduler.obey(around.create_container(bad))
            assert (result.error_reason, result.load_error.type) == ("", NOT_TRUSTED)
            assert "must not run" in result.load_error.message
        assert around.artifacts.fetches == 0
        assert not any((tmp_path / "code").iterdir())
        result = await scheduler.obey(around.create_container(signed(version)))
        assert (result.error_reason, result.HasField("load_error"), around.artifacts.fetches) == ("", False, 1)
