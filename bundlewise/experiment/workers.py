"""The workers that make cells: this process, or a Ray cluster."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bundlewise.agents.teacher.caps import CapError
from bundlewise.errors import BundlewiseError, UsageError, describe
from bundlewise.experiment.file import Experiment
from bundlewise.experiment.grid import PlannedCell
from bundlewise.experiment.maker import Made, Maker
from bundlewise.experiment.teachers import is_asked
from bundlewise.extras import require
from bundlewise.pipeline.ray import spread

Say = Callable[[str], None]
Outcome = tuple[PlannedCell, "Made | str"]
Workers = Callable[[Maker, Sequence[PlannedCell], Say], Iterable[Outcome]]
"""A function that makes the cells of a run: it yields each cell with its result, or the reason of its failure."""


def workers_named(name: str, maker: Maker, planned: Sequence[PlannedCell]) -> Workers:
    """Return the workers that --engine names for some cells.

    Raises:
        UsageError: Ray is not installed, or its workers would have to pay a large teacher.
    """
    if name == "local":
        return locally
    require("ray", "--engine ray")
    _require_paid(maker, planned)
    return on_ray


def _require_paid(maker: Maker, planned: Sequence[PlannedCell]) -> None:
    """Check that the cache has all answers of large teachers."""
    unpaid = [one.label for one in planned if one.cell.is_paid and not maker.knowledge.is_distilled(one.cell)]
    unpaid += [row.name for row in maker.inputs.experiment.teachers if row.endpoint and not is_asked(maker, row)]
    if unpaid:
        raise UsageError(
            f"{unpaid[0]} would ask a large teacher, which --engine ray cannot pay through one ledger under one cap; "
            "run it with --engine local first (ray then continues from the cache), or give recorded knowledge and "
            "predictions"
        )


def locally(maker: Maker, planned: Sequence[PlannedCell], say: Say) -> Iterable[Outcome]:
    """Make the cells one after the other in this process.

    Raises:
        CapError: a cap of payment is reached; the cells after it are not made.
    """
    for number, one in enumerate(planned, 1):
        outcome = attempt(maker, one)
        say(f"[{number}/{len(planned)}] {told(one, outcome)}")
        yield one, outcome


def on_ray(maker: Maker, planned: Sequence[PlannedCell], say: Say) -> Iterable[Outcome]:
    """Make the cells on the workers of a Ray cluster that share the cache folder: RAY_ADDRESS, or one started here.

    If a worker dies, another one continues its cell from the cache.
    """
    pieces = [(maker.inputs.experiment, str(maker.cache), one) for one in planned]
    for done, (place, result) in enumerate(spread(_made_there, pieces), 1):
        outcome = str(result) if isinstance(result, BundlewiseError) else result
        say(f"[{done}/{len(planned)}] {told(planned[place], outcome)}")
        yield planned[place], outcome


def _made_there(experiment: Experiment, cache: str, planned: PlannedCell) -> Made | str:
    return attempt(Maker(experiment, Path(cache)), planned)


def attempt(maker: Maker, planned: PlannedCell) -> Made | str:
    """Return the result of a cell, or the reason of its failure; a cap of payment stops the run instead."""
    try:
        return maker.make(planned.cell)
    except CapError:
        raise
    except Exception as error:  # The outermost handler of a cell: no fault may stop the other cells.
        return describe(error)


def told(planned: PlannedCell, outcome: Made | str) -> str:
    """Return the outcome of a cell as a line."""
    if isinstance(outcome, str):
        return f"{planned.name}: failed, {outcome}"
    if outcome.cached:
        return f"{planned.name}: from the cache"
    seconds = outcome.seconds + outcome.tuning_seconds
    return f"{planned.name}: {outcome.sessions} sessions, {seconds:,.0f} s of tuning and answering"
