"""Dependencies, installed by the real programs from wheels and packages that lie on this disk."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stoker.build_tools import BuildFailed
from stoker.dependencies import NONE, Dependencies, cache_directory, install
from stoker.packing import Packed, packed

from tests.sdk.peer import Peer
from tests.sdk.wheels import make_wheel

Run = Callable[..., Any]

LINUX = "cp311-cp311-manylinux_2_17_x86_64"
MACOS = "cp311-cp311-macosx_11_0_arm64"


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched, and the user's own cache stays as it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("npm_config_offline", "true")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))


@pytest.fixture
def code(tmp_path: Path) -> Path:
    directory = tmp_path / "code"
    directory.mkdir()
    (directory / "main.py").write_text("def handler(event, context): return event\n")
    return directory


def names_in(code: Path, dependencies: Dependencies) -> set[str]:
    with packed(code, dependencies) as artifact, tarfile.open(artifact.file) as archive:
        return set(archive.getnames())


def digest_of(code: Path, dependencies: Dependencies) -> str:
    with packed(code, dependencies) as artifact:
        found: Packed = artifact
        return found.sha256


def test_code_that_asks_for_nothing_gets_nothing(code: Path) -> None:
    (code / "requirements.txt").write_text("# nothing yet\n\n")
    (code / "package.json").write_text('{"name": "x", "devDependencies": {"typescript": "5"}}')
    assert install(code, pytest.fail) == NONE


def test_requirements_are_packed_beside_the_code(tmp_path: Path, code: Path) -> None:
    make_wheel(tmp_path / "wheels", "alpha")
    make_wheel(tmp_path / "wheels", "beta", LINUX)
    (code / "requirements.txt").write_text("alpha\n-r more/beta.txt\n")
    (code / "more").mkdir()
    (code / "more/beta.txt").write_text("beta==1.0\n")
    told: list[str] = []
    names = names_in(code, install(code, told.append))
    assert {"main.py", "alpha/__init__.py", "beta/__init__.py", "alpha-1.0.dist-info/METADATA"} <= names
    # A command in `bin` names the Python of the machine that it was installed on.
    assert not any(name.startswith(("bin", ".lock")) or "__pycache__" in name for name in names)
    assert told[0] == "dependencies of requirements.txt: installing for the guest"
    assert any("alpha==1.0" in line for line in told)


def test_the_same_files_are_the_same_artifact_also_where_they_are_installed_anew(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path / "wheels", "alpha")
    (code / "requirements.txt").write_text("alpha\n")
    first = digest_of(code, install(code, lambda _: None))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert digest_of(code, install(code, lambda _: None)) == first


def test_what_was_installed_is_kept_until_something_else_is_asked_for(tmp_path: Path, code: Path) -> None:
    wheel = make_wheel(tmp_path / "wheels", "alpha")
    (code / "requirements.txt").write_text("alpha\n")
    first = install(code, lambda _: None)
    wheel.unlink()
    told: list[str] = []
    assert install(code, told.append) == first
    assert "installed before" in told[0]
    assert len(told) == 1
    make_wheel(tmp_path / "wheels", "beta")
    (code / "requirements.txt").write_text("beta\n")
    assert "beta/__init__.py" in names_in(code, install(code, lambda _: None))


def test_what_has_no_wheel_for_the_guest_is_named_and_nothing_is_kept(tmp_path: Path, code: Path) -> None:
    make_wheel(tmp_path / "wheels", "alpha")
    make_wheel(tmp_path / "wheels", "gamma", MACOS)
    (code / "requirements.txt").write_text("alpha\ngamma==1.0\n")
    with pytest.raises(BuildFailed) as caught:
        install(code, lambda _: None)
    assert caught.value.reason == "NO_WHEEL"
    assert "gamma==1.0 has no wheel for the guest (Python 3.11, x86-64, glibc 2.36)" in caught.value.message
    assert "alpha" not in caught.value.message
    assert list(cache_directory().iterdir()) == []


def test_what_does_not_exist_is_told_in_uvs_words(tmp_path: Path, code: Path) -> None:
    make_wheel(tmp_path / "wheels", "alpha")
    (code / "requirements.txt").write_text("nothing-of-that-name\n")
    with pytest.raises(BuildFailed, match="nothing-of-that-name"):
        install(code, lambda _: None)


def test_requirements_outside_of_the_directory_are_refused(code: Path) -> None:
    (code.parent / "base.txt").write_text("alpha\n")
    (code / "requirements.txt").write_text("-r ../base.txt\n")
    with pytest.raises(BuildFailed, match=r"refers to \.\./base\.txt"):
        install(code, lambda _: None)


def test_what_the_code_has_itself_comes_first(tmp_path: Path, code: Path) -> None:
    make_wheel(tmp_path / "wheels", "alpha")
    (code / "requirements.txt").write_text("alpha\n")
    (code / "alpha").mkdir()
    (code / "alpha/__init__.py").write_text("mine = True\n")
    with packed(code, install(code, lambda _: None)) as artifact, tarfile.open(artifact.file) as archive:
        found = archive.extractfile("alpha/__init__.py")
        assert found is not None
        assert found.read() == b"mine = True\n"


def package_tarball(directory: Path, name: str, files: dict[str, str]) -> Path:
    """A package as npm packs it."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.tgz"
    source = directory / name
    source.mkdir()
    described = {"name": name, "version": "1.0.0", "scripts": {"install": "touch /tmp/never"}}
    for inside, text in {"package.json": json.dumps(described), **files}.items():
        (source / inside).write_text(text)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(source, "package")
    return path


needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@needs_npm
def test_packages_become_node_modules_without_those_for_development(tmp_path: Path, code: Path) -> None:
    alpha = package_tarball(tmp_path / "tarballs", "alpha", {"index.js": "module.exports = 1;\n"})
    beta = package_tarball(tmp_path / "tarballs", "beta", {"index.js": "module.exports = 2;\n"})
    asked = {"dependencies": {"alpha": f"file:{alpha}"}, "devDependencies": {"beta": f"file:{beta}"}}
    (code / "package.json").write_text(json.dumps({"name": "x", "version": "1.0.0", **asked}))
    (code / "node_modules/old").mkdir(parents=True)
    (code / "node_modules/old/index.js").write_text("of this machine\n")
    installed = install(code, lambda _: None)
    names = names_in(code, installed)
    assert "node_modules/alpha/index.js" in names
    assert not any(name.startswith(("node_modules/beta", "node_modules/old", "package-lock")) for name in names)
    assert digest_of(code, install(code, lambda _: None)) == digest_of(code, installed)


@needs_npm
def test_a_package_that_must_be_compiled_is_named(tmp_path: Path, code: Path) -> None:
    native = package_tarball(tmp_path / "tarballs", "native", {"binding.gyp": "{}\n"})
    (code / "package.json").write_text(json.dumps({"dependencies": {"native": f"file:{native}"}}))
    with pytest.raises(BuildFailed, match="native must be compiled"):
        install(code, lambda _: None)


def test_a_missing_program_is_told_with_what_to_do(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code / "package.json").write_text('{"dependencies": {"alpha": "1"}}')
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(BuildFailed) as caught:
        install(code, lambda _: None)
    assert caught.value.reason == "NPM_MISSING"
    assert "--no-build" in caught.value.message


def test_deploy_installs_unless_it_is_told_not_to(run: Run, peer: Peer, tmp_path: Path, code: Path) -> None:
    make_wheel(tmp_path / "wheels", "alpha")
    (code / "requirements.txt").write_text("alpha\n")
    done = run("deploy", "hello", str(code))
    assert done.exit_code == 0, done.stderr
    assert "dependencies of requirements.txt: installing for the guest" in done.stderr
    done = run("deploy", "hello", str(code), "--no-build")
    assert "dependencies" not in done.stderr
    packed_names = [names_of(data) for data in peer.artifacts.values()]
    assert ["alpha/__init__.py" in names for names in packed_names] == [True, False]


def test_what_cannot_be_installed_is_the_commands_failure(run: Run, peer: Peer, tmp_path: Path, code: Path) -> None:
    make_wheel(tmp_path / "wheels", "gamma", MACOS)
    (code / "requirements.txt").write_text("gamma\n")
    done = run("deploy", "hello", str(code))
    assert done.exit_code == 2
    assert "gamma==1.0 has no wheel for the guest" in done.stderr
    assert peer.artifacts == {}


def names_of(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()
