"""The prices of models' tokens, from an editable table; a model that is not in it has an unknown price."""

import os
import tomllib
from importlib.resources import files
from pathlib import Path

from pydantic import ConfigDict, Field, ValidationError

from bundlewise.domain import Record
from bundlewise.errors import DataError, UsageError
from bundlewise.inputs import is_input, local

MILLION = 1e6


class Price(Record):
    """US dollars for a million input tokens and a million output tokens."""

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """Return the cost of tokens in US dollars."""
        return (tokens_in * self.input + tokens_out * self.output) / MILLION


class _Table(Record):
    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, Price]


def price_of(model: str, table: Path | None = None) -> Price | None:
    """Return the price of a model from a file, the file in BUNDLEWISE_PRICES, or our table; None if it is unknown.

    Raises:
        UsageError: there is no such file.
        DataError: the file is not a table of prices.
    """
    given = table or (Path(name) if (name := os.environ.get("BUNDLEWISE_PRICES")) else None)
    source = given or Path(str(files("bundlewise.models").joinpath("prices.toml")))
    if not is_input(source):
        raise UsageError(f"no file {source}; check --prices and BUNDLEWISE_PRICES")
    try:
        return _Table.model_validate(tomllib.loads(local(source).read_text("utf-8-sig"))).models.get(model)
    except ValueError as error:
        fault = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = f"{' '.join(map(str, fault['loc']))}: {fault['msg']}" if fault else str(error)
        remedy = 'write lines like "name" = { input = 2.0, output = 8.0 } under [models]'
        raise DataError(f"{source} is not a table of prices ({reason}); {remedy}") from error


def in_dollars(cost: float | None) -> str:
    """Return a cost as text; None is `unknown`."""
    return "unknown" if cost is None else f"${cost:.4f}" if cost < 1 else f"${cost:,.2f}"
