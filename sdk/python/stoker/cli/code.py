"""`stoker deploy`."""

import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from stoker.cli.commands import connected
from stoker.cli.delivery_drawing import show
from stoker.cli.failures import UsageError
from stoker.cli.functions import FunctionArgument
from stoker.cli.output import Output, OutputOption, note, print_json, size, stderr_console
from stoker.dependencies import NONE, install
from stoker.guessing import guess
from stoker.models import Deployment, Runtime
from stoker.names import check_name, split_layer
from stoker.signing import load_private

FOLLOW_S = 60.0
"""How long a deploy shows how its code reaches hosts, in seconds."""
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
RUNTIMES = ", ".join(runtime for runtime in Runtime if runtime is not Runtime.UNKNOWN)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("deploy")(deploy)


def deploy(
    context: typer.Context,
    name: FunctionArgument,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A directory, a zip, a tar.gz or a saved image.")],
    runtime: Annotated[
        str, typer.Option(metavar="RUNTIME", help=f"What runs the code ({RUNTIMES}); guessed where it is obvious.")
    ] = "",
    handler: Annotated[
        str, typer.Option(metavar="MODULE.FUNCTION", help="What is called; guessed where it is obvious.")
    ] = "",
    memory_mib: Annotated[
        int, typer.Option(min=0, max=10240, help="A container's memory, at least 64; 0 for the default of 128.")
    ] = 0,
    timeout_s: Annotated[
        int, typer.Option(min=0, max=900, help="How long an invocation may take; 0 for the default of 30.")
    ] = 0,
    concurrency: Annotated[
        int,
        typer.Option(
            min=0, max=100, help="How many invocations a container runs at once; more than 1 need an async handler."
        ),
    ] = 0,
    env: Annotated[list[str] | None, typer.Option(metavar="K=V", help="An environment variable; repeatable.")] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:VERSION", help="A layer, found in /opt; repeatable, later ones over earlier."),
    ] = None,
    description: Annotated[str, typer.Option(help="What this version is.")] = "",
    alias: Annotated[str, typer.Option(help="The alias to move to the new version; empty for none.")] = "live",
    build: Annotated[
        bool, typer.Option(help="Whether to install a directory's requirements.txt and package.json for the guest.")
    ] = True,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEYFILE", help="Signs the code with the private key that is in this file.")
    ] = None,
    prewarm: Annotated[
        int, typer.Option(min=0, max=100, help="How many containers are loaded before anybody calls the version.")
    ] = 0,
    follow: Annotated[bool, typer.Option(help="Whether to wait, up to a minute, until hosts have the code.")] = True,
    output: OutputOption = Output.TEXT,
) -> None:
    """Publishes code as the next version.

    The function is made if there is none, and its alias `live` moved to the version. From a directory is left out what
    its .stokerignore says, in the form of a .gitignore; what its requirements.txt and package.json ask for is added.
    """
    check_name(name, "name")
    environment = parse_environment(env or [])
    layers = [f"{layer_name}:{number}" for layer_name, number in (split_layer(text, "--layer") for text in layer or [])]
    sign_with = load_private(sign) if sign else None
    runtime, handler = choose_runtime(path, runtime, handler)
    dependencies = install(path, note) if build and path.is_dir() else NONE
    with connected(context) as client, _progress() as progress:
        done = client.deploy(
            name,
            path,
            runtime=runtime,
            handler=handler,
            memory_mib=memory_mib,
            timeout_s=timeout_s,
            concurrency=concurrency,
            environment=environment,
            layers=layers,
            description=description,
            alias=alias or None,
            progress=progress,
            dependencies=dependencies,
            sign_with=sign_with,
            prewarm=prewarm,
        )
    if output is Output.JSON:
        print_json(done)
        return
    print(summary(name, done))
    if follow:
        with connected(context) as client:
            show(client.watch_delivery(name, done.version.number, timeout_s=FOLLOW_S))
    qualifier = "" if alias == "live" else f":{alias or done.version.number}"
    note(f"next: stoker invoke {name}{qualifier} --data '{{}}'")


def choose_runtime(path: Path, runtime: str, handler: str) -> tuple[str, str]:
    """The runtime and the handler, as given or as the directory's files tell; says what it has guessed.

    Raises:
        UsageError: They are not given, and the files do not tell.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    if runtime and handler:
        return runtime, handler
    guessed = guess(path) if path.is_dir() else None
    if guessed is None or runtime not in ("", guessed.runtime):
        missing = " and ".join(name for name, given in (("--runtime", runtime), ("--handler", handler)) if not given)
        raise UsageError(
            f"cannot tell from {path} what to run; say {missing}, such as `--runtime python3 --handler main.handler` "
            "(guessed for a main.py with a function `handler`, or an index.js)"
        )
    chosen = runtime or str(guessed.runtime), handler or guessed.handler
    note(f"runtime {chosen[0]}, handler {chosen[1]} (guessed from {guessed.source})")
    return chosen


def parse_environment(texts: Sequence[str]) -> Mapping[str, str]:
    """The variables of `K=V` texts.

    Raises:
        UsageError: One is not written so, or given twice.
    """
    variables: dict[str, str] = {}
    for text in texts:
        match = _VARIABLE.fullmatch(text)
        if match is None:
            raise UsageError(f"--env: `{text}` is not NAME=VALUE with letters, digits and `_` in the name")
        if match[1] in variables:
            raise UsageError(f"--env: {match[1]} is given twice")
        variables[match[1]] = match[2]
    return variables


def summary(name: str, done: Deployment) -> str:
    """What a deploy has done, in a line."""
    what = "published" if done.is_new_version else "already is"
    moved = f"; `{done.alias.name}` runs it" if done.alias else ""
    code = f"{size(done.artifact.size_bytes)} {'uploaded' if done.was_uploaded else 'already there'}"
    return f"{name}: {what} version {done.version.number} ({code}){moved}"


@contextmanager
def _progress() -> Generator[Callable[[int, int], None] | None]:
    """A bar for the upload, where somebody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=stderr_console(), transient=True) as bar:
        task = bar.add_task("upload", total=None, visible=False)

        def show(sent: int, total: int) -> None:
            bar.update(task, completed=sent, total=total, visible=True)

        yield show
