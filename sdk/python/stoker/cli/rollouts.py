"""`stoker rollout`, `rollback` and `history`: versions on their way out, and back."""

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from stoker.cli.aliases import written
from stoker.cli.commands import connected
from stoker.cli.durations import parse_duration
from stoker.cli.failures import FUNCTION_FAILED, UsageError
from stoker.cli.functions import FunctionArgument
from stoker.cli.output import Output, OutputOption, local_time, note, print_json, print_table, stdout_console

if TYPE_CHECKING:
    from stoker.client import Client
    from stoker.rollouts import Rollout

LOOK_S = 1.0
"""How often a rollout that is watched is looked at, in seconds."""

AliasOption = Annotated[str, typer.Option("--alias", help="The alias.")]
WatchOption = Annotated[
    bool, typer.Option("--watch", "-w", help="Draws it until it ends; the code is 1 if the new version did not stay.")
]


class Rollouts(TyperGroup):
    """The commands of rollouts. What is none of them is the function whose rollout begins."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name."""
        if args and self.get_command(ctx, args[0]) is None:
            args = ["start", *args]
        return super().resolve_command(ctx, args)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        cls=Rollouts,
        help="Brings a version out in steps, and back by itself if it fails more often or is slower.",
        epilog="`stoker rollout NAME --to 7` begins one, as `stoker rollout start NAME --to 7` does.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("start")(start)
    group.command("status")(status)
    group.command("pause")(pause)
    group.command("resume")(resume)
    group.command("abort")(abort)
    app.add_typer(group, name="rollout")
    app.command("rollback")(rollback)
    app.command("history")(history)


def start(
    context: typer.Context,
    name: FunctionArgument,
    to: Annotated[int, typer.Option("--to", min=1, metavar="VERSION", help="The version to go to.")],
    steps: Annotated[
        str, typer.Option(metavar="PERCENT,...", help="Its share at each step; the last one is 100.")
    ] = "1,10,50,100",
    every: Annotated[
        str, typer.Option(metavar="DURATION", help="How long each step lasts at the least: `60s`, `5m`, `1h`.")
    ] = "60s",
    min_calls: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Calls of the new version to judge at a step before the next.")
    ] = 0,
    alias: AliasOption = "live",
    watch: WatchOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Begins to bring a version out."""
    shares, every_s = parse_steps(steps), parse_duration(every, "--every")
    with connected(context) as client:
        rollout = client.start_rollout(name, to, alias=alias, steps=shares, every_s=every_s, min_calls=min_calls)
        _show(client, rollout, output, is_watched=watch)
    if output is Output.TEXT and not watch:
        note(f"next: stoker rollout status {name}{_alias_option(alias)} --watch")


def status(
    context: typer.Context,
    name: FunctionArgument,
    alias: AliasOption = "live",
    watch: WatchOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Shows the last rollout of an alias, which may have ended."""
    with connected(context) as client:
        _show(client, _last(client, name, alias), output, is_watched=watch)


def pause(
    context: typer.Context, name: FunctionArgument, alias: AliasOption = "live", output: OutputOption = Output.TEXT
) -> None:
    """Holds a rollout at its step. It still goes back if the new version is found to be worse."""
    with connected(context) as client:
        _show(client, client.pause_rollout(name, _last(client, name, alias).id), output)


def resume(
    context: typer.Context, name: FunctionArgument, alias: AliasOption = "live", output: OutputOption = Output.TEXT
) -> None:
    """Lets a rollout that is held go on."""
    with connected(context) as client:
        _show(client, client.resume_rollout(name, _last(client, name, alias).id), output)


def abort(
    context: typer.Context,
    name: FunctionArgument,
    alias: AliasOption = "live",
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Ends a rollout; the old version gets everything."""
    with connected(context) as client:
        _show(client, client.abort_rollout(name, _last(client, name, alias).id, reason=reason), output)


def rollback(
    context: typer.Context,
    name: FunctionArgument,
    version: Annotated[
        int, typer.Argument(min=0, metavar="[VERSION]", help="The version; without it, the one before.")
    ] = 0,
    alias: AliasOption = "live",
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Points an alias back at once, also out of a rollout.

    The version before is the old one of the rollout that is under way; else the last one with a lower number that the
    alias pointed to alone.
    """
    with connected(context) as client:
        changed = client.roll_back(name, alias, version=version, reason=reason)
    if output is Output.JSON:
        print_json(changed)
    else:
        print(f"{name}:{changed.name} is now {written(changed.routes)}")


def history(
    context: typer.Context,
    name: FunctionArgument,
    alias: AliasOption = "live",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many changes.")] = 20,
    output: OutputOption = Output.TEXT,
) -> None:
    """Shows where an alias pointed, who changed it and why, the newest change first."""
    from itertools import islice

    with connected(context) as client:
        changes = list(islice(client.list_alias_changes(name, alias), limit))
    if output is Output.JSON:
        print_json(changes)
    elif changes:
        rows = (
            (
                local_time(each.time),
                written(each.after) or "deleted",
                written(each.before) or "-",
                each.actor,
                each.reason,
            )
            for each in changes
        )
        print_table(("TIME", "VERSIONS", "BEFORE", "BY", "WHY"), rows)
    else:
        note(f"{name}:{alias} has no history; `stoker alias set {name} {alias} VERSION` makes the alias")


def parse_steps(text: str) -> tuple[int, ...]:
    """The shares of `1,10,50,100`, with or without `%`.

    Raises:
        UsageError: They are not written so, do not grow, or do not end with 100.
    """
    parts = [part.strip().removesuffix("%") for part in text.split(",")]
    steps = tuple(int(part) for part in parts if part.isdecimal() and len(part) <= 3)
    is_growing = all(step < after for step, after in zip((0, *steps), steps, strict=False))
    if len(steps) != len(parts) or not is_growing or steps[-1] != 100:
        raise UsageError(f"--steps: `{text}` must be growing percentages, the last one 100, such as `1,10,50,100`")
    return steps


def _last(client: "Client", name: str, alias: str) -> "Rollout":
    for rollout in client.list_rollouts(name, alias):
        return rollout
    raise UsageError(f"{name}:{alias} has had no rollout; `stoker rollout {name} --to VERSION` begins one")


def _show(client: "Client", rollout: "Rollout", output: Output, *, is_watched: bool = False) -> None:
    if is_watched:
        rollout = _watch(client, rollout, output)
    if output is Output.JSON:
        print_json(rollout)
    elif not is_watched:
        from stoker.cli.rollout_drawing import drawn

        stdout_console().print(drawn(rollout))
    if is_watched and rollout.state not in ("done", "running", "paused"):
        raise typer.Exit(FUNCTION_FAILED)


def _watch(client: "Client", rollout: "Rollout", output: Output) -> "Rollout":
    """Shows a rollout until it has ended: drawn again and again on a terminal, else a line for each change."""
    from rich.live import Live

    from stoker.cli.rollout_drawing import drawn, line

    if output is Output.TEXT and sys.stdout.isatty():
        with Live(drawn(rollout), console=stdout_console(), refresh_per_second=4) as live:
            while rollout.is_under_way:
                time.sleep(LOOK_S)
                rollout = client.get_rollout(rollout.function, rollout.id)
                live.update(drawn(rollout))
        return rollout
    told = None
    while True:
        if (rollout.state, rollout.step) != told:
            told = rollout.state, rollout.step
            # Beside JSON, the result alone belongs on stdout.
            (note if output is Output.JSON else print)(line(rollout, datetime.now(UTC)))
        if not rollout.is_under_way:
            return rollout
        time.sleep(LOOK_S)
        rollout = client.get_rollout(rollout.function, rollout.id)


def _alias_option(alias: str) -> str:
    return "" if alias == "live" else f" --alias {alias}"
