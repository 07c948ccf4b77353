"""All commands, put together. What takes long to import, such as gRPC, is imported by the command that needs it."""

from typing import Annotated

import typer

from stoker.cli import (
    admin,
    aliases,
    code,
    concurrency,
    functions,
    invocations,
    layers,
    logs,
    platform,
    rollouts,
    rollovers,
    signing,
    starters,
)
from stoker.cli.commands import Commands, Target
from stoker.settings import ADMIN_KEY_VARIABLE, API_KEY_VARIABLE, ENDPOINT_VARIABLE

app = typer.Typer(
    cls=Commands,
    help="Runs functions in virtual machines of your own.",
    epilog="Begin with `stoker up`, `stoker init hello`, `stoker deploy hello hello`, `stoker invoke hello`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for group in (
    starters,
    code,
    invocations,
    functions,
    aliases,
    rollouts,
    rollovers,
    concurrency,
    layers,
    signing,
    logs,
    platform,
    admin,
):
    group.register(app)


@app.callback()
def choose_target(
    context: typer.Context,
    endpoint: Annotated[
        str | None,
        typer.Option(envvar=ENDPOINT_VARIABLE, metavar="ADDRESS:PORT", help="Where Stoker answers."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar=API_KEY_VARIABLE, metavar="KEY", help="The tenant's key; better given by the variable than here."
        ),
    ] = None,
    admin_key: Annotated[
        str | None,
        typer.Option(envvar=ADMIN_KEY_VARIABLE, metavar="KEY", help="The operator's key, for `admin` and `status`."),
    ] = None,
) -> None:
    """Notes what all commands have in common; without it, the configuration file says so."""
    context.obj = Target(endpoint, api_key, admin_key)
