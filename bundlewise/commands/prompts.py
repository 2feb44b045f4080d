"""bundlewise prompts: the templates, and what makes two of them differ."""

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(as_json: bool) -> None:
    """List the prompt templates with their fingerprints."""
    from bundlewise.prompts.render import TEMPLATES, fingerprint

    found = {name: fingerprint(name) for name in TEMPLATES}
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        click.echo(f"{value}  {name}")
