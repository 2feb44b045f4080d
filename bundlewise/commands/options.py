"""Options that several commands share."""

from collections.abc import Callable
from typing import Any

import click

from bundlewise.errors import UsageError
from bundlewise.knowledge_base.policy import Policy

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

data_option = click.option("--data", required=True, help="A sessions file, or electronics, clothing, grocery.")
student_option = click.option("--student", default="smollm2-135m", show_default=True, help="Name, hub id or folder.")
knowledge_option = click.option("--kb", help="Knowledge base to retrieve from: a folder or a Chroma server's URL.")

calibrate_option = click.option(
    "--calibrate", metavar="DATA", help="Calibrate an untuned student on the validation split of DATA; remembered."
)


def note(said: str) -> None:
    """Say on stderr what is worth saying: stdout is for data."""
    click.echo(said, err=True)


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the dials of retrieval; what is not given keeps its default."""
    for name, field in reversed(Policy.model_fields.items()):
        kinds: dict[Any, Any] = {int: int, int | None: int, float: float, str: str}
        kind = kinds.get(field.annotation) or click.Choice(["dense", "lexical", "hybrid"])
        what = str(field.description)
        command = click.option(f"--{name.replace('_', '-')}", type=kind, help=f"{what[0].upper()}{what[1:]}.")(command)
    return command


def dials_of(options: dict[str, Any], kb: str | None) -> dict[str, Any]:
    """Take the dials of retrieval that were given out of a command's options.

    Raises:
        UsageError: there are some, and no knowledge base to retrieve from.
    """
    values = {name: options.pop(name) for name in Policy.model_fields}
    given = {name: value for name, value in values.items() if value is not None}
    if given and kb is None:
        raise UsageError(f"--{next(iter(given)).replace('_', '-')} needs a knowledge base: add --kb, or leave it out")
    return given
