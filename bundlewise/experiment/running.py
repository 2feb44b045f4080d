"""Running an experiment: checked, audited, cell by cell, whatever was made before kept; then scored and reported."""

import json
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bundlewise.domain import Record
from bundlewise.errors import DataError, UsageError, describe
from bundlewise.experiment.audit import audit, require_clean
from bundlewise.experiment.file import PLAIN, Experiment, Planned
from bundlewise.experiment.others import PER, baseline_rows, teacher_row
from bundlewise.experiment.rows import Cost, Row, compared, failures_of, row_of
from bundlewise.experiment.telling import Telling, telling_sessions
from bundlewise.experiment.workshop import Made, Workshop
from bundlewise.files import only_process, write_json, write_text
from bundlewise.intents import intent_similarity

RESULTS, BEGUN = "results.json", "begun.json"
LIBRARIES = ("bundlewise", "torch", "transformers", "peft", "chromadb", "langgraph", "sentence-transformers", "numpy")
Say = Callable[[str], None]


class Failure(Record):
    """A cell or row that could not be made, and why; the others are not touched by it."""

    name: str
    seed: int | None
    reason: str


class Results(Record):
    """What an experiment came to, with all that is needed to trust it and to run it again."""

    experiment: Experiment
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()
    reference: str = PLAIN
    teacher: str | None = None
    telling: tuple[Telling, ...] = ()
    hashes: dict[str, str]
    machine: str
    versions: dict[str, str]
    command: str = ""

    @classmethod
    def read(cls, folder: Path) -> "Results":
        """Read the results in an experiment's folder.

        Raises:
            UsageError: there are none, or they are of another version.
        """
        path = folder / RESULTS
        if not path.is_file():
            raise UsageError(f"no results in {folder}; run the experiment: bundlewise experiment run FILE -o {folder}")
        try:
            return cls.model_validate_json(path.read_text("utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is damaged, or of another version; run the experiment again") from error


@dataclass
class Run:
    """One run of an experiment in a folder of its own; `make` makes a cell, here or somewhere else."""

    experiment: Experiment
    folder: Path
    cache: Path
    say: Say
    only: str | None = None
    command: str = ""
    made: dict[str, Made] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.workshop = Workshop(self.experiment, self.cache)
        self.planned = chosen(self.experiment.cells(), self.only)

    def run(self, engine: "Engine") -> Results:
        """Make every cell, score them beside the baselines and teachers, and write the results.

        A cell that cannot be made is recorded and the rest goes on.

        Raises:
            BundlewiseError: another run holds the folder.
            DataError: the data leak, or a file has changed since the run began.
        """
        with only_process(self.folder):
            self._begin()
            self._audit()
            for planned, outcome in engine(self.experiment, self.cache, self.planned, self.say):
                self._note(planned, outcome)
            results = self._results()
            write_text(self.folder / RESULTS, results.model_dump_json(indent=1) + "\n")
        return results

    def _begin(self) -> None:
        """Note what the data are, or hold them against what they were when the run began."""
        path, hashes = self.folder / BEGUN, self.workshop.hashes
        if path.is_file():
            begun = json.loads(path.read_text("utf-8"))
            for name in sorted(begun.keys() & hashes.keys()):
                if begun[name] != hashes[name]:
                    raise DataError(
                        f"{name} has changed since the run in {self.folder} began (SHA-256 {begun[name][:12]}..., now "
                        f"{hashes[name][:12]}...); restore the file, or give another folder with -o"
                    )
            hashes = begun | hashes
        write_json(path, hashes)

    def _audit(self) -> None:
        packs = self.workshop.packs if any(planned.cell.knows for planned in self.planned) else {}
        require_clean(audit(self.workshop.data, self.experiment.target, packs))

    def _note(self, planned: Planned, outcome: "Made | str") -> None:
        if isinstance(outcome, Made):
            self.made[planned.cell.key] = outcome
        else:
            self.failures.append(Failure(name=planned.label, seed=planned.cell.seed, reason=outcome))

    def _results(self) -> Results:
        rows = [*self._cells(), *baseline_rows(self.workshop)]
        against: str | None = None
        for teacher in self.experiment.teachers:
            try:
                rows.append(teacher_row(self.workshop, teacher))
                against = teacher.name if teacher.retention or against is None else against
            except Exception as error:  # A row of its own, like a cell: what fails in it is recorded.
                self.failures.append(Failure(name=teacher.name, seed=None, reason=describe(error)))
        if not any(row.name == PLAIN for row in rows):
            raise UsageError(f"the {PLAIN} failed, and there is nothing to compare with: {self.failures[0].reason}")
        rows = compared(rows, PLAIN, against)
        return Results(
            experiment=self.experiment,
            rows=tuple(rows),
            failures=tuple(self.failures),
            teacher=against,
            telling=tuple(telling_sessions(self.workshop, rows, self.planned, self.made)),
            hashes=self.workshop.hashes,
            machine=machine(),
            versions={name: version(name) for name in LIBRARIES},
            command=self.command,
        )

    def _cells(self) -> Iterable[Row]:
        labels = dict.fromkeys(planned.label for planned in self.planned)
        for label in labels:
            cells = [p.cell for p in self.planned if p.label == label and p.cell.key in self.made]
            if cells:
                yield self._row(label, cells)

    def _row(self, label: str, cells: Sequence[Any]) -> Row:
        made = [self.made[cell.key] for cell in cells]
        answers = [self.workshop.predictions(one) for one in made]
        scores = [one.validation_gjs for one in made if one.validation_gjs is not None]
        similarity = [intent_similarity(a, self.workshop.scored, self.workshop.embedder) for a in answers]
        return row_of(
            label,
            "cell",
            [[answer.groups for answer in repeat] for repeat in answers],
            self.workshop.scored,
            **failures_of(answers),
            intent=round(sum(similarity) / len(similarity), 4),
            validation_gjs=round(sum(scores) / len(scores), 4) if scores else None,
            cost=self._cost(made),
            knowledge=made[0].knowledge,
            teaching_sessions=made[0].teaching_sessions,
            settings=cells[0].model_dump(exclude={"seed"}),
        )

    def _cost(self, made: Sequence[Made]) -> Cost:
        sessions = sum(one.sessions for one in made)
        seconds = sum(one.seconds for one in made) / sessions
        hourly = self.experiment.machine.dollars_per_hour
        return Cost(
            tokens_in=round(sum(one.tokens_in for one in made) / sessions, 1),
            tokens_out=round(sum(one.tokens_out for one in made) / sessions, 1),
            seconds=round(seconds, 4),
            dollars=None if hourly is None else round(seconds * PER * hourly / 3600, 6),
            memory_gb=max(one.memory_gb for one in made),
            trainable_parameters=made[0].trainable_parameters,
            tuning_seconds=round(sum(one.tuning_seconds for one in made) / len(made), 1),
            distil_seconds=round(sum(one.distil_seconds for one in made) / len(made), 1),
        )


Engine = Callable[[Experiment, Path, Sequence[Planned], Say], Iterable[tuple[Planned, "Made | str"]]]
"""What makes cells: yields each with what it came to, or the reason why it could not be made."""


def locally(
    experiment: Experiment, cache: Path, planned: Sequence[Planned], say: Say
) -> Iterable[tuple[Planned, Made | str]]:
    """Make the cells one after the other in this process."""
    workshop = Workshop(experiment, cache)
    for number, one in enumerate(planned, 1):
        outcome = attempt(workshop, one)
        say(f"[{number}/{len(planned)}] {told(one, outcome)}")
        yield one, outcome


def attempt(workshop: Workshop, planned: Planned) -> Made | str:
    """Return what a cell comes to, or why it cannot be made."""
    try:
        return workshop.make(planned.cell)
    except Exception as error:  # The outermost handler of a cell: the others must go on, whatever it was.
        return describe(error)


def told(planned: Planned, outcome: Made | str) -> str:
    """Say in a line what became of a cell."""
    name = f"{planned.label}, seed {planned.cell.seed}" if planned.cell.seed else planned.label
    if isinstance(outcome, str):
        return f"{name}: failed, {outcome}"
    if outcome.cached:
        return f"{name}: from the cache"
    seconds = outcome.seconds + outcome.tuning_seconds
    return f"{name}: {outcome.sessions} sessions, {seconds:,.0f} s of tuning and answering"


def chosen(planned: Sequence[Planned], only: str | None) -> list[Planned]:
    """Return the cells whose label holds a text, and the plain student that they are compared with.

    Raises:
        UsageError: none does.
    """
    if only is None:
        return list(planned)
    found = [one for one in planned if only in one.label or one.label == PLAIN]
    if all(one.label == PLAIN for one in found) and only not in PLAIN:
        labels = "; ".join(dict.fromkeys(one.label for one in planned))
        raise UsageError(f"no cell has {only!r} in its name; there are: {labels}")
    return found


def machine() -> str:
    """Return what this machine is."""
    import os

    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
