"""`stoker rollover`, and `stoker status NAME`: what answers while a new version is being loaded."""

from typing import TYPE_CHECKING, Annotated

import typer

from stoker.cli.commands import connected
from stoker.cli.functions import FunctionArgument
from stoker.cli.output import Output, OutputOption, local_time, print_json, print_table
from stoker.rollovers import PreviousVersion, Rollover, RolloverPolicy, RolloverRule, RolloverTarget

if TYPE_CHECKING:
    from stoker.client import Client

POLICIES = " or ".join(policy for policy in RolloverPolicy if policy is not RolloverPolicy.UNKNOWN)
_WHY = {
    RolloverRule.WAITED_BY_POLICY: "the policy is to wait for the new version",
    RolloverRule.WAITED_AS_DIFFERENT: "it differs in what callers can see",
    RolloverRule.WAITED_AS_ROLLED_BACK: "the alias was taken back from it",
}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("rollover")(rollover)


def rollover(
    context: typer.Context,
    name: FunctionArgument,
    policy: Annotated[
        str | None, typer.Option(metavar="POLICY", help=f"What answers while a version is being loaded: {POLICIES}.")
    ] = None,
    max_staleness_s: Annotated[
        int | None,
        typer.Option(min=1, max=86_400, help="For how many seconds the version before may answer; 60 at first."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Shows how a new version of a function takes over, and sets what is given.

    The version before answers until the new one is loaded, if it differs by its code only. While the new one fails to
    load it goes on answering. A request that names a version's number gets that version.
    """
    with connected(context) as client:
        if policy is not None or max_staleness_s is not None:
            client.set_rollover(name, policy=policy, max_staleness_s=max_staleness_s)
        found = rollovers_of(client, name, "")
    if output is Output.TEXT:
        for each in found[:1]:
            print(f"{name}: {each.policy}, for up to {each.max_staleness_s} s")
    show(found, output)


def rollovers_of(client: "Client", name: str, alias: str) -> list[Rollover]:
    """How an alias of a function stands; all of them where none is given."""
    aliases = [alias] if alias else [each.name for each in client.list_aliases(name)]
    return [client.get_rollover(name, each) for each in aliases]


def show(found: list[Rollover], output: Output) -> None:
    """Prints how aliases stand."""
    if output is Output.JSON:
        print_json(found)
        return
    print_table(
        ("ALIAS", "VERSION", "SHARE", "LOADED", "ANSWERS NOW"),
        (
            (
                f"{each.function}:{each.alias}",
                str(target.version),
                f"{target.weight}%",
                _loaded(each, target),
                _now(each, target),
            )
            for each in found
            for target in each.targets
        ),
    )
    for each in found:
        for line in _remarks(each):
            print(line)


def _loaded(standing: Rollover, version: RolloverTarget | PreviousVersion) -> str:
    return str(version.loaded) if standing.is_usage_known else "?"


def _now(standing: Rollover, target: RolloverTarget) -> str:
    if not standing.is_usage_known:
        return "?"
    if target.answering_version == target.version:
        return f"version {target.version}"
    if not target.answering_version:
        return "none is loaded; the next request starts it"
    return f"version {target.answering_version}, until {target.version} is loaded"


def _remarks(standing: Rollover) -> list[str]:
    owner = f"{standing.function}:{standing.alias}"
    remarks: list[str] = []
    if failed := standing.load_failure:
        times = "once" if failed.failures == 1 else f"{failed.failures} times in a row"
        remarks.append(
            f"{owner}: version {failed.version} failed to load {times}: {failed.error.type}: {failed.error.message}\n"
            f"  it is tried again with the first request after {local_time(failed.retry_time)}"
        )
    for previous in standing.previous:
        if previous.rule is not None:
            why = _WHY.get(previous.rule, "it may not")
            fields = f" ({', '.join(previous.differing_fields)})" if previous.differing_fields else ""
            remarks.append(f"{owner}: version {previous.version} does not answer meanwhile: {why}{fields}")
        elif previous.remaining_s:
            remarks.append(f"{owner}: version {previous.version} may answer for another {previous.remaining_s:.0f} s")
    return remarks
