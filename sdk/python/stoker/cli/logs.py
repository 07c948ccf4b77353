"""`stoker logs`: what a function printed."""

import json
from typing import Annotated

import typer

from stoker.cli.commands import connected
from stoker.cli.functions import FunctionArgument
from stoker.cli.output import Output, OutputOption, local_time
from stoker.models import LogLine


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("logs")(show_logs)


def show_logs(
    context: typer.Context,
    name: FunctionArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Goes on with lines as they come.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many past lines.")] = 100,
    output: OutputOption = Output.TEXT,
) -> None:
    """Shows what a function printed.

    The oldest line comes first. As JSON it is one object a line.
    """
    with connected(context) as client:
        for line in client.tail_logs(name, follow=follow, limit=limit):
            print(_json_of(line) if output is Output.JSON else _text_of(line), flush=follow)


def _text_of(line: LogLine) -> str:
    return f"{local_time(line.time)} {line.version:>3} {line.invocation_id[:8] or 'loading':8} {line.line}"


def _json_of(line: LogLine) -> str:
    return json.dumps(
        {
            "time": line.time.isoformat(),
            "version": line.version,
            "invocation_id": line.invocation_id,
            "container": line.container,
            "stream": line.stream,
            "line": line.line,
        },
        ensure_ascii=False,
    )
