"""`stoker up`, `down`, `status`, `doctor` and `version`."""

import os
from collections.abc import Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stoker.cli.commands import Target, connected
from stoker.cli.failures import PLATFORM
from stoker.cli.output import Output, OutputOption, note, print_json, print_table, stderr_console
from stoker.errors import StokerError
from stoker.local.layout import DEFAULT_HOME, DEFAULT_LISTEN, DEFAULT_PORT_BASE

if TYPE_CHECKING:
    from stoker.cli.survey import Survey
    from stoker.local.packages import Check

HomeOption = Annotated[Path, typer.Option(envvar="STOKER_HOME", help="Where Stoker keeps everything.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)
    app.command("doctor")(doctor)
    app.command("version")(version)


def up(
    home: HomeOption = DEFAULT_HOME,
    listen: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help=f"What the services listen on; {DEFAULT_LISTEN} at first.")
    ] = None,
    port_base: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65532,
            metavar="PORT",
            help=f"The frontend's port, which three others follow; {DEFAULT_PORT_BASE} at first.",
        ),
    ] = None,
) -> None:
    """Starts Stoker on this machine.

    Builds the guest image where it is missing, and makes a tenant `dev` with its key. Run again, it starts what does
    not run. Where it needs root, it says for what, and uses sudo for that alone.
    """
    from stoker.local.homes import choose_layout
    from stoker.local.privileges import Privileges
    from stoker.local.report import Report
    from stoker.local.starting import Starter
    from stoker.settings import load

    layout = choose_layout(home.absolute(), listen, port_base)
    report = Report(stderr_console())
    made = Starter(layout, report, Privileges(report.say), os.environ).up()
    note(f"\nStoker answers at {made.endpoint}; its logs are in {layout.home / 'logs'}")
    if load().endpoint != made.endpoint:
        note(f"your configuration is for another Stoker; for this one: export STOKER_CONFIG={layout.client_file}")
    note('next: stoker init hello && stoker deploy hello hello && stoker invoke hello --data \'{"name": "you"}\'')


def down(
    home: HomeOption = DEFAULT_HOME,
    is_purge: Annotated[bool, typer.Option("--purge", help="Deletes functions, keys, images and logs too.")] = False,
) -> None:
    """Stops Stoker on this machine.

    No process, virtual machine, mount or socket is left. Functions and keys are kept.
    """
    from stoker.local.homes import recorded_layout
    from stoker.local.privileges import Privileges
    from stoker.local.report import Report
    from stoker.local.stopping import Stopper

    layout = recorded_layout(home.absolute())
    if layout is None:
        note(f"there is no Stoker in {home}; nothing to stop")
        return
    report = Report(stderr_console())
    Stopper(layout, report, Privileges(report.say), os.environ).down(is_purge=is_purge)
    if not is_purge:
        note("functions and keys are kept; `stoker up` starts it again, `stoker down --purge` deletes them")


def status(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME[:ALIAS]", help="A function, or an alias of it, to be shown instead.")
    ] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Shows services, hosts, VMs and containers; of a function, what its aliases point to and what answers now.

    The code is 3 if a service is not known to serve.
    """
    from stoker.cli.survey import survey

    if name:
        _show_function(context, name, output)
        return
    with connected(context) as client:
        found = survey(client)
    if output is Output.JSON:
        fleet = found.fleet
        print_json(
            {
                "services": found.services,
                "hosts": fleet.hosts if fleet else None,
                "vms": fleet.vms if fleet else None,
                "containers": fleet.containers if fleet else None,
            }
        )
    else:
        _print_survey(found)
    if not found.is_well:
        raise typer.Exit(PLATFORM)


def _show_function(context: typer.Context, name: str, output: Output) -> None:
    from stoker.cli.concurrency import parse_target
    from stoker.cli.rollovers import rollovers_of, show

    function, alias = parse_target(name)
    with connected(context) as client:
        found = rollovers_of(client, function, alias)
    show(found, output)


def doctor(
    context: typer.Context,
    home: HomeOption = DEFAULT_HOME,
    output: OutputOption = Output.TEXT,
) -> None:
    """Checks this host, and how to fix it.

    The code is 3 if something is wrong with the host, the configuration or a service.
    """
    checks = [*_host_checks(home), *_own_checks(context)]
    if output is Output.JSON:
        print_json(checks)
    else:
        _print_checks(checks)
    if not all(check.ok for check in checks):
        raise typer.Exit(PLATFORM)


def version() -> None:
    """Prints this program's version."""
    print(f"stoker {version_of('stoker')}")


def _host_checks(home: Path) -> "Sequence[Check]":
    from stoker.local import packages
    from stoker.local.homes import choose_layout
    from stoker.local.packages import Check
    from stoker.local.privileges import Privileges

    try:
        packages.check_installed()
        layout = choose_layout(home.absolute(), None, None)
        return packages.examine_host(layout, os.environ, Privileges(note))
    except StokerError as error:
        return [Check("host", False, error.message, "")]


def _own_checks(context: typer.Context) -> "Sequence[Check]":
    from stoker import settings
    from stoker.cli.failures import describe
    from stoker.cli.survey import SERVING, survey
    from stoker.local.packages import Check

    target: Target = context.obj
    file = settings.config_file()
    try:
        found = settings.load(endpoint=target.endpoint, api_key=target.api_key, admin_key=target.admin_key)
    except StokerError as error:
        return [Check("configuration", False, error.message, f"correct {file}, or remove it and run `stoker up`")]
    named = [name for name, key in (("API key", found.api_key), ("admin key", found.admin_key)) if key]
    checks = [
        Check(
            "configuration",
            bool(named),
            f"{found.endpoint}, {' and '.join(named) or 'no key'}, {file if file.exists() else 'no file'}",
            "" if named else "`stoker up` writes it; or set STOKER_ENDPOINT and STOKER_API_KEY",
        )
    ]
    if not named:
        return checks
    with connected(context) as client:
        for service in survey(client).services:
            is_ok = service.state == SERVING
            checks.append(
                Check(service.service, is_ok, service.detail or service.state, "" if is_ok else "`stoker up`")
            )
        if found.api_key:
            try:
                next(client.list_functions(), None)
                checks.append(Check("API key", True, "is good", ""))
            except StokerError as error:
                checks.append(Check("API key", False, describe(error).splitlines()[0], "set STOKER_API_KEY anew"))
    return checks


def _print_survey(found: "Survey") -> None:
    print_table(("SERVICE", "STATE", ""), ((each.service, each.state, each.detail) for each in found.services))
    fleet = found.fleet
    if fleet is None:
        return
    if fleet.hosts:
        print()
        print_table(
            ("HOST", "ADDRESS", "MEMORY", "ACCELERATOR", "BECAUSE"),
            (
                (each.id, each.address, f"{each.memory_mib} MiB", each.accelerator, each.accelerator_reason)
                for each in fleet.hosts
            ),
        )
    if fleet.vms:
        print()
        print_table(
            ("VM", "HOST", "TENANT", "STATE", "MEMORY"),
            ((each.id, each.host, each.tenant or "-", each.state, f"{each.memory_mib} MiB") for each in fleet.vms),
        )
    if fleet.containers:
        print()
        print_table(
            ("CONTAINER", "VM", "FUNCTION", "VERSION", "STATE", "MEMORY"),
            (
                (each.id, each.vm, each.function, str(each.version), each.state, f"{each.memory_mib} MiB")
                for each in fleet.containers
            ),
        )


def _print_checks(checks: "Sequence[Check]") -> None:
    print_table(
        ("", "CHECK", "FOUND"),
        (
            (
                "ok" if check.ok else "BAD",
                check.check,
                f"{check.detail}\nfix: {check.fix}" if check.fix else check.detail,
            )
            for check in checks
        ),
    )
