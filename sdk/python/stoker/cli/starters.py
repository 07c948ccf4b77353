"""`stoker init`: a function to begin with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from stoker.cli.code import RUNTIMES
from stoker.cli.failures import UsageError
from stoker.models import Runtime
from stoker.names import check_name

_PYTHON = '''"""A function for Stoker."""


def handler(event, context):
    """Answers with a greeting. `event` is what was sent, parsed from JSON."""
    name = (event or {}).get("name", "world")
    print(f"greeting {name}")
    return {"greeting": f"Hello, {name}!"}
'''
_NODEJS = """// A function for Stoker.

// Answers with a greeting. `event` is what was sent, parsed from JSON.
exports.handler = async (event, context) => {
  const name = event?.name ?? "world";
  console.log(`greeting ${name}`);
  return { greeting: `Hello, ${name}!` };
};
"""
_IGNORE = """# What is not deployed, in the form of a .gitignore. .git and __pycache__ never are.
.venv/
tests/
*.md
"""
STARTERS: Mapping[Runtime, Mapping[str, str]] = {
    Runtime.PYTHON3: {"main.py": _PYTHON, ".stokerignore": _IGNORE},
    Runtime.NODEJS: {"index.js": _NODEJS, ".stokerignore": _IGNORE},
}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("init")(init)


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The function, and the directory to make.")],
    runtime: Annotated[str, typer.Option(metavar="RUNTIME", help=f"What it is written for: {RUNTIMES}.")] = "python3",
) -> None:
    """Makes a directory with a first function."""
    check_name(name, "name")
    files = next((files for known, files in STARTERS.items() if known == runtime), None)
    if files is None:
        raise UsageError(f"--runtime: there is no `{runtime}`; there are {RUNTIMES}")
    directory = Path(name)
    try:
        directory.mkdir()
        for file, text in files.items():
            (directory / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot make {directory}: {error.strerror}") from error
    print(f"made {name}/ with {', '.join(files)}")
    print(f'next: stoker deploy {name} {name} && stoker invoke {name} --data \'{{"name": "you"}}\'')
