"""An experiment's file: a grid over typed settings in YAML, checked in full before anything runs."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from bundlewise.domain import Record
from bundlewise.errors import DataError, UsageError
from bundlewise.experiment.references import BASELINES, EVIDENCE
from bundlewise.inputs import is_input, text_of
from bundlewise.models.endpoints import Endpoint, model_of
from bundlewise.pipeline.distil import Payment
from bundlewise.strictly import read_yaml

SHIPPED = ("demo", "format", "quantity", "utilisation", "retention")
"""The built-in experiments, each named by its question."""
PLAIN = "plain student"
"""The row that others are compared with: a student without knowledge and without tuning."""
ANSWERING = ("temperature", "effort", "max_output", "repairs")
"""The settings of payment that change a large teacher's answers; caps and pace do not."""


class TeacherRow(Record):
    """A large teacher to compare with: its predictions come from a file or from an endpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    predictions: str | None = Field(default=None, description="file of predictions for the scored sessions")
    endpoint: str | None = Field(default=None, description="openai:MODEL[@URL], asked once and kept")
    price: str | None = Field(default=None, description="model whose list price counts; the endpoint's by default")
    retention: bool = Field(default=False, description="whether retention and cost reduction are against this row")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.predictions is None) == (self.endpoint is None):
            raise ValueError(f"teacher {self.name!r} needs either predictions or an endpoint")
        try:
            if self.endpoint is not None:
                Endpoint.named(self.endpoint)
            model_of(self.price or "")
        except UsageError as error:
            raise ValueError(f"teacher {self.name!r}: {error}") from error
        return self


class Machine(Record):
    """The cost of the student's machine; None where it is unknown."""

    name: str = "this machine"
    dollars_per_hour: float | None = Field(default=None, ge=0)


class Experiment(Record):
    """A question, the data it is asked on, and a grid of cells.

    `data` maps a domain to a file or to the name of a starter domain; the sessions of the first domain are scored.
    `settings` hold for all cells; each grid has a cell for every combination of the values in its lists.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    question: str = Field(min_length=1)
    data: Mapping[str, str] = Field(min_length=1, description="sessions of each domain")
    packs: Mapping[str, str] = Field(default_factory=dict, description="recorded knowledge of each domain")
    split: Literal["validation", "test"] = "validation"
    limit: int | None = Field(default=None, ge=2, description="scored sessions, chosen by chance; null is all")
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    settings: Mapping[str, Any] = Field(default_factory=dict)
    grid: tuple[Mapping[str, Any], ...] = Field(min_length=1)
    teachers: tuple[TeacherRow, ...] = ()
    machine: Machine = Machine()
    payment: Mapping[str, Any] = Field(default_factory=dict, description="caps and pace of a paid teacher")

    @field_validator("payment")
    @classmethod
    def _payable(cls, payment: Mapping[str, Any]) -> Mapping[str, Any]:
        known = [name for name in Payment.__dataclass_fields__ if name != "ledger"]
        if unknown := [name for name in payment if name not in known]:
            raise ValueError(f"unknown setting {unknown[0]!r}; choose from {', '.join(known)}")
        TypeAdapter(Payment).validate_python(payment)
        return payment

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if stray := [name for name in self.packs if name not in self.data]:
            raise ValueError(f"packs name domain {stray[0]!r}, which is not in data ({', '.join(self.data)})")
        if twice := [seed for seed in self.seeds if self.seeds.count(seed) > 1]:
            raise ValueError(f"seed {twice[0]} stands twice in seeds; name each once")
        names = [teacher.name for teacher in self.teachers]
        if again := [name for name in names if names.count(name) > 1 or name in (PLAIN, *BASELINES, EVIDENCE)]:
            raise ValueError(f"two rows would be called {again[0]!r}; give each teacher a name of its own")
        if sum(teacher.retention for teacher in self.teachers) > 1:
            raise ValueError("retention is against one teacher; set it for one of them")
        return self

    @property
    def asking(self) -> dict[str, Any]:
        """The settings for asking large teachers that change their answers."""
        payment = Payment(**self.payment)
        return {name: getattr(payment, name) for name in ANSWERING}

    @property
    def target(self) -> str:
        """The domain whose sessions are scored."""
        return next(iter(self.data))


def explain(error: ValidationError, kind: type[Record]) -> str:
    """Return the first fault: the setting, what is wrong, and the settings there are."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = f"; choose from {', '.join(kind.model_fields)}" if len(first["loc"]) == 1 else ""
        return f"unknown setting {where!r}{known}"
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] in ("value_error", "missing") else f", got {first['input']!r}"
    return f"{where}: {message}{shown}" if where else message


def find(name_or_path: str) -> Path:
    """Return an experiment's file: a built-in one by its name, or the user's own.

    Raises:
        UsageError: there is no such experiment.
    """
    if name_or_path in SHIPPED:
        return Path(str(files("bundlewise.experiment").joinpath(f"{name_or_path}.yaml")))
    path = Path(name_or_path)
    if not is_input(path):
        raise UsageError(f"no experiment {name_or_path!r}; give a YAML file, or one of {', '.join(SHIPPED)}")
    return path


def read(path: Path, changes: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment, with changes to its topmost fields.

    Raises:
        DataError: the file is not YAML, or does not contain settings.
        UsageError: a setting is unknown or has an impossible value.
    """
    content = read_yaml(text_of(path), str(path), "write `name: value` lines in YAML")
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {type(content).__name__} instead of settings; write `name: value` lines")
    try:
        return Experiment.model_validate({**content, **(changes or {})})
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error, Experiment)}") from error


def written(experiment: Experiment) -> str:
    """Return an experiment as the text of its file."""
    settled = experiment.model_dump(mode="json", exclude_defaults=True)
    content: str = yaml.safe_dump(settled, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    return content
