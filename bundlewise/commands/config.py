"""`bundlewise config`: show every setting in force, and where it came from."""

import difflib
import json
import os
from collections.abc import Iterator
from typing import Any

import click
from click.core import ParameterSource

from bundlewise.configuration import ALL, FILE, PREFIX, Configuration, options_of
from bundlewise.errors import DataError, UsageError
from bundlewise.masking import SECRETS, without_key
from bundlewise.terminal import one_line

VARIABLES = ("OPENAI_", f"{PREFIX}_")
"""The beginnings of the variables that are shown."""
HIDDEN = (*SECRETS, "HEADERS", "PASSWORD")
"""Parts of the names of variables whose values are secret."""
Setting = dict[str, Any]


@click.group()
def command() -> None:
    """Show the configuration.

    An option's value is that of the command line, else of the environment (BUNDLEWISE_SERVE_PORT), else of
    bundlewise.toml in the working folder (or the file in BUNDLEWISE_CONFIG), else the default. Variables of the
    environment are also read from .env.
    """


@command.command()
@click.argument("names", nargs=-1, metavar="[COMMAND]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Show each setting with its value and where it came from.

    For a COMMAND (as `serve` or `kb list`), all its options; without one, all that differs from the defaults.
    """
    root = context.find_root()
    configuration: Configuration = root.obj
    if names:
        found = list(_settings(_below(root, names), configuration))
    else:
        _check(root, configuration)
        every = _all(root, configuration)
        found = [*_variables(configuration), *(each for each in every if each["from"] != "default")]
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, default=str, indent=2))
        return
    if not found:
        click.echo(f"all settings are the defaults; there is no {FILE}, and no variable is set", err=True)
    for each in found:
        click.echo(one_line(f"{each['name']} = {_shown(each['value'])}  ({each['from']})"))


def _below(root: click.Context, names: tuple[str, ...]) -> click.Context:
    """Return the context of a command."""
    found = root
    for name in names:
        command = found.command.get_command(found, name) if isinstance(found.command, click.Group) else None
        if command is None:
            known = ", ".join(found.command.list_commands(found)) if isinstance(found.command, click.Group) else "none"
            raise UsageError(f"no command {' '.join(names)!r}; choose from {known}")
        found = click.Context(command, info_name=name, parent=found)
    return found


def _all(context: click.Context, configuration: Configuration) -> Iterator[Setting]:
    """Yield the settings of a command and of all commands below it."""
    if context.parent is not None:
        yield from _settings(context, configuration)
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            yield from _all(_below(context, (name,)), configuration)


def _settings(context: click.Context, configuration: Configuration) -> Iterator[Setting]:
    name = context.command_path.partition(" ")[2]
    for option in context.command.params:
        if not isinstance(option, click.Option) or option.name == "help":
            continue
        value, source = option.consume_value(context, {})
        given = value if isinstance(value, bool | int | float | str | list | tuple) else None
        yield {
            "name": f"{name} {option.opts[0]}",
            "value": given,
            "from": _told(option, context, source, configuration),
        }


def _told(option: click.Option, context: click.Context, source: ParameterSource, configuration: Configuration) -> str:
    if source is ParameterSource.DEFAULT_MAP:
        return str(configuration.path)
    if source is ParameterSource.ENVIRONMENT:
        variable = f"{context.auto_envvar_prefix}_{(option.name or '').upper()}"
        return f"{configuration.origins.get(variable, 'environment')}, {variable}"
    return "default"


def _variables(configuration: Configuration) -> Iterator[Setting]:
    for name, value in sorted(os.environ.items()):
        if name.startswith(VARIABLES):
            shown = "(set, not shown)" if any(part in name for part in HIDDEN) else without_key(value)
            yield {"name": name, "value": shown, "from": configuration.origins.get(name, "environment")}


def _check(root: click.Context, configuration: Configuration) -> None:
    """Check that the file's tables are commands, and that the names in `all` are options of some command.

    Raises:
        DataError: one of them is not.
    """
    commands = root.command.list_commands(root) if isinstance(root.command, click.Group) else []
    options = {each for name in commands for each in _option_names(_below(root, (name,)).command)}
    for name in configuration.values:
        if name not in (*commands, ALL):
            raise DataError(f"{configuration.path}: no command {name!r} for the table [{name}]; see bundlewise --help")
    for name in configuration.values.get(ALL, {}):
        if name not in options:
            near = difflib.get_close_matches(name, options) or ["see bundlewise COMMAND --help"]
            raise DataError(f"{configuration.path}: no command has the option {name!r}; {', '.join(near)}")


def _option_names(command: click.Command) -> Iterator[str]:
    yield from options_of(command)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        yield from _option_names(below)


def _shown(value: Any) -> str:
    return "-" if value in (None, "") else ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
