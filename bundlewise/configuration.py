"""The configuration of the command line: `bundlewise.toml` and `.env` in the working folder.

An option's value is that of the command line, else of the environment (`BUNDLEWISE_SERVE_PORT`), else of the file,
else the default. In the file, the table `all` holds options for every command that has them, a table with a command's
name its own, and the table `environment` variables:

    [all]
    student = "qwen2.5-0.5b-q4_k_m.gguf"

    [serve]
    port = 8080

    [environment]
    BUNDLEWISE_CACHE = "/data/models"
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bundlewise.errors import DataError, UsageError
from bundlewise.masking import SECRETS

FILE = "bundlewise.toml"
VARIABLE = "BUNDLEWISE_CONFIG"
"""The environment variable that names another file; empty for none."""
DOTENV = ".env"
KEY = "OPENAI_API_KEY"
ADDRESSES = ("OPENAI_BASE_URL", "BUNDLEWISE_EMBEDDER")
"""The variables that decide where the key is sent."""
ALL = "all"
ENVIRONMENT = "environment"
PREFIX = "BUNDLEWISE"
"""The beginning of the variables that set options: `BUNDLEWISE_SERVE_PORT` is `bundlewise serve --port`."""


@dataclass(frozen=True)
class Configuration:
    """What a file and `.env` set: the file's path, its options and tables, and where each variable came from."""

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def defaults(self, name: str, command: click.Command) -> dict[str, Any]:
        """Return the values of a command's options that the file sets, for click; those of its commands are nested.

        Raises:
            DataError: the command's table has no such option or command, or a value of another kind.
        """
        return self._defaults(command, self.values.get(ALL, {}), self.values.get(name, {}), name)

    def _defaults(
        self, command: click.Command, shared: Mapping[str, Any], table: Mapping[str, Any], where: str
    ) -> dict[str, Any]:
        below = command.commands if isinstance(command, click.Group) else {}
        known = options_of(command)
        found: dict[str, Any] = {known[key].name or "": value for key, value in shared.items() if key in known}
        for key, value in table.items():
            if isinstance(value, dict) and key in below:
                continue
            if key not in known:
                near = difflib.get_close_matches(key, [*known, *below]) or sorted([*known, *below])
                what = f"[{where}] has no option {key!r}"
                raise DataError(f"{self.path}: {what}; it has {', '.join(near)[:200]}")
            found[known[key].name or ""] = value
        for name, each in below.items():
            found[name] = self._defaults(each, shared, table.get(name, {}), f"{where}.{name}")
        return {key: value for key, value in found.items() if key}


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return a command's options by their long names without dashes, as the file writes them."""
    options = [each for each in command.params if isinstance(each, click.Option)]
    return {name.removeprefix("--"): each for each in options for name in each.opts if name.startswith("--")}


@contextmanager
def configured() -> Iterator[Configuration]:
    """Read `.env` and the file; their variables are set while the block runs, unless the environment has them.

    Raises:
        UsageError: BUNDLEWISE_CONFIG names no file.
        DataError: a file cannot be read, or holds something else.
    """
    before = dict(os.environ)
    told = dict.fromkeys(_add(_dotenv()), DOTENV)
    path, values = _file()
    told |= {name: str(path) for name in _add(_variables(path, values))}
    _guard_key(told, before)
    try:
        yield Configuration(path, {key: value for key, value in values.items() if key != ENVIRONMENT}, told)
    finally:
        for name in told:
            if name not in before:
                os.environ.pop(name, None)


def _guard_key(told: Mapping[str, str], before: Mapping[str, str]) -> None:
    """Refuse an address from a file of the working folder together with a key from elsewhere.

    Else a folder of somebody else's could make the user send the key to any address.
    """
    address = next((name for name in ADDRESSES if name in told), None)
    if address and KEY in before:
        for name in told:
            os.environ.pop(name, None)
        raise DataError(
            f"{told[address]} sets {address}, and {KEY} is set in the environment: the key would be sent to that "
            f"address; set both in {DOTENV}, or both in the environment"
        )


def _add(variables: Mapping[str, str]) -> list[str]:
    """Set the variables that the environment does not have, and return their names."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(new)
    return list(new)


def _dotenv() -> dict[str, str]:
    path = Path(DOTENV)
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return {name: value for name, value in dotenv_values(path).items() if value}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}; save it as UTF-8, with NAME=value in each line") from error


def _file() -> tuple[Path | None, dict[str, Any]]:
    named = os.environ.get(VARIABLE)
    path = Path(FILE if named is None else named)
    if named == "" or (named is None and not path.is_file()):
        return None, {}
    if not path.is_file():
        raise UsageError(f"{VARIABLE} names {path}, and there is no such file; correct it or leave it out")
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: {error}; write `name = value` lines in TOML") from error
    if loose := next((name for name, value in values.items() if not isinstance(value, dict)), None):
        raise DataError(f"{path}: {loose} is in no table; write it under [{ALL}], or under a command such as [serve]")
    return path, values


def _variables(path: Path | None, values: Mapping[str, Any]) -> dict[str, str]:
    table = values.get(ENVIRONMENT, {})
    if not all(isinstance(value, str | int) for value in table.values()):
        raise DataError(f'{path}: [{ENVIRONMENT}] holds names of variables and their texts, such as NAME = "value"')
    if secret := next((name for name in table if name.endswith(SECRETS)), None):
        raise DataError(f"{path}: {secret} is secret; put it into {DOTENV} or the environment, not into {path}")
    return {name: str(value) for name, value in table.items()}
