"""Options that several commands share."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click

from bundlewise.agents.student.dials import CHOICES, RANGES, AnswerDials
from bundlewise.data import columns
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.policy import Policy

DATA = "Sessions: a file (JSON lines, JSON, CSV or Parquet), - for standard input, or electronics, clothing, grocery."
HELP = "Folder of your own prompt templates; each replaces the built-in one of its name.  [env: BUNDLEWISE_PROMPTS]"


def use_prompts(context: click.Context, _: click.Parameter, folder: str | None) -> None:
    """Use a folder of templates while the command runs, also in processes that it starts; the folder is read again."""
    from bundlewise.prompts import library

    library.forget()
    if folder is not None:
        _set_variable(context, library.VARIABLE, folder)


def _set_variable(context: click.Context, name: str, value: str) -> None:
    """Set an environment variable until the command ends."""
    before = os.environ.get(name)
    os.environ[name] = value

    def restore() -> None:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before

    context.call_on_close(restore)


def prompts_option(command: Any) -> Any:
    """Add --prompts once to a command, or to a function that becomes a command."""
    if isinstance(command, click.Command) and any(option.name == "prompts" for option in command.params):
        return command
    kind = click.Path(file_okay=False)
    # The library reads the variable itself, so click must not.
    settings: dict[str, Any] = {"expose_value": False, "help": HELP, "allow_from_autoenv": False}
    if isinstance(command, click.Command):
        command.params.append(click.Option(["--prompts"], type=kind, callback=use_prompts, **settings))
        return command
    return click.option("--prompts", type=kind, callback=use_prompts, **settings)(command)


def use_columns(context: click.Context, _: click.Parameter, text: str | None) -> None:
    """Read tables with these columns while the command runs, also in processes that it starts."""
    if text is not None:
        columns.parse_columns(text)
        _set_variable(context, columns.VARIABLE, text)


def columns_option(command: Any) -> Any:
    """Add --columns once to a function that becomes a command and reads sessions."""
    if any(option.name == "columns" for option in getattr(command, "__click_params__", ())):
        return command
    return click.option(
        "--columns",
        metavar="NAME=COLUMN,...",
        callback=use_columns,
        expose_value=False,
        allow_from_autoenv=False,
        help=f"Columns of a table of sessions: {columns.FORM}.  [env: {columns.VARIABLE}]",
    )(command)


def reads_data(name: str = "--data", **settings: Any) -> Callable[[Any], Any]:
    """Return a decorator that adds an option for sessions, and --columns, to a command."""
    settings.setdefault("help", DATA)
    return lambda command: columns_option(click.option(name, **settings)(command))


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


EMBEDDERS = (
    "minilm, mpnet (reads more, slower), minilm+mpnet (both read titles), a sentence-transformers model, or "
    "openai:MODEL[@URL]"
)
FILE = click.Path(path_type=Path, dir_okay=False)
"""The type of an option or argument that names a file."""

data_option = reads_data(required=True)
student_option = click.option(
    "--student",
    default="smollm2-135m",
    show_default=True,
    help="Student model: name, hub id, folder or GGUF file; llama:FILE.gguf runs in llama.cpp.",
)
knowledge_option = click.option("--kb", help="Knowledge base to retrieve from: a folder or a Chroma server's URL.")

calibrate_option = reads_data(
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
    kinds: dict[str, click.ParamType[Any]] = {name: click.Choice(choices) for name, choices in CHOICES.items()}
    kinds |= {name: click.IntRange(*ends) for name, ends in RANGES.items()} | {"recall": click.FloatRange(0, 1)}
    for name, field in reversed(AnswerDials.model_fields.items()):
        what = str(field.description)
        command = click.option(f"--{name}", type=kinds[name], help=f"{what[0].upper()}{what[1:]}.")(command)
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
            help="Products: a CSV (also of Shopify or WooCommerce), Parquet or JSON file, or a starter domain.",
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
