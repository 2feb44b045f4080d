"""The plan of an experiment before it runs: its cells, which of them are cached, and how long the rest will take."""

from collections.abc import Sequence
from typing import Any

from bundlewise.errors import BundlewiseError
from bundlewise.experiment.grid import Planned
from bundlewise.experiment.workshop import Made, Workshop

TUNING, ANSWERING, LOADING = 0.7, 0.5, 20.0
"""Seconds a session to tune on and to answer, and a cell to load, on two cores: where nothing was measured yet."""
READERS = 0.4
"""Seconds a session that teaches to tune the readers of titles."""


def plan(workshop: Workshop, planned: Sequence[Planned]) -> tuple[list[dict[str, Any]], str]:
    """Return a row for each cell with estimated minutes (0 where cached), and what the estimate rests on."""
    made = [Made.model_validate_json(path.read_text("utf-8")) for path in workshop.cache.glob("cells/*.json")]
    tuning = _mean([one.tuning_seconds / one.tuned_sessions for one in made if one.tuned_sessions], TUNING)
    answering = _mean([one.seconds / one.sessions for one in made if one.sessions], ANSWERING)
    rests_on = f"{len(made)} cells made before" if made else "a guess, as no cell has been made yet"
    return [_row(workshop, one, tuning, answering) for one in planned], rests_on


def _row(workshop: Workshop, planned: Planned, tuning: float, answering: float) -> dict[str, Any]:
    cell, problem = planned.cell, ""
    try:
        cached = workshop.is_made(cell)
    except BundlewiseError as error:  # Such as a student that cannot be found: the other cells are not touched by it.
        cached, problem = False, str(error)
    teaching = len(workshop.teaching(cell)) if cell.knows or cell.is_tuned else 0
    tuned = min(cell.tuned or teaching, teaching) if cell.is_tuned else 0
    validation = sum(s.split == "validation" for s in workshop.data[workshop.experiment.target])
    read = len(workshop.scored) + validation
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
