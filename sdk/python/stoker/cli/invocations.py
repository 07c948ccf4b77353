"""`stoker invoke`."""

import base64
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from stoker.cli.commands import connected
from stoker.cli.failures import FUNCTION_FAILED, UsageError
from stoker.cli.output import Output, OutputOption, note, print_json
from stoker.models import JSON, FunctionError, InvokeResult
from stoker.names import split_target


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("invoke")(invoke)


def invoke(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="NAME[:QUALIFIER]", help="The function, and a version's number or an alias.")
    ],
    data: Annotated[
        str, typer.Option("--data", "-d", metavar="JSON|@FILE|-", help="The event: itself, in a file, or on stdin.")
    ] = "null",
    content_type: Annotated[
        str, typer.Option(help="The event's media type; what is not JSON reaches the handler as bytes.")
    ] = JSON,
    log_tail: Annotated[bool, typer.Option("--log-tail", help="Shows on stderr what the invocation printed.")] = False,
    session_key: Annotated[
        str, typer.Option(metavar="KEY", help="The same key goes to the same version of a weighted alias.")
    ] = "",
    timeout_s: Annotated[
        float | None, typer.Option(min=0.001, max=3600, help="How long to wait in seconds; then it is stopped.")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Runs a function and prints its answer.

    On stdout is the answer alone, on stderr why the function failed, if it did; the code is then 1. With `--output
    json` an object also says what ran where, with a payload that is not JSON in base64.
    """
    name, qualifier = split_target(target)
    event = read_data(data, content_type)
    with connected(context) as client:
        result = client.invoke(
            name,
            event,
            qualifier=qualifier,
            timeout_s=timeout_s,
            content_type=content_type,
            log_tail=log_tail,
            session_key=session_key,
        )
    if log_tail and result.log_tail:
        note(result.log_tail.rstrip("\n"))
    if output is Output.JSON:
        print_json(_as_json(result))
    elif result.function_error is None:
        _print_payload(result)
    if result.function_error is not None:
        _tell(result.function_error)
        raise typer.Exit(FUNCTION_FAILED)


def read_data(data: str, content_type: str) -> bytes:
    """The bytes of `--data`.

    Raises:
        UsageError: They cannot be read, or are not JSON where they should be.
    """
    if data == "-":
        event, where = sys.stdin.buffer.read(), "standard input"
    elif data.startswith("@"):
        where = data[1:]
        try:
            event = Path(where).read_bytes()
        except OSError as error:
            raise UsageError(f"--data: cannot read {where}: {error.strerror}") from error
    else:
        event, where = data.encode("utf-8", "surrogateescape"), "--data"
    if content_type.partition(";")[0].strip() == JSON:
        try:
            json.loads(event)
        except ValueError as error:
            raise UsageError(
                f"{where} is not JSON ({error}); quote strings (`'\"text\"'`), or say `--content-type text/plain`"
            ) from error
    return event


def _print_payload(result: InvokeResult) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(result.payload)
    if sys.stdout.isatty() and result.is_json:
        sys.stdout.buffer.write(b"\n")


def _as_json(result: InvokeResult) -> dict[str, Any]:
    payload: Any = None
    if result.function_error is None:
        payload = result.json() if result.is_json else base64.b64encode(result.payload).decode()
    timings = result.timings
    return {
        "payload": payload,
        "executed_version": result.executed_version,
        "start": result.start,
        "timings_ms": {
            "queue": round(timings.queue_ms, 3),
            "init": round(timings.init_ms, 3),
            "run": round(timings.run_ms, 3),
            "total": round(timings.total_ms, 3),
        },
        "vm": result.vm,
        "container": result.container,
        "host": result.host,
        "function_error": result.function_error,
        "invocation_id": result.invocation_id,
    }


def _tell(error: FunctionError) -> None:
    for line in error.stack_trace:
        note(line)
    note(f"{error.type}: {error.message}")
