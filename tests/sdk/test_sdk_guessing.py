"""What runs a directory's code, where that is obvious."""

from pathlib import Path

import pytest
from stoker.guessing import guess

PYTHON = "async def handler(event, context): ..."


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"main.py": PYTHON}, ("python3", "main.handler")),
        ({"main.py": "handler = 3"}, None),
        ({"main.py": "def handler("}, None),
        ({"index.js": ""}, ("nodejs", "index.handler")),
        ({"package.json": "{}"}, ("nodejs", "index.handler")),
        ({"package.json": '{"main": "./src/app.js"}'}, ("nodejs", "src/app.handler")),
        ({"package.json": "[]", "index.js": ""}, ("nodejs", "index.handler")),
        ({"main.py": PYTHON, "index.js": ""}, None),
        ({}, None),
    ],
)
def test_what_is_obvious_is_guessed_and_nothing_else(
    tmp_path: Path, files: dict[str, str], expected: tuple[str, str] | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = guess(tmp_path)
    assert (found and (found.runtime, found.handler)) == expected
