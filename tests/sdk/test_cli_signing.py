"""Signing code, and what tenants may, at the command line and in the client."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stoker
import stoker.aio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from stoker import signing
from stoker.errors import InvalidArgument, ResourceExhausted
from stoker_artifacts.signatures import is_signed, key_id_of, signed_message
from stoker_service.errors import ErrorKind, StokerError

from tests.sdk.peer import API_KEY, Peer

Run = Callable[..., Any]


def test_a_key_is_made_for_its_owner_alone_and_never_over_another(run: Run, tmp_path: Path) -> None:
    done = run("keygen", "ci.key")
    assert done.exit_code == 0, done.stderr
    assert "stoker signing-key add NAME ci.key.pub" in done.stderr
    key = tmp_path / "ci.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert done.stdout.strip() == key_id_of(signing.load_public(tmp_path / "ci.key.pub"))
    before = key.read_bytes()
    again = run("keygen", "ci.key")
    assert (again.exit_code, key.read_bytes()) == (2, before)
    assert "is there already" in again.stderr


def test_what_is_signed_here_is_what_others_check(tmp_path: Path) -> None:
    public, key_id = signing.generate(tmp_path / "key")
    key = signing.load_private(tmp_path / "key")
    for layers in ([], ["cd" * 32, "ef" * 32]):
        signature = key.sign("ab" * 32, layers)
        assert signature.key_id == key_id
        public_key = signing.load_public(public)
        assert is_signed(signed_message("ab" * 32, layers), signature.signature, public_key)
        assert not is_signed(signed_message("00" * 32, layers), signature.signature, public_key)
        assert not is_signed(signed_message("ab" * 32, layers[::-1] or ["cd" * 32]), signature.signature, public_key)


def test_what_is_no_key_is_told(tmp_path: Path) -> None:
    signing.generate(tmp_path / "key")
    (tmp_path / "text").write_text("hello")
    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "other").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for name in ("text", "other", "key.pub", "missing"):
        with pytest.raises(InvalidArgument, match=name):
            signing.load_private(tmp_path / name)
    for name in ("text", "key", "missing"):
        with pytest.raises(InvalidArgument, match=name):
            signing.load_public(tmp_path / name)


def test_signing_keys_are_added_listed_and_deleted(run: Run, peer: Peer) -> None:
    assert "there are no signing keys yet" in run("signing-key", "list").stderr
    key_id = run("keygen", "ci.key").stdout.strip()
    assert run("signing-key", "add", "ci", "ci.key.pub").stdout == f"added ci ({key_id})\n"
    assert len(peer.signing_keys["signingKeys/ci"].public_key) == 32
    wrong = run("signing-key", "add", "ci", "ci.key")
    assert (wrong.exit_code, ".pub" in wrong.stderr) == (2, True)
    assert [line.split()[:2] for line in run("signing-key", "list").stdout.splitlines()[1:]] == [["ci", key_id]]
    told = json.loads(run("signing-key", "list", "--output", "json").stdout)
    assert [(each["name"], each["key_id"]) for each in told] == [("ci", key_id)]
    assert run("signing-key", "delete", "ci").stdout == "deleted ci\n"
    assert not peer.signing_keys


def test_a_deploy_is_signed(run: Run, peer: Peer, code: Path) -> None:
    run("keygen", "ci.key")
    files = code.parent / "layer"
    files.mkdir()
    (files / "shared.py").write_text("VALUE = 1\n")
    run("layer", "publish", "shared", str(files))
    for more in ((), ("--layer", "shared:1")):
        name = f"hello-{len(more)}"
        done = run("deploy", name, str(code), "--sign", "ci.key", *more)
        assert done.exit_code == 0, done.stderr
        version = peer.versions[f"functions/{name}"][0]
        public_key = signing.load_public(Path("ci.key.pub"))
        layers = [peer.layers[0].artifact.removeprefix("artifacts/")] if more else []
        message = signed_message(version.artifact.removeprefix("artifacts/"), layers)
        assert is_signed(message, version.signature.signature, public_key)
        told = json.loads(run("versions", name, "--output", "json").stdout)
        assert told[0]["signing_key_id"] == key_id_of(public_key)
    unreadable = run("deploy", "hello", str(code), "--sign", "nowhere")
    assert (unreadable.exit_code, "cannot read nowhere" in unreadable.stderr) == (2, True)


async def test_a_program_signs_too(peer: Peer, code: Path, tmp_path: Path) -> None:
    signing.generate(tmp_path / "key")
    key = signing.load_private(tmp_path / "key")
    with stoker.Client(peer.address, api_key=API_KEY) as client:
        done = client.deploy("first", code, runtime="python3", handler="main.handler", sign_with=key)
    async with stoker.aio.Client(peer.address, api_key=API_KEY) as client:
        again = await client.deploy("second", code, runtime="python3", handler="main.handler", sign_with=key)
    assert done.version.signing_key_id == again.version.signing_key_id != ""


def test_a_function_whose_first_version_is_one_too_many_is_taken_away_again(peer: Peer, code: Path) -> None:
    peer.failures["PublishVersion"].append(StokerError(ErrorKind.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", "enough"))
    with stoker.Client(peer.address, api_key=API_KEY) as client, pytest.raises(ResourceExhausted):
        client.deploy("hello", code, runtime="python3", handler="main.handler")
    assert not peer.functions


def test_how_many_versions_are_kept_is_set(run: Run, peer: Peer, code: Path) -> None:
    run("deploy", "hello", str(code))
    assert run("update", "hello", "--versions-kept", "7").stdout == "updated hello; 7 newest versions are kept\n"
    assert peer.functions["functions/hello"].versions_kept == 7
    run("update", "hello", "--description", "greets")
    assert (peer.functions["functions/hello"].description, peer.functions["functions/hello"].versions_kept) == (
        "greets",
        7,
    )
    assert run("update", "hello").exit_code == 2


def test_the_operator_says_what_a_tenant_may(run: Run, peer: Peer) -> None:
    shown = run("admin", "tenant", "show", "shop").stdout.splitlines()
    assert shown[0] == "shop: code may be unsigned"
    assert shown[3].split() == ["artifacts", "3", "10000", "default"]
    done = run("admin", "tenant", "quota", "shop", "--max-artifact-mib", "10", "--max-versions", "50")
    assert done.exit_code == 0, done.stderr
    quota = peer.policy.quota
    assert (quota.max_artifact_bytes, quota.max_versions, quota.max_artifacts) == (10 * 1024**2, 50, 0)
    assert "set for this tenant" in done.stdout.splitlines()[2]
    run("admin", "tenant", "quota", "shop", "--max-versions", "0")
    assert (peer.policy.quota.max_versions, peer.policy.quota.max_artifact_bytes) == (0, 10 * 1024**2)
    assert run("admin", "tenant", "quota", "shop").exit_code == 2
    assert run("admin", "tenant", "require-signed", "shop").stdout == "code of shop must be signed\n"
    assert peer.policy.require_signed
    told = json.loads(run("admin", "tenant", "show", "shop", "--output", "json").stdout)
    assert (told["require_signed"], told["usage"]["versions"]) == (True, 4)
    run("admin", "tenant", "require-signed", "shop", "--off")
    assert not peer.policy.require_signed
