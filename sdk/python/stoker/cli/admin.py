"""`stoker admin`: tenants and their keys, for holders of the admin key."""

import re
from typing import Annotated

import typer

from stoker.cli import tenant_policies
from stoker.cli.commands import connected
from stoker.cli.failures import UsageError
from stoker.cli.output import Output, OutputOption, local_time, note, print_json, print_table

_KEY_ID = re.compile(r"[0-9a-f]{16}")

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    tenant = typer.Typer(help="Who owns functions.", no_args_is_help=True, rich_markup_mode=None)
    tenant.command("create")(create_tenant)
    tenant.command("list")(list_tenants)
    tenant_policies.register(tenant)
    key = typer.Typer(help="What tenants call with.", no_args_is_help=True, rich_markup_mode=None)
    key.command("create")(create_key)
    key.command("revoke")(revoke_key)
    group = typer.Typer(help="Tenants and keys. Needs the admin key.", no_args_is_help=True, rich_markup_mode=None)
    group.add_typer(tenant, name="tenant")
    group.add_typer(key, name="key")
    app.add_typer(group, name="admin")


def create_tenant(context: typer.Context, tenant: TenantArgument, output: OutputOption = Output.TEXT) -> None:
    """Makes a tenant and prints its first API key, which is shown this once."""
    with connected(context) as client:
        made = client.create_tenant(tenant)
    if output is Output.JSON:
        print_json({"tenant": made.tenant.id, "create_time": made.tenant.create_time, "api_key": made.api_key})
    else:
        note(f"made tenant {made.tenant.id}; this is its API key, shown this once:")
        print(made.api_key)


def list_tenants(context: typer.Context, output: OutputOption = Output.TEXT) -> None:
    """Lists all tenants."""
    with connected(context) as client:
        tenants = list(client.list_tenants())
    if output is Output.JSON:
        print_json(tenants)
    elif tenants:
        print_table(("TENANT", "CREATED"), ((each.id, local_time(each.create_time)) for each in tenants))
    else:
        note("there are no tenants yet; `stoker admin tenant create TENANT` makes one")


def create_key(context: typer.Context, tenant: TenantArgument, output: OutputOption = Output.TEXT) -> None:
    """Makes one more API key for a tenant and prints it, this once."""
    with connected(context) as client:
        key = client.create_api_key(tenant)
    if output is Output.JSON:
        print_json({"tenant": tenant, "api_key": key})
    else:
        print(key)


def revoke_key(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY_ID", help="What stands between its first and second `.`.")],
) -> None:
    """Ends an API key at once."""
    # Who pastes the whole key means the same.
    key_id = key.split(".")[1] if key.count(".") == 2 else key
    if not _KEY_ID.fullmatch(key_id):
        raise UsageError("KEY_ID is what stands between the key's first and second `.`, 16 hexadecimal digits")
    with connected(context) as client:
        client.revoke_api_key(key_id)
    print(f"revoked {key_id}")
