"""`stoker admin tenant show`, `quota` and `require-signed`: what tenants may."""

from typing import Annotated

import typer

from stoker.cli.commands import connected
from stoker.cli.failures import UsageError
from stoker.cli.output import Output, OutputOption, print_json, print_table
from stoker.tenant_policies import TenantPolicy

MIB = 1024 * 1024
TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")]
_OR_DEFAULT = "; 0 for the operator's default."


def register(tenant: typer.Typer) -> None:
    """Adds the commands to those about tenants."""
    tenant.command("show")(show)
    tenant.command("quota")(set_quota)
    tenant.command("require-signed")(require_signed)


def show(context: typer.Context, tenant: TenantArgument, output: OutputOption = Output.TEXT) -> None:
    """Shows what a tenant may, and what it has stored."""
    with connected(context) as client:
        policy = client.get_tenant_policy(tenant)
    _print(policy, output)


def set_quota(
    context: typer.Context,
    tenant: TenantArgument,
    max_artifact_mib: Annotated[
        int | None, typer.Option(min=0, max=256, help=f"The largest artifact{_OR_DEFAULT}")
    ] = None,
    max_artifacts: Annotated[int | None, typer.Option(min=0, help=f"How many artifacts{_OR_DEFAULT}")] = None,
    max_total_mib: Annotated[
        int | None, typer.Option(min=0, help=f"All artifacts together, packed{_OR_DEFAULT}")
    ] = None,
    max_functions: Annotated[int | None, typer.Option(min=0, help=f"How many functions{_OR_DEFAULT}")] = None,
    max_versions: Annotated[
        int | None, typer.Option(min=0, help=f"How many versions of all functions{_OR_DEFAULT}")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Sets how much a tenant may store. What is stored already stays."""
    given = {
        "max_artifact_bytes": None if max_artifact_mib is None else max_artifact_mib * MIB,
        "max_artifacts": max_artifacts,
        "max_total_bytes": None if max_total_mib is None else max_total_mib * MIB,
        "max_functions": max_functions,
        "max_versions": max_versions,
    }
    quota = {name: value for name, value in given.items() if value is not None}
    if not quota:
        raise UsageError("say at least one quota, such as `--max-artifacts 100`")
    with connected(context) as client:
        client.set_quota(tenant, **quota)
        policy = client.get_tenant_policy(tenant)
    _print(policy, output)


def require_signed(
    context: typer.Context,
    tenant: TenantArgument,
    off: Annotated[bool, typer.Option("--off", help="Lets unsigned code run again.")] = False,
) -> None:
    """Lets only code run that one of the tenant's signing keys has signed."""
    with connected(context) as client:
        client.require_signed(tenant, is_required=not off)
    print(f"code of {tenant} {'may be unsigned' if off else 'must be signed'}")


def _print(policy: TenantPolicy, output: Output) -> None:
    if output is Output.JSON:
        print_json(policy)
        return
    quota, usage, own = policy.effective_quota, policy.usage, policy.quota
    print(f"{policy.tenant}: code {'must be signed' if policy.require_signed else 'may be unsigned'}")
    print_table(
        ("QUOTA", "STORED", "ALLOWED", ""),
        (
            ("largest artifact", "", _mib(quota.max_artifact_bytes), _whose(own.max_artifact_bytes)),
            ("artifacts", str(usage.artifacts), str(quota.max_artifacts), _whose(own.max_artifacts)),
            ("all artifacts", _mib(usage.total_bytes), _mib(quota.max_total_bytes), _whose(own.max_total_bytes)),
            ("functions", str(usage.functions), str(quota.max_functions), _whose(own.max_functions)),
            ("versions", str(usage.versions), str(quota.max_versions), _whose(own.max_versions)),
        ),
    )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f} MiB"


def _whose(own: int) -> str:
    return "set for this tenant" if own else "default"
