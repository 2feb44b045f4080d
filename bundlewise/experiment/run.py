"""The run of an experiment: check and audit the data, make the cells that are not cached, score and report them."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bundlewise.agents.student.chooser import FEWEST
from bundlewise.agents.teacher.caps import CapError
from bundlewise.errors import BundlewiseError, DataError, UsageError, describe
from bundlewise.evaluation.intents import intent_similarity
from bundlewise.experiment.audit import audit, require_clean
from bundlewise.experiment.cells import Cell
from bundlewise.experiment.contrasts import contrasts
from bundlewise.experiment.file import PLAIN, Experiment, written
from bundlewise.experiment.grid import PlannedCell, cells_of
from bundlewise.experiment.maker import Made, Maker
from bundlewise.experiment.results import RESULTS, Failure, Results, machine, versions
from bundlewise.experiment.rows import Cost, Row, compared, failures_of, row_of
from bundlewise.experiment.teachers import PER, baseline_rows, evidence_cells, evidence_row, teacher_row
from bundlewise.experiment.workers import Say, Workers
from bundlewise.extras import require
from bundlewise.files import only_process, write_json, write_text
from bundlewise.models.endpoints import is_served

TUNING, ANSWERING, LOADING = 0.7, 0.5, 20.0
"""Seconds to tune on a session, to answer one, and to load a cell, on two cores; used before anything is measured."""
READERS = 0.4
"""Seconds to tune the readers of titles, per session that teaches."""


def plan(maker: Maker, planned: Sequence[PlannedCell]) -> tuple[list[dict[str, Any]], str]:
    """Return a row for each cell with estimated minutes (0 if cached), and the basis of the estimate."""
    made = [Made.model_validate_json(path.read_text("utf-8")) for path in maker.cache.glob("cells/*.json")]
    tuning = _mean([one.tuning_seconds / one.tuned_sessions for one in made if one.tuned_sessions], TUNING)
    answering = _mean([one.seconds / one.sessions for one in made if one.sessions], ANSWERING)
    rests_on = f"{len(made)} cells made before" if made else "a guess, as no cell has been made yet"
    return [_row(maker, one, tuning, answering) for one in planned], rests_on


def _row(maker: Maker, planned: PlannedCell, tuning: float, answering: float) -> dict[str, Any]:
    cell, problem = planned.cell, ""
    try:
        cached = maker.is_made(cell)
    except BundlewiseError as error:  # A fault of one cell, such as an unknown student, must not stop the plan.
        cached, problem = False, str(error)
    teaching = len(maker.inputs.teaching(cell)) if cell.knows or cell.is_tuned else 0
    tuned = min(cell.tuned or teaching, teaching) if cell.is_tuned else 0
    validation = sum(s.split == "validation" for s in maker.inputs.target)
    read = len(maker.inputs.scored) + validation
    work = LOADING + tuned * cell.config.epochs * tuning + read * answering + teaching * READERS * cell.has_readers
    seconds = 0.0 if cached or problem else work
    return {
        "cell": planned.name,
        "teaching": teaching,
        "tuned": tuned,
        "cached": cached,
        "problem": problem,
        "minutes": round(seconds / 60, 1),
    }


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


BEGUN, FILE = "begun.json", "experiment.yaml"
NO_WEIGHT = "bundles by the evidence alone: validation gave the language model no weight"
NO_CHOOSER = f"read without a chooser and evidence: fewer than {FEWEST} sessions with evidence teach it"


@dataclass
class Run:
    """One run of an experiment in a folder of its own; results that cells share are in the cache."""

    experiment: Experiment
    folder: Path
    cache: Path
    say: Say
    only: str | None = None
    command: str = ""
    made: dict[str, Made] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.maker = Maker(self.experiment, self.cache)
        planned = cells_of(self.experiment)
        self.planned = chosen(planned, self.only)
        # Holm's correction counts all cells compared with the plain student, also those that `only` leaves out.
        self.compared = len({one.label for one in planned} - {PLAIN})

    def run(self, workers: Workers) -> Results:
        """Make every cell, score them beside the baselines and teachers, and write the results.

        A cell that cannot be made is recorded, and the other cells are still made.

        Raises:
            BundlewiseError: another run holds the folder.
            CapError: the next call could pass a cap of payment; everything made and paid for is kept.
            UsageError: the data lack something that the cells need.
            DataError: the data leak, or a file has changed since the run began.
        """
        require("experiment", "running an experiment")
        with only_process(self.folder):
            hashes = self._unchanged()
            self.check()
            write_json(self.folder / BEGUN, hashes)
            write_text(self.folder / FILE, written(self.experiment))
            baselines = baseline_rows(self.maker)
            for planned, outcome in workers(self.maker, self.planned, self.say):
                self._note(planned, outcome)
            results = self._results(baselines)
            write_text(self.folder / RESULTS, results.model_dump_json(indent=1) + "\n")
        return results

    def _unchanged(self) -> dict[str, str]:
        """Return the hashes of all files read, after a comparison with those from the start of the run."""
        path, hashes = self.folder / BEGUN, self.maker.inputs.hashes
        begun = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        for name in sorted(begun.keys() & hashes.keys()):
            if begun[name] != hashes[name]:
                raise DataError(
                    f"{name} has changed since the run in {self.folder} began (SHA-256 {begun[name][:12]}..., now "
                    f"{hashes[name][:12]}...); restore the file, or give another folder with -o"
                )
        return begun | hashes

    def check(self) -> None:
        """Check that the data have what the cells need, and do not leak."""
        cells = [planned.cell for planned in self.planned]
        self.maker.inputs.check(cells)
        packs = self.maker.inputs.packs if any(cell.knows for cell in cells) else {}
        require_clean(audit(self.maker.inputs.data, self.experiment.target, packs))

    def _note(self, planned: PlannedCell, outcome: Made | str) -> None:
        if isinstance(outcome, Made):
            self.made[planned.cell.key] = outcome
        else:
            self.failures.append(Failure(name=planned.label, seed=planned.cell.seed, reason=outcome))

    def _results(self, baselines: Sequence[Row]) -> Results:
        made = (planned.cell for planned in self.planned if planned.cell.key in self.made)
        evidence = [
            row
            for name, cell in evidence_cells(made).items()
            for row in self._beside(name, partial(evidence_row, self.maker, name, cell))
        ]
        teachers = [
            row
            for teacher in self.experiment.teachers
            for row in self._beside(teacher.name, partial(teacher_row, self.maker, teacher))
        ]
        wanted = next((teacher.name for teacher in self.experiment.teachers if teacher.retention), None)
        against = next((row.name for row in teachers if wanted in (None, row.name)), None)
        rows = compared([*self._cells(), *baselines, *evidence, *teachers], PLAIN, against, self.compared)
        return Results(
            experiment=self.experiment,
            rows=tuple(rows),
            failures=tuple(self.failures),
            teacher=against,
            telling=tuple(contrasts(self.maker, rows, self.planned, self.made)),
            hashes=self.maker.inputs.hashes,
            machine=machine(),
            versions=versions(),
            command=self.command,
        )

    def _beside(self, name: str, make: Callable[[], Row]) -> list[Row]:
        """Return a row beside the cells in a list; the list is empty if the row fails, and the failure is recorded."""
        try:
            return [make()]
        except CapError:
            raise
        except Exception as error:
            self.failures.append(Failure(name=name, seed=None, reason=describe(error)))
            return []

    def _cells(self) -> Iterable[Row]:
        labels = dict.fromkeys(planned.label for planned in self.planned)
        for label in labels:
            cells = [p.cell for p in self.planned if p.label == label and p.cell.key in self.made]
            if cells:
                yield self._row(label, cells)

    def _row(self, label: str, cells: Sequence[Cell]) -> Row:
        made = [self.made[cell.key] for cell in cells]
        answers = [self.maker.predictions(one) for one in made]
        scores = [one.validation_gjs for one in made if one.validation_gjs is not None]
        similarity = [intent_similarity(a, self.maker.inputs.scored, self.maker.inputs.embedder) for a in answers]
        return row_of(
            label,
            "cell",
            [[answer.groups for answer in repeat] for repeat in answers],
            self.maker.inputs.scored,
            **failures_of(answers),
            intent=round(sum(similarity) / len(similarity), 4),
            note=note_of(cells, made),
            validation_gjs=round(sum(scores) / len(scores), 4) if scores else None,
            cost=self._cost(cells[0].student, made),
            knowledge=made[0].knowledge,
            teaching_sessions=made[0].teaching_sessions,
            settings=cells[0].model_dump(exclude={"seed"}),
        )

    def _cost(self, student: str, made: Sequence[Made]) -> Cost:
        sessions = sum(one.sessions for one in made)
        read, written = (sum(getattr(one, name) for one in made) / sessions for name in ("tokens_in", "tokens_out"))
        seconds = sum(one.seconds for one in made) / sessions
        dollars = self._dollars(student, read, written, seconds)
        return Cost(
            tokens_in=round(read, 1),
            tokens_out=round(written, 1),
            seconds=round(seconds, 4),
            dollars=None if dollars is None else round(dollars * PER, 6),
            memory_gb=max(one.memory_gb for one in made),
            trainable_parameters=made[0].trainable_parameters,
            tuning_seconds=round(sum(one.tuning_seconds for one in made) / len(made), 1),
            **_distilling(made),
        )

    def _dollars(self, student: str, read: float, written: float, seconds: float) -> float | None:
        """Return the cost of a session: this machine's time, or the tokens of a student on a server."""
        if is_served(student):
            price = self.maker.payment.price_of(student)
            return price.cost(read, written) if price else None
        hourly = self.experiment.machine.dollars_per_hour
        return None if hourly is None else seconds * hourly / 3600


def _distilling(made: Sequence[Made]) -> dict[str, Any]:
    """Return the cost of distilling, a mean over the seeds."""
    dollars = [one.distil_dollars for one in made]
    return {
        "distil_seconds": round(sum(one.distil_seconds for one in made) / len(made), 1),
        "distil_tokens": round(sum(one.distil_tokens for one in made) / len(made)),
        "distil_dollars": None if None in dollars else round(sum(filter(None, dollars)) / len(made), 6),
        "distil_failed": max(one.distil_failed for one in made),
    }


def note_of(cells: Sequence[Cell], made: Sequence[Made]) -> str:
    """Return a note on a row that was made in another way than the others, since the table then compares two things."""
    notes = [NO_WEIGHT] if all(one.student_weight == 0 for one in made) else []
    if any(cell.reads and not one.chooser for cell, one in zip(cells, made, strict=True)):
        notes.append(NO_CHOOSER)
    return "; ".join(notes)


def chosen(planned: Sequence[PlannedCell], only: str | None) -> list[PlannedCell]:
    """Return the cells whose label holds a text, and the plain student that they are compared with.

    Raises:
        UsageError: no label does.
    """
    if only is None:
        return list(planned)
    found = [one for one in planned if only in one.label or one.label == PLAIN]
    if all(one.label == PLAIN for one in found) and only not in PLAIN:
        labels = "; ".join(dict.fromkeys(one.label for one in planned))
        raise UsageError(f"no cell has {only!r} in its name; there are: {labels}")
    return found
