"""Numbers on the command line: finite, and no larger than the machine's, for every option of every command."""

import math
from typing import Any

import click

LARGEST = 2**63 - 1
NUMBERS = (click.types.FloatParamType, click.types.IntParamType)


def check_numbers(command: click.Command) -> None:
    """Let a command, and those below it, refuse numbers that no computation takes, by the name of the option."""
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
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and (reason := _fault(number)):
                raise click.BadParameter(f"{reason}, got {number}", context, parameter)
        return then(context, parameter, value) if then else value

    checked.checks_numbers = True  # type: ignore[attr-defined]
    parameter.callback = checked


def _fault(number: float) -> str:
    if isinstance(number, int):
        return "" if abs(number) <= LARGEST else f"must lie between -{LARGEST} and {LARGEST}"
    return "" if math.isfinite(number) else "must be a finite number"
