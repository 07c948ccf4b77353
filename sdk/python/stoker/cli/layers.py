"""`stoker layer`: files that several functions share."""

from pathlib import Path
from typing import Annotated

import typer

from stoker.cli.commands import connected
from stoker.cli.output import Output, OutputOption, local_time, note, print_json, print_table, size
from stoker.models import LayerVersion
from stoker.names import check_name, split_layer

LayerArgument = Annotated[str, typer.Argument(metavar="NAME", help="The layer.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        help="Shares files among functions, which find them in /opt.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("publish")(publish)
    group.command("list")(list_layers)
    group.command("versions")(list_versions)
    group.command("delete")(delete)
    app.add_typer(group, name="layer")


def publish(
    context: typer.Context,
    name: LayerArgument,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A directory, a zip, a tar.gz or a saved image.")],
    description: Annotated[str, typer.Option(help="What this version is.")] = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Publishes the next version of a layer, which is made if there is none.

    Modules belong in `python/` or `nodejs/node_modules/`, and commands in `bin/`.
    """
    check_name(name, "name")
    with connected(context) as client:
        published = client.publish_layer(name, path, description=description)
    if output is Output.JSON:
        print_json(published)
        return
    print(f"{name}: version {published.number} ({size(published.size_bytes)})")
    note(f"next: stoker deploy FUNCTION PATH --layer {name}:{published.number}")


def list_layers(context: typer.Context, output: OutputOption = Output.TEXT) -> None:
    """Lists the layers, each by its newest version."""
    with connected(context) as client:
        layers = list(client.list_layers())
    if output is Output.JSON:
        print_json(layers)
    elif layers:
        print_table(("NAME", *_COLUMNS), ((each.layer, *_cells(each)) for each in layers))
    else:
        note("there are no layers yet; `stoker layer publish NAME PATH` makes one")


def list_versions(context: typer.Context, name: LayerArgument, output: OutputOption = Output.TEXT) -> None:
    """Lists a layer's versions, newest first."""
    with connected(context) as client:
        versions = list(client.list_layer_versions(name))
    if output is Output.JSON:
        print_json(versions)
    elif versions:
        print_table(_COLUMNS, map(_cells, versions))
    else:
        note(f"there is no layer {name}; `stoker layer publish {name} PATH` makes it")


def delete(
    context: typer.Context,
    layer: Annotated[str, typer.Argument(metavar="NAME:VERSION", help="The version of a layer.")],
) -> None:
    """Deletes a version of a layer that no version of a function has."""
    name, number = split_layer(layer, "layer")
    with connected(context) as client:
        client.delete_layer_version(name, number)
    print(f"deleted {name}:{number}")


_COLUMNS = ("VERSION", "SIZE", "CREATED", "DESCRIPTION")


def _cells(version: LayerVersion) -> tuple[str, ...]:
    return (str(version.number), size(version.size_bytes), local_time(version.create_time), version.description)
