"""`stoker concurrency`: how many invocations may run at once, and how many containers are kept loaded."""

from typing import Annotated

import typer

from stoker.cli.commands import connected
from stoker.cli.failures import UsageError
from stoker.cli.functions import FunctionArgument
from stoker.cli.output import Output, OutputOption, note, print_json, print_table
from stoker.models import Concurrency
from stoker.names import check_name


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        help="Keeps containers loaded, and limits invocations.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("show")(show)
    group.command("set")(set_concurrency)
    app.add_typer(group, name="concurrency")


def show(context: typer.Context, name: FunctionArgument, output: OutputOption = Output.TEXT) -> None:
    """Shows what is set for a function and its aliases, and how many containers there are."""
    with connected(context) as client:
        own = client.get_concurrency(name)
        settings = [own, *(each for each in client.list_concurrency(name) if each.alias)]
    if output is Output.JSON:
        print_json(settings)
        return
    print_table(
        ("FUNCTION", "PROVISIONED", "MAXIMUM", "LOADED", "LEASED"),
        (
            (
                _owner(each),
                str(each.provisioned or "-"),
                str(each.maximum or "-"),
                _count(each.loaded),
                _count(each.leased),
            )
            for each in settings
        ),
    )
    if own.loaded is None:
        note("the scheduler does not answer, so what is loaded is not known")


def set_concurrency(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="NAME[:ALIAS]", help="The function, or an alias of it.")],
    provisioned: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Containers to keep loaded; 0 takes it back.")
    ] = None,
    maximum: Annotated[
        int | None,
        typer.Option(min=0, max=10_000, help="How many invocations of the function may run at once; 0 takes it back."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Sets what is given, and leaves the rest as it is.

    Without an alias, the containers are of the versions that `live` names.
    """
    name, alias = parse_target(target)
    if provisioned is None and maximum is None:
        raise UsageError("say what to set: `--provisioned N`, `--maximum N`, or both; 0 takes a setting back")
    if alias and maximum:
        raise UsageError(f"--maximum is of a function as a whole; set it with `stoker concurrency set {name}`")
    with connected(context) as client:
        before = client.get_concurrency(name, alias)
        changed = client.set_concurrency(
            name,
            alias,
            provisioned=before.provisioned if provisioned is None else provisioned,
            maximum=before.maximum if maximum is None else maximum,
        )
    if output is Output.JSON:
        print_json(changed)
    else:
        print(f"{_owner(changed)}: {summary(changed)}")


def parse_target(target: str) -> tuple[str, str]:
    """The function and the alias, empty for none, of `NAME` or `NAME:ALIAS`.

    Raises:
        UsageError: Nothing follows the colon, or a version's number, which has no setting.
        InvalidArgument: One of them cannot be a name.
    """
    name, colon, alias = target.partition(":")
    check_name(name, "name")
    if not colon:
        return name, ""
    if not alias or alias.isdecimal():
        raise UsageError(f"`{target}` names no alias; write `{name}:live`, or `{name}` for the function as a whole")
    return name, check_name(alias, "alias")


def summary(setting: Concurrency) -> str:
    """What is set, in a line."""
    kept = f"{setting.provisioned} kept loaded" if setting.provisioned else "no containers kept loaded"
    if setting.alias:
        return kept
    return f"{kept}, " + (f"{setting.maximum} invocations at once" if setting.maximum else "no maximum of its own")


def _owner(setting: Concurrency) -> str:
    return f"{setting.function}:{setting.alias}" if setting.alias else setting.function


def _count(number: int | None) -> str:
    return "?" if number is None else str(number)
