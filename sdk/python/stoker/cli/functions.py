"""`stoker list`, `versions`, `update` and `delete`."""

import sys
from collections import defaultdict
from typing import Annotated

import typer

from stoker.cli.commands import connected
from stoker.cli.failures import UsageError
from stoker.cli.output import Output, OutputOption, local_time, note, print_json, print_table

FunctionArgument = Annotated[str, typer.Argument(metavar="NAME", help="The function.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("list")(list_functions)
    app.command("versions")(list_versions)
    app.command("update")(update)
    app.command("delete")(delete)


def list_functions(context: typer.Context, output: OutputOption = Output.TEXT) -> None:
    """Lists the functions."""
    with connected(context) as client:
        functions = list(client.list_functions())
    if output is Output.JSON:
        print_json(functions)
    elif functions:
        print_table(
            ("NAME", "VERSION", "CREATED", "DESCRIPTION"),
            (
                (each.name, str(each.latest_version or "-"), local_time(each.create_time), each.description)
                for each in functions
            ),
        )
    else:
        note("there are no functions yet; `stoker init NAME` begins one")


def list_versions(context: typer.Context, name: FunctionArgument, output: OutputOption = Output.TEXT) -> None:
    """Lists a function's versions, newest first."""
    with connected(context) as client:
        versions = list(client.list_versions(name))
        aliases = list(client.list_aliases(name))
    if output is Output.JSON:
        print_json(versions)
        return
    if not versions:
        note(f"{name} has no versions yet; `stoker deploy {name} PATH` publishes one")
        return
    named: dict[int, list[str]] = defaultdict(list)
    for alias in aliases:
        for version, weight in alias.routes.items():
            named[version].append(alias.name if weight == 100 else f"{alias.name} {weight}%")
    print_table(
        ("VERSION", "ALIASES", "RUNTIME", "HANDLER", "MEMORY", "TIMEOUT", "CREATED", "DESCRIPTION"),
        (
            (
                str(each.number),
                ", ".join(named[each.number]),
                each.runtime,
                each.handler,
                f"{each.memory_mib} MiB",
                f"{each.timeout_s} s",
                local_time(each.create_time),
                each.description,
            )
            for each in versions
        ),
    )


def update(
    context: typer.Context,
    name: FunctionArgument,
    description: Annotated[str | None, typer.Option(help="What the function is for.")] = None,
    versions_kept: Annotated[
        int | None,
        typer.Option(min=0, max=10_000, help="How many of its newest versions are kept; 0 for the operator's default."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Changes a function's settings.

    Versions that an alias names, or has named lately, are kept beside the newest.
    """
    if description is None and versions_kept is None:
        raise UsageError("say what to change, such as `--versions-kept 10`")
    with connected(context) as client:
        function = client.update_function(name, description=description, versions_kept=versions_kept)
    if output is Output.JSON:
        print_json(function)
    else:
        kept = f"{function.versions_kept} newest versions are" if function.versions_kept else "the default number is"
        print(f"updated {function.name}; {kept} kept")


def delete(
    context: typer.Context,
    name: FunctionArgument,
    version: Annotated[int | None, typer.Option(min=1, help="Deletes this version alone.")] = None,
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Does not ask.")] = False,
) -> None:
    """Deletes a function, or one version."""
    what = f"function {name} with all its versions" if version is None else f"version {version} of {name}"
    if not is_sure:
        if not sys.stdin.isatty():
            raise UsageError(f"`--yes` is needed to delete {what} where nobody can be asked")
        typer.confirm(f"Delete {what}?", abort=True, err=True)
    with connected(context) as client:
        if version is None:
            client.delete_function(name)
        else:
            client.delete_version(name, version)
    print(f"deleted {what}")
