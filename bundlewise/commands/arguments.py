"""Checks of the command line: numbers must be finite, and texts may begin with a dash."""

import math
from collections.abc import Collection
from typing import Any

import click

LARGEST = 2**63 - 1
NUMBERS = (click.types.FloatParamType, click.types.IntParamType)


def check_numbers(command: click.Command) -> None:
    """Make a command and its subcommands refuse infinite or too large numbers; the error names the option."""
    for parameter in command.params:
        if isinstance(parameter.type, NUMBERS):
            _check(parameter)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            check_numbers(below)


def _check(parameter: click.Parameter) -> None:
    then = parameter.callback
    if getattr(then, "checks_numbers", False):
        return

    def checked(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        # The option's own check runs first, since its message names the allowed range.
        value = then(context, parameter, value) if then else value
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and (reason := _fault(number)):
                raise click.BadParameter(f"{reason}, got {number}", context, parameter)
        return value

    checked.checks_numbers = True  # type: ignore[attr-defined]
    parameter.callback = checked


def _fault(number: float) -> str:
    if isinstance(number, int):
        return "" if abs(number) <= LARGEST else f"must lie between -{LARGEST} and {LARGEST}"
    return "" if math.isfinite(number) else "must be a finite number"


class TakesTexts(click.Command):
    """A command with free texts as arguments: a word that begins with - is a text if it cannot be an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move the texts that begin with - behind --, after which click reads no options."""
        return super().parse_args(ctx, self._parted(ctx, args))

    def _parted(self, ctx: click.Context, args: list[str]) -> list[str]:
        takes_value = {
            name: not (isinstance(option, click.Option) and (option.is_flag or option.count))
            for option in self.get_params(ctx)
            for name in (*option.opts, *option.secondary_opts)
            if name.startswith("-")
        }
        options: list[str] = []
        texts: list[str] = []
        left = iter(args)
        for word in left:
            if word == "--":
                texts += left
            elif word in takes_value:
                options += [word, *([value] if takes_value[word] and (value := next(left, None)) is not None else [])]
            elif word.startswith("-") and word != "-" and not _is_text(word, takes_value):
                options.append(word)
            else:
                texts.append(word)
        return [*options, "--", *texts]


def _is_text(word: str, names: Collection[str]) -> bool:
    """Say whether a word that begins with - is a text: it has a space, or its first character is not a letter."""
    if word.partition("=")[0] in names:
        return False
    first = word.lstrip("-")[:1]
    return not (first.isascii() and first.isalpha()) or any(letter.isspace() for letter in word)
