"""`stoker alias`: movable names of versions."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from stoker.cli.commands import connected
from stoker.cli.failures import UsageError
from stoker.cli.functions import FunctionArgument
from stoker.cli.output import Output, OutputOption, local_time, note, print_json, print_table

AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="The alias, such as `live`.")]

_ROUTE = re.compile(r"([1-9][0-9]{0,17})(?:=([0-9]{1,3})%?)?")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Moves names of versions.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(list_aliases)
    group.command("set")(set_alias)
    group.command("delete")(delete_alias)
    app.add_typer(group, name="alias")


def list_aliases(context: typer.Context, name: FunctionArgument, output: OutputOption = Output.TEXT) -> None:
    """Lists a function's aliases."""
    with connected(context) as client:
        aliases = list(client.list_aliases(name))
    if output is Output.JSON:
        print_json(aliases)
    elif aliases:
        rows = ((each.name, written(each.routes), local_time(each.update_time)) for each in aliases)
        print_table(("ALIAS", "VERSIONS", "UPDATED"), rows)
    else:
        note(f"{name} has no aliases; `stoker alias set {name} live VERSION` makes one")


def set_alias(
    context: typer.Context,
    name: FunctionArgument,
    alias: AliasArgument,
    versions: Annotated[
        list[str],
        typer.Argument(metavar="VERSION[=WEIGHT]...", help="One version, or two with weights: `3` or `3=90 4=10`."),
    ],
    output: OutputOption = Output.TEXT,
) -> None:
    """Points an alias at one version, or at two with weights in percent. Makes it if there is none."""
    routes = parse_routes(versions)
    with connected(context) as client:
        changed = client.set_alias(name, alias, routes)
    if output is Output.JSON:
        print_json(changed)
    else:
        print(f"{name}:{changed.name} is now {written(changed.routes)}")


def delete_alias(context: typer.Context, name: FunctionArgument, alias: AliasArgument) -> None:
    """Deletes an alias. The versions stay."""
    with connected(context) as client:
        client.delete_alias(name, alias)
    print(f"deleted {name}:{alias}")


def parse_routes(texts: Sequence[str]) -> Mapping[int, int]:
    """The share of each version, in percent, of `3` or of `3=90 4=10`.

    Raises:
        UsageError: They are not written so, or are not 100 together.
    """
    matches = [_ROUTE.fullmatch(text) for text in texts]
    routes = {int(match[1]): int(match[2] or 100) for match in matches if match}
    if len(routes) != len(texts) or len(texts) > 2:
        raise UsageError(f"`{' '.join(texts)}` names no versions; write one (`3`) or two with weights (`3=90 4=10`)")
    if sum(routes.values()) != 100:
        raise UsageError(f"the weights of `{' '.join(texts)}` must be 100 together")
    return routes


def written(routes: Mapping[int, int]) -> str:
    """Routes as they are typed."""
    if list(routes.values()) == [100]:
        return str(next(iter(routes)))
    return " ".join(f"{version}={weight}" for version, weight in routes.items())
