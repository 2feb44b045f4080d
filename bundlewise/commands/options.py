"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bundlewise.knowledge_base.retrieval import Policy

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

data_option = click.option("--data", required=True, help="A sessions file, or electronics, clothing, grocery.")
student_option = click.option("--student", default="smollm2-135m", show_default=True, help="Name, hub id or folder.")
knowledge_option = click.option("--kb", type=click.Path(path_type=Path), help="Knowledge base to retrieve from.")


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the dials of retrieval; what is not given keeps its default."""
    for name, what in (
        ("hints", "Observed pairs each question's hint word is read from."),
        ("thoughts", "Thoughts in the prompt."),
        ("rules", "Rules in the prompt."),
        ("patterns", "Patterns in the prompt."),
    ):
        command = click.option(f"--{name}", type=int, help=what)(command)
    return click.option("--min-score", type=float, help="Smallest cosine of a record, -1 to 1.")(command)


def policy_of(options: dict[str, Any]) -> "Policy":
    """Take the retrieval dials out of a command's options."""
    from bundlewise.knowledge_base.retrieval import Policy

    names = ("patterns", "rules", "thoughts", "hints", "min_score")
    return Policy.of(**{name: options.pop(name) for name in names})
