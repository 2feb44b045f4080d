"""An experiment's file: a grid over typed settings in YAML, checked in full before anything runs."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import ConfigDict, Field, ValidationError, model_validator

from bundlewise.dataset import STARTERS
from bundlewise.domain import Record, Split
from bundlewise.errors import DataError, UsageError
from bundlewise.experiment.cells import FORMATS, Cell

SHIPPED = ("format", "quantity", "utilisation", "retention")
"""Experiments that ship, by the question they ask."""
GRID_LIMIT = 2_000
PLAIN = "plain student"
"""The row that others are compared with: no knowledge, no tuning."""


class TeacherRow(Record):
    """A large teacher to compare with: predictions from a file, or asked at an endpoint."""

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
        return self


class Machine(Record):
    """What the student's machine costs; unknown is unknown."""

    name: str = "this machine"
    dollars_per_hour: float | None = Field(default=None, ge=0)


class Experiment(Record):
    """A question, the data it is asked on, and a grid of cells.

    `data` and `packs` map a domain to a file (or a starter domain's name to itself); the first domain is
    the one whose sessions are scored. `settings` hold for all cells; each grid multiplies its lists out.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    question: str = Field(min_length=1)
    data: Mapping[str, str] = Field(min_length=1)
    packs: Mapping[str, str] = Field(default_factory=dict)
    split: Split = "validation"
    limit: int | None = Field(default=None, ge=2, description="scored sessions, chosen by chance; null is all")
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    settings: Mapping[str, Any] = Field(default_factory=dict)
    grid: tuple[Mapping[str, Any], ...] = Field(min_length=1)
    teachers: tuple[TeacherRow, ...] = ()
    machine: Machine = Machine()
    payment: Mapping[str, Any] = Field(default_factory=dict, description="caps and pace of a paid teacher")

    @property
    def target(self) -> str:
        """The domain whose sessions are scored."""
        return next(iter(self.data))

    def cells(self) -> list["Planned"]:
        """Return every cell once, the plain student first; seeds of one cell stand together.

        Raises:
            UsageError: a setting is unknown or impossible; the message names it and its place.
        """
        found: dict[str, Planned] = {}
        taken: dict[str, str] = {}
        for where, values, varied in self._settings():
            for seed in self.seeds:
                cell, label = self._cell(where, {**values, "seed": seed}, varied)
                name = _unused(PLAIN if cell.utilisation == "plain" else label, cell, taken)
                found.setdefault(cell.key, Planned(label=name, cell=cell))
        return _grouped(found.values())

    def _settings(self) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """Yield where each combination stands, its settings, and the names of those that its row is told by."""
        yield "plain", {"utilisation": "plain", "student": self.settings.get("student", Cell().student)}, []
        everywhere = [name for name in ("formats", "utilisation") if any(name in grid for grid in self.grid)]
        for number, grid in enumerate(self.grid, 1):
            lists = {name: value if isinstance(value, list) else [value] for name, value in grid.items()}
            if not lists or any(not values for values in lists.values()):
                raise UsageError(f"grid {number} of {self.name} is empty; give each setting at least one value")
            if (count := prod(map(len, lists.values()))) > GRID_LIMIT:
                raise UsageError(f"grid {number} of {self.name} has {count:,} cells; {GRID_LIMIT:,} are the most")
            for combination in product(*lists.values()):
                told = list(dict.fromkeys([*everywhere, *lists]))
                yield f"grid {number}", {**self.settings, **dict(zip(lists, combination, strict=True))}, told

    def _cell(self, where: str, values: Mapping[str, Any], told: Sequence[str]) -> tuple[Cell, str]:
        try:
            cell = Cell.model_validate({**values, "domains": self._domains(values.get("domains"))})
        except ValidationError as error:
            raise UsageError(f"{where} of {self.name}: {explain(error, Cell)}") from error
        if cell.teacher == "recorded" and cell.knows:
            for domain in cell.domains or (self.target,):
                if domain not in self.packs and domain not in STARTERS:
                    raise UsageError(f"{where} of {self.name}: no pack of domain {domain!r}; add it to packs")
        canonical = cell.canonical()
        return canonical, _label(cell, canonical, told, self.target)

    def _domains(self, given: Any) -> tuple[str, ...]:
        """Return domains by name; a number takes so many from the first."""
        if isinstance(given, int) and not isinstance(given, bool):
            if not 1 <= given <= len(self.data):
                raise UsageError(f"domains must be 1 to {len(self.data)} here, got {given}; add more to data")
            given = list(self.data)[:given]
        names = tuple(given.split("+") if isinstance(given, str) else given or ())
        if unknown := [name for name in names if name not in self.data]:
            raise UsageError(f"domain {unknown[0]!r} is not in data ({', '.join(self.data)})")
        return () if names == (self.target,) else names


class Planned(Record):
    """A cell with the label of its row; cells of one label differ in their seed only."""

    label: str
    cell: Cell


def _grouped(planned: Any) -> list[Planned]:
    groups: dict[str, list[Planned]] = {}
    for one in planned:
        groups.setdefault(one.label, []).append(one)
    return [one for group in groups.values() for one in group]


def _unused(label: str, cell: Cell, taken: dict[str, str]) -> str:
    """Return the label for a cell and its other seeds; another cell of that label gets a number behind it."""
    identity = cell.model_copy(update={"seed": 0}).key
    name, number = label, 2
    while taken.setdefault(name, identity) != identity:
        name, number = f"{label} ({number})", number + 1
    return name


def _label(given: Cell, cell: Cell, told: Sequence[str], target: str) -> str:
    """Return the name of a row: the dials it is told by, less those that change nothing in it."""
    parts = []
    for name in told:
        value = getattr(cell, name)
        if name == "formats":
            parts.append({FORMATS: "all", (): "none"}.get(value, "+".join(value)))
        elif name == "utilisation":
            parts.append(value)
        elif value == getattr(given, name):
            shown = "+".join(value or (target,)) if name == "domains" else f"{name} {value}"
            parts.append(value if name == "sampler" else shown)
    return ", ".join(parts)


def explain(error: ValidationError, kind: type[Record]) -> str:
    """Return the first complaint: which setting, what is wrong, and what there is."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown setting {where!r}; choose from {', '.join(kind.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] in ("value_error", "missing") else f", got {first['input']!r}"
    return f"{where}: {message}{shown}" if where else message


def find(name_or_path: str) -> Path:
    """Return an experiment's file: a shipped one by its name, or the user's own.

    Raises:
        UsageError: there is none.
    """
    if name_or_path in SHIPPED:
        return Path(str(files("bundlewise.experiment").joinpath(f"{name_or_path}.yaml")))
    path = Path(name_or_path)
    if not path.is_file():
        raise UsageError(f"no experiment {name_or_path!r}; give a YAML file, or one of {', '.join(SHIPPED)}")
    return path


def read(path: Path, changes: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment, with changes to its topmost fields.

    Raises:
        DataError: the file is no YAML, or holds something else than an experiment.
        UsageError: a setting is unknown or has a value it cannot have.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {type(content).__name__} instead of settings; write `name: value` lines")
    try:
        return Experiment.model_validate({**content, **(changes or {})})
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error, Experiment)}") from error
