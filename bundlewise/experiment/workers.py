"""Where cells are made: in this process, or spread over a Ray cluster."""

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
"""What makes a run's cells: yields each with what it came to, or the reason why it could not be made."""


def workers_named(name: str, maker: Maker, planned: Sequence[PlannedCell]) -> Workers:
    """Return the workers that --engine names for some cells.

    Raises:
        UsageError: it is not installed, or would pay a large teacher without one ledger for all.
    """
    if name == "local":
        return locally
    require("ray", "--engine ray")
    _require_paid(maker, planned)
    return on_ray


def _require_paid(maker: Maker, planned: Sequence[PlannedCell]) -> None:
    """Look whether all that large teachers are asked is in the cache."""
    unpaid = [one.label for one in planned if one.cell.is_paid and not maker.knowledge.is_distilled(one.cell)]
    unpaid += [row.name for row in maker.inputs.experiment.teachers if row.endpoint and not is_asked(maker, row)]
    if unpaid:
        raise UsageError(
            f"{unpaid[0]} would ask a large teacher, which --engine ray cannot pay through one ledger under one cap; "
            "run it with --engine local first (what is paid for is kept in the cache, and ray goes on from there), or "
            "give recorded knowledge and predictions"
        )


def locally(maker: Maker, planned: Sequence[PlannedCell], say: Say) -> Iterable[Outcome]:
    """Make the cells one after the other in this process.

    Raises:
        CapError: a cap on what the run may pay; the cells after it are not made.
    """
    for number, one in enumerate(planned, 1):
        outcome = attempt(maker, one)
        say(f"[{number}/{len(planned)}] {told(one, outcome)}")
        yield one, outcome


def on_ray(maker: Maker, planned: Sequence[PlannedCell], say: Say) -> Iterable[Outcome]:
    """Make the cells on the workers of a Ray cluster that share the cache folder: RAY_ADDRESS, or one started here.

    A worker that dies gives its cell back; another one goes on with what is in the cache.
    """
    pieces = [(maker.inputs.experiment, str(maker.cache), one) for one in planned]
    for done, (place, result) in enumerate(spread(_made_there, pieces), 1):
        outcome = str(result) if isinstance(result, BundlewiseError) else result
        say(f"[{done}/{len(planned)}] {told(planned[place], outcome)}")
        yield planned[place], outcome


def _made_there(experiment: Experiment, cache: str, planned: PlannedCell) -> Made | str:
    return attempt(Maker(experiment, Path(cache)), planned)


def attempt(maker: Maker, planned: PlannedCell) -> Made | str:
    """Return what a cell comes to, or why it cannot be made; a cap stops the run instead."""
    try:
        return maker.make(planned.cell)
    except CapError:
        raise
    except Exception as error:  # The outermost handler of a cell: the others must go on, whatever it was.
        return describe(error)


def told(planned: PlannedCell, outcome: Made | str) -> str:
    """Say in a line what became of a cell."""
    if isinstance(outcome, str):
        return f"{planned.name}: failed, {outcome}"
    if outcome.cached:
        return f"{planned.name}: from the cache"
    seconds = outcome.seconds + outcome.tuning_seconds
    return f"{planned.name}: {outcome.sessions} sessions, {seconds:,.0f} s of tuning and answering"
