"""The cells of an experiment's grids: each cell once, with the label of its row."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from pydantic import ValidationError

from bundlewise.agents.student.dials import Form
from bundlewise.data.sessions import STARTERS
from bundlewise.domain import Record
from bundlewise.errors import BundlewiseError, UsageError
from bundlewise.experiment.cells import FORMATS, Cell
from bundlewise.experiment.file import PLAIN, Experiment, explain
from bundlewise.finetune.students import own_form

GRID_LIMIT = 2_000
"""Most cells of a grid; a larger grid is taken for a mistake."""
BASE = ("student", "form", "answering")
"""The settings that a plain student has."""


class PlannedCell(Record):
    """A cell with the label of its row; cells with the same label differ only in their seed."""

    label: str
    cell: Cell

    @property
    def name(self) -> str:
        """The label, and the seed if it is not 0."""
        return f"{self.label}, seed {self.cell.seed}" if self.cell.seed else self.label


def cells_of(experiment: Experiment) -> list[PlannedCell]:
    """Return every cell once, the plain student first; seeds of one cell stand together.

    Raises:
        UsageError: a setting is unknown or impossible; the message names the setting and its place.
    """
    found: dict[str, PlannedCell] = {}
    taken: dict[str, str] = {}
    for where, values, told in _combinations(experiment):
        for seed in experiment.seeds:
            named = _cell(experiment, where, {**values, "seed": seed})
            given = _with_form(named, f"{where} of {experiment.name}")
            cell = given.canonical()
            if cell.key not in found:
                found[cell.key] = PlannedCell(
                    label=_unused(_label(experiment, given, cell, told, named.form), cell, taken), cell=cell
                )
    if twice := [teacher.name for teacher in experiment.teachers if teacher.name in taken]:
        raise UsageError(f"a cell and a teacher would both be called {twice[0]!r}; give the teacher another name")
    return _grouped(found.values())


def _combinations(experiment: Experiment) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """Yield the place of each combination, its settings, and the names of the settings in its row's label."""
    grids = [_lists(experiment, number, grid) for number, grid in enumerate(experiment.grid, 1)]
    if "seed" in experiment.settings:
        raise UsageError(f"settings of {experiment.name}: unknown setting 'seed'; write seeds: [0, 1] at the top")
    for base in _bases(experiment):
        yield "plain student", {"utilisation": "plain", **base}, list(BASE)
    # Either the labels of all grids name format, utilisation and base, or none does.
    everywhere = [name for name in ("formats", "utilisation", *BASE) if any(name in grid for grid in grids)]
    for number, grid in enumerate(grids, 1):
        names = list(dict.fromkeys([*everywhere, *grid]))
        for combination in product(*grid.values()):
            yield f"grid {number}", {**experiment.settings, **dict(zip(grid, combination, strict=True))}, names


def _lists(experiment: Experiment, number: int, grid: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the values of each setting of a grid as lists; a single value becomes a list of one."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in grid.items()}
    where = f"grid {number} of {experiment.name}"
    if not lists or any(not values for values in lists.values()):
        raise UsageError(f"{where} is empty; give each setting at least one value")
    if "seed" in lists:
        raise UsageError(f"{where}: unknown setting 'seed'; write seeds: [0, 1] at the top")
    if (count := prod(map(len, lists.values()))) > GRID_LIMIT:
        raise UsageError(f"{where} has {count:,} cells; {GRID_LIMIT:,} are the most")
    return lists


def _cell(experiment: Experiment, where: str, values: Mapping[str, Any]) -> Cell:
    place = f"{where} of {experiment.name}"
    try:
        cell = Cell.model_validate({**values, "domains": _domains(experiment, place, values.get("domains"))})
    except ValidationError as error:
        raise UsageError(f"{place}: {explain(error, Cell)}") from error
    if cell.teacher == "recorded" and cell.knows:
        for domain in cell.domains or (experiment.target,):
            if domain not in experiment.packs and experiment.data[domain] not in STARTERS:
                raise UsageError(f"{place}: no pack of domain {domain!r} for teacher recorded; add it to packs")
    return cell


def _domains(experiment: Experiment, place: str, given: Any) -> tuple[str, ...]:
    """Return domains by name; a number N means the first N domains."""
    data = list(experiment.data)
    if isinstance(given, int) and not isinstance(given, bool):
        if not 1 <= given <= len(data):
            raise UsageError(f"{place}: domains must be 1 to {len(data)} here, got {given}; add more to data")
        given = data[:given]
    names = given.split("+") if isinstance(given, str) else given or []
    if not isinstance(names, list | tuple) or any(name not in data for name in names) or len(set(names)) < len(names):
        raise UsageError(f"{place}: domains must be a number or names from data ({', '.join(data)}), got {given!r}")
    return () if list(names) == data[:1] else tuple(names)


def _with_form(cell: Cell, place: str) -> Cell:
    """Return a cell with the form that suits its base, if it names none; a missing base fails its cell later."""
    try:
        form = cell.form or own_form(cell.student)
    except BundlewiseError:
        return cell
    try:
        return Cell.model_validate({**cell.model_dump(exclude_unset=True), "form": form})
    except ValidationError as error:
        raise UsageError(f"{place}: {explain(error, Cell)}") from error


def _label(experiment: Experiment, given: Cell, cell: Cell, told: Sequence[str], form: Form | None) -> str:
    """Return the name of a row: the dials in its label, without those that have no effect in it.

    `form` is the form that the experiment names; the form that follows from the base is no part of the label.
    """
    parts = [PLAIN] if cell.utilisation == "plain" else []
    idle = given.idle | ({"formats", "utilisation"} if parts else set())
    for name in told:
        value: Any = form if name == "form" else getattr(cell, name)
        if name in idle:
            continue
        if name == "formats":
            parts.append({FORMATS: "all", (): "none"}.get(value, "+".join(value)))
        elif name == "readers":
            parts.append("tuned readers" if value else "untuned readers")
        elif name in ("utilisation", "sampler"):
            parts.append(value)
        elif name == "domains":
            parts.append("+".join(value or (experiment.target,)))
        elif cell.utilisation == "plain" and value == _bases(experiment)[0].get(name, getattr(Cell(), name)):
            continue
        elif isinstance(value, Mapping):
            parts += [f"{dial} {setting}" for dial, setting in value.items()] or [f"default {name}"]
        else:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _bases(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the settings of the plain students; other rows are compared with the plain student of the first ones."""
    found: list[dict[str, Any]] = []
    for grid in experiment.grid:
        given = {name: value for name in BASE if (value := grid.get(name, experiment.settings.get(name))) is not None}
        lists = [value if isinstance(value, list) else [value] for value in given.values()]
        bases = [dict(zip(given, values, strict=True)) for values in product(*lists)]
        found += [base for base in bases if base not in found]
    return found


def _unused(label: str, cell: Cell, taken: dict[str, str]) -> str:
    """Return the label for a cell and its other seeds; a different cell with that label gets a number added."""
    identity = cell.model_copy(update={"seed": 0}).key
    name, number = label, 2
    while taken.setdefault(name, identity) != identity:
        name, number = f"{label} ({number})", number + 1
    return name


def _grouped(planned: Iterable[PlannedCell]) -> list[PlannedCell]:
    groups: dict[str, list[PlannedCell]] = {}
    for one in planned:
        groups.setdefault(one.label, []).append(one)
    return [one for group in groups.values() for one in group]
