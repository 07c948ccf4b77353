"""`stoker keygen` and `stoker signing-key`: who vouches for code."""

from pathlib import Path
from typing import Annotated

import typer

from stoker import signing
from stoker.cli.commands import connected
from stoker.cli.output import Output, OutputOption, local_time, note, print_json, print_table

KeyArgument = Annotated[str, typer.Argument(metavar="NAME", help="What the tenant calls the key.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("keygen")(keygen)
    group = typer.Typer(
        help="Public keys of those who may sign the tenant's code.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("add")(add)
    group.command("list")(list_keys)
    group.command("delete")(delete)
    app.add_typer(group, name="signing-key")


def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file for the private key.")],
) -> None:
    """Makes a key to sign code with: the private one in FILE, the public one in FILE.pub."""
    public, key_id = signing.generate(file)
    print(key_id)
    note(
        f"{file} signs (keep it secret), {public} is what others check with; next: stoker signing-key add NAME {public}"
    )


def add(
    context: typer.Context,
    name: KeyArgument,
    file: Annotated[Path, typer.Argument(metavar="KEYFILE", help="The public key, as `stoker keygen` writes it.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Adds a public key, whose owner may then sign the tenant's code."""
    public_key = signing.load_public(file)
    with connected(context) as client:
        key = client.add_signing_key(name, public_key)
    if output is Output.JSON:
        print_json(_told(key))
    else:
        print(f"added {key.name} ({key.key_id})")


def list_keys(context: typer.Context, output: OutputOption = Output.TEXT) -> None:
    """Lists the keys."""
    with connected(context) as client:
        keys = client.list_signing_keys()
    if output is Output.JSON:
        print_json([_told(key) for key in keys])
    elif keys:
        print_table(("NAME", "KEY ID", "ADDED"), ((key.name, key.key_id, local_time(key.create_time)) for key in keys))
    else:
        note("there are no signing keys yet; `stoker keygen FILE` makes one, `stoker signing-key add` adds it")


def delete(context: typer.Context, name: KeyArgument) -> None:
    """Ends a key: what it has signed counts as unsigned from now on."""
    with connected(context) as client:
        client.delete_signing_key(name)
    print(f"deleted {name}")


def _told(key: signing.SigningKey) -> dict[str, object]:
    return {
        "name": key.name,
        "key_id": key.key_id,
        "public_key": key.public_key.hex(),
        "create_time": key.create_time,
    }
