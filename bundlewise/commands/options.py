"""Options that several commands share."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click

from bundlewise.agents.student.dials import FORMS, RANGES, REASONINGS, AnswerDials
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.policy import Policy

HELP = "Folder of your own prompt templates; each replaces the built-in one of its name.  [env: BUNDLEWISE_PROMPTS]"


def use_prompts(context: click.Context, _: click.Parameter, folder: str | None) -> None:
    """Use a folder of templates while the command runs, also in processes that it starts; the folder is read again."""
    from bundlewise.prompts import library

    library.forget()
    if folder is None:
        return
    before = os.environ.get(library.VARIABLE)
    os.environ[library.VARIABLE] = folder

    def restore() -> None:
        os.environ.pop(library.VARIABLE, None)
        if before is not None:
            os.environ[library.VARIABLE] = before

    context.call_on_close(restore)


def prompts_option(command: Any) -> Any:
    """Add --prompts once to a command, or to a function that becomes a command."""
    if isinstance(command, click.Command) and any(option.name == "prompts" for option in command.params):
        return command
    kind = click.Path(file_okay=False)
    if isinstance(command, click.Command):
        command.params.append(
            click.Option(["--prompts"], type=kind, callback=use_prompts, expose_value=False, help=HELP)
        )
        return command
    return click.option("--prompts", type=kind, callback=use_prompts, expose_value=False, help=HELP)(command)


def own_folder(given: Path | None, what: str) -> Path:
    """Return the folder for the user's own templates: the one given, or the one in force.

    Raises:
        UsageError: there is no folder to write `what` to.
    """
    from bundlewise.prompts.library import VARIABLE, folder_in_force

    folder = given or folder_in_force()
    if folder is None:
        raise UsageError(f"no folder for {what}; add --to DIR, or set {VARIABLE}")
    return folder


class Sections(click.Group):
    """A group that lists its commands in sections, in the order of the work."""

    def __init__(self, *, sections: Mapping[str, Sequence[click.Command]], **settings: Any) -> None:
        """Add the commands of all sections."""
        super().__init__(commands=[each for commands in sections.values() for each in commands], **settings)
        self.sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the work."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the sections."""
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(str(each.name), each.get_short_help_str(100)) for each in commands])


EMBEDDERS = "minilm, mpnet (reads more, slower), a sentence-transformers model, or openai:MODEL[@URL]"
FILE = click.Path(path_type=Path, dir_okay=False)
"""The type of an option or argument that names a file."""

data_option = click.option("--data", required=True, help="A sessions file, or electronics, clothing, grocery.")
student_option = click.option(
    "--student",
    default="smollm2-135m",
    show_default=True,
    help="Student model: name, hub id, folder or GGUF file; llama:FILE.gguf runs in llama.cpp.",
)
knowledge_option = click.option("--kb", help="Knowledge base to retrieve from: a folder or a Chroma server's URL.")

calibrate_option = click.option(
    "--calibrate",
    metavar="DATA",
    help="Calibrate an untuned student on the validation split of DATA, and cache the result.",
)


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the dials of retrieval; a dial that is not given keeps its default."""
    for name, field in reversed(Policy.model_fields.items()):
        kinds: dict[Any, Any] = {int: int, int | None: int, float: float, str: str}
        kind = kinds.get(field.annotation) or click.Choice(get_args(field.annotation))
        what = str(field.description)
        command = click.option(f"--{name.replace('_', '-')}", type=kind, help=f"{what[0].upper()}{what[1:]}.")(command)
    return command


def answer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the dials of answering; a dial that is not given is the student's own."""
    choices = {"form": FORMS, "reasoning": REASONINGS}
    for name, field in reversed(AnswerDials.model_fields.items()):
        kind: Any = click.Choice(choices[name]) if name in choices else click.IntRange(*RANGES[name])
        what = str(field.description)
        command = click.option(f"--{name}", type=kind, help=f"{what[0].upper()}{what[1:]}.")(command)
    return command


def shop_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a shop: its catalogue, its phrases, and its currency."""
    file = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option("--currency", default="", help="Currency behind prices, such as EUR; else the catalogue's own."),
        click.option("--phrases", type=file, help="YAML file of what shoppers say, in place of the packaged one."),
        click.option(
            "--catalogue",
            default="electronics",
            show_default=True,
            help="Products: a CSV, Parquet or JSON lines file, or a starter domain.",
        ),
    ):
        command = option(command)
    return command


def answers_of(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the dials of answering from a command's options, and return them; one that was not given is None."""
    return {name: options.pop(name) for name in AnswerDials.model_fields}


def dials_of(options: dict[str, Any], kb: str | None) -> dict[str, Any]:
    """Remove the dials of retrieval from a command's options, and return those that were given.

    Raises:
        UsageError: a dial is given without a knowledge base.
    """
    values = {name: options.pop(name) for name in Policy.model_fields}
    given = {name: value for name, value in values.items() if value is not None}
    if given and kb is None:
        raise UsageError(f"--{next(iter(given)).replace('_', '-')} needs a knowledge base: add --kb, or leave it out")
    return given
