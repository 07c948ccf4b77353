"""What runs a directory's code, where that is obvious from its files."""

import ast
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stoker.models import Runtime

_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Guess:
    """A runtime, a handler, and the file that told them."""

    runtime: Runtime
    handler: str
    source: str


def guess(directory: Path) -> Guess | None:
    """What runs the code in `directory`; None where nothing or more than one thing says so."""
    guesses = [found for found in (_python(directory), _nodejs(directory)) if found is not None]
    return guesses[0] if len(guesses) == 1 else None


def _python(directory: Path) -> Guess | None:
    source = _read(directory / "main.py")
    if source is None:
        return None
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    defined = (node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return Guess(Runtime.PYTHON3, "main.handler", "main.py") if "handler" in defined else None


def _nodejs(directory: Path) -> Guess | None:
    package = _read(directory / "package.json")
    if package is not None:
        main = PurePosixPath(_main_of(package))
        stem = str(main.with_suffix("")) if main.suffix in (".js", ".cjs", ".mjs") else str(main)
        return Guess(Runtime.NODEJS, f"{stem}.handler", "package.json")
    for name in ("index.js", "index.mjs", "index.cjs"):
        if (directory / name).is_file():
            return Guess(Runtime.NODEJS, "index.handler", name)
    return None


def _main_of(package: str) -> str:
    try:
        found: Any = json.loads(package)
    except ValueError:
        return "index.js"
    main: Any = found.get("main") if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON can be anything
    return main if isinstance(main, str) and main else "index.js"


def _read(file: Path) -> str | None:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(_MAX_BYTES)
    except (OSError, UnicodeDecodeError):
        return None
