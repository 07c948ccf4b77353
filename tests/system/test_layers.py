"""Layers, dependencies and images, from the command line into containers."""

from pathlib import Path

import pytest
import stoker
from stoker import dependencies

from tests.artifacts.archives import Item
from tests.artifacts.images import image, layout
from tests.sdk.wheels import make_wheel
from tests.system.conftest import write_function
from tests.system.running_stoker import RunningStoker

FIRST_S = 120
PYTHON = """
import os, shutil, subprocess
import common, other

def handler(event, context):
    written = []
    for path in ("/opt/x", "/opt/python/x"):
        try:
            open(path, "w")
        except OSError:
            continue
        written.append(path)
    told = subprocess.run(["tool"], capture_output=True, text=True).stdout
    return {"common": common.NAME, "other": other.NAME, "tool": told, "written": written, "at": common.__file__}
"""
NODE = """
const common = require('common');
exports.handler = async () => ({ common });
"""


def write_layer(directory: Path, name: str) -> Path:
    """A layer with a module for each language and a command, which all tell the layer's name."""
    for path, text in {
        "python/common.py": f"NAME = {name!r}\n",
        f"python/{name}.py": f"NAME = {name!r}\n",
        "nodejs/node_modules/common/index.js": f"module.exports = {name!r};\n",
        "bin/tool": f"#!/bin/sh\necho {name}\n",
    }.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
    (directory / "bin/tool").chmod(0o755)
    return directory


def test_functions_of_both_languages_find_what_layers_hold(
    system: RunningStoker, client: stoker.Client, tmp_path: Path
) -> None:
    lower = client.publish_layer("other", write_layer(tmp_path / "other", "other"))
    upper = client.publish_layer("upper", write_layer(tmp_path / "upper", "upper"))
    layers = [f"{lower.layer}:{lower.number}", f"{upper.layer}:{upper.number}"]
    python = write_function(tmp_path / "python", PYTHON)
    client.deploy("layered", python, runtime="python3", handler="main.handler", layers=layers)
    told = client.invoke("layered", {}, timeout_s=FIRST_S).raise_for_error().json()
    assert told == {
        "common": "upper",
        "other": "other",
        "tool": "upper\n",
        "written": [],
        "at": "/opt/python/common.py",
    }
    node = write_function(tmp_path / "node", NODE, "index.js")
    client.deploy("layered-node", node, runtime="nodejs", handler="index.handler", layers=layers[:1])
    assert client.invoke("layered-node", {}, timeout_s=FIRST_S).raise_for_error().json() == {"common": "other"}
    with pytest.raises(stoker.StokerError, match=f"functions/layered.*/versions/1 has version {lower.number}"):
        client.delete_layer_version("other", lower.number)


def test_requirements_are_there_when_the_function_runs(
    system: RunningStoker, client: stoker.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path / "wheels", "alpha")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    source = """
        import alpha
        from importlib.metadata import version
        def handler(event, context):
            return [alpha.NAME, version("alpha")]
        """
    code = write_function(tmp_path / "code", source.replace("\n        ", "\n"))
    (code / "requirements.txt").write_text("alpha==1.0\n")
    client.deploy(
        "with-requirements",
        code,
        runtime="python3",
        handler="main.handler",
        dependencies=dependencies.install(code, print),
    )
    assert client.invoke("with-requirements", {}, timeout_s=FIRST_S).raise_for_error().json() == ["alpha", "1.0"]


def test_an_image_runs_by_what_is_in_its_working_directory(
    system: RunningStoker, client: stoker.Client, tmp_path: Path
) -> None:
    source = b"from lib import WORD\ndef handler(event, context): return WORD\n"
    lower = [Item("etc/passwd", b"root"), Item("srv/lib.py", b"WORD = 'old'"), Item("srv/main.py", source)]
    upper = [Item("srv/lib.py", b"WORD = 'new'")]
    saved = tmp_path / "image.tar"
    saved.write_bytes(layout(image(lower, upper, working_directory="/srv")))
    client.deploy("of-image", saved, runtime="python3", handler="main.handler")
    assert client.invoke("of-image", {}, timeout_s=FIRST_S).raise_for_error().json() == "new"
