"""The option that lays a folder of one's own prompt templates over those that ship, for every command."""

import os
from pathlib import Path
from typing import Any

import click

from bundlewise.errors import UsageError

HELP = "Folder of your own templates, by name over those that ship.  [env: BUNDLEWISE_PROMPTS]"


def use_prompts(context: click.Context, _: click.Parameter, folder: str | None) -> None:
    """Let a folder be in force while the command runs, in processes that it starts too; it is read anew."""
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
    """Add --prompts to a command, or to a function that is going to be one; once."""
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
    """Return the folder to write one's own templates to: the one given, or the one in force.

    Raises:
        UsageError: there is neither; `what` was to be written there.
    """
    from bundlewise.prompts.library import VARIABLE, folder_in_force

    folder = given or folder_in_force()
    if folder is None:
        raise UsageError(f"no folder for {what}; add --to DIR, or set {VARIABLE}")
    return folder
