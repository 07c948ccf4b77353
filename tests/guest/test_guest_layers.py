"""Modules and commands of layers, in the runtimes as plain processes."""

from pathlib import Path

import pytest

from tests.guest.runtime_process import running, written

CODE = {
    "python3": {
        "main.py": """
            import os, shared, mine
            def handler(event, context):
                return [shared.NAME, mine.NAME, os.environ["PATH"].split(":")[-1]]
            """,
        "mine.py": "NAME = 'code'",
    },
    "nodejs": {
        "main.js": """
            const shared = require('shared');
            const mine = require('mine');
            exports.handler = () => [shared, mine, process.env.PATH.split(':').at(-1)];
            """,
        "node_modules/mine/index.js": "module.exports = 'code';",
    },
}
LAYERS = {
    "python3": {"python/shared.py": "NAME = 'layer'", "python/mine.py": "NAME = 'layer'"},
    "nodejs": {
        "nodejs/node_modules/shared/index.js": "module.exports = 'layer';",
        "nodejs/node_modules/mine/index.js": "module.exports = 'layer';",
    },
}


@pytest.mark.parametrize("language", CODE)
async def test_modules_of_layers_are_found_after_those_of_the_code(tmp_path: Path, language: str) -> None:
    code = written(tmp_path / "code", CODE[language])
    layers = written(tmp_path / "opt", LAYERS[language])
    async with running(language, code) as runtime:
        assert (await runtime.load(layers=str(layers))).type == "loaded"
        assert await runtime.result() == ["layer", "code", f"{layers}/bin"]


@pytest.mark.parametrize("language", CODE)
async def test_without_layers_there_are_no_such_modules(tmp_path: Path, language: str) -> None:
    async with running(language, written(tmp_path / "code", CODE[language])) as runtime:
        answer = await runtime.load()
        assert answer.type == "failed"
        assert "shared" in answer.header["message"]


async def test_packages_of_a_layer_may_lie_as_pip_puts_them(tmp_path: Path) -> None:
    code = written(tmp_path / "code", {"main.py": "import deep\ndef handler(event, context): return deep.NAME"})
    layers = written(tmp_path / "opt", {"python/lib/python3.11/site-packages/deep.py": "NAME = 'site'"})
    async with running("python3", code) as runtime:
        assert (await runtime.load(layers=str(layers))).type == "loaded"
        assert await runtime.result() == "site"
